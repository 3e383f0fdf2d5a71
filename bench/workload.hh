// What is written and read: keys, values, and the order of requests. Everything follows from fixed
// seeds, so every engine gets the same requests in the same order.
//
// Keys are 16 hex digits of 2*id: odd numbers are missing keys that fall between present ones.
// Values are 100 bytes, half compressible, and begin with their id, so that every read can check
// what it got.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace pleach::bench {

inline constexpr std::size_t key_bytes = 16;
inline constexpr std::size_t value_bytes = 100;
inline constexpr std::size_t record_bytes = key_bytes + value_bytes;

inline std::uint64_t mix64(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

struct key_text {
  std::array<char, key_bytes> bytes;
  std::string_view view() const { return {bytes.data(), key_bytes}; }
};

/// The key of record `id`; with `missing`, the key right after it, which no record has.
inline void make_key(std::uint64_t id, bool missing, key_text& out) {
  std::uint64_t n = 2 * id + (missing ? 1 : 0);
  for (std::size_t i = key_bytes; i-- > 0; n >>= 4) out.bytes[i] = "0123456789abcdef"[n & 15];
}

struct value_text {
  std::array<char, value_bytes> bytes;
  std::string_view view() const { return {bytes.data(), value_bytes}; }
};

/// Different versions of a record differ in every random byte.
inline void make_value(std::uint64_t id, std::uint64_t version, value_text& out) {
  std::memcpy(out.bytes.data(), &id, 8);
  for (std::size_t i = 8; i < 56; i += 8) {
    const std::uint64_t word = mix64(id * 64 + i + (version << 40));
    std::memcpy(out.bytes.data() + i, &word, 8);
  }
  std::memset(out.bytes.data() + 56, 'v', value_bytes - 56);
}

/// RETURNS: true if `value` can be a value of record `id`.
inline bool value_is_of(std::string_view value, std::uint64_t id) {
  return value.size() == value_bytes && std::memcmp(value.data(), &id, 8) == 0;
}

/// How request ids are drawn.
enum class order { SEQUENTIAL, PERMUTATION, UNIFORM, ZIPF };

/// `count` ids below `records`. PERMUTATION gives each id once before any id again.
std::vector<std::uint32_t> make_requests(order how, std::uint64_t records, std::uint64_t count,
                                         std::uint64_t seed);

}  // namespace pleach::bench
