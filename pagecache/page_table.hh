// Page table: block number -> descriptor. Open addressing with linear probing, entries of 8 bytes.
//
// An entry is (tag << 32 | descriptor index); index 0 is nobody's, so an empty entry is 0. The slot is the top
// of the tag, so that deletion (backward shift, no tombstones) needs nothing but the entries.
//
// I1 Every entry stands between its home slot and the next empty slot.
// I2 At most 3/4 of the slots are used: the table is sized for all descriptors when it is made.
#pragma once

#include <memory>

#include "pagecache/descriptor.hh"

namespace pleach::cache {

class page_table {
 public:
  /// ERRORS: no_memory.
  status make(descriptor* descriptors, u32 capacity);
  static u64 bytes_for(u32 capacity) { return u64{8} << bits_for(capacity); }

  /// RETURNS: the descriptor of the page that starts at `block`, or null.
  descriptor* find(u64 block) const {
    u32 tag = tag_of(block);
    for (u32 i = tag >> shift_;; i = (i + 1) & mask_) {
      u64 e = slots_[i];
      if (static_cast<u32>(e >> 32) == tag && e != 0) [[likely]] {
        descriptor* d = &descriptors_[static_cast<u32>(e)];
        if (d->addr.block() == block) [[likely]]
          return d;
      }
      if (e == 0) return nullptr;
    }
  }
  /// REQUIRES: the block is not in the table.
  void insert(descriptor& d);
  /// RETURNS: false if `d` is not in the table (another page of the block may be).
  bool remove(descriptor& d);
  u32 size() const { return size_; }
  /// RETURNS: null, or the invariant that fails.
  const char* check() const;

 private:
  static u32 tag_of(u64 block) {
    return static_cast<u32>((block * 0x9e3779b97f4a7c15u) >> 32);
  }
  static u32 bits_for(u32 capacity);

  u64* slots_ = nullptr;
  descriptor* descriptors_ = nullptr;
  u32 shift_ = 31, mask_ = 0, size_ = 0;
  std::unique_ptr<u64[]> memory_;
};

}  // namespace pleach::cache
