// Page table: block number -> descriptor. Open addressing with linear probing, entries of 16 bytes.
//
// An entry's key is (tag << 32 | descriptor index); index 0 is nobody's, so the key of an empty
// entry is 0. The slot is the top of the tag, so that deletion (backward shift, no tombstones)
// needs nothing but the entries. The frame's address stands beside it: a lookup fetches descriptor
// and page side by side, not one after the other. It is a hint: a page that lost its frame may
// still have it.
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
  static u64 bytes_for(u32 capacity) { return sizeof(entry) << bits_for(capacity); }

  /// RETURNS: the descriptor of the page that starts at `block`, or null. The first lines of its
  /// frame are on their way.
  descriptor* find(u64 block) const {
    u32 tag = tag_of(block);
    for (u32 i = tag >> shift_;; i = (i + 1) & mask_) {
      u64 e = slots_[i].key;
      if (static_cast<u32>(e >> 32) == tag && e != 0) [[likely]] {
        for (u32 line = 0; line < prefetched; line += 64)
          __builtin_prefetch(reinterpret_cast<const void*>(slots_[i].frame + line));
        descriptor* d = &descriptors_[static_cast<u32>(e)];
        if (d->addr.block() == block) [[likely]]
          return d;
      }
      if (e == 0) return nullptr;
    }
  }
  /// Asks the CPU for the slot where a search for `block` begins.
  void fetch_slot(u64 block) const { __builtin_prefetch(&slots_[tag_of(block) >> shift_]); }
  /// Asks the CPU for the descriptor and the first lines of the frame of the page at `block`, if
  /// the table has it. Reads nothing but the table.
  void fetch_page(u64 block) const {
    u32 tag = tag_of(block);
    for (u32 i = tag >> shift_; slots_[i].key != 0; i = (i + 1) & mask_) {
      u64 e = slots_[i].key;
      if (static_cast<u32>(e >> 32) != tag) continue;
      __builtin_prefetch(&descriptors_[static_cast<u32>(e)]);
      for (u32 line = 0; line < prefetched; line += 64)
        __builtin_prefetch(reinterpret_cast<const void*>(slots_[i].frame + line));
      return;
    }
  }
  /// REQUIRES: the block is not in the table.
  void insert(descriptor& d);
  /// The page, if it is in the table, has another frame now.
  void moved(const descriptor& d);
  /// RETURNS: false if `d` is not in the table (another page of the block may be).
  bool remove(descriptor& d);
  u32 size() const { return size_; }
  /// RETURNS: null, or the invariant that fails.
  const char* check() const;

 private:
  struct entry {
    u64 key;
    std::uintptr_t frame;  ///< address, or 0: never followed, only fetched
  };
  static constexpr u32 prefetched = 640;  ///< header and first slots of a node

  static constexpr u32 nowhere = ~0u;
  u32 slot_of(const descriptor& d) const;
  static u32 tag_of(u64 block) { return static_cast<u32>((block * 0x9e3779b97f4a7c15u) >> 32); }
  static u32 bits_for(u32 capacity);

  entry* slots_ = nullptr;
  descriptor* descriptors_ = nullptr;
  u32 shift_ = 31, mask_ = 0, size_ = 0;
  std::unique_ptr<entry[]> memory_;
};

}  // namespace pleach::cache
