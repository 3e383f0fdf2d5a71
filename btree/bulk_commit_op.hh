// Makes a draft (bulk_draft.hh) the content of its tree, in one transaction.
//
//     commit(draft):
//       complete the draft                          # its last nodes are written
//       await gate (shared)
//       await grant (the root, a bitmap page for each group of its runs); await the root
//       await the bitmap pages; await log credit
//       check: the tree is still there, and empty; else fail
//       act: the bits of all runs are set; the root takes the node at the top; counts; within this
//            tick. The group is not durable before the device is flushed
//       give everything back
//       if durable: await durable(lsn)
//
// The log takes the root and the bits: a few hundred bytes for a run of 1 MiB at most, 4.6 KiB for
// each 126 MiB of the volume. So the size of a load is bounded by a third of the log (some hundred
// GiB with the default one), and by the frames for the bitmap pages: `too_large` beyond.
//
// I1 From CHECK to CAPTURE nothing waits and nothing fails for want of resources.
// I2 A draft whose commit was not applied has given everything back when the op is DONE.
#pragma once

#include "btree/bulk_build_op.hh"

namespace pleach::btree {

#define PLEACH_BULK_COMMIT_PHASES(X)  \
  X(INIT, WAIT, BUILT, CLEANUP)       \
  X(BUILT, NOWAIT, GATE, CLEANUP)     \
  X(GATE, WAIT, ADMIT, GATE, CLEANUP) \
  X(ADMIT, WAIT, LOAD, CLEANUP)       \
  X(LOAD, WAIT, LOADED, CLEANUP)      \
  X(LOADED, WAIT, OPEN, CLEANUP)      \
  X(OPEN, WAIT, CHECK, CLEANUP)       \
  X(CHECK, NOWAIT, ACT, CLEANUP)      \
  X(ACT, NOWAIT, CAPTURE)             \
  X(CAPTURE, NOWAIT, COMMIT)          \
  X(COMMIT, WAIT, COMMIT, CLEANUP)    \
  X(CLEANUP, NOWAIT, DONE)            \
  X(DONE, NOWAIT)

class bulk_commit_op final : public sm::machine<bulk_commit_op> {
 public:
  PLEACH_PHASES("bulk_commit", PLEACH_BULK_COMMIT_PHASES)

  /// The draft is the caller's until DONE. An empty one changes nothing.
  /// ERRORS: not_empty (somebody put records there meanwhile), too_large, tree_closed, no_space,
  /// ...
  void prepare(bulk_draft& d, bool durable);
  /// True once the records are visible, in group `out.lsn`, whatever came afterwards.
  bool applied() const { return applied_; }
  page_addr bad_page() const { return bad_; }
  sm::step tick(phase p) noexcept;

 private:
  sm::step built();
  sm::step load();
  sm::step loaded();
  sm::step open();
  sm::step check();
  sm::step act();
  sm::step capture();
  sm::step commit();
  sm::step cleanup();
  void give_back();
  void plan();

  bulk_draft* draft_ = nullptr;
  bool durable_ = true, applied_ = false;
  page_addr bad_;
  u64 credit_bytes_ = 0;
  std::vector<page_addr> one_a_group_;  ///< of the runs: for their bitmap pages
  cache::descriptor* root_ = nullptr;
  sm::gate_hold hold_;
  sm::claim grant_, credit_;
  txn::space_claim space_;
  bulk_build_op build_;
  txn::alloc_op alloc_op_;
};

}  // namespace pleach::btree
