// Which blocks of a volume belong to something: one bit a block, 32 MiB a TiB.
#pragma once

#include <bit>
#include <vector>

#include "be/page_format.hh"

namespace pleach::repair {

class block_set {
 public:
  void reset(u64 blocks) {
    blocks_ = blocks;
    words_.assign(ceil_div<u64>(blocks, 64), 0);
  }
  u64 size() const { return blocks_; }
  bool inside(u64 block, u64 count) const {
    return count != 0 && block < blocks_ && count <= blocks_ - block;
  }
  bool has(u64 block) const { return (words_[block / 64] >> block % 64 & 1) != 0; }
  /// REQUIRES, here and below: inside(block, count).
  bool any(u64 block, u64 count) const {
    for (u64 b = block; b < block + count; ++b)
      if (has(b)) return true;
    return false;
  }
  void add(u64 block, u64 count) {
    for (u64 b = block; b < block + count; ++b) words_[b / 64] |= u64{1} << b % 64;
  }
  void remove(u64 block, u64 count) {
    for (u64 b = block; b < block + count; ++b) words_[b / 64] &= ~(u64{1} << b % 64);
  }
  /// Adds them if none is in it.
  /// RETURNS: whether it did; false too if they lie outside the volume.
  bool claim(u64 block, u64 count) {
    if (!inside(block, count) || any(block, count)) return false;
    add(block, count);
    return true;
  }
  bool claim(page_addr a) { return claim(a.block(), a.blocks()); }

 private:
  std::vector<u64> words_;
  u64 blocks_ = 0;
};

}  // namespace pleach::repair
