// How keys compare: as bytes, or by a comparator that the program has registered for the tree.
//
// I1 The empty key stands for "below all keys" (the low fence of the leftmost nodes, a bound that
//    is none). Trees with a comparator take no empty key, and their comparator never sees one.
// I2 Keys that a comparator calls equal are told apart by their bytes: equal keys are equal bytes,
//    so that a weak order (one that ignores case, say) is as good as any.
// I3 A comparator that contradicts itself makes wrong results, never more: whoever follows its
//    answers is bounded by something else.
#pragma once

#include <string_view>

#include "be/base/types.hh"

namespace pleach::btree {

/// Key order of bytes: memcmp, shorter first.
/// RETURNS: <0, 0, >0.
int compare_keys(cbytes a, cbytes b);

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
