#include "btree/multi_get_op.hh"

#include <algorithm>
#include <bit>

#include "btree/record_extras.hh"
#include "btree/suspicion.hh"

namespace pleach::btree {

namespace {
constexpr u32 restart_limit = 64;
}

void multi_get_op::prepare(tree& t, lookup_list& list) {
  PLEACH_ASSERT(idle());
  tree_ = &t;
  list_ = &list;
  next_ = 0;
  width_ = std::min(max_lanes, list.count());
  turn_ = pinned_blocks_ = 0;
  first_failure_ = errc::ok;
  bad_ = {};
  reading_ = nullptr;
}

sm::step multi_get_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return init();
    case DOWN:
      return down();
    case AGAIN:
      return yield(DOWN);
    case ADMIT:
      return admit();
    case LOAD:
      return load();
    case LOADED:
      return loaded();
    case EXTENT:
      return extent();
    case LONG:
      return read_long();
    case LONG_READ:
      return long_read();
    case EXTENT_READ:
      return extent_read();
    case CLEANUP:
      return cleanup();
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

sm::step multi_get_op::init() {
  context& c = *tree_->ctx;
  c.stats.reads += list_->count();
  ++c.stats.multi_gets;
  if (errc e = c.engine.health(); !is_ok(e)) return fail(e);
  if (tree_->dropped) return fail(errc::tree_closed);
  return go(DOWN);
}

/// Gives free lanes the next lookups.
/// RETURNS: how many, at most `most`.
u32 multi_get_op::fill(u32 most) {
  u32 given = 0;
  const u32 count = list_->count();
  for (lane& l : lanes()) {
    if (l.at != place::FREE) continue;
    while (given < most && next_ < count) {
      ++given;
      l.item = next_++;
      l.key = list_->at(l.item).key;
      if (is_long(l.key)) [[unlikely]] {
        if (!long_) long_ = std::make_unique<long_lookups>();
        long_->items.push_back(l.item);
        continue;
      }
      l.suspect = {};
      l.restarts = 0;
      l.at = place::ROOT;
      break;
    }
  }
  return given;
}

/// A lane that has not asked for its page yet asks its way again (I3); and so do all if what they
/// wait for may have been cut off the tree.
void multi_get_op::look_again() {
  const u64 now = tree_->ctx->opening;
  for (lane& l : lanes()) {
    if (l.at == place::FREE || l.at == place::EXTENT) continue;
    if (now == opening_ && l.at != place::BLOCKED) continue;
    let_go(l);
    l.at = place::ROOT;
  }
  opening_ = now;
}

sm::step multi_get_op::down() {
  if (tree_->dropped) return fail(errc::tree_closed);
  look_again();
  u32 left = lookups_per_tick;
  for (;;) {
    left -= fill(left);
    bool moving = false;
    for (const lane& l : lanes())
      moving |= l.at == place::ROOT || l.at == place::CHILD || l.at == place::PAGE;
    if (!moving) break;
    step_down();
  }
  bool pause = left == 0 && next_ < list_->count();
  for (lane& l : lanes()) {
    if (l.at != place::AGAIN) continue;
    l.at = place::ROOT;
    pause = true;
  }
  if (pause) return go(AGAIN);
  for (const lane& l : lanes()) {
    if (l.at == place::FREE) continue;
    const bool admitted = grant_.held || tree_->ctx->pages.grants().try_take(grant_, units());
    return go(admitted ? LOAD : ADMIT);
  }
  if (!long_ || long_->items.empty()) return go(CLEANUP);
  tree_->ctx->pages.grants().give_back(grant_);  // the reader asks for its own
  return go(LONG);
}

sm::step multi_get_op::read_long() {
  if (errc e = tree_->ctx->engine.health(); !is_ok(e)) return fail(e);
  if (++long_->turn % lookups_per_tick == 0) return yield(LONG);
  const lookup_list::wish w = list_->at(long_->items.back());
  long_->reader.reset();
  long_->reader.prepare(*tree_, seek::EXACT, w.key, {.value = w.value});
  return sub(long_->reader, LONG_READ);
}

sm::step multi_get_op::long_read() {
  const read_op& r = long_->reader;
  tell(long_->items.back(), r.out.code, r.out.lsn, r.bad_page());
  long_->items.pop_back();
  return go(long_->items.empty() ? CLEANUP : LONG);
}

/// One level for every lane that can move. The three loops are the point: what the second and the
/// third read has been asked for by the one before, for all lanes at once.
void multi_get_op::step_down() {
  cache::page_cache& pages = tree_->ctx->pages;
  cache::descriptor* root = nullptr;
  for (lane& l : lanes()) {
    if (l.at == place::CHILD) pages.fetch_page(l.need);
    if (l.at == place::ROOT && root == nullptr) root = pages.find_resident(tree_->root);
  }
  u64 in_leaf = 0;
  for (lane& l : lanes()) {
    cache::descriptor* d = l.page;
    bool trusted = false;
    switch (l.at) {
      case place::ROOT:
        l.need = tree_->root;
        d = root;
        break;
      case place::CHILD:
        // Within one tick nothing changes: a child that its parent refers to is the right one.
        d = pages.find_resident(l.need);
        trusted = true;
        break;
      case place::PAGE:
        break;
      default:
        continue;
    }
    if (d == nullptr) {
      l.at = place::BLOCKED;
      continue;
    }
    search(l, *d, trusted);
    if (l.at == place::PAGE) in_leaf |= u64{1} << (&l - lanes_);
  }
  for (; in_leaf != 0; in_leaf &= in_leaf - 1) found(lanes_[std::countr_zero(in_leaf)]);
}

/// The lane goes on at a child of `d`, or stands in the leaf `d`; or starts again.
void multi_get_op::search(lane& l, cache::descriptor& d, bool trusted) {
  node_view n = tree_->view(d);
  if (!trusted && (d.header().tree_id != tree_->id || !n.covers(l.key))) return start_again(l);
  if (n.is_leaf()) {
    n.fetch_record(l.key);
    l.page = &d;
    l.at = place::PAGE;
    return;
  }
  page_ref child = n.child(n.find_child(l.key));
  tree_->ctx->pages.fetch_slot(child);
  let_go(l);
  l.need = child;
  l.at = place::CHILD;
}

void multi_get_op::found(lane& l) {
  node_view leaf = tree_->view(*l.page);
  const lsn_t lsn = l.page->last_lsn;
  search_result r = leaf.find(l.key);
  if (!r.found) return settle(l, errc::not_found);
  if (!record_sound(*tree_, leaf, r.index)) {
    ++tree_->ctx->stats.bad_sums;
    return settle(l, errc::corrupt, lsn, l.page->addr);
  }
  record rec = leaf.at(r.index);
  std::string* value = list_->at(l.item).value;
  if (value != nullptr && (rec.value_flags & VALUE_INDIRECT)) {
    std::memcpy(&l.run, rec.value.data(), sizeof l.run);
    page_addr run(l.run.run);
    if (!sound_reference(l.run, tree_->ctx->engine.vol().super.blocks))
      return settle(l, errc::corrupt, lsn, run);
    l.lsn = lsn;
    l.at = place::EXTENT;
    return let_go(l);
  }
  if (value != nullptr)
    value->assign(reinterpret_cast<const char*>(rec.value.data()), rec.value.size());
  settle(l, errc::ok, lsn);
}

void multi_get_op::settle(lane& l, errc code, lsn_t lsn, page_addr bad) {
  let_go(l);
  l.at = place::FREE;
  tell(l.item, code, lsn, bad);
}

void multi_get_op::tell(u32 item, errc code, lsn_t lsn, page_addr bad) {
  out.lsn = std::max(out.lsn, lsn);
  if (!is_ok(code) && code != errc::not_found && is_ok(first_failure_)) {
    first_failure_ = code;
    bad_ = bad;
  }
  list_->settle(item, code, lsn, bad);
}

/// A split or unlink went by, or a reference was stale.
void multi_get_op::start_again(lane& l) {
  ++tree_->ctx->stats.restart_stale;
  // Only a structure that contradicts itself makes a descent fail this often without a change
  // between.
  if (++l.restarts > restart_limit) return settle(l, errc::corrupt, lsn_none, tree_->root.addr);
  let_go(l);
  l.at = place::AGAIN;
}

/// The lane's page, if it holds one.
void multi_get_op::let_go(lane& l) {
  if (l.pinned) {
    pinned_blocks_ -= l.need.addr.blocks();
    tree_->ctx->pages.unpin(*l.page);
  }
  l.pinned = false;
  l.page = nullptr;
}

/// Frames for the pages of all lanes, but not more than a share of what there is; and a buffer for
/// extents.
u64 multi_get_op::units() const {
  const context& c = *tree_->ctx;
  u64 share = std::min<u64>(u64{width_} * tree_->node_blocks, c.pages.grantable_units() / 8);
  return std::max<u64>(share, c.max_node_blocks) + txn::extent_chunk_blocks;
}

sm::step multi_get_op::admit() {
  const bool admitted = tree_->ctx->pages.grants().take(grant_, *this, units());
  return admitted ? go(DOWN) : wait(DOWN, "page frames");
}

sm::step multi_get_op::load() {
  cache::page_cache& pages = tree_->ctx->pages;
  const u64 room = grant_.amount - txn::extent_chunk_blocks;
  for (u32 i = 0; i < width_; ++i) {
    lane& l = lanes_[(turn_ + i) % width_];
    if (l.at != place::BLOCKED) continue;
    if (pinned_blocks_ + l.need.addr.blocks() > room) break;
    pinned_blocks_ += l.need.addr.blocks();
    l.page = pages.pin(l.need);
    l.pinned = true;
    l.at = place::LOADING;
  }
  for (lane& l : lanes())
    if (l.at == place::EXTENT) return go(EXTENT);
  u32 loading = 0;
  lane* last = nullptr;
  for (lane& l : lanes()) {
    if (l.at != place::LOADING) continue;
    if (l.page->state != cache::page_state::LOADING) return go(LOADED);
    last = &l;
    ++loading;
  }
  if (loading == 0) return go(LOADED);
  // Whichever ends first: its lane goes on, and the device gets its next request meanwhile. (An op
  // stands in one queue at a time; this one is woken once a round at most.)
  return wait_in(loading == 1 ? last->page->waiters : pages.any_load(), LOADED);
}

/// Every lane whose load has ended goes on; one that failed starts again, or is settled.
sm::step multi_get_op::loaded() {
  using cache::page_state;
  turn_ = (turn_ + 1) % width_;
  for (lane& l : lanes()) {
    if (l.at != place::LOADING || l.page->state == page_state::LOADING) continue;
    if (l.page->state == page_state::RESIDENT && l.page->gen == l.need.gen) {
      l.at = place::PAGE;
      continue;
    }
    errc code = l.page->state == page_state::FAILED ? l.page->error : errc::ok;
    page_addr bad;
    if (is_ok(code) || !failure_stands(code, l.need, l.suspect, bad))
      start_again(l);
    else if (!bad)
      return fail(code);  // the store closes, or has failed
    else
      settle(l, code, lsn_none, bad);
  }
  return go(DOWN);
}

sm::step multi_get_op::extent() {
  reading_ = std::ranges::find(lanes(), place::EXTENT, &lane::at).base();
  lane& l = *reading_;
  std::string& value = *list_->at(l.item).value;
  value.resize(l.run.length);
  if (!value_op_) value_op_ = std::make_unique<value_read_op>();
  value_op_->reset();
  value_op_->prepare(*tree_->ctx, l.run, 0, value.size(),
                     reinterpret_cast<std::byte*>(value.data()));
  return sub(*value_op_, EXTENT_READ);
}

sm::step multi_get_op::extent_read() {
  lane& l = *reading_;
  errc code = value_op_->out.code;
  if (is_ok(code)) {
    settle(l, errc::ok, l.lsn);
    return go(DOWN);
  }
  page_addr bad;
  if (failure_stands(code, {page_addr(l.run.run), l.run.gen}, l.suspect, bad))
    settle(l, code, lsn_none, bad);
  else if (l.restarts == restart_limit)
    settle(l, errc::conflict);  // it is replaced faster than it can be read
  else
    start_again(l);
  return go(DOWN);
}

/// What has not been settled ends as the op does.
sm::step multi_get_op::cleanup() {
  for (lane& l : lanes())
    if (l.at != place::FREE) settle(l, out.code);
  if (long_)
    for (u32 item : long_->items) list_->settle(item, out.code, lsn_none, {});
  long_.reset();
  for (const u32 count = list_->count(); next_ < count; ++next_)
    list_->settle(next_, out.code, lsn_none, {});
  if (is_ok(out.code)) out.code = first_failure_;
  tree_->ctx->pages.grants().give_back(grant_);
  return go(DONE);
}

}  // namespace pleach::btree
