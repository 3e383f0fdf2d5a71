// Which blocks have I/O pending: a counting filter over block numbers. It answers most "none" at
// once; a "maybe" is settled by looking at the requests.
//
// I1 maybe(b) is true for every block of every range added and not removed.
#pragma once

#include "be/base/types.hh"

namespace pleach::cache {

class io_ranges {
 public:
  void add(page_addr a) {
    for (u32 i = 0; i < a.blocks(); ++i) ++counts_[slot(a.block() + i)];
  }
  void remove(page_addr a) {
    for (u32 i = 0; i < a.blocks(); ++i) --counts_[slot(a.block() + i)];
  }
  bool maybe(u64 block, u32 blocks) const {
    for (u32 i = 0; i < blocks; ++i)
      if (counts_[slot(block + i)] != 0) return true;
    return false;
  }

 private:
  static u32 slot(u64 block) { return static_cast<u32>(block % 4093); }
  u32 counts_[4093] = {};
};

inline bool overlaps(page_addr a, u64 block, u32 blocks) {
  return a.block() < block + blocks && block < a.block() + a.blocks();
}

}  // namespace pleach::cache
