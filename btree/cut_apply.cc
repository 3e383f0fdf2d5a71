// The plan and the change of a cut: what it frees, what it logs, and the one tick in which the tree
// changes.
#include <algorithm>

#include "be/base/planted.hh"
#include "btree/aggregate.hh"
#include "btree/cut_op.hh"
#include "btree/node_cost.hh"

namespace pleach::btree {

page_writer cut_op::change(cache::descriptor& d) {
  page_writer w = tree_->ctx->engine.write(d);
  d.structure_version = tree_->ctx->pages.next_version();
  return w;
}

/// The bounds of the children that are taken out of the top: one of them becomes the neighbour's
/// fence.
void cut_op::find_bounds() {
  const node_view n(path_[top_].d->reader());
  low_bound_ = {bounds_[0], n.copy_key(gone_.first, bounds_[0])};
  has_high_ = gone_.end < n.count() || n.has_high_fence();
  high_bound_ = {};
  if (gone_.end < n.count()) {
    high_bound_ = {bounds_[1], n.copy_key(gone_.end, bounds_[1])};
  } else if (has_high_) {
    as_text(n.high_fence()).copy(reinterpret_cast<char*>(bounds_[1]), sizeof bounds_[1]);
    high_bound_ = {bounds_[1], n.high_fence().size()};
  }
}

/// RETURNS: false if a page of the neighbour's edge has no room for its wider fence.
bool cut_op::plan_fences() {
  for (u32 i = 0; i < beside_count_; ++i) {
    const node_view n(beside_[i].d->reader());
    const u32 length = static_cast<u32>(leftward_ ? high_bound_.size() : low_bound_.size());
    room there = leftward_ && !has_high_ ? room::NOW : room_for_fence(n, length, leftward_);
    if (there == room::NONE) return false;
    // In place: header, fence, right hint; the slots may have to slide.
    log_bytes_ += there == room::NOW
                      ? stretch_cost(n, sizeof(node_header)) + stretch_cost(n, length) +
                            stretch_cost(n, u64{n.count()} * sizeof(slot))
                      : whole_page(n.size()) + length;
    ++log_pages_;
  }
  return true;
}

/// Leaves, what hangs on them, and inner pages that lose their last child.
void cut_op::collect_frees() {
  frees_.clear();
  if (work_ != work::FREE) return;
  for (u32 l = 0; l < leaf_count_; ++l) {
    frees_.push_back(leaves_[l].d->addr);
    each_extent(node_view(leaves_[l].d->reader()),
                [&](const value_reference& ref) { frees_.push_back(page_addr(ref.run)); });
  }
  for (u32 l = top_ + 1; l < depth_; ++l) frees_.push_back(path_[l].d->addr);
  if (loses_fence()) frees_.push_back(page_addr(reference_of(high_bound_).run));
}

/// Of a long fence of the leaves that go: does it become the low fence of the right neighbour, and
/// its extent the neighbour's?
bool cut_op::stays(const value_reference& extent) const {
  return !all_ && !leftward_ && is_stub(low_bound_) &&
         same_extent(reference_of(low_bound_), extent);
}

/// Is the low fence that the right neighbour has now a long one, of none of its records?
bool cut_op::loses_fence() const {
  if (all_ || leftward_ || !is_stub(high_bound_)) return false;
  const node_view heir(beside_[beside_count_ - 1].d->reader());
  return heir.count() == 0 || !heir.has_stub(0) ||
         !same_extent(heir.key_extent(0), reference_of(high_bound_));
}

/// RETURNS: at least the number of bitmap pages that the frees change.
u64 cut_op::bitmap_pages() const {
  u64 pages = 0, group = ~u64{0};
  for (page_addr a : frees_.span()) {
    const u64 g = tree_->ctx->engine.group_of(a);
    pages += g != group;
    group = g;
  }
  return pages;
}

sm::step cut_op::plan_removal() {
  constexpr u64 free_bytes = 48, count_bytes = 32, sum_bytes = 64;
  context& c = *tree_->ctx;
  log_bytes_ = count_bytes + whole_page(path_[top_].d->size());
  log_pages_ = 2;
  if (tree_->counted) {
    log_bytes_ += top_ * sum_bytes;
    log_pages_ += top_;
  }
  if (work_ == work::MOVE) {
    log_bytes_ += whole_page(holder_page_.d->size());
    ++log_pages_;
  }
  find_bounds();
  // I6: what is moved away keeps the extents of its fences.
  const bool shares_fence = !all_ && !leftward_ && (is_stub(low_bound_) || is_stub(high_bound_));
  if (!all_ && ((work_ == work::MOVE && shares_fence) || !plan_fences())) {
    if (work_ == work::FREE) return trim_first_leaf();
    leaves_only_ = true;
    return go(NEXT);
  }
  if (witness_.fn != nullptr && is_stub(high_bound_) && !reader_.have(reference_of(high_bound_)))
    return read_key();
  collect_frees();
  for (page_addr a : frees_) log_bytes_ += free_bytes + a.blocks() / 8;
  const u64 bitmaps = bitmap_pages();
  log_pages_ += bitmaps;
  if (txn::engine::credit_bytes(log_bytes_, log_pages_) > c.engine.largest_credit()) return less();
  if (units_ + bitmaps > grant_.amount) {
    if (units_ + bitmaps > c.pages.grantable_units() / 4 * 3) return less();
    ask_ = units_ + bitmaps;
    return go(NEXT);
  }
  return frees_.empty() ? go(OPEN) : go(ALLOC);
}

/// What was planned is too much for one transaction.
sm::step cut_op::less() {
  if (work_ == work::FREE && leaf_count_ == 1) return trim_first_leaf();
  if (work_ == work::FREE)
    leaves_wanted_ = leaf_count_ / 2;
  else
    leaves_only_ = true;
  return go(NEXT);
}

sm::step cut_op::open() {
  if (!frees_.empty() && !is_ok(alloc_op_.out.code)) return fail(alloc_op_.out.code);
  const u64 need = txn::engine::credit_bytes(log_bytes_, log_pages_);
  return tree_->ctx->engine.take_credit(credit_, *this, need) ? go(ACT) : wait(ACT, "log credit");
}

sm::step cut_op::act() {
  context& c = *tree_->ctx;
  if (errc e = c.engine.health(); !is_ok(e)) return fail(e);
  if (tree_->dropped) return fail(errc::tree_closed);
  cache::step_guard guard([this](auto&& latch) {
    for (u32 l = 0; l < depth_; ++l) latch(*path_[l].d);
    for (u32 l = 0; l < leaf_count_; ++l) latch(*leaves_[l].d);
    for (u32 l = 0; l < beside_count_; ++l) latch(*beside_[l].d);
    for (cache::descriptor* d : space_.bitmaps) latch(*d);
    if (holder_page_.d != nullptr) latch(*holder_page_.d);
  });
  page_ref after;
  const bool lost = work_ == work::FREE && loses_fence();
  if (work_ == work::FREE) {
    after = node_view(leaves_[leaf_count_ - 1].d->reader()).right_hint();
    free_leaves();
    ++c.stats.cut_leaves;
  } else {
    fill_holder();
    ++c.stats.cuts;
    if (!PLEACH_PLANTED("cut_cookie_trusted")) c.opening = next_opening();  // I2
  }
  take_out();
  if (!all_) widen_fences(after);
  if (lost) {
    const value_reference fence = reference_of(high_bound_);
    c.engine.free_run(space_, {page_addr(fence.run), fence.gen});
  }
  out.lsn = c.engine.end(credit_);
  tell_of_removal();
  return work_ == work::MOVE ? go(RECLAIM) : next_step();
}

void cut_op::tell_of_removal() {
  if (witness_.fn == nullptr) return;
  // In front of from_ all is gone already (I4).
  const cbytes low = is_stub(low_bound_) ? from() : low_bound_;
  const cbytes high = is_stub(high_bound_) ? as_bytes(reader_.key()) : high_bound_;
  witness_.fn(witness_.datum, out.lsn, low, has_high_ ? &high : nullptr);
}

/// Leaves, their extents, and inner pages without another child.
void cut_op::free_leaves() {
  context& c = *tree_->ctx;
  u64 records = 0, bytes = 0;
  auto free_pinned = [&](cache::descriptor& d) {
    d.structure_version = c.pages.next_version();
    c.engine.free_page(space_, d);
  };
  for (u32 l = 0; l < leaf_count_; ++l) {
    const node_view leaf(leaves_[l].d->reader());
    records += leaf.count();
    for (u32 i = 0; i < leaf.count(); ++i)
      bytes += leaf.full_key_length(i) + value_bytes_of(leaf.at(i));
    each_extent(leaf, [&](const value_reference& ref) {
      if (!stays(ref)) c.engine.free_run(space_, {page_addr(ref.run), ref.gen});
    });
    free_pinned(*leaves_[l].d);
  }
  for (u32 l = top_ + 1; l < depth_; ++l) free_pinned(*path_[l].d);
  add_to_counts(c.engine.write(*path_[0].d), -static_cast<i64>(records), -static_cast<i64>(bytes));
  *removed_ += records;
}

/// The children that go become those of the holder, which was an empty leaf.
void cut_op::fill_holder() {
  const node_view n(path_[top_].d->reader());
  cache::descriptor& h = *holder_page_.d;
  page_writer w = change(h);
  const u32 bytes = h.size() - node_header_offset;
  std::memset(w.writable(node_header_offset, bytes), 0, bytes);
  format_node(w, h.addr, tree_->ctx->pages.store_id(), tree_->id, h.gen, static_cast<u8>(n.level()),
              {}, {}, false, {}, n.shape(), node_format_slotted, n.aggregated());
  std::byte separator[max_stored_key_bytes];
  for (u32 i = gone_.first; i < gone_.end; ++i)
    insert_child(w, i - gone_.first, {separator, n.copy_key(i, separator)}, n.child(i),
                 n.aggregated() ? n.child_sum(i) : aggregate{});
}

void cut_op::take_out() {
  page_writer w = change(*path_[top_].d);
  if (all_) {
    make_empty_leaf(w);
    tree_->height_hint = 1;
    return;
  }
  for (u32 i = gone_.end; i-- > gone_.first;) erase_child(w, i);
  if (tree_->counted) sum_up();
}

/// What is above the top counts what is left below it.
void cut_op::sum_up() {
  for (u32 l = top_; l > 0; --l) {
    const node_view below(path_[l].d->reader());
    page_writer w = tree_->ctx->engine.write(*path_[l - 1].d);
    const u32 slot = node_view(path_[l - 1].d->reader()).slot_of(path_[l].d->addr);
    set_child_sum(w, slot, sum_of(below, tree_->digest));
  }
}

/// The neighbour's range takes over what was taken out. `after`: the leaf behind that, if known.
void cut_op::widen_fences(page_ref after) {
  if (PLEACH_PLANTED("cut_fence_not_widened")) return;
  const bytes scratch{tree_->ctx->scratch, tree_->ctx->scratch_bytes};
  for (u32 i = 0; i < beside_count_; ++i) {
    page_writer w = change(*beside_[i].d);
    if (!leftward_) {
      set_low_fence(w, low_bound_, scratch);
      continue;
    }
    set_high_fence(w, high_bound_, has_high_, scratch);
    set_right_hint(w, node_view(w).is_leaf() ? after : page_ref{});
  }
}

}  // namespace pleach::btree
