#include "btree/write_op.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "btree/record_extras.hh"
#include "btree/write_apply.hh"
#include "btree/write_plan.hh"

namespace pleach::btree {

namespace {
constexpr u32 restarts_before_alone = 4;
constexpr u32 restart_limit = 10'000;
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

void write_op::prepare_convert(tree& t, cbytes key, converted_leaf& of_leaf) {
  prepare(t, change::CONVERT, key, {}, nullptr, false);
  single_.of_leaf = &of_leaf;
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
  refusal_ = errc::ok;
  old_is_read_ = false;
  next_item_ = next_draft_ = 0;
  stand_ = probe_ = -1;
  pinned_units_ = 0;
  next_extent_ = 0;
  extent_running_ = allocated_ = applied_ = derailed_ = false;
  erased_ = 0;
  ask_ = 0;
  near_ = nullptr;
  near_tried_ = shortcut_ = leaves_sparse_ = false;
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
    case KEY:
      return key();
    case KEY_READ:
      return key_read();
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
  if (!is_ok(refusal_)) return fail(refusal_);
  if (errc e = ctx_->engine.health(); !is_ok(e)) return fail(e);
  for (write_item& i : items_) {
    if (i.t->dropped) return fail(errc::tree_closed);
    if (i.key.size() > max_key_bytes_of(*i.t)) return fail(errc::key_too_large);
    i.of_key = nullptr;
    if (is_long(i.key)) [[unlikely]]
      begin_long_key(i);
    if (i.value_bytes() > max_value_bytes) return fail(errc::value_too_large);
    if (i.user_flags > 0 && i.t->fixed_leaves) return fail(errc::flags_impossible);
    if (i.kind == change::DELETE || i.kind == change::CONVERT || editor_.fn != nullptr) continue;
    if (errc e = check_lengths(*i.t, i.key, i.value_bytes(), wrong_length_); !is_ok(e))
      return fail(e);
  }
  if (items_.empty()) return fail(errc::ok);
  for (const write_item& i : items_)
    if (wants_draft(i)) return go(DRAFT);
  return go(GATE);
}

sm::step write_op::gate() {
  bool in = alone_ ? ctx_->gate.try_exclusive(*this, hold_) : ctx_->gate.try_shared(*this, hold_);
  return in ? go(ADMIT) : wait(GATE);
}

namespace {
/// RETURNS: a hash of a record's value, never 0; of no record, if `r` is null.
u64 identity_of(const record* r) {
  return (r == nullptr ? 2 : hash64(r->value) + r->value_flags + hash64(r->attached)) | 1;
}
}  // namespace

write_op::edited write_op::edit() {
  write_item& item = items_.front();
  const pinned_page& leaf = pins_[static_cast<u32>(item.leaf)];
  if (!leaf.stands(item.key, item.probe())) return edited::STALE;
  node_view n = item.t->view(*leaf.d);
  search_result at = n.find(item.key, item.probe());
  if (asks(item.probe())) return edited::STALE;
  record old = at.found ? n.at(at.index) : record{};
  out.lsn = leaf.d->last_lsn;
  edited answer = edited::SAME;
  if (u64 seen = identity_of(at.found ? &old : nullptr); seen != asked_about_) {
    if (at.found && !record_sound(*item.t, n, at.index)) return unsound(*leaf.d);
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
    if (p.restructured()) return start_again(ctx_->stats.restart_stale);
  if (editor_.fn != nullptr) {
    edited e = edit();
    if (e == edited::OLD) return read_old(0);
    if (e == edited::STALE) return start_again(ctx_->stats.restart_stale);
    if (e != edited::SAME && e != edited::ANEW) return end_unchanged(e);
  }
  write_planner(*this).compute(plan_);
  if (plan_.merges && !of_one_item() && plan_.credit > ctx_->engine.largest_credit() / 2) {
    leaves_sparse_ = true;  // merges are no reason to refuse a batch
    write_planner(*this).compute(plan_);
  }
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
  if (plan_.needs.empty() && plan_.frees.empty()) return go(OPEN);
  return go(ALLOC);
}

/// The record that an editor was to see is damaged.
write_op::edited write_op::unsound(const cache::descriptor& leaf) {
  ++ctx_->stats.bad_sums;
  bad_ = leaf.addr;
  refusal_ = errc::corrupt;
  return edited::REFUSED;
}

/// A modify ends: its editor wants nothing, or nothing that can be.
sm::step write_op::end_unchanged(edited e) {
  return fail(e == edited::REFUSED ? refusal_ : errc::ok);
}

sm::step write_op::alloc() {
  allocated_ = true;
  alloc_op_.reset();
  alloc_op_.prepare(ctx_->engine, space_, plan_.needs.span(), plan_.frees.span());
  return sub(alloc_op_, EXTENT);
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
  bool changed = plan_.beside || (ctx_->loop.env().chaotic && ctx_->loop.env().chaos("check"));
  for (const write_item& i : items_)
    if (i.t->dropped) return fail(errc::tree_closed);
  if (PLEACH_PLANTED("check_skipped")) return go(ACT);
  for (pinned_page& p : pins_) {
    if (p.restructured()) return start_again(ctx_->stats.restart_check);
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
  plan_.narrow_to(now);
  return go(ACT);
}

/// For the applier.
void write_op::derail(const tree& t) {
  derailed_ = true;
  bad_ = t.root.addr;
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
  if (derailed_) return fail(errc::corrupt);
  if (PLEACH_PLANTED("commit_not_awaited")) return go(CLEANUP);
  if (!durable_) return go(CLEANUP);
  auto queue = ctx_->engine.await_durable(out.lsn);
  if (!queue) return fail(queue.error());
  return *queue != nullptr ? wait_in(**queue, COMMIT) : go(CLEANUP);
}

sm::step write_op::start_again(u64& cause) {
  ++cause;
  for (const write_item& i : items_)  // pages of a tree that was dropped meanwhile are no damage
    if (i.t->dropped) return fail(errc::tree_closed);
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
  if (large_)
    for (auto& k : large_->keys) k->probe.drop_question();
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
    for (write_item& i : items_) i.of_key = nullptr;
    large_.reset();
  }
  return go(DONE);
}

}  // namespace pleach::btree
