// Deletes the records of a key range: delete-range, and truncate in bounded steps. Whole branches
// are not emptied but cut off.
//
//     cut(from, to):
//       until nothing is left in [from, to):
//         loop twice:                        # to load what is needed; then in earnest
//           await gate (alone)               # the second time only: writers wait for no load
//           await grant
//           (a comparison that bytes do not decide, and a long key that is needed: await it)
//           descend towards `from`, to the first node of which a child, the first of what is left
//             of the range, lies wholly in it; pin the path to it   # await loads
//           pin the edge of the neighbour's subtree, down to its leaf
//         a leaf that the range only touches (then the gate is not needed):
//           await a batch that deletes some records of it; from = behind the last of them
//         children that are leaves:          # a few; pinned too
//           await space op for the frees; await credit
//           in one tick: free leaves and extents, take them out of their parent (which goes too if
//             it had no others) and out of the counts; widen the neighbour's fences
//         children that are inner nodes:
//           without a holder: await its making; again from the top
//           await credit
//           in one tick: move the children into the holder; widen the neighbour's fences
//           await reclaim(holder)
//       if durable: await durable(lsn)
//
// A *holder* is a page of one block, the root of what was cut off, and named in the catalogue by a
// record in state TREE_CUT with a key that is no tree's. It is made, empty, by a transaction before
// the cut; so the cut takes no space, and whatever moment a crash chooses, the next writable open
// finds the record and frees what the holder refers to (reclaim_op.hh). Without space for a holder,
// and in truncate, only leaves are freed, a few a step, which takes no space at all.
//
// I1 Each transaction leaves a correct tree: fences are contiguous and match the separators.
// I2 The gate is held alone from before the descent until ACT: no writer has a path through what is
//    cut or freed. Freed pages tell readers themselves that they are gone; pages that were cut off
//    do not change, so a cut renews `context::opening`, which ends all cookies and leaf copies, and
//    sends everybody who waits for a page back to the root.
// I3 What was cut off still counts in the root of its tree. The counts fall as it is freed.
// I4 The op goes from left to right: in front of `from_`, which only rises, all is deleted, and
//    nothing is looked at again. So the op ends, whatever others insert meanwhile.
// I5 Where the neighbour has no room for a wider fence nothing is cut: the records of the first
//    leaf are deleted like those of an edge, and the op goes on behind them.
// I6 Fences that are long keys have extents, which belong to the leaf whose low fence they are
//    (long_key.hh). A range that is cut off in front of its right neighbour gives it its low fence:
//    where that, or the one that the neighbour has, is long, leaves are freed instead.
#pragma once

#include "btree/key_op.hh"
#include "btree/reclaim_op.hh"

namespace pleach::btree {

#define PLEACH_CUT_PHASES(X)                                   \
  X(INIT, NOWAIT, GATE, CLEANUP)                               \
  X(GATE, WAIT, ADMIT, GATE, CLEANUP)                          \
  X(ADMIT, WAIT, DOWN, CLEANUP)                                \
  X(DOWN, NOWAIT, LOAD, KEY, PLAN, NEXT, CLEANUP)              \
  X(LOAD, WAIT, LOADED, CLEANUP)                               \
  X(LOADED, NOWAIT, DOWN, NEXT, CLEANUP)                       \
  X(KEY, WAIT, KEY_READ, CLEANUP)                              \
  X(KEY_READ, NOWAIT, DOWN, NEXT, CLEANUP)                     \
  X(PLAN, NOWAIT, KEY, TRIM, HOLD, ALLOC, OPEN, NEXT, CLEANUP) \
  X(TRIM, WAIT, TRIMMED, CLEANUP)                              \
  X(TRIMMED, NOWAIT, NEXT, CLEANUP)                            \
  X(HOLD, WAIT, HELD, CLEANUP)                                 \
  X(HELD, NOWAIT, NEXT, CLEANUP)                               \
  X(ALLOC, WAIT, OPEN, CLEANUP)                                \
  X(OPEN, WAIT, ACT, CLEANUP)                                  \
  X(ACT, NOWAIT, NEXT, RECLAIM, CLEANUP)                       \
  X(RECLAIM, WAIT, RECLAIMED, CLEANUP)                         \
  X(RECLAIMED, NOWAIT, NEXT, CLEANUP)                          \
  X(NEXT, WAIT, GATE, RECLAIM, COMMIT, CLEANUP)                \
  X(COMMIT, WAIT, COMMIT, CLEANUP)                             \
  X(CLEANUP, NOWAIT, DONE)                                     \
  X(DONE, NOWAIT)

class cut_op final : public sm::machine<cut_op> {
 public:
  PLEACH_PHASES("cut", PLEACH_CUT_PHASES)

  static constexpr u32 max_leaves = 16;

  explicit cut_op(context& c) : holder_(c) {}

  struct options {
    bool durable = true;
    bool hold = true;     ///< cut branches off; false: free leaves only
    u32 leaves = 8;       ///< freed in one step; 1 .. max_leaves
    u64 steps = ~u64{0};  ///< end after so many transactions, whatever is left
  };
  /// Told in the tick in which a transaction of the op becomes visible: the records of [low, high)
  /// are gone, in group `lsn`. Of what was there before the op, in the given range.
  struct witness {
    void (*fn)(void* datum, lsn_t lsn, cbytes low, const cbytes* high) = nullptr;
    void* datum = nullptr;
  };

  /// Keys in [from, to); `to` null: no upper bound. Both are the caller's until DONE, and so is
  /// `removed`, which counts up as records are freed.
  void prepare(tree& t, tree& catalogue, cbytes from, const cbytes* to, u64& removed,
               const options& o);
  void tell(const witness& w) { witness_ = w; }
  /// The witness is told now what it would be told in the op's next tick.
  void tell_now() { settle_trim(); }
  page_addr bad_page() const { return bad_; }
  sm::step tick(phase p) noexcept;

 private:
  /// What is to be done at the end of the path.
  enum class work : u8 { UNKNOWN, TRIM, FREE, MOVE };
  /// A pinned page, and its structure when it was pinned.
  struct pinned {
    cache::descriptor* d = nullptr;
    u64 structure_version = 0;
  };
  /// Children [first, end) of a node.
  struct child_span {
    u32 first, end;
    u32 count() const { return first < end ? end - first : 0; }
  };

  sm::step init();
  sm::step admit();
  sm::step down();
  sm::step load();
  sm::step loaded();
  sm::step key();
  sm::step key_read();
  sm::step plan();
  sm::step plan_trim();
  sm::step plan_removal();
  sm::step trimmed();
  sm::step hold();
  sm::step held();
  sm::step open();
  sm::step act();
  sm::step reclaim();
  sm::step reclaimed();
  sm::step next();
  sm::step commit();
  sm::step cleanup();

  // the way down: cut_descent.cc
  page_ref next_page();
  page_ref next_on_path();
  page_ref next_beside();
  child_span covered(const node_view& n);
  child_span touched(const node_view& leaf);
  bool in_front(const node_view& n);
  bool needs_key() { return asks(low_probe()) || asks(high_probe()) || reader_.wants(); }
  sm::step read_key();
  bool ends_before(const node_view& n);
  void take(cache::descriptor& d);
  void take_leaf(cache::descriptor& d);
  void find_top();
  u32 fits_in_holder(const node_view& n, child_span s) const;
  bool intact() const;
  bool may_hold() const { return options_.hold && !no_holder_ && !leaves_only_; }

  // the change: cut_apply.cc
  void find_bounds();
  bool plan_fences();
  void collect_frees();
  u64 bitmap_pages() const;
  void free_leaves();
  void fill_holder();
  void take_out();
  void sum_up();
  void widen_fences(page_ref after);
  bool stays(const value_reference& extent) const;
  bool loses_fence() const;
  void tell_of_removal();
  page_writer change(cache::descriptor& d);

  sm::step end_pass();
  sm::step next_step();
  sm::step finish();
  sm::step less();
  sm::step trim_first_leaf();
  void settle_trim();
  std::string_view comparator_name() const;
  void advance(std::string to, bool behind);
  void unpin();
  void give_back();

  tree* tree_ = nullptr;
  tree* catalogue_ = nullptr;
  cbytes to_;
  bool bounded_ = false;
  u64* removed_ = nullptr;
  options options_;
  witness witness_;
  page_addr bad_;

  std::string low_;      ///< from_
  bool behind_ = false;  ///< what is left begins behind from_, not at it
  cbytes from() const { return as_bytes(low_); }
  key_probe low_probe_, high_probe_;  ///< of from_ and to_, if they are long
  key_probe* low_probe() { return is_long(from()) ? &low_probe_ : nullptr; }
  key_probe* high_probe() { return is_long(to_) ? &high_probe_ : nullptr; }
  key_reader reader_;

  bool finished_ = false;
  bool alone_ = false;        ///< the second pass: the gate is held
  bool no_holder_ = false;    ///< there was no room for one
  bool leaves_only_ = false;  ///< of this step: a cut is not possible
  work work_ = work::UNKNOWN;
  u32 leaves_wanted_ = 0;  ///< of this step
  u64 ask_ = 0;
  u64 units_ = 0;  ///< pinned
  page_ref need_;
  cache::descriptor* loading_ = nullptr;
  pinned path_[16] = {};  ///< from the root down
  u32 slot_[16] = {};     ///< of the next page of the path, in each
  u32 depth_ = 0;
  child_span cut_{};  ///< in the last page of the path
  pinned leaves_[max_leaves] = {};
  u32 leaf_count_ = 0;
  bool top_known_ = false;
  u32 top_ = 0;        ///< page of the path that loses children, but not all
  child_span gone_{};  ///< of it
  bool all_ = false;   ///< it is the root, and loses all
  bool leftward_ = false;
  pinned beside_[16] = {};  ///< the neighbour's edge, from above
  u32 beside_count_ = 0;
  pinned holder_page_;
  bool trim_leaves_ = false;  ///< records of leaves_[0], not of the path's leaf

  inline_vector<page_addr, 16> frees_;
  u64 log_bytes_ = 0, log_pages_ = 0;
  txn::space_claim space_;
  txn::alloc_op alloc_op_;
  sm::gate_hold gate_hold_;
  sm::claim grant_, credit_;

  u32 trim_most_ = 0;  ///< records of one batch
  bool trimming_ = false;
  std::vector<std::string> keys_;
  std::vector<write_item> items_;
  write_op write_;

  bool holds_ = false;  ///< there is a holder
  std::string holder_name_;
  named_record holder_record_{};
  record_shape shape_;  ///< of the tree's pages
  u64 idle_ = 0;        ///< batches in a row that found nothing
  tree holder_;
  reclaim_op reclaim_;

  // What is taken out: [low_bound_, high_bound_).
  cbytes low_bound_, high_bound_;
  bool has_high_ = false;
  std::byte bounds_[2][max_stored_key_bytes];
};

}  // namespace pleach::btree
