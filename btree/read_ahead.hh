// Which leaves a sequential reader will need next, and their loads: started, not awaited.
//
// The reader says where it stands (`at`), when a leaf was not there (`missed`), and lets the loads
// start (`go`). The window starts at two leaves with the first miss, doubles with each further one
// up to 32 leaves or a share of the cache, and halves when it finds everything resident, so a
// cached tree soon costs nothing. It ends at the parent's last child: the next parent's first leaf
// is a miss again, one in some hundred.
//
// I1 Nothing is pinned and no grant is held: a load that is started here takes a frame only while
//    nobody waits for one (page_cache::start_load), and is evicted like any other page.
// I2 The parent is looked at again only if its structure version is the one that was noted.
#pragma once

#include "btree/tree.hh"

namespace pleach::btree {

class read_ahead {
 public:
  static constexpr u32 max_window = 32;

  /// The reader went elsewhere: nothing is known of what comes next.
  void forget() {
    window_ = due_ = 0;
    parent_ = nullptr;
  }
  /// The reader goes to the leaf under `child` of `parent`, or passes it.
  void at(const cache::descriptor& parent, u32 child) {
    parent_ = &parent;
    version_ = parent.structure_version;
    child_ = child;
  }
  /// That leaf has to be loaded.
  void missed(context& c, u32 leaf_blocks);
  /// Starts loads of the leaves behind it (before it, if not `forward`). `limit` (may be null):
  /// none that has only keys at or over it (below it), in the tree's `order`. May evict and move
  /// every page that is not pinned.
  void go(context& c, bool forward, const cbytes* limit = nullptr,
          const registered_order* order = nullptr);
  u32 window() const { return window_; }

 private:
  const cache::descriptor* parent_ = nullptr;
  u64 version_ = 0;
  u32 child_ = 0;
  u32 window_ = 0;  ///< leaves
  u32 due_ = 0;     ///< leaves to pass until it is worth looking again
};

}  // namespace pleach::btree
