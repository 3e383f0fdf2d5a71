// Frames of pages: taking one, evicting for one, moving pages out of the way of a large one.
//
// What it is not: it never waits and never writes. If no frame can be had now, the daemon makes
// pages clean and the caller tries again.
//
// I1 Called only at the fresh tick of the op that asks, and by the daemon: nobody holds a raw
//    pointer.
// I2 A frame moves unless a read into it is in flight; the descriptor and its pins do not notice.
#pragma once

#include "pagecache/replacement.hh"

namespace pleach::cache {

class frame_pool {
 public:
  explicit frame_pool(core& c) : core_(c), policy_(c) {}

  /// Gives `d` a frame: a free one, or by evicting clean pages, or by emptying a region.
  /// RETURNS: false if none can be had now. `hard` tries as long as it takes (the daemon), else a
  /// short sweep.
  bool take(descriptor& d, bool hard);
  void free_frame(descriptor& d);

  /// Drops a page.
  /// REQUIRES: evictable.
  void evict(descriptor& d);
  /// Evicts up to `count` units, visiting at most `steps` frames (counted down).
  /// RETURNS: units.
  u32 evict_some(u32 count, u32& steps, bool urgent);

  /// Moves some frame, for chaos and tests.
  /// RETURNS: whether one moved.
  bool move_one(u64 random);
  bool evict_one(u64 random);

 private:
  struct region {
    u32 first, order;
  };

  u32 take_units(u32 order, u32 steps);
  u32 make_region(u32 order);
  bool choose_region(u32 order, u32& first);
  u32 region_cost(u32 first, u32 order) const;
  void evict_region(region r);
  bool move_out(region r, u32 steps);
  void move(descriptor& d, u32 to);
  void attach(descriptor& d, u32 unit);

  static constexpr u32 impossible = ~0u;
  static constexpr u32 short_sweep = 128;

  core& core_;
  replacement policy_;
  u32 region_hand_ = 0;
  u32 depth_ = 0;
  bool hard_ = false;
  region emptying_[9] = {};
};

}  // namespace pleach::cache
