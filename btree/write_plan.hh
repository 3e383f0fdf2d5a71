// The plan of a write: an upper bound of the pages, frees, frames and log bytes that its ACT can
// take, from the very pages that it has pinned. Pure: changes nothing but the scratch fields of the
// pins.
//
// For one record the plan is exact about whether its leaf has room. For a batch, a node of which
// the sum of additions does not fit is credited one new page per quarter of a node added, plus two:
// a split leaves both halves at least 3/8 full, so a further split needs at least that quarter
// (never more than one page per record).
#pragma once

#include "btree/write_op.hh"

namespace pleach::btree {

class write_planner {
 public:
  explicit write_planner(write_op& op) : op_(op), ctx_(*op.ctx_) {}
  void compute(write_plan& out);

 private:
  bool place_items(write_plan& out);
  bool place_item(write_plan& out, write_item& item);
  void place_conversion(write_plan& out, write_item& item, const node_view& n);
  void plan_aggregates();
  void plan_leaf(write_plan& out, pinned_page& p);
  void plan_inner(write_plan& out, pinned_page& p);
  /// New pages for `added` bytes in `inserts` pieces that do not fit into `p`.
  /// RETURNS: how many of them give the parent a separator.
  u32 plan_new_pages(write_plan& out, pinned_page& p, u32 inserts, u32 added, u32 longest);
  void plan_merges(write_plan& out, pinned_page& leaf, u32 erased_bytes);
  void touch(u64 bytes) {
    bytes_ += bytes;
    ++pages_;
  }
  void free_later(write_plan& out, page_addr a);
  /// Runs of a value with a map that are taken, or freed: their bitmap pages and their log bytes.
  void touch_runs(write_plan& out, page_addr map, const std::vector<page_addr>& runs, bool frees);
  void pin_bitmap(write_plan& out, page_addr a);

  write_op& op_;
  context& ctx_;
  u64 bytes_ = 0, pages_ = 0;
  u32 single_erased_ = 0;
};

/// Sparse: under a quarter full. Merging into at most three quarters leaves room on both sides of
/// the decision.
bool is_sparse(const node_view& n, u32 without_bytes);
bool may_merge(const node_view& a, const node_view& b);
/// May the only child of a root move into the root? (At most half of the root, so that it does not
/// go down again at once.)
bool may_pull_up(const node_view& child);

}  // namespace pleach::btree
