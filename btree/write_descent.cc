// The way of a write to its leaves: frames, cookie, descent, loads.
#include <algorithm>

#include "be/base/planted.hh"
#include "btree/suspicion.hh"
#include "btree/write_op.hh"
#include "btree/write_plan.hh"

namespace pleach::btree {

namespace {
constexpr u32 read_ahead_items = 32;
}

/// Pages of the path and its neighbour, a spare per level, bitmap pages. A batch starts with what
/// the last one needed.
u64 write_op::first_grant() const {
  const tree& t = *items_.front().t;
  u64 page = t.node_blocks;
  u64 path = u64{t.height_hint} * page;
  if (items_.size() == 1) return 2 * path + 4 * page + 4;
  u64 guess = path + std::min<u64>(items_.size(), 32) * (page + 1) + 4 * page;
  return std::max(guess, ctx_->batch_units_hint);
}

u64 write_op::grant_limit() const {
  return ctx_->pages.grantable_units() / 4 * 3;
}

sm::step write_op::admit() {
  if (ask_ == 0) ask_ = first_grant();
  ask_ = std::min(ask_, grant_limit());
  if (ctx_->pages.grants().take(grant_, *this, ask_)) return go(DOWN);
  return wait(DOWN, "page frames");
}

/// RETURNS: where the pinned page stands in pins_.
i32 write_op::add_pinned(cache::descriptor& d, tree& t, i32 parent) {
  pinned_units_ += d.addr.blocks();
  pins_.push_back({.d = &d,
                   .t = &t,
                   .parent = parent,
                   .level = d.header().level,
                   .structure_version = d.structure_version});
  return static_cast<i32>(pins_.size()) - 1;
}

bool pinned_page::restructured() const {
  return !d->resident() ||
         (d->structure_version != structure_version && !PLEACH_PLANTED("path_not_checked"));
}

bool pinned_page::stands(cbytes key, key_probe* probe) const {
  if (!d->resident() || d->header().tree_id != t->id) return false;
  return t->view(*d).covers(key, probe);
}

/// Pins the root, for its counts, and the leaf that the caller's cookie names, if it holds the key.
void write_op::enter_by_cookie() {
  near_tried_ = true;
  if (near_->empty()) return;
  write_item& item = items_.front();
  tree& t = *item.t;
  if (t.counted) return;  // every change is one of the ancestors too
  cache::descriptor* leaf = near_->leaf(t);
  cache::descriptor* root = ctx_->pages.find_resident(t.root);
  const bool holds =
      leaf != nullptr && root != nullptr && t.view(*leaf).covers(item.key, item.probe());
  if (holds && item.probe() != nullptr) t.view(*leaf).find(item.key, item.probe());
  if (asks(item.probe())) {  // again when that is known
    near_tried_ = false;
    return;
  }
  if (!holds || t.root.addr.blocks() + leaf->addr.blocks() > grant_.amount) {
    ++ctx_->stats.cookie_misses;
    return;
  }
  shortcut_ = leaf != root;
  if (!shortcut_) return;  // a tree of one leaf: the path is short
  ctx_->pages.count_hit(*leaf);
  for (cache::descriptor* d : {root, leaf}) {
    ctx_->pages.pin(*d);
    // Neither is anybody's parent: a plan that looks above the leaf sees a root that is full or
    // empty, and asks for pages.
    add_pinned(*d, t, -1);
  }
  item.leaf = 1;
  next_item_ = 1;
}

/// I3: may this plan be carried out without the pages between root and leaf?
bool write_op::leaf_alone(const write_plan& plan) {
  if (!plan.needs.empty() || !plan.frees.empty() || plan.probe >= 0 || plan.read_old >= 0)
    return false;
  const write_item& item = items_.front();
  switch (item.kind) {
    case change::PUT:
    case change::UPDATE:
    case change::UPSERT:
      return true;
    case change::DELETE: {
      node_view n = item.t->view(*pins_[static_cast<u32>(item.leaf)].d);
      const search_result at = n.find(item.key, item.probe());
      return at.found && n.count() > 1 && !is_sparse(n, n.bytes_of(at.index));
    }
    default:
      return false;
  }
}

/// For the cookie: the leaf of the key, if the change has not moved the key to another page.
void write_op::remember_leaf() {
  if (near_ == nullptr) return;
  const write_item& item = items_.front();
  cache::descriptor& d = *pins_[static_cast<u32>(item.leaf)].d;
  near_->clear();
  if (!d.resident() || d.header().tree_id != item.t->id) return;
  node_view n = item.t->view(d);
  if (n.is_leaf() && n.covers(item.key, item.probe()) && !asks(item.probe()))
    near_->set(*item.t, d, leaf_cookie::no_slot);
}

/// The way to the leaf that takes over the range of one that may become empty, as
/// write_applier::unlink has it: from the lowest ancestor with other children, to the left of the
/// leaf's branch if there is one, along its edge.
/// RETURNS: the next page; none: the neighbour is pinned, or there is none, or the path is stale
/// (then `probe_` stays).
page_ref write_op::next_beside(tree*& t) {
  pinned_page& leaf = pins_[static_cast<u32>(probe_)];
  t = leaf.t;
  const node_view n = t->view(*leaf.d);
  auto arrived = [&] {
    leaf.probed = true;
    probe_ = stand_ = -1;
    return page_ref{};
  };
  if (n.low_fence().empty() && !n.has_high_fence()) return arrived();  // the only leaf
  for (const pinned_page* p = &leaf; p->parent >= 0; p = &pins_[static_cast<u32>(p->parent)]) {
    const node_view up = t->view(*pins_[static_cast<u32>(p->parent)].d);
    const u32 slot = up.slot_of(p->d->addr);
    if (slot == up.count()) break;
    if (up.count() == 1) continue;
    const bool leftward = slot > 0;
    if (stand_ < 0) {
      stand_ = p->parent;
      return up.child(leftward ? slot - 1 : slot + 1);
    }
    const node_view edge = t->view(*pins_[static_cast<u32>(stand_)].d);
    if (edge.is_leaf()) return arrived();
    return edge.child(leftward ? edge.count() - 1 : 0);
  }
  stand_ = -1;
  return {};
}

/// The way to the leaf of the next item.
/// RETURNS: the next page; none: the leaf is pinned, or something of a long key must be read first,
/// or the path is stale (then the item stays the next).
page_ref write_op::next_to_item(tree*& t) {
  write_item& item = items_[next_item_];
  t = item.t;
  if (stand_ < 0 && next_item_ > 0 && items_[next_item_ - 1].t == t) {
    // Climb from the item before: keys are sorted, so the paths share their upper part.
    stand_ = items_[next_item_ - 1].leaf;
    while (stand_ >= 0 && !pins_[static_cast<u32>(stand_)].stands(item.key, item.probe()) &&
           !asks(item.probe()))
      stand_ = pins_[static_cast<u32>(stand_)].parent;
    if (asks(item.probe())) {
      stand_ = -1;
      return {};
    }
  }
  if (stand_ < 0) return t->root;
  pinned_page& p = pins_[static_cast<u32>(stand_)];
  if (!p.stands(item.key, item.probe())) return {};
  const node_view n = t->view(*p.d);
  if (n.is_leaf()) {
    if (long_key_needed(item, n)) return {};
    item.leaf = stand_;
    ++next_item_;
    stand_ = -1;
    return {};
  }
  if (p.parent < 0) t->height_hint = n.level() + 1;
  const u32 i = n.find_child(item.key, item.probe());
  return asks(item.probe()) ? page_ref{} : n.child(i);
}

/// Must something of a long key be read before the leaf can be planned for?
bool write_op::long_key_needed(const write_item& item, const node_view& leaf) {
  if (item.probe() != nullptr) {
    leaf.find(item.key, item.probe());
    // The climb from the item before may have left out what is above.
    for (i32 i = pins_[static_cast<u32>(stand_)].parent; i >= 0;) {
      const pinned_page& p = pins_[static_cast<u32>(i)];
      if (p.restructured()) break;  // PLAN starts again
      item.t->view(*p.d).find_child(item.key, item.probe());
      i = p.parent;
    }
    if (item.probe()->asks()) return true;
  }
  const bool wants_fence =
      item.kind == change::CONVERT && leaf.has_high_fence() && is_stub(leaf.high_fence());
  return wants_fence && !large().key_source.have(reference_of(leaf.high_fence()));
}

sm::step write_op::down() {
  if (near_ != nullptr && !near_tried_) {
    enter_by_cookie();
    if (!near_tried_) return read_key();
  }
  for (;;) {
    if (probe_ < 0 && next_item_ == items_.size()) return go(PLAN);
    if (probe_ >= 0)
      for (const pinned_page& p : pins_)
        if (p.restructured()) return start_again(ctx_->stats.restart_stale);
    const i32 probe = probe_;
    const u32 item = next_item_;
    if (probe < 0 && items_[item].t->dropped) return fail(errc::tree_closed);  // its root may go
    tree* t;
    const page_ref next = probe_ >= 0 ? next_beside(t) : next_to_item(t);
    if (!next.addr) {
      if (probe_ != probe || next_item_ != item) continue;
      if (probe_ < 0 && (asks(items_[item].probe()) || (large_ && large_->key_source.wants())))
        return read_key();
      return start_again(ctx_->stats.restart_stale);
    }
    need_ = next;
    need_parent_ = stand_;
    if (pinned_units_ + next.addr.blocks() > grant_.amount)
      return ask_for_more(std::max(grant_.amount * 2, pinned_units_ + next.addr.blocks() + 16));
    cache::descriptor* d = ctx_->pages.find_resident(next);
    if (d == nullptr) return go(LOAD);
    ctx_->pages.pin(*d);
    stand_ = add_pinned(*d, *t, need_parent_);
  }
}

sm::step write_op::read_key() {
  if (pinned_units_ + txn::extent_chunk_blocks > grant_.amount)
    return ask_for_more(std::max(grant_.amount * 2, pinned_units_ + txn::extent_chunk_blocks));
  return go(KEY);
}

sm::step write_op::key() {
  return sub(large().key_source.next(*ctx_, items_[next_item_].probe()), KEY_READ);
}

sm::step write_op::key_read() {
  key_reader& reader = large_->key_source;
  const errc code = reader.take();
  if (is_ok(code)) return go(DOWN);
  if (failure_stands(code, reader.extent(), suspect_, bad_)) return fail(code);
  return start_again(ctx_->stats.restart_stale);
}

/// A batch that waits for one page lets the pages of its next items be read meanwhile: as many as
/// its grant covers.
void write_op::read_ahead() {
  cache::page_cache& pages = ctx_->pages;
  u64 spare = grant_.amount - pinned_units_ - need_.addr.blocks();
  u64 last = std::min<u64>(items_.size(), next_item_ + 1ull + read_ahead_items);
  for (u64 i = next_item_ + 1ull; i < last; ++i) {
    if (items_[i].t->dropped) return;
    page_ref ref = items_[i].t->root;
    cache::descriptor* d;
    while ((d = pages.find_resident(ref)) != nullptr) {
      node_view n = items_[i].t->view(*d);
      if (n.is_leaf() || n.count() == 0) break;
      key_probe* const probe = items_[i].probe();
      ref = n.child(n.find_child(items_[i].key, probe));
      if (asks(probe)) {
        probe->drop_question();
        break;
      }
    }
    if (d != nullptr) continue;
    if (ref.addr.blocks() > spare) return;
    spare -= ref.addr.blocks();
    pages.unpin(*pages.pin(ref));
  }
}

sm::step write_op::load() {
  if (probe_ < 0 && items_.size() > 1) read_ahead();
  loading_ = ctx_->pages.pin(need_);
  if (loading_->state == cache::page_state::LOADING) return wait_in(loading_->waiters, LOADED);
  return go(LOADED);
}

sm::step write_op::loaded() {
  using cache::page_state;
  cache::descriptor* d = loading_;
  loading_ = nullptr;
  if (PLEACH_PLANTED("page_read_unlatched") && need_parent_ >= 0) {
    // The parent stays pinned over the wait; its bytes are looked at without asking for them anew.
    const cache::descriptor& parent = *pins_[static_cast<u32>(need_parent_)].d;
    if (parent.resident() && parent.data[0] == std::byte{0xff}) return go(RESTART);
  }
  if (d->state == page_state::RESIDENT && d->gen == need_.gen) {
    tree* t = need_parent_ >= 0 ? pins_[static_cast<u32>(need_parent_)].t
              : probe_ >= 0     ? pins_[static_cast<u32>(probe_)].t
                                : items_[next_item_].t;
    stand_ = add_pinned(*d, *t, need_parent_);
    return go(DOWN);
  }
  errc code = d->state == page_state::FAILED ? d->error : errc::ok;
  ctx_->pages.unpin(*d);
  if (!is_ok(code) && failure_stands(code, need_, suspect_, bad_)) return fail(code);
  return start_again(ctx_->stats.restart_stale);
}

/// Nothing is pinned any more; the next descent starts at the first item's root.
void write_op::leave_path() {
  for (pinned_page& p : pins_) ctx_->pages.unpin(*p.d);
  pins_.clear();
  pinned_units_ = 0;
  next_item_ = 0;
  stand_ = probe_ = -1;
  shortcut_ = false;
}

}  // namespace pleach::btree
