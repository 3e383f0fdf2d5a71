// Runs of inserts into a page: each next to the one before. Where a run makes a page overflow, it
// is split at that place, and what stays behind the run is full (btree/node.hh, choose_split).
// After InnoDB, whose pages keep the last insert and a direction on disk; here it is a guess in
// memory, and lost when the page leaves it. A wrong guess costs space, nothing else.
#pragma once

#include <algorithm>

#include "be/base/types.hh"

namespace pleach::cache {

struct insert_run {
  static constexpr i32 least = 2;  ///< inserts in a row that make a run
  static constexpr i32 most = 1000;

  u16 at = 0;               ///< index of the last insert
  std::int16_t length = 0;  ///< inserts in a row; negative: each before the last one; 0: none known

  bool ascends_to(u32 index) const { return length >= least && index == static_cast<u16>(at + 1); }
  bool descends_to(u32 index) const { return length <= -least && index == at; }
  bool any() const { return length >= least || length <= -least; }

  void note(u32 index) {
    i32 next = 1;
    if (length > 0 && index == static_cast<u16>(at + 1))
      next = std::min(length + 1, most);
    else if (length == 1 && index == at)
      next = -least;
    else if (length < 0 && index == at)
      next = std::max(length - 1, -most);
    length = static_cast<std::int16_t>(next);
    at = static_cast<u16>(index);
  }
  /// The same run in a page where its next record will have this index.
  insert_run moved_to(u32 index) const {
    return {static_cast<u16>(length > 0 ? index - 1 : index), length};
  }
};

}  // namespace pleach::cache
