// Replacement policy: CLOCK over the arena with heat, resistant to scans.
//
// A leaf enters cold: a scan that reads each leaf once leaves nothing behind. Hits raise the heat
// to a cap that depends on the kind; inner nodes, bitmaps and the root block enter warm and may
// become hotter. The hand goes over *frames in address order*, not over descriptors: what it evicts
// is adjacent, so that large frames come about by themselves.
//
// I1 The hand visits every frame within one turn; a frame of heat h survives at most h visits.
#pragma once

#include "pagecache/core.hh"

namespace pleach::cache {

class replacement {
 public:
  explicit replacement(core& c) : core_(c) {}

  /// Sets heat and cap of a page whose header is known.
  static void classify(descriptor& d);
  /// Most heat of a page of this kind.
  static u8 cap_of(page_kind kind, u8 level);

  /// RETURNS: the next page to evict, or null when `steps` frames were visited; `steps` is counted
  /// down. `urgent` halves heat instead of counting it down.
  descriptor* victim(u32& steps, bool urgent);

  /// I3 of page_cache.hh.
  static bool evictable(const descriptor& d);

 private:
  core& core_;
  u32 hand_ = 0;
};

}  // namespace pleach::cache
