// Which leaves a sequential reader will need next, and their loads: started, not awaited.
//
// The reader says where it stands (`at`), when a leaf was not there (`missed`), and lets the loads
// start (`go`). The window starts at two leaves with the first miss, doubles with each further one
// up to 128 leaves, 4 MiB or a share of the cache, and halves when it finds everything resident, so
// a cached tree soon costs nothing. It goes on below the parent's neighbour, which is loaded when
// the window comes near the parent's end; only where that one has another parent again, one leaf in
// some ten thousand, is a miss.
//
// I1 Nothing is pinned and no grant is held: a load that is started here takes a frame only while
//    nobody waits for one (page_cache::start_load), and is evicted like any other page.
// I2 An inner node is looked at again only if its structure version is the one that was noted.
#pragma once

#include "btree/tree.hh"

namespace pleach::btree {

class read_ahead {
 public:
  static constexpr u32 max_window = 128;

  /// The reader went elsewhere: nothing is known of what comes next.
  void forget() {
    window_ = due_ = 0;
    parent_ = above_ = {};
  }
  /// The reader goes to `child` of `node`, or passes it.
  void at(const cache::descriptor& node, u32 level, u32 child) {
    if (level <= 2) (level == 1 ? parent_ : above_) = {&node, node.structure_version, child};
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
  /// Where a descent went on.
  struct step {
    const cache::descriptor* node = nullptr;
    u64 version = 0;
    u32 child = 0;
    bool current() const {
      return node != nullptr && node->resident() && node->structure_version == version;
    }
  };
  u32 coming(context& c, bool forward, const cbytes* limit, const registered_order* order,
             page_ref* next) const;

  step parent_, above_;  ///< of the leaf, and of its parent
  u32 window_ = 0;  ///< leaves
  u32 due_ = 0;     ///< leaves to pass until it is worth looking again
};

}  // namespace pleach::btree
