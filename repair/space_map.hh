// The bitmap pages of a store: what they say is in use, where it is free for a repair, and what
// they should say.
//
// I1 A block is given out only if nothing that was found reaches it, and a sound bitmap says that
//    it is free; where the bitmap is damaged, if it holds nothing but zeros.
#pragma once

#include "repair/journal.hh"
#include "repair/raw_store.hh"

namespace pleach::repair {

class space_map {
 public:
  space_map(raw_store& s, block_set& reached) : store_(s), reached_(reached) {}

  /// Reads the bitmaps of the first `groups` groups and claims their blocks.
  void load(u64 groups);
  /// May the block belong to something? (Where the bitmap is damaged: yes.)
  bool may_be_used(u64 block) const { return used_.has(block); }
  /// RETURNS: an address that is free, claimed now; none if there is none.
  page_addr allocate(u32 blocks);
  /// Writes the bitmaps that do not say what is reached. All gaps are filled now.
  void settle(journal& j);

 private:
  void settle_group(u64 group, journal& j);
  bool is_free(u64 block);

  raw_store& store_;
  block_set& reached_;
  block_set used_;
  std::vector<bool> sound_;
  u64 groups_ = 0, hint_ = 0;
};

}  // namespace pleach::repair
