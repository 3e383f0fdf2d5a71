#include "btree/write_op.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "btree/write_apply.hh"
#include "btree/write_plan.hh"

namespace pleach::btree {

namespace {
constexpr u32 restarts_before_alone = 4;
constexpr u32 restart_limit = 10'000;
constexpr u32 read_ahead_items = 32;
}  // namespace

void write_op::prepare(tree& t, change kind, cbytes key, cbytes value, std::string* old_value,
                       bool durable, leaf_cookie* near) {
  single_ = write_item{};
  single_.t = &t;
  single_.kind = kind;
  single_.key = key;
  single_.value = value;
  single_.old_value = old_value;
  prepare(*t.ctx, {&single_, 1}, durable);
  batch_ = false;
  near_ = near;
}

void write_op::prepare_modify(tree& t, cbytes key, const editor& e, bool durable) {
  prepare(t, change::UPSERT, key, {}, nullptr, durable);
  editor_ = e;
}

void write_op::prepare(context& c, std::span<write_item> items, bool durable) {
  PLEACH_ASSERT(idle());
  ctx_ = &c;
  items_ = items;
  durable_ = durable;
  batch_ = true;
  editor_ = {};
  asked_about_ = 0;
  alone_ = false;
  restarts_ = 0;
  suspect_ = {};
  bad_ = {};
  wrong_length_ = {};
  old_is_read_ = false;
  next_item_ = next_draft_ = 0;
  stand_ = probe_ = -1;
  pinned_units_ = 0;
  next_extent_ = 0;
  extent_running_ = allocated_ = applied_ = false;
  ask_ = 0;
  near_ = nullptr;
  near_tried_ = shortcut_ = false;
}

sm::step write_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return init();
    case DRAFT:
      return draft();
    case DRAFTED:
      return drafted();
    case GATE:
      return gate();
    case ADMIT:
      return admit();
    case DOWN:
      return down();
    case LOAD:
      return load();
    case LOADED:
      return loaded();
    case PLAN:
      return plan();
    case OLD:
      return old();
    case OLD_READ:
      return old_read();
    case ALLOC:
      return alloc();
    case EXTENT:
      return extent();
    case SPARES:
      return spares();
    case OPEN:
      return open();
    case CHECK:
      return check();
    case ACT:
      return act();
    case CAPTURE:
      return capture();
    case COMMIT:
      return commit();
    case RESTART:
      return restart();
    case CLEANUP:
      return cleanup();
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

sm::step write_op::init() {
  ++ctx_->stats.writes;
  if (errc e = ctx_->engine.health(); !is_ok(e)) return fail(e);
  for (const write_item& i : items_) {
    if (i.t->dropped) return fail(errc::tree_closed);
    if (i.key.size() > max_key_bytes) return fail(errc::key_too_large);
    if (i.value_bytes() > max_value_bytes) return fail(errc::value_too_large);
    if (i.kind == change::DELETE || editor_.fn != nullptr) continue;
    if (errc e = check_lengths(*i.t, i.key, i.value_bytes(), wrong_length_); !is_ok(e))
      return fail(e);
  }
  if (items_.empty()) return fail(errc::ok);
  for (const write_item& i : items_)
    if (wants_draft(i)) return go(DRAFT);
  return go(GATE);
}

large_values& write_op::large() {
  if (!large_) large_ = std::make_unique<large_values>();
  return *large_;
}

bool write_op::wants_draft(const write_item& i) const {
  if (i.draft != nullptr) return true;
  bool value = i.kind == change::PUT || i.kind == change::UPDATE || i.kind == change::UPSERT;
  return value && i.value.size() > u64{ctx_->max_run_blocks} * block_bytes;
}

const known_map* write_op::map_of(const value_reference& ref) const {
  if (large_)
    for (const known_map& m : large_->maps)
      if (std::memcmp(&m.ref, &ref, sizeof ref) == 0) return &m;
  return nullptr;
}

/// Writes the next value that needs a map. Nothing is held meanwhile but space, in memory.
sm::step write_op::draft() {
  while (!wants_draft(items_[next_draft_])) ++next_draft_;
  write_item& i = items_[next_draft_];
  bool streamed = i.draft != nullptr;
  if (!streamed) {
    large().drafts.push_back(std::make_unique<value_draft>());
    i.draft = large().drafts.back().get();
    i.draft->begin(*ctx_, i.t->id, i.key, i.value.size());
  }
  draft_op& w = large().writer;
  w.reset();
  w.prepare(*i.draft, streamed ? cbytes{} : i.value, true);
  return sub(w, DRAFTED);
}

sm::step write_op::drafted() {
  if (errc e = large_->writer.out.code; !is_ok(e)) return fail(e);
  while (++next_draft_ < items_.size())
    if (wants_draft(items_[next_draft_])) return go(DRAFT);
  return go(GATE);
}

sm::step write_op::gate() {
  bool in = alone_ ? ctx_->gate.try_exclusive(*this, hold_) : ctx_->gate.try_shared(*this, hold_);
  return in ? go(ADMIT) : wait(GATE);
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

/// Was the page split, merged, moved or freed since the op pinned it?
static bool restructured(const pinned_page& p) {
  return !p.d->resident() ||
         (p.d->structure_version != p.structure_version && !PLEACH_PLANTED("path_not_checked"));
}

/// Is the page still the one whose range holds `key`?
static bool stands(const pinned_page& p, cbytes key, bool below) {
  if (!p.d->resident() || p.d->header().tree_id != p.t->id) return false;
  node_view n(p.d->reader());
  if (!below) return n.covers(key);
  return compare_keys(n.low_fence(), key) < 0 &&
         (!n.has_high_fence() || compare_keys(key, n.high_fence()) <= 0);
}

/// Pins the root, for its counts, and the leaf that the caller's cookie names, if it holds the key.
void write_op::enter_by_cookie() {
  near_tried_ = true;
  if (near_->empty()) return;
  write_item& item = items_.front();
  tree& t = *item.t;
  cache::descriptor* leaf = near_->leaf(t);
  cache::descriptor* root = ctx_->pages.find_resident(t.root);
  if (leaf == nullptr || root == nullptr || !node_view(leaf->reader()).covers(item.key) ||
      t.root.addr.blocks() + leaf->addr.blocks() > grant_.amount) {
    ++ctx_->stats.cookie_misses;
    return;
  }
  shortcut_ = leaf != root;
  if (!shortcut_) return;  // a tree of one leaf: the path is short
  ctx_->pages.count_hit(*leaf);
  for (cache::descriptor* d : {root, leaf}) {
    ctx_->pages.pin(*d);
    pinned_units_ += d->addr.blocks();
    // Neither is anybody's parent: a plan that looks above the leaf sees a root that is full or
    // empty, and asks for pages.
    pins_.push_back(
        {d, &t, -1, d->header().level, 0, d->structure_version, 0, 0, 0, 0, false, 0, 0});
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
      node_view n(pins_[static_cast<u32>(item.leaf)].d->reader());
      record old = n.at(n.find(item.key).index);
      return n.count() > 1 && !is_sparse(n, record_bytes(static_cast<u32>(old.key_suffix.size()),
                                                         static_cast<u32>(old.value.size())) +
                                                static_cast<u32>(sizeof(slot)));
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
  node_view n(d.reader());
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
      while (stand_ >= 0 && !stands(pins_[static_cast<u32>(stand_)], key, false))
        stand_ = pins_[static_cast<u32>(stand_)].parent;
    }
    page_ref next;
    if (stand_ < 0) {
      next = t->root;
    } else {
      pinned_page& p = pins_[static_cast<u32>(stand_)];
      if (!stands(p, key, below)) return start_again(ctx_->stats.restart_stale);
      node_view n(p.d->reader());
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
    pinned_units_ += next.addr.blocks();
    pins_.push_back(
        {d, t, need_parent_, d->header().level, 0, d->structure_version, 0, 0, 0, 0, false, 0, 0});
    stand_ = static_cast<i32>(pins_.size()) - 1;
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
      node_view n(d->reader());
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
  if (d->state == page_state::RESIDENT && d->gen == need_.gen) {
    tree* t = need_parent_ >= 0 ? pins_[static_cast<u32>(need_parent_)].t
              : probe_ >= 0     ? pins_[static_cast<u32>(probe_)].t
                                : items_[next_item_].t;
    pinned_units_ += need_.addr.blocks();
    pins_.push_back(
        {d, t, need_parent_, d->header().level, 0, d->structure_version, 0, 0, 0, 0, false, 0, 0});
    stand_ = static_cast<i32>(pins_.size()) - 1;
    return go(DOWN);
  }
  errc code = d->state == page_state::FAILED ? d->error : errc::ok;
  ctx_->pages.unpin(*d);
  if (!is_ok(code)) {
    if ((code != errc::corrupt && code != errc::io) || suspect_ == need_) {
      bad_ = need_.addr;
      return fail(code);
    }
    suspect_ = need_;
  }
  return start_again(ctx_->stats.restart_stale);
}

namespace {
/// RETURNS: a hash of a record's value, never 0; of no record, if `r` is null.
u64 identity_of(const record* r) {
  return (r == nullptr ? 2 : hash64(r->value) + r->value_flags) | 1;
}
}  // namespace

write_op::edited write_op::edit() {
  write_item& item = items_.front();
  const pinned_page& leaf = pins_[static_cast<u32>(item.leaf)];
  if (!stands(leaf, item.key, false)) return edited::STALE;
  node_view n(leaf.d->reader());
  search_result at = n.find(item.key);
  record old = at.found ? n.at(at.index) : record{};
  out.lsn = leaf.d->last_lsn;
  edited answer = edited::SAME;
  if (u64 seen = identity_of(at.found ? &old : nullptr); seen != asked_about_) {
    std::string& value = *editor_.value;
    if (old.value_flags & VALUE_INDIRECT) {
      value_reference ref;
      std::memcpy(&ref, old.value.data(), sizeof ref);
      if (!old_is_read_ || std::memcmp(&ref, &old_reference_, sizeof ref) != 0) {
        old_reference_ = ref;
        old_map_only_ = false;
        asked_about_ = 0;  // the value that it is read to held the last answer
        return edited::OLD;
      }
      old_is_read_ = false;  // the editor changes it
    } else {
      value.assign(reinterpret_cast<const char*>(old.value.data()), old.value.size());
    }
    ++ctx_->stats.edits;
    decided_ = editor_.fn(editor_.datum, at.found, value);
    asked_about_ = seen;
    answer = edited::ANEW;
  }
  item.kind = decided_ == verdict::ERASE ? change::DELETE : change::UPSERT;
  item.value = as_bytes(*editor_.value);
  switch (decided_) {
    case verdict::STORE:
      refusal_ = item.value.size() > u64{ctx_->max_run_blocks} * block_bytes
                     ? errc::value_too_large
                     : check_lengths(*item.t, item.key, item.value.size(), wrong_length_);
      return is_ok(refusal_) ? answer : edited::REFUSED;
    case verdict::ERASE:
      return at.found ? answer : edited::NOTHING;
    case verdict::KEEP:
      return edited::NOTHING;
    case verdict::FAIL:
      break;
  }
  refusal_ = errc::callback_failed;
  return edited::REFUSED;
}

sm::step write_op::plan() {
  // A page that was split or moved while the op waited for another one: the pinned path is no path
  // any more.
  for (pinned_page& p : pins_)
    if (restructured(p)) return start_again(ctx_->stats.restart_stale);
  if (editor_.fn != nullptr) {
    edited e = edit();
    if (e == edited::OLD) return read_old(0);
    if (e == edited::STALE) return start_again(ctx_->stats.restart_stale);
    if (e != edited::SAME && e != edited::ANEW) return end_unchanged(e);
  }
  write_planner(*this).compute(plan_);
  if (plan_.stale) return start_again(ctx_->stats.restart_stale);
  if (shortcut_ && is_ok(plan_.verdict) && !leaf_alone(plan_)) {
    ++ctx_->stats.cookie_misses;
    leave_path();
    return go(DOWN);
  }
  if (shortcut_) ++ctx_->stats.cookie_hits;
  if (!is_ok(plan_.verdict)) {
    remember_leaf();
    return fail(plan_.verdict);
  }
  if (!plan_.may_change) return fail(errc::ok);
  if (plan_.probe >= 0) {
    probe_ = plan_.probe;
    stand_ = -1;
    return go(DOWN);
  }
  // Before more maps are read: what is known of them is in the credit.
  if (plan_.credit > ctx_->engine.largest_credit()) return fail(errc::too_large);
  if (plan_.read_old >= 0) return read_old(plan_.units);
  u64 chunk = plan_.extents ? txn::extent_chunk_blocks : 0;
  if (pinned_units_ + plan_.units + chunk > grant_.amount)
    return ask_for_more(pinned_units_ + plan_.units + chunk);
  remember_versions();
  if (plan_.needs.empty() && plan_.frees.empty()) return go(OPEN);
  return go(ALLOC);
}

/// The old value of the only item is an extent: it is read before the plan.
sm::step write_op::read_old(u64 more_units) {
  if (pinned_units_ + txn::extent_chunk_blocks > grant_.amount)
    return ask_for_more(pinned_units_ + txn::extent_chunk_blocks + more_units);
  return go(OLD);
}

/// A modify ends: its editor wants nothing, or nothing that can be.
sm::step write_op::end_unchanged(edited e) {
  return fail(e == edited::REFUSED ? refusal_ : errc::ok);
}

void write_op::remember_versions() {
  for (pinned_page& p : pins_) p.content_version = p.d->content_version;
}

sm::step write_op::old() {
  value_read_op& reader = large().reader;
  reader.reset();
  if (old_map_only_) {
    reader.prepare_map(*ctx_, old_reference_);
  } else {
    if (!sound_reference(old_reference_, ctx_->engine.vol().super.blocks)) {
      bad_ = page_addr(old_reference_.run);
      return fail(errc::corrupt);
    }
    std::string& value = editor_.fn != nullptr
                             ? *editor_.value
                             : *items_[static_cast<u32>(plan_.read_old)].old_value;
    value.resize(old_reference_.length);
    reader.prepare(*ctx_, old_reference_, 0, value.size(),
                   reinterpret_cast<std::byte*>(value.data()));
  }
  return sub(reader, OLD_READ);
}

sm::step write_op::old_read() {
  errc code = large_->reader.out.code;
  if (is_ok(code)) {
    if (has_map(old_reference_) && map_of(old_reference_) == nullptr)
      large_->maps.push_back({old_reference_, large_->reader.map().runs});
    if (!old_map_only_) old_is_read_ = true;
    return go(PLAN);
  }
  page_ref run{page_addr(old_reference_.run), old_reference_.gen};
  if (suspect_ == run) {
    bad_ = run.addr;
    return fail(code);
  }
  suspect_ = run;
  return start_again(ctx_->stats.restart_stale);
}

sm::step write_op::alloc() {
  allocated_ = true;
  alloc_op_.reset();
  alloc_op_.prepare(ctx_->engine, space_, plan_.needs.span(), plan_.frees.span());
  return sub(alloc_op_, EXTENT);
}

/// Writes the values that are too large for a leaf, one after the other, into their reserved runs.
sm::step write_op::extent() {
  if (!is_ok(alloc_op_.out.code)) return fail(alloc_op_.out.code);
  if (extent_running_) {
    extent_running_ = false;
    if (!is_ok(extent_op_.out.code)) return fail(extent_op_.out.code);
    ++next_extent_;
  }
  if (next_extent_ == plan_.extents) return go(SPARES);
  for (write_item& i : items_) {
    if (i.extent != static_cast<i32>(next_extent_)) continue;
    extent_running_ = true;
    extent_op_.reset();
    extent_op_.prepare_write(ctx_->engine, space_.runs[next_extent_].addr, i.value);
    return sub(extent_op_, EXTENT);
  }
  PLEACH_ASSERT(false);
  return fail(errc::invalid);
}

sm::step write_op::spares() {
  while (spares_.size() + plan_.extents < plan_.needs.size()) {
    cache::spare_frame s;
    u32 units = plan_.needs[plan_.extents + spares_.size()].blocks;
    if (!ctx_->pages.take_spare(*this, units, s)) return wait(SPARES);
    spares_.push_back(s);
  }
  return go(OPEN);
}

sm::step write_op::open() {
  if (ctx_->engine.take_credit(credit_, *this, plan_.credit)) return go(CHECK);
  return wait(CHECK, "log credit");
}

sm::step write_op::check() {
  if (errc e = ctx_->engine.health(); !is_ok(e)) return fail(e);
  bool changed = ctx_->loop.env().chaotic && ctx_->loop.env().chaos("check");
  for (const write_item& i : items_)
    if (i.t->dropped) return fail(errc::tree_closed);
  if (PLEACH_PLANTED("check_skipped")) return go(ACT);
  for (pinned_page& p : pins_) {
    if (restructured(p)) return start_again(ctx_->stats.restart_check);
    changed |= p.d->content_version != p.content_version;
  }
  if (!changed) return go(ACT);
  if (editor_.fn != nullptr) {
    edited e = edit();
    // Large values are written before CHECK: a new one needs another way through.
    if (e == edited::OLD || e == edited::STALE || (e == edited::ANEW && plan_.extents != 0))
      return start_again(ctx_->stats.restart_plan);
    if (e != edited::SAME && e != edited::ANEW) return end_unchanged(e);
  }
  // Others changed records in these pages: what they need now must fit what is held.
  write_plan now;
  write_planner(*this).compute(now);
  if (now.stale || now.probe >= 0 || now.read_old >= 0)
    return start_again(ctx_->stats.restart_plan);
  if (!is_ok(now.verdict)) return fail(now.verdict);
  if (!now.fits_into(plan_) || (shortcut_ && !leaf_alone(now)))
    return start_again(ctx_->stats.restart_plan);
  return go(ACT);
}

sm::step write_op::act() {
  write_applier(*this).run();
  return go(CAPTURE);
}

/// CLOSED: visible now; nothing is held any longer while durability is awaited.
sm::step write_op::capture() {
  out.lsn = ctx_->engine.end(credit_);
  applied_ = true;
  remember_leaf();
  if (items_.size() > 1) ctx_->batch_units_hint = std::min(grant_limit(), pinned_units_ * 5 / 4);
  give_back();
  return go(COMMIT);
}

sm::step write_op::commit() {
  txn::engine& e = ctx_->engine;
  if (PLEACH_PLANTED("commit_not_awaited")) return go(CLEANUP);
  if (!durable_ || e.reached(txn::watermark::DURABLE) >= out.lsn) return go(CLEANUP);
  if (!is_ok(e.health())) return fail(errc::outcome_unknown);
  e.want_durable(out.lsn);
  return wait_in(e.waiters(txn::watermark::DURABLE), COMMIT);
}

sm::step write_op::start_again(u64& cause) {
  ++cause;
  if (++restarts_ > restart_limit) {
    bad_ = items_.front().t->root.addr;
    return fail(errc::corrupt);
  }
  if (restarts_ == restarts_before_alone) {
    alone_ = true;
    ++ctx_->stats.lock_all;
  }
  give_back();
  return go(RESTART);
}

sm::step write_op::ask_for_more(u64 units) {
  if (ask_ >= grant_limit()) return fail(errc::too_large);
  ask_ = std::max(units, ask_ + 1);
  ++ctx_->stats.restart_grant;
  give_back();
  return go(RESTART);
}

sm::step write_op::restart() {
  return yield(GATE);
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

void write_op::give_back() {
  cache::page_cache& pages = ctx_->pages;
  if (loading_) pages.unpin(*loading_);
  loading_ = nullptr;
  leave_path();
  for (cache::spare_frame& s : spares_) pages.give_back(s);
  spares_.clear();
  ctx_->engine.give_back(space_);
  ctx_->engine.give_back(credit_);
  pages.grants().give_back(grant_);
  hold_.release();
  next_extent_ = 0;
  extent_running_ = allocated_ = false;
  alloc_op_.reset();
}

sm::step write_op::cleanup() {
  give_back();
  pins_.release();
  spares_.release();
  plan_.clear();
  if (large_) {
    for (write_item& i : items_)
      for (auto& d : large_->drafts)
        if (i.draft == d.get()) i.draft = nullptr;
    for (auto& d : large_->drafts) d->give_back();
    large_.reset();
  }
  return go(DONE);
}

}  // namespace pleach::btree
