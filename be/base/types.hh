// The vocabulary of every layer: block numbers, page addresses, LSNs, and the constants that they
// imply.
//
// What it is not: anything that allocates, does I/O, or knows a format. On-disk structs live in
// `*_format.hh` beside the code that owns them.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace pleach {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

using bytes = std::span<std::byte>;
using cbytes = std::span<const std::byte>;

inline constexpr u32 block_shift = 12;
inline constexpr u32 block_bytes = 1u << block_shift;  ///< the unit of allocation and of device I/O
inline constexpr u32 max_page_blocks = 256;  ///< 1 MiB, the largest page an address can name

/// Log sequence number = number of a group. 0 = none. Never reset in the life of a store.
using lsn_t = u64;
inline constexpr lsn_t lsn_none = 0;

/// Low 32 bits of the group that allocated a page; fixed for the life of the page.
using generation_t = u32;

/// Identity of a tree within its store. Never reused.
using tree_id_t = u64;
inline constexpr tree_id_t tree_none = 0;
inline constexpr tree_id_t tree_catalogue = 1;

/// Where a page or extent stands: 56-bit block number, 8-bit (length in blocks - 1). 0 = no page
/// (block 0 holds a superblock copy, so it is never a page).
struct page_addr {
  u64 raw = 0;

  constexpr page_addr() = default;
  constexpr explicit page_addr(u64 r) : raw(r) {}
  constexpr page_addr(u64 block, u32 blocks) : raw(block << 8 | (blocks - 1)) {}

  constexpr u64 block() const { return raw >> 8; }
  constexpr u32 blocks() const { return static_cast<u32>(raw & 0xff) + 1; }
  constexpr u64 offset() const { return block() << block_shift; }
  constexpr u32 size() const { return blocks() << block_shift; }
  constexpr explicit operator bool() const { return raw != 0; }
  friend constexpr auto operator<=>(page_addr, page_addr) = default;
};

/// A child reference, sibling hint or catalogue root: address plus the generation found there.
struct page_ref {
  page_addr addr;
  generation_t gen = 0;
  constexpr explicit operator bool() const { return bool(addr); }
  friend constexpr bool operator==(const page_ref&, const page_ref&) = default;
};

inline cbytes as_bytes(std::string_view s) {
  return std::as_bytes(std::span(s.data(), s.size()));
}
inline std::string_view as_text(cbytes b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

template <class T>
constexpr T round_up(T v, T unit) {
  return (v + unit - 1) / unit * unit;
}
template <class T>
constexpr T ceil_div(T v, T unit) {
  return (v + unit - 1) / unit;
}

}  // namespace pleach
