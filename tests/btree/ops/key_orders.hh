// Key orders, comparators of the program, and keys that try them, for the tests of key orders.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "tests/store/support.hh"

namespace store_test {

using pleach::category;
using pleach::key_order;

using less = bool (*)(const std::string& a, const std::string& b);
constexpr auto ordered = pleach::durability::ordered;
using model = std::map<std::string, std::string, less>;

inline bool by_bytes(const std::string& a, const std::string& b) {
  return a < b;
}
inline bool by_unsigned(const std::string& a, const std::string& b) {
  return std::lexicographical_compare(
      a.rbegin(), a.rend(), b.rbegin(), b.rend(),
      [](char x, char y) { return static_cast<unsigned char>(x) < static_cast<unsigned char>(y); });
}
inline bool negative(const std::string& a) {
  return (a.back() & 0x80) != 0;
}
inline bool by_signed(const std::string& a, const std::string& b) {
  return negative(a) != negative(b) ? negative(a) : by_unsigned(a, b);
}

// Comparators: the order of bytes from the other end, and one that takes large letters for small
// ones, which leaves keys equal that are not.
inline bool by_reverse(const std::string& a, const std::string& b) {
  return b < a;
}
inline std::string small(std::string_view s) {
  std::string to(s);
  for (char& c : to) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return to;
}
inline bool by_letters(const std::string& a, const std::string& b) {
  const int c = small(a).compare(small(b));
  return c != 0 ? c < 0 : a < b;
}
inline u64 fickle_state = 7;
inline const std::vector<pleach::comparator> comparators = {
    {"reverse", [](std::string_view a, std::string_view b, void*) { return b.compare(a); }},
    {"letters",
     [](std::string_view a, std::string_view b, void*) { return small(a).compare(small(b)); }},
    // As what the datum points to has it: contradicts itself from call to call.
    {"fickle",
     [](std::string_view, std::string_view, void* state) {
       auto& x = *static_cast<u64*>(state);
       x = x * 6364136223846793005u + 1442695040888963407u;
       return static_cast<int>(x >> 60) - 7;
     },
     &fickle_state},
    // A circle: each key is below the third of all that follows it.
    {"circle",
     [](std::string_view a, std::string_view b, void*) {
       const int x = static_cast<unsigned char>(a.back()) % 3;
       const int y = static_cast<unsigned char>(b.back()) % 3;
       return x == y ? a.compare(b) : (x + 1) % 3 == y ? -1 : 1;
     }},
};
inline pleach::open_options with_comparators(u64 cache = 8 * mib) {
  pleach::open_options o;
  o.cache_bytes = cache;
  o.comparators = comparators;
  return o;
}

/// Paths that share long beginnings.
inline std::string path_key(u64 n) {
  return "projects/metadata/index/of/the/third/volume/" + std::string(n % 3 * 40, 'd') + "/file-" +
         std::to_string(n * 7919 % 3000);
}
inline std::string letter_key(u64 n) {
  std::string key = path_key(n / 3);
  if (n % 3 == 0) key[n % key.size()] = 'D';
  return key;
}
/// Around zero, at both ends, and anywhere.
template <int BYTES>
std::string integer_key(u64 n) {
  std::string key(BYTES, '\0');
  std::int64_t small = static_cast<std::int64_t>(n % 1500) - 750;
  switch (n % 4) {
    case 0:
    case 1:
      std::memset(key.data(), small < 0 ? 0xff : 0, key.size());
      std::memcpy(key.data(), &small, std::min<std::size_t>(sizeof small, key.size()));
      break;
    case 2: {  // next to the least or the greatest
      std::memset(key.data(), n & 4 ? 0xff : 0, key.size());
      key.back() = n & 4 ? '\x7f' : '\x80';
      key.front() = static_cast<char>(n & 4 ? 0xff - n / 8 % 4 : n / 8 % 4);
      break;
    }
    default:
      key = bytes_of(n, BYTES);
  }
  return key;
}

}  // namespace store_test
