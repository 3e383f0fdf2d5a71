// What memory knows of the free space beyond the bitmap pages: reservations, and freed blocks that
// are not reusable yet.
//
// What it is not: it pins nothing and captures nothing; alloc_op and the engine do.
//
// I1 A run is handed out only if its bits are 0 and no busy run overlaps it.
// I2 A freed run stays busy until its group is durable and no I/O to it is pending.
// I3 Reserving changes memory only; the bit is set in ACT.
#pragma once

#include <vector>

#include "be/space_policy.hh"
#include "pagecache/page_cache.hh"

namespace pleach::txn {

class space_table {
 public:
  static constexpr u32 unknown = ~0u;

  struct group {
    std::vector<block_run> busy;  ///< sorted by start
    std::vector<lsn_t> since;     ///< of each: 0 = reserved, else the group that freed it
    u32 busy_blocks = 0;
    u32 free_bits = unknown;  ///< zero bits in the bitmap, once it was seen
    u32 failed_count = ~0u;   ///< no run of this many blocks was found since the last change
  };

  /// `blocks`: size up to which space may be allocated.
  void resize(u64 blocks, u64 group_blocks);
  u64 groups() const { return groups_.size(); }
  group& at(u64 g) { return groups_[g]; }
  u64 group_of(u64 block) const { return block / group_blocks_; }
  u32 bit_of(u64 block) const { return static_cast<u32>(block % group_blocks_); }
  u64 group_blocks() const { return group_blocks_; }
  page_ref bitmap(u64 g) const;

  /// Called with the bitmap's bytes when its page is pinned.
  void learn(u64 g, cbytes page);
  /// RETURNS: false if `g` can certainly not hold a run of `blocks` now.
  bool may_hold(u64 g, u32 blocks) const;
  /// I1.
  /// RETURNS: first block of the volume, reserved; 0: none.
  u64 reserve(u64 g, u32 blocks, u32 hint, cbytes page);
  /// A reservation is given back, or its bits are set (`taken`).
  void end_reservation(u64 block, u32 blocks, bool taken);
  /// Gives the end of a reservation back.
  /// REQUIRES: 0 < kept < blocks.
  void shorten_reservation(u64 block, u32 blocks, u32 kept);
  void freed(u64 block, u32 blocks, lsn_t lsn);
  /// Drops freed runs of group `g` that have become reusable.
  /// RETURNS: runs dropped.
  u32 purge(u64 g, lsn_t durable, const cache::page_cache& pages);
  /// RETURNS: freed runs of at least something that are not reusable yet.
  bool deferred() const { return deferred_ != 0; }
  /// RETURNS: newest group that freed a run which is still busy.
  lsn_t newest_deferred() const;

  u64 cursor = 0;  ///< next-fit: where the last run without a hint ended

 private:
  void insert(group& g, block_run r, lsn_t since);
  std::vector<group> groups_;
  u64 group_blocks_ = 1;
  u64 blocks_ = 0;
  u64 deferred_ = 0;
};

}  // namespace pleach::txn
