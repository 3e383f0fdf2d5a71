// Gives back the pages of a dropped tree, or of branches that were cut off a tree, from the right
// edge, in bounded steps.
//
//     reclaim(tree):               # its catalogue record says `dropping` or `cut`: nobody else
//                                  # enters it
//       until the root is a leaf:
//         descend along the last children to a node of level 1
//         pin its last leaves      # a few; await loads: they name the extents of large values
//         if a record of them has a value with a map:
//           await the map; await space op and credit
//           in one tick: free its runs and the map, delete the record; again from the top
//         await space op for the frees; await credit
//         in one tick: free the leaves and their extents; an emptied parent goes too, up to
//                      the root, which becomes an empty leaf; of branches that were cut off, take
//                      the records out of the count of the tree that they belonged to
//       in one tick: free the extents in the root; then delete the catalogue record and the root
//
// After a crash in between the record is still there: the next writable open goes on. The right
// edge of such a tree, and the left edge of branches that were cut off, have no matching fences;
// nothing but this op and the check (which counts its pages as reachable) looks at it.
#pragma once

#include "btree/write_op.hh"

namespace pleach::btree {

#define PLEACH_RECLAIM_PHASES(X)       \
  X(INIT, NOWAIT, ADMIT)               \
  X(ADMIT, WAIT, DOWN, CLEANUP)        \
  X(DOWN, NOWAIT, LOAD, PLAN, CLEANUP) \
  X(LOAD, WAIT, LOADED, CLEANUP)       \
  X(LOADED, NOWAIT, DOWN, CLEANUP)     \
  X(PLAN, NOWAIT, MAP, ALLOC, REMOVE)  \
  X(MAP, WAIT, MAPPED, CLEANUP)        \
  X(MAPPED, NOWAIT, ALLOC, CLEANUP)    \
  X(ALLOC, WAIT, OPEN, CLEANUP)        \
  X(OPEN, WAIT, ACT, CLEANUP)          \
  X(ACT, NOWAIT, NEXT, CLEANUP)        \
  X(NEXT, WAIT, ADMIT, CLEANUP)        \
  X(REMOVE, WAIT, CLEANUP)             \
  X(CLEANUP, NOWAIT, DONE)             \
  X(DONE, NOWAIT)

class reclaim_op final : public sm::machine<reclaim_op> {
 public:
  PLEACH_PHASES("reclaim", PLEACH_RECLAIM_PHASES)

  /// `t`: the dropped tree (its `dropped` flag keeps others out); `catalogue`, `name`, `record`:
  /// where it stands.
  void prepare(tree& t, tree& catalogue, cbytes name, const tree_record& record);
  /// `t`: the holder of branches that were cut off `owner`, as a tree; null if that is not live.
  /// The owner's counts fall with what is freed, and `removed` (may be null) rises.
  void prepare_cut(tree& t, tree* owner, tree& catalogue, cbytes name, const tree_record& record,
                   u64* removed);
  page_addr bad_page() const { return bad_; }
  sm::step tick(phase p) noexcept;

 private:
  static constexpr u32 leaves_per_step = 8;

  sm::step down();
  sm::step load();
  sm::step loaded();
  sm::step plan();
  sm::step mapped();
  sm::step open();
  sm::step act();
  const value_reference* mapped_key();
  bool find_map();
  u64 credit() const;
  bool bitmaps_fit() const;
  void unpin_path();
  void give_back();
  void free_records_of(const node_view& leaf);
  void forget_records(u64 records, u64 bytes);
  page_writer change(cache::descriptor& d);
  void collect_extents(const node_view& leaf);

  tree* tree_ = nullptr;
  tree* catalogue_ = nullptr;
  tree* owner_ = nullptr;
  cache::descriptor* owner_root_ = nullptr;  ///< pinned
  u64* removed_ = nullptr;
  cbytes name_;
  tree_record record_{};
  page_addr bad_;
  page_ref need_;
  cache::descriptor* loading_ = nullptr;
  cache::descriptor* path_[16] = {};  ///< from the root down to level 1
  u32 depth_ = 0;
  cache::descriptor* leaves_[leaves_per_step] = {};
  u32 leaf_count_ = 0;
  u64 log_bytes_ = 0;
  inline_vector<page_addr, 16> frees_;
  txn::space_claim space_;
  txn::alloc_op alloc_op_;
  sm::claim grant_, credit_;
  value_reference mapped_key_{};
  value_reference mapped_{};  ///< the value with a map that this step frees
  cache::descriptor* mapped_leaf_ = nullptr;  ///< pinned
  u32 mapped_index_ = 0;
  value_read_op value_op_;
  write_op remove_op_;
};

}  // namespace pleach::btree
