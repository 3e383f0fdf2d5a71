// How keys compare: as bytes, or by a comparator that the program has registered for the tree.
//
// I1 The empty key stands for "below all keys" (the low fence of the leftmost nodes, a bound that
//    is none). Trees with a comparator take no empty key, and their comparator never sees one.
// I2 Keys that a comparator calls equal are told apart by their bytes: equal keys are equal bytes,
//    so that a weak order (one that ignores case, say) is as good as any.
// I3 A comparator that contradicts itself makes wrong results, never more: whoever follows its
//    answers is bounded by something else.
#pragma once

#include <cstring>
#include <string_view>

#include "be/base/le.hh"
#include "be/base/types.hh"

namespace pleach::btree {

/// Key order of bytes: memcmp, shorter first. Most keys are so short that the call would cost more
/// than the comparison, which is word by word; the last word may overlap the one before.
/// RETURNS: <0, 0, >0.
inline int compare_bytes(const std::byte* a, std::size_t a_length, const std::byte* b,
                         std::size_t b_length) {
  const auto order = [](u64 x, u64 y) {
    return __builtin_bswap64(x) < __builtin_bswap64(y) ? -1 : 1;
  };
  const std::size_t n = a_length < b_length ? a_length : b_length;
  if (n > 64) {
    if (const int c = std::memcmp(a, b, n); c != 0) return c;
  } else if (n >= 8) {
    for (std::size_t i = 0; i + 8 < n; i += 8)
      if (const u64 x = load_le<u64>(a + i), y = load_le<u64>(b + i); x != y) return order(x, y);
    const u64 x = load_le<u64>(a + n - 8), y = load_le<u64>(b + n - 8);
    if (x != y) return order(x, y);
  } else if (n >= 4) {
    const u64 x = load_le<u32>(a) | u64{load_le<u32>(a + n - 4)} << 32;
    const u64 y = load_le<u32>(b) | u64{load_le<u32>(b + n - 4)} << 32;
    if (x != y) return order(x, y);
  } else if (n != 0) {
    const auto all = [n](const std::byte* p) {
      return static_cast<u32>(p[0]) << 16 | static_cast<u32>(p[n / 2]) << 8 |
             static_cast<u32>(p[n - 1]);
    };
    if (const u32 x = all(a), y = all(b); x != y) return x < y ? -1 : 1;
  }
  return a_length < b_length ? -1 : a_length > b_length;
}
inline int compare_keys(cbytes a, cbytes b) {
  return compare_bytes(a.data(), a.size(), b.data(), b.size());
}

/// A comparator of the program. `compare` returns <0, 0, >0; it must not throw, nor use the store.
struct registered_order {
  int (*compare)(std::string_view a, std::string_view b, void* datum) = nullptr;
  void* datum = nullptr;
};

/// RETURNS: <0, 0, >0 in the order of the comparator (I1, I2).
int compare_registered(const registered_order& order, cbytes a, cbytes b);

/// Key order of a tree; null: bytes.
inline int compare_in(const registered_order* order, cbytes a, cbytes b) {
  if (order == nullptr) [[likely]]
    return compare_keys(a, b);
  return compare_registered(*order, a, b);
}

}  // namespace pleach::btree
