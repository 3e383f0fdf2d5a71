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

bool pinned_page::stands(cbytes key, bool below) const {
  if (!d->resident() || d->header().tree_id != t->id) return false;
  node_view n = t->view(*d);
  return below ? n.covers_below(key) : n.covers(key);
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
  if (leaf == nullptr || root == nullptr || !t.view(*leaf).covers(item.key) ||
      t.root.addr.blocks() + leaf->addr.blocks() > grant_.amount) {
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
      const search_result at = n.find(item.key);
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
  if (n.is_leaf() && n.covers(item.key)) near_->set(*item.t, d, leaf_cookie::no_slot);
}

sm::step write_op::down() {
  if (near_ != nullptr && !near_tried_) enter_by_cookie();
  for (;;) {
    if (probe_ < 0 && next_item_ == items_.size()) return go(PLAN);
    // What is sought: an item's leaf, or the leaf beside one that may become empty.
    tree* t;
    cbytes key;
    bool below = false;
    if (probe_ >= 0) {
      pinned_page& leaf = pins_[static_cast<u32>(probe_)];
      if (!leaf.d->resident()) return start_again(ctx_->stats.restart_stale);
      node_view n(leaf.d->reader());
      t = leaf.t;
      below = !n.low_fence().empty();
      if (!below && !n.has_high_fence()) {  // the only leaf of its tree: nothing beside it
        leaf.probed = true;
        probe_ = -1;
        continue;
      }
      key = below ? n.low_fence() : n.high_fence();
    } else {
      t = items_[next_item_].t;
      key = items_[next_item_].key;
    }
    if (stand_ < 0 && probe_ < 0 && next_item_ > 0 && items_[next_item_ - 1].t == t) {
      // Climb from the item before: keys are sorted, so the paths share their upper part.
      stand_ = items_[next_item_ - 1].leaf;
      while (stand_ >= 0 && !pins_[static_cast<u32>(stand_)].stands(key, false))
        stand_ = pins_[static_cast<u32>(stand_)].parent;
    }
    page_ref next;
    if (stand_ < 0) {
      next = t->root;
    } else {
      pinned_page& p = pins_[static_cast<u32>(stand_)];
      if (!p.stands(key, below)) return start_again(ctx_->stats.restart_stale);
      node_view n = t->view(*p.d);
      if (n.is_leaf()) {
        if (probe_ >= 0) {
          pins_[static_cast<u32>(probe_)].probed = true;
          probe_ = -1;
        } else {
          items_[next_item_++].leaf = stand_;
        }
        stand_ = -1;
        continue;
      }
      if (p.parent < 0) t->height_hint = n.level() + 1;
      u32 i = 0;
      if (below) {
        u32 at = n.find(key).index;
        i = at == 0 ? 0 : at - 1;
      } else {
        i = n.find_child(key);
      }
      next = n.child(i);
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

/// A batch that waits for one page lets the pages of its next items be read meanwhile: as many as
/// its grant covers.
void write_op::read_ahead() {
  cache::page_cache& pages = ctx_->pages;
  u64 spare = grant_.amount - pinned_units_ - need_.addr.blocks();
  u64 last = std::min<u64>(items_.size(), next_item_ + 1ull + read_ahead_items);
  for (u64 i = next_item_ + 1ull; i < last; ++i) {
    page_ref ref = items_[i].t->root;
    cache::descriptor* d;
    while ((d = pages.find_resident(ref)) != nullptr) {
      node_view n = items_[i].t->view(*d);
      if (n.is_leaf() || n.count() == 0) break;
      ref = n.child(n.find_child(items_[i].key));
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
