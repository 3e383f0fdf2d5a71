// The way of a cut to its place: what the range covers, the path, the leaves, the neighbour's edge.
#include <algorithm>

#include "be/base/planted.hh"
#include "btree/cut_op.hh"
#include "btree/suspicion.hh"

namespace pleach::btree {

namespace {
/// Bytes of a child in the holder, besides its reference and its separator.
constexpr u32 record_overhead = 8 + sizeof(slot);
}  // namespace

/// Do all keys of the node stand at or behind `from_`?
bool cut_op::in_front(const node_view& n) {
  const int c = n.compare_fence(n.low_fence(), from(), low_probe());
  return behind_ ? c > 0 : c >= 0;
}

/// Does the range end at the node's end, or before it?
bool cut_op::ends_before(const node_view& n) {
  if (!n.has_high_fence()) return true;
  return bounded_ && n.compare_fence(n.high_fence(), to_, high_probe()) >= 0;
}

/// RETURNS: the children of `n` that lie wholly in the range.
cut_op::child_span cut_op::covered(const node_view& n) {
  child_span s{0, n.count()};
  if (!in_front(n)) {
    const u32 i = n.find_child(from(), low_probe());
    s.first = !behind_ && i > 0 && n.compare(i, from(), low_probe()) == 0 ? i : i + 1;
  }
  const bool ends_inside =
      bounded_ && !(n.has_high_fence() && n.compare_fence(n.high_fence(), to_, high_probe()) <= 0);
  if (ends_inside)
    s.end = n.compare_fence(n.low_fence(), to_, high_probe()) >= 0
                ? 0
                : n.find_child(to_, high_probe());
  return s;
}

/// RETURNS: the records of the leaf that lie in the range.
cut_op::child_span cut_op::touched(const node_view& leaf) {
  child_span s{0, leaf.count()};
  if (!in_front(leaf)) {
    const search_result at = leaf.find(from(), low_probe());
    s.first = at.index + (behind_ && at.found);
  }
  const bool ends_inside =
      bounded_ &&
      !(leaf.has_high_fence() && leaf.compare_fence(leaf.high_fence(), to_, high_probe()) <= 0);
  if (ends_inside) s.end = leaf.find(to_, high_probe()).index;
  return s;
}

/// RETURNS: how many children of `s` the holder can take.
u32 cut_op::fits_in_holder(const node_view& n, child_span s) const {
  const u32 child_overhead = n.child_bytes() + record_overhead;
  u32 room = node_capacity(root_blocks * block_bytes) - child_overhead, count = 1;
  while (count < s.count()) {
    const u32 bytes = n.key_length(s.first + count) + child_overhead;
    if (bytes > room) break;
    room -= bytes;
    ++count;
  }
  return count;
}

/// RETURNS: the page that must be pinned next; none: all are.
page_ref cut_op::next_page() {
  if (depth_ == 0) return tree_->root;
  if (work_ == work::UNKNOWN) {
    page_ref next = next_on_path();
    if (work_ == work::UNKNOWN) return next;
  }
  if (work_ == work::TRIM) return {};
  const node_view bottom(path_[depth_ - 1].d->reader());
  if (work_ == work::FREE && leaf_count_ < std::min(leaves_wanted_, cut_.count()))
    return bottom.child(cut_.first + leaf_count_);
  if (work_ == work::MOVE) {
    if (!holds_) return {};
    if (holder_page_.d == nullptr) return holder_.root;
  }
  return next_beside();
}

/// Goes on at the last page of the path: there is the place (`work_`), or the next page of the path
/// is returned.
page_ref cut_op::next_on_path() {
  const node_view n = tree_->view(*path_[depth_ - 1].d);
  if (n.is_leaf()) {
    const bool holds = in_front(n) || n.covers(from(), low_probe());
    if (needs_key()) return {};
    work_ = work::TRIM;
    if (!holds) bad_ = path_[depth_ - 1].d->addr;
    return {};
  }
  const child_span s = covered(n);
  const bool leaves = n.level() == 1;
  const u32 i = in_front(n) ? 0 : n.find_child(from(), low_probe());
  if (needs_key()) return {};
  // From left to right (I4): a child that the range only touches goes before those behind it.
  if (s.count() != 0 && s.first == i && (leaves || may_hold())) {
    work_ = leaves ? work::FREE : work::MOVE;
    cut_ = s;
    if (!leaves) cut_.end = s.first + fits_in_holder(n, s);
    return {};
  }
  slot_[depth_ - 1] = i;
  return n.child(i);
}

/// Who loses children, and on which side their neighbour is.
void cut_op::find_top() {
  top_known_ = true;
  top_ = depth_ - 1;
  gone_ = cut_;
  if (work_ == work::FREE) gone_.end = gone_.first + leaf_count_;
  auto children = [&] { return node_view(path_[top_].d->reader()).count(); };
  while (top_ > 0 && gone_.count() == children()) {
    --top_;
    gone_ = {slot_[top_], slot_[top_] + 1};
  }
  all_ = gone_.count() == children();
  leftward_ = gone_.first > 0;
}

page_ref cut_op::next_beside() {
  if (!top_known_) find_top();
  if (all_) return {};
  if (beside_count_ == 0)
    return node_view(path_[top_].d->reader()).child(leftward_ ? gone_.first - 1 : gone_.end);
  const node_view n(beside_[beside_count_ - 1].d->reader());
  if (n.is_leaf()) return {};
  return n.child(leftward_ ? n.count() - 1 : 0);
}

sm::step cut_op::admit() {
  const context& c = *tree_->ctx;
  const u64 limit = c.pages.grantable_units() / 4 * 3;
  const u64 pages = 2ull * tree_->height_hint + options_.leaves + 2;
  if (ask_ == 0) ask_ = pages * tree_->node_blocks + txn::extent_chunk_blocks;
  ask_ = std::min(ask_, limit);
  return tree_->ctx->pages.grants().take(grant_, *this, ask_) ? go(DOWN)
                                                              : wait(DOWN, "page frames");
}

sm::step cut_op::down() {
  cache::page_cache& pages = tree_->ctx->pages;
  if (tree_->dropped) return fail(errc::tree_closed);
  for (;;) {
    need_ = next_page();
    if (needs_key()) return read_key();
    if (bad_) return fail(errc::corrupt);
    if (!need_.addr) return go(PLAN);
    if (depth_ == std::size(path_) || beside_count_ == std::size(beside_)) {
      bad_ = need_.addr;  // no tree is that high: a page refers to one above it
      return fail(errc::corrupt);
    }
    if (units_ + need_.addr.blocks() > grant_.amount) {
      if (work_ == work::FREE && leaf_count_ != 0 && !top_known_) {
        leaves_wanted_ = leaf_count_;
        continue;
      }
      if (ask_ >= pages.grantable_units() / 4 * 3) return fail(errc::too_large);
      ask_ = std::max(ask_ * 2, units_ + need_.addr.blocks());
      return go(NEXT);
    }
    cache::descriptor* d = pages.find_resident(need_);
    if (d == nullptr) return go(LOAD);
    pages.pin(*d);
    take(*d);
  }
}

/// A long key, or a comparison with one, is needed for what comes next.
sm::step cut_op::read_key() {
  if (units_ + txn::extent_chunk_blocks <= grant_.amount) return go(KEY);
  if (leaf_count_ > 1) {
    leaves_wanted_ = leaf_count_ / 2;
    return go(NEXT);
  }
  if (ask_ >= tree_->ctx->pages.grantable_units() / 4 * 3) return fail(errc::too_large);
  ask_ = std::max(ask_ * 2, units_ + txn::extent_chunk_blocks);
  return go(NEXT);
}

sm::step cut_op::key() {
  return sub(reader_.next(*tree_->ctx, low_probe(), high_probe()), KEY_READ);
}

sm::step cut_op::key_read() {
  const errc code = reader_.take();
  const bool unsure = !alone_ && (class_of(code) == error_class::corrupt || !intact());
  if (unsure) return end_pass();
  if (is_ok(code)) return go(DOWN);
  bad_ = reader_.extent().addr;
  return fail(code);
}

sm::step cut_op::load() {
  loading_ = tree_->ctx->pages.pin(need_);
  if (loading_->state != cache::page_state::LOADING) return go(LOADED);
  return wait_in(loading_->waiters, LOADED);
}

sm::step cut_op::loaded() {
  using cache::page_state;
  cache::descriptor* d = loading_;
  loading_ = nullptr;
  const bool good =
      d->state == page_state::RESIDENT && d->gen == need_.gen && d->header().tree_id == tree_->id;
  if (good && (alone_ || intact())) {
    take(*d);
    return go(DOWN);
  }
  const errc code = good ? errc::ok : d->state == page_state::FAILED ? d->error : errc::corrupt;
  tree_->ctx->pages.unpin(*d);
  // Without the gate a path may change under the op: then the rest is loaded with it.
  if (!alone_ &&
      (is_ok(code) || class_of(code) == error_class::corrupt || class_of(code) == error_class::io))
    return end_pass();
  bad_ = need_.addr;
  return fail(code);
}

/// A pinned page takes its place.
void cut_op::take(cache::descriptor& d) {
  units_ += d.addr.blocks();
  const pinned p{&d, d.structure_version};
  if (work_ == work::UNKNOWN)
    path_[depth_++] = p;
  else if (work_ == work::MOVE && holder_page_.d == nullptr)
    holder_page_ = p;
  else if (work_ == work::FREE && !top_known_)
    take_leaf(d);
  else
    beside_[beside_count_++] = p;
  if (depth_ == 1 && work_ == work::UNKNOWN) tree_->height_hint = node_view(d.reader()).level() + 1;
}

/// A value with a map is deleted like the records of an edge: what it frees stands in the map.
void cut_op::take_leaf(cache::descriptor& d) {
  leaves_[leaf_count_++] = {&d, d.structure_version};
  const node_view leaf = tree_->view(d);
  if (!in_front(leaf) && !needs_key()) bad_ = d.addr;
  bool mapped = false;
  for (u32 i = 0; i < leaf.count() && tree_->value_bytes == 0; ++i) {
    const record r = leaf.at(i);
    if (!(r.value_flags & VALUE_INDIRECT)) continue;
    value_reference ref;
    std::memcpy(&ref, r.value.data(), sizeof ref);
    mapped |= has_map(ref);
  }
  if (!mapped) return;
  if (leaf_count_ == 1) {
    work_ = work::TRIM;
    trim_leaves_ = true;
    return;
  }
  leaves_wanted_ = --leaf_count_;
  leaves_[leaf_count_] = {};
  units_ -= d.addr.blocks();
  tree_->ctx->pages.unpin(d);
}

/// Are the pinned pages as they were when they were pinned?
bool cut_op::intact() const {
  auto same = [](const pinned& p) {
    return p.d == nullptr || (p.d->resident() && p.d->structure_version == p.structure_version);
  };
  return std::all_of(path_, path_ + depth_, same) &&
         std::all_of(leaves_, leaves_ + leaf_count_, same) &&
         std::all_of(beside_, beside_ + beside_count_, same) && same(holder_page_);
}

}  // namespace pleach::btree
