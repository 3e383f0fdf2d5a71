// Inside of the node functions, shared by node*.cc and nobody else: heap units, record encoding,
// slots, layouts.
//
// Heap items (records, fences, prefix) start at multiples of the node's unit and occupy whole
// units: 1 byte up to 64 KiB, so that a 16-bit slot offset reaches every byte of the largest node.
// The prefix usually needs no bytes of its own: it is the beginning of the low fence
// (`prefix_offset == low_offset`).
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include "be/base/assert.hh"
#include "btree/node.hh"

namespace pleach::btree::detail {

inline constexpr u32 max_records = 65535;
inline constexpr u32 slot_unit = sizeof(slot);
inline constexpr u32 max_slot_begin = 65535 * slot_unit;

inline u32 unit_shift(u32 node_bytes) {
  return node_bytes <= 65536 ? 0 : static_cast<u32>(std::bit_width((node_bytes - 1) >> 16));
}
/// Bytes that an item of `bytes` occupies in the heap of a node of `node_bytes`.
inline u32 occupied(u32 node_bytes, u32 bytes) {
  const u32 unit = 1u << unit_shift(node_bytes);
  return (bytes + unit - 1) & ~(unit - 1);
}

inline u32 varint_bytes(u32 v) {
  return v < 1u << 7 ? 1 : v < 1u << 14 ? 2 : v < 1u << 21 ? 3 : 4;
}
inline std::byte* put_varint(std::byte* p, u32 v) {
  for (; v >= 0x80; v >>= 7) *p++ = static_cast<std::byte>(v | 0x80);
  *p++ = static_cast<std::byte>(v);
  return p;
}
inline const std::byte* get_varint(const std::byte* p, u32& v) {
  v = static_cast<u32>(*p++);
  if (v < 0x80) [[likely]]
    return p;
  v &= 0x7f;
  for (u32 shift = 7;; shift += 7) {
    const u32 b = static_cast<u32>(*p++);
    v |= (b & 0x7f) << shift;
    if (b < 0x80) return p;
  }
}

/// Bytes of flags at the start of a record: two in format 1, one in format 3.
inline u32 flag_bytes_of(u16 format) {
  return format == node_format_slotted_2 ? 1 : 2;
}
inline u32 flag_bytes(const node_view& n) {
  return flag_bytes_of(n.header().format);
}

/// A record where it lies. Validated bytes only.
struct parsed {
  const std::byte* begin;
  const std::byte* key;
  const std::byte* value;
  u32 key_length;
  u32 value_length;  ///< with what is attached to the value
  u32 flag_bytes;
  u32 bytes() const { return static_cast<u32>(value - begin) + value_length; }
  u8 key_flags() const {
    return flag_bytes == 2 ? static_cast<u8>(begin[0]) : static_cast<u8>(begin[0]) & 15;
  }
  u8 value_flags() const {
    return flag_bytes == 2 ? static_cast<u8>(begin[1])
                           : static_cast<u8>(static_cast<u8>(begin[0]) >> 4);
  }
};
inline parsed parse(const std::byte* p, u32 flag_bytes) {
  parsed r;
  r.begin = p;
  r.flag_bytes = flag_bytes;
  p = get_varint(p + flag_bytes, r.key_length);
  r.key = get_varint(p, r.value_length);
  r.value = r.key + r.key_length;
  return r;
}

inline const std::byte* slots(const node_view& n) {
  return n.base() + u32{n.node().slot_begin} * slot_unit;
}
inline u32 slot_word(const std::byte* s, u32 index) {
  return load_le<u32>(s + index * slot_unit);
}
inline u32 record_offset(const node_view& n, u32 index) {
  return (slot_word(slots(n), index) & 0xffff) << unit_shift(n.size());
}
inline parsed parse_at(const node_view& n, u32 index) {
  return parse(n.base() + record_offset(n, index), flag_bytes(n));
}
inline std::byte* put_flags(std::byte* p, u32 flag_bytes, u8 key_flags, u8 value_flags) {
  if (flag_bytes == 1) {
    *p++ = static_cast<std::byte>(key_flags | value_flags << 4);
  } else {
    *p++ = static_cast<std::byte>(key_flags);
    *p++ = static_cast<std::byte>(value_flags);
  }
  return p;
}
/// Heap bytes of a record, the slot not included.
inline u32 record_bytes(u32 key_suffix_length, u32 value_length, u32 flag_bytes) {
  return flag_bytes + varint_bytes(key_suffix_length) + varint_bytes(value_length) +
         key_suffix_length + value_length;
}
inline u32 record_bytes(const node_view& n, u32 key_suffix_length, u32 value_length) {
  return record_bytes(key_suffix_length, value_length, flag_bytes(n));
}
/// Bytes behind the value of a record with these flags.
inline u32 attached_bytes(u8 key_flags, u8 value_flags) {
  return ((key_flags & KEY_USER_FLAGS) ? 1 : 0) +
         ((key_flags & KEY_CHECKSUM) ? record_sum_bytes : 0) +
         ((value_flags & VALUE_CHECKSUM) ? record_sum_bytes : 0);
}

inline u32 head_of(const std::byte* suffix, u32 length) {
  if (length >= 2) [[likely]]
    return __builtin_bswap16(load_le<u16>(suffix));
  return length == 1 ? static_cast<u32>(*suffix) << 8 : 0;
}

/// The head that a slot of a node with these flags (of tree_node_flags) holds.
inline u32 stored_head(u16 flags, const std::byte* suffix, u32 length) {
  return flags & NO_BYTE_ORDER ? 0 : head_of(suffix, length);
}

inline bool starts_with(cbytes key, cbytes prefix) {
  return key.size() >= prefix.size() &&
         (prefix.empty() || std::memcmp(key.data(), prefix.data(), prefix.size()) == 0);
}
inline cbytes span_of(const std::byte* p, u32 n) {
  return {p, n};
}

inline bool shares_low(const node_header& h) {
  return h.prefix_length != 0 && h.prefix_offset == h.low_offset && h.prefix_length <= h.low_length;
}
/// Heap bytes of the prefix itself.
inline u32 own_prefix_bytes(const node_view& n) {
  return shares_low(n.node()) ? 0 : occupied(n.size(), n.node().prefix_length);
}

inline u32 front_slack(const node_view& n) {
  return u32{n.node().slot_begin} * slot_unit - slot_area_begin;
}
inline u32 gap(const node_view& n) {
  return n.node().heap_begin - (u32{n.node().slot_begin} + n.node().count) * slot_unit;
}
/// Front slack for `free` bytes in a node with `count` records of `heap` bytes: half of the slots
/// still to come, but little enough to keep the search area together.
u32 wanted_front_slack(u32 node_bytes, u32 free, u32 count, u32 heap);

inline std::byte* put_bytes(std::byte* p, cbytes b) {
  if (!b.empty()) std::memcpy(p, b.data(), b.size());
  return p + b.size();
}
/// What the leaves of the page's tree are like.
inline void put_shape(page_writer w, record_shape s) {
  const node_view n(w);
  if (n.node().key_bytes == s.key_bytes && n.node().value_bytes == s.value_bytes) return;
  std::byte* p = w.writable(node_header_offset + offsetof(node_header, key_bytes), 4);
  store_le<u16>(p, s.key_bytes);
  store_le<u16>(p + 2, s.value_bytes);
}
/// Slot begin, count and heap begin: one capture granule.
void put_extent(page_writer w, u32 slot_begin_bytes, u32 count, u32 heap_begin);
inline void put_garbage(page_writer w, u32 garbage) {
  w.put_le<u32>(node_header_offset + offsetof(node_header, garbage), garbage);
}
/// Writes `len` bytes, announcing only the 8-byte granules that differ. `src` may not lie in the
/// page.
void put_difference(page_writer w, u32 off, const std::byte* src, u32 len);
/// Moves the slot array forward into its front slack until `need` bytes lie before the heap.
void slide(page_writer w, u32 need);
/// Where an item that occupies `bytes` goes if the slot array grows by `slot_bytes`: below
/// heap_begin, or in a hole above it.
/// `near`: where holes are looked for first, 0: everywhere.
/// RETURNS: its offset, 0 if there is no such place (compaction makes one out of garbage).
u32 find_place(const node_view& n, u32 bytes, u32 slot_bytes, u32 near = 0);
/// After the last record went: everything between slots and the fences is free again.
void reset_heap(page_writer w);

/// node_flags for these fences, and what all nodes of the tree have.
inline u16 flags_of(record_shape s, bool has_high) {
  return static_cast<u16>(s.flags | (has_high ? 0 : NO_HIGH_FENCE));
}

/// May the left node of a split stay as it is? Not if its fences now share more than its prefix and
/// heads tell its records badly apart: the rightmost leaf has no prefix, and without one all heads
/// of an ascending load are equal (gets 0.72M to 0.95M/s with the prefix cut anew). Nor if a run
/// goes on in it, from which nearly all other records went.
bool keeps_places(const node_view& n, const split_point& at);

/// Of a run that goes on in a node of its own, so many records go there with the new one at most.
inline constexpr u32 most_moved = 3;

/// Bytes [0, length) of the key that two fences share and a node may cut off; 0 without a high
/// fence.
inline u32 fence_prefix(cbytes low, cbytes high, bool has_high) {
  return has_high ? std::min(common_prefix(low, high), max_prefix_bytes) : 0;
}
/// Used bytes of `n` if its prefix were its first `prefix_length` fence bytes.
u32 bytes_with_prefix(const node_view& n, u32 prefix_length);

/// Length of the suffix of `index` when the prefix has `prefix_length` bytes.
/// REQUIRES: all records share it.
inline u32 suffix_length(const node_view& n, const parsed& r, u32 index, u32 prefix_length) {
  if (index == 0 && !n.is_leaf()) return 0;
  return r.key_length + n.node().prefix_length - prefix_length;
}

}  // namespace pleach::btree::detail
