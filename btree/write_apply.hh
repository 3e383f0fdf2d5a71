// ACT of a write: every change of every item, in one tick, with what the plan reserved.
//
//     for item in items:
//       path = resident descent to the leaf of item.key # or the leaf that the plan has seen, and
//                                                       # the rest when it is needed
//       loop:
//         if the leaf has room (now, or after compaction): change it; break
//         make_space(path, leaf)                          # then descend again
//       counted tree: add the difference to the aggregates on the path
//       if the leaf is empty now: unlink it
//     merge sparse neighbours; write the counts into the roots
//
//     make_space(path, level):
//       root:                push its content down into a new page
//       smaller than class:  move to a larger page
//       else:                make room for a separator in the parent (make_space there); split
//
// Nothing here waits, allocates frames, or fails: space, frames and pins were taken before. Where
// an optional step (merge, unlink, pull-up) lacks something it is left out; where a necessary one
// does, the plan was wrong and the process stops; but in a tree with a comparator, which may have
// contradicted itself, the change is left out and the op ends with `corrupt`.
#pragma once

#include "btree/aggregate.hh"
#include "btree/record_extras.hh"
#include "btree/write_op.hh"

namespace pleach::btree {

/// The resident path to a key: `page[0]` is the leaf, `slot[l]` the index of page[l - 1] in
/// page[l].
struct resident_path {
  cache::descriptor* page[max_height] = {};
  u32 slot[max_height] = {};
  u32 height = 0;
  bool leaf_only = false;  ///< what is above the leaf has not been looked up yet
};

class write_applier {
 public:
  explicit write_applier(write_op& op) : op_(op), ctx_(*op.ctx_), engine_(op.ctx_->engine) {}
  void run();

 private:
  bool resolve(const write_item& item, resident_path& out);
  bool leaf_stands(const write_item& item) const;
  void complete(const write_item& item, resident_path& path);
  bool as_planned(const write_item& item, const cache::descriptor& leaf) const;
  search_result search(const write_item& item, const cache::descriptor& leaf) const;
  template <class Latch>
  void each_page(Latch&& latch);
  page_writer change(cache::descriptor& d, bool structure);
  convert conversion(std::initializer_list<const cache::descriptor*> rewritten);
  void convert_leaf(write_item& item, cache::descriptor& d);

  void apply(write_item& item);
  void insert_or_replace(write_item& item, resident_path& path);
  void erase(write_item& item, resident_path& path);
  cbytes stored_value(write_item& item, u8& flags);
  cbytes stored_draft(write_item& item, u8& flags);
  void create_root(write_item& item);
  void remove_root(const write_item& item);
  void drop_extent(const record& old);
  void store_key(write_item& item, const value_reference* present);
  void drop_key(const node_view& leaf, u32 index);
  bool may_drop_fence(cbytes fence) const;
  void drop_fence(cbytes fence, const node_view* heir);
  record_extras extras_of(const write_item& item, cbytes value, const record* old);

  bool derailed(const tree& t, bool as_planned);
  bool is_pinned(const tree& t, const cache::descriptor& d) const;
  bool already_gone(const write_item& item, const cache::descriptor& leaf) const;
  void give_back_value(const write_item& item, u8 flags);

  bool make_space(tree& t, resident_path& path, u32 level, cbytes key, u32 index, u32 value_length,
                  run_kind r);
  bool push_down(tree& t, resident_path& path);
  bool grow(tree& t, resident_path& path, u32 level, u32 blocks);
  void meet_heirs(const tree& t, const node_view& leaf, std::span<cache::descriptor* const> heirs,
                  bool leftward);
  bool split(tree& t, resident_path& path, u32 level, const split_point& at);

  bool unlink(tree& t, resident_path& path);
  bool beside_is_absent(const node_view& up, u32 slot);
  void merge_behind();
  void merge_upwards(tree& t, resident_path& path);
  bool merge_pair(resident_path& path, u32 level, u32 left_slot);
  void pull_up(tree& t, resident_path& path);
  bool planned_free(page_addr a) const;
  bool emptied_by_plan(const cache::descriptor& leaf) const;
  bool awaits_inserts(const cache::descriptor& child) const;
  void free_page(cache::descriptor& d);

  pinned_page* planned(const cache::descriptor& d);
  u32 next_size(const cache::descriptor& d, u32 node_class);
  void inherit(const cache::descriptor& from, const cache::descriptor& to);
  bool find_page(u32 min_blocks, u32& best, u32& best_run) const;
  bool has_page(u32 min_blocks) const {
    u32 best, run;
    return find_page(min_blocks, best, run);
  }
  cache::descriptor& new_page(u32 min_blocks);
  void add_to_path(const tree& t, resident_path& path, const aggregate& more);
  void add_counts(tree& t, i64 records, i64 bytes);
  void flush_counts();

  write_op& op_;
  context& ctx_;
  txn::engine& engine_;
  u32 current_ = 0;  ///< item that is applied
  tree* counted_ = nullptr;
  i64 records_ = 0, bytes_ = 0;
  stored_reference stored_{};
  std::vector<page_addr> taken_;  ///< runs of the draft of a change that may derail
};

}  // namespace pleach::btree
