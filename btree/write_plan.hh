// The plan of a write: an upper bound of the pages, frees, frames and log bytes that its ACT can
// take, from the very pages that it has pinned. Pure: changes nothing but the scratch fields of the
// pins.
//
// For the only change of a node the plan is exact about whether there is room, and nearly so about
// the log bytes. For a node of which several change and the sum of additions does not fit is
// credited one new page per quarter of a node added, plus two: a split leaves both halves at least
// 3/8 full (but where a run goes on, of which batches know the ascending ones), so a further split
// needs at least that quarter (never more than one page per record).
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
  bool deleted_before(const write_item& item) const;
  void place_conversion(write_plan& out, write_item& item, const node_view& n);
  void plan_aggregates();
  void plan_leaf(write_plan& out, pinned_page& p);
  void plan_inner(write_plan& out, pinned_page& p);
  /// New pages for `added` bytes in `inserts` pieces that do not fit into `p`.
  /// RETURNS: how many of them give the parent a separator.
  u32 plan_new_pages(write_plan& out, pinned_page& p, u32 inserts, u32 added, u32 longest);
  void plan_merges(write_plan& out, pinned_page& leaf, u32 erased_bytes);
  void plan_merge_behind(write_plan& out, pinned_page& leaf);
  /// A page of which nothing closer is known.
  void touch(u64 bytes) {
    bytes_ += bytes;
    ++pages_;
  }
  /// A page's record with so many bytes of runs (node_cost.hh).
  void log(u64 bytes) { bytes_ += bytes + txn::engine::page_record_bytes; }
  static u64 with_slack(u64 cost);
  void plan_change(write_plan& out, pinned_page& leaf, write_item& item, const search_result& r,
                   u32 length);
  u32 attached_to(const write_item& item, const node_view& n, const search_result& r) const;
  void plan_counts();
  /// The split of a leaf for one record, as ACT will make it.
  /// RETURNS: false if that cannot be told.
  bool plan_split(write_plan& out, pinned_page& p);
  /// New pages, and separators of unknown lengths for the parent.
  void split_somehow(write_plan& out, pinned_page& p, u32 added);
  void add_separator(const pinned_page& child, cbytes separator);
  void plan_unlink(write_plan& out, pinned_page& leaf);
  void free_later(write_plan& out, page_addr a);
  void free_fence(write_plan& out, cbytes fence);
  /// Runs of a value with a map that are taken, or freed: their bitmap pages and their log bytes.
  void touch_runs(write_plan& out, page_addr map, const std::vector<page_addr>& runs, bool frees);
  void pin_bitmap(write_plan& out, page_addr a);

  write_op& op_;
  context& ctx_;
  u64 bytes_ = 0, pages_ = 0;
  bool only_deletes_ = false;  ///< nothing but deletes, of several records
  bool same_counts_ = false;  ///< the only change replaces a value by one of its length
};

bool goes_to_extent(const tree& t, const write_item& i);
/// Does an insert at `index` of a leaf go on with a run? Downwards only alone: the items of a batch
/// ascend, and splits before them would be more than the plan has pages for.
run_kind run_at(const write_op& op, const cache::descriptor& leaf, u32 index);
/// Bytes of its value in the leaf.
u32 inline_length(const tree& t, const write_item& i);
/// For room_for_insert: where the leaf's last record went that found a hole; not 0 if none did,
/// which stands for the beginning of the heap then.
inline u32 hole_near(const cache::descriptor& d) {
  return d.hole_hint * (d.size() / 256) + 1;
}
/// Is a split better than the compaction that would make room for a new record in a leaf? Where it
/// makes room for a few records only: it logs the whole leaf, which soon splits all the same.
bool splits_instead(const node_view& n, cbytes key, u32 value_length);
/// Sparse: under three eighths full. Merging into at most three quarters leaves room on both sides
/// of the decision: a quarter of a node comes before the next split, and goes after it before the
/// next merge.
bool is_sparse(const node_view& n, u32 without_bytes);
bool may_merge(const node_view& a, const node_view& b);
/// May the only child of a root move into the root? (At most half of the root, so that it does not
/// go down again at once.)
bool may_pull_up(const node_view& child);

}  // namespace pleach::btree
