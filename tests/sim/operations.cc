// The operations of a run: drawn, started, and judged when they end.
#include <fmt/format.h>

#include <algorithm>

#include "be/base/checksum.hh"
#include "tests/sim/run.hh"

namespace pleach::sim {

namespace {
constexpr u64 patience_ns = 300'000'000'000;  ///< of virtual time

std::string text_of(btree::change k) {
  static const char* const names[] = {"put", "update", "upsert", "delete", "create", "remove"};
  return names[static_cast<u32>(k)];
}
}  // namespace

u32 run::busy_slots() const {
  u32 n = 0;
  for (auto& s : slots_) n += s->busy();
  return n;
}

slot* run::free_slot() {
  for (auto& s : slots_)
    if (!s->busy()) return s.get();
  return nullptr;
}

/// Some starts, then rounds until something ended or a few rounds have passed.
void run::step() {
  u64 starts = 1 + random_.below(config_.in_flight);
  for (u64 i = 0; i < starts && free_slot() != nullptr; ++i) start_one();
  struct frame {
    run* r;
    u64 clock, rounds;
  } f{this, clock_, 1 + random_.below(8)};
  status s = core_->loop.run_while(
      [](void* p) {
        auto& x = *static_cast<frame*>(p);
        return x.r->clock_ == x.clock && x.rounds-- != 0 && x.r->busy_slots() != 0;
      },
      &f);
  if (!s) violation(fmt::format("the reactor refused: {}", name_of(s.error())));
  ++rounds_;
  cancel_some();
  if (config_.grow_per_mille != 0 && random_.chance(config_.grow_per_mille)) grow_volume();
  oracles();
  if (checker_.pending()) {
    refresh();
    dev_->on_event = nullptr;
    checker_.run_all();
    dev_->on_event = [this](io::sim_device& d) { capture_image(d); };
  }
  if (rounds_ % 64 == 0) {
    refresh();
    model_.settle(model_.acked);
  }
}

/// Cancels anything anywhere; and, more often than chance meets them, writes at their rare waits.
void run::cancel_some() {
  bool any = random_.chance(config_.cancel_per_mille);
  for (auto& sl : slots_) {
    if (!sl->busy() || sl->kind == job::RECLAIM) continue;
    bool reads = sl->kind == job::READ || sl->kind == job::WALK;
    sm::op& op = reads ? static_cast<sm::op&>(sl->read) : sl->write;
    const sm::op& inner = op.innermost();
    std::string_view why = !reads && inner.waiting_for() != nullptr ? inner.waiting_for() : "";
    bool rare = why == "free frame" || why == "log credit";
    if (!(any && random_.chance(300)) && !(rare && random_.chance(config_.cancel_per_mille)))
      continue;
    sl->limited = true;
    op.cancel();
    any = false;
  }
}

/// While operations are in flight; a crash at each moment of it is drawn like any other.
void run::grow_volume() {
  if (dev_->size() > config_.volume_bytes + (u64{64} << 20)) return;
  auto grown = core_->grow(dev_->size() + (1 + random_.below(1000)) * block_bytes);
  if (grown) return void(++totals_.growths);
  errc code = grown.error().code;
  bool device = code == errc::failed || code == errc::outcome_unknown || code == errc::io ||
                code == errc::device_gone || code == errc::device_full;
  if (!(failing() && device))
    violation(fmt::format("growing: {} ({})", grown.error().message, name_of(code)));
}

void run::oracles() {
  if (core_->pages->stats().memory_bytes > core_->options.cache_bytes)
    violation("the cache is over its budget");
  if (u64 n = core_->engine->stats().credit_overruns; n != 0)
    violation("a group took more log than its transactions had reserved");
  u64 now = env_.now();
  u64 oldest = clock_;
  for (auto& s : slots_) {
    if (s->copy.source != nullptr) check_copy(*s);
    if (!s->busy()) continue;
    oldest = std::min(oldest, s->started);
    if (now - s->started_ns > patience_ns) {
      const sm::op& op = s->kind == job::READ || s->kind == job::WALK
                             ? static_cast<const sm::op&>(s->read)
                         : s->kind == job::RECLAIM ? static_cast<const sm::op&>(s->reclaim)
                                                   : s->write;
      violation(fmt::format("liveness: an operation ({}) does not end; it waits for {}",
                            op.machine().name, op.waiting_for() ? op.waiting_for() : "nothing"));
    }
  }
  history_.prune(oldest);
  if (rounds_ % 32 == 0)
    if (const char* what = core_->pages->check())
      violation(std::string("the page cache is unsound: ") + what);
}

/// A leaf copy says whether it is current: if it says so, the leaf has the same records.
void run::check_copy(slot& s) {
  constexpr u32 from = btree::node_header_offset;
  if (!s.copy.current()) return;
  if (!s.copy.source->resident() || s.copy.source->size() != s.copy.size ||
      std::memcmp(s.copy.source->data + from, s.copy.bytes + from, s.copy.size - from) != 0)
    violation("a leaf copy says that it is current, but its page is another");
}

/// LSNs of transactions that are visible but not DONE.
void run::refresh() {
  for (auto& s : slots_)
    if (s->busy() &&
        (s->kind == job::WRITE || s->kind == job::BATCH || s->kind == job::CREATE ||
         s->kind == job::DROP) &&
        s->write.applied())
      model_.at(s->transaction).lsn = s->write.out.lsn;
}

std::string run::draw_key() {
  u64 n = random_.below(config_.key_space);
  switch (config_.key_shape) {
    case 0:
      return fmt::format("key{:06}", n);
    case 1:
      return n == 0 ? "" : fmt::format("{}", n * 7919 % 10007);
    case 2:
      return std::string(60 + n % 40, 'p') + fmt::format("{:05}", n);
    case 3: {
      u64 w = mix64(n + 1);
      std::string s(reinterpret_cast<const char*>(&w), 8);
      return s.substr(0, 1 + w % 8) + fmt::format("{}", n);
    }
    default: {
      u32 most = config_.max_node_blocks >= 4 ? 900 : 300;
      std::string s = fmt::format("{:04}", n);
      s.append(mix64(n) % most, static_cast<char>('a' + n % 26));
      return s;
    }
  }
}

/// A wave that shrinks takes neighbours one after the other, so that leaves become sparse, and
/// empty.
bool run::draw_erase() {
  if (full_) return random_.chance(800);
  bool shrinking = config_.wave != 0 && (in_cycle_ / config_.wave) % 2 == 1;
  return random_.chance(shrinking ? 900 : config_.delete_per_mille);
}

std::string run::draw_present_key(const std::string& tree) {
  const history::tree_history& t = history_.tree(tree);
  auto at = t.upper_bound(random_.chance(700) ? erased_ : draw_key());
  for (u32 tries = 0; tries < 200; ++tries) {
    if (at == t.end()) at = t.begin();
    if (at == t.end()) break;
    if (!at->second.empty() && at->second.back().value) return erased_ = at->first;
    ++at;
  }
  return draw_key();
}

value_t run::draw_value() {
  value_t v{random_.next() | 1, 0};
  u32 quarter = config_.max_node_blocks * 1000;
  switch (config_.value_class) {
    case 0:
      v.length = static_cast<u32>(random_.below(40));
      break;
    case 1:
      v.length = 20 + static_cast<u32>(random_.below(280));
      break;
    case 2:
      v.length = static_cast<u32>(random_.below(quarter));
      break;
    case 3:
      v.length = random_.chance(400) ? quarter + static_cast<u32>(random_.below(24 << 10))
                                     : static_cast<u32>(random_.below(300));
      break;
    case 5:
      v.length = 500 + static_cast<u32>(random_.below(12 << 10));
      break;
    default:
      v.length = random_.chance(30)    ? static_cast<u32>(random_.below(100 << 10))
                 : random_.chance(100) ? static_cast<u32>(random_.below(8 << 10))
                                       : static_cast<u32>(random_.below(200));
  }
  return v;
}

run::open_tree* run::draw_tree(std::string& name) {
  name = "tree" + std::to_string(random_.below(config_.trees));
  auto it = trees_.find(name);
  return it == trees_.end() || it->second.closing ? nullptr : &it->second;
}

void run::start_one() {
  slot* s = free_slot();
  if (s == nullptr) return;
  ++issued_;
  ++in_cycle_;
  ++totals_.operations;
  start(*s);
}

void run::start(slot& s) {
  std::string name;
  open_tree* t = draw_tree(name);
  s.tree = name;
  s.limited = false;
  s.durable = random_.chance(config_.durable_per_mille);
  if (t == nullptr) {
    if (!trees_.contains(name)) start_create(s);
    return;
  }
  if (random_.chance(config_.ddl_per_mille) && t->users == 0) return start_drop(s, name);
  if (random_.chance(config_.write_per_mille))
    return random_.chance(config_.batch_per_mille) ? start_batch(s) : start_write(s);
  start_read(s);
}

void run::launch(slot& s, sm::op& op) {
  s.started = ++clock_;
  s.started_ns = env_.now();
  op.on_done(&run::done, this);
  for (u64 i = 0; i < slots_.size(); ++i)
    if (slots_[i].get() == &s) op.tag = i;
  if (s.kind != job::RECLAIM && random_.chance(config_.deadline_per_mille)) {
    s.limited = true;
    op.deadline(env_.now() + random_.below(2'000'000));
  }
  if (current_report().story) {
    std::string what =
        s.kind == job::WRITE ? text_of(s.change_kind) + " " + printable(s.keys[0]) : "";
    if (s.kind == job::BATCH)
      for (auto& i : s.items)
        what += fmt::format(" {}/{} {}", i.t->name, printable(std::string(as_text(i.key))),
                            text_of(i.kind));
    if (s.kind == job::READ || s.kind == job::WALK)
      what = fmt::format("mode {} from {}", static_cast<int>(s.mode), printable(s.sought));
    current_report().tell(fmt::format("{} ns start #{} {} {} {} {}", env_.now(), op.tag,
                                      op.machine().name, s.tree, what, s.durable ? "durable" : ""));
  }
  core_->loop.start(op);
}

void run::start_write(slot& s) {
  using btree::change;
  static constexpr change kinds[] = {change::UPSERT, change::UPSERT, change::UPSERT, change::PUT,
                                     change::UPDATE};
  bool erase = draw_erase();
  if (full_) --full_;
  std::string key = erase && random_.chance(800) ? draw_present_key(s.tree) : draw_key();
  if (locked(s.tree, key)) return;
  open_tree& t = trees_.at(s.tree);
  s.change_kind = erase ? change::DELETE : kinds[random_.below(5)];
  s.kind = job::WRITE;
  value_t v = draw_value();
  s.keys.assign(1, key);
  s.values.assign(1, erase ? "" : make_value(v));
  const version* now = history_.newest(s.tree, key);
  s.before = now ? now->value : std::nullopt;
  s.expected = s.change_kind == change::PUT && s.before ? errc::exists
               : (s.change_kind == change::UPDATE || s.change_kind == change::DELETE) && !s.before
                   ? errc::not_found
                   : errc::ok;
  s.changes_nothing = false;
  s.wants_old = random_.chance(300);
  transaction& tx = model_.begin();
  s.transaction = tx.number;
  if (s.expected == errc::ok) {
    tx.effects.push_back({erase ? effect::ERASE : effect::SET, s.tree, key, v});
    history_.begin_write(s.tree, key, erase ? std::nullopt : std::optional<value_t>(v), tx.number);
  }
  locks_.insert({s.tree, key});
  ++t.users;
  s.write.reset();
  s.write.prepare(*t.t, s.change_kind, as_bytes(s.keys[0]), as_bytes(s.values[0]),
                  s.wants_old ? &s.old_value : nullptr, s.durable);
  launch(s, s.write);
}

void run::start_batch(slot& s) {
  using btree::change;
  u64 n = 1 + random_.below(config_.batch_max);
  std::map<std::pair<tree_id_t, std::string>, std::string> drawn;  // sorted as the engine wants it
  for (u64 i = 0; i < n; ++i) {
    std::string name, key = draw_key();
    open_tree* t = draw_tree(name);
    if (t == nullptr || locked(name, key)) continue;
    drawn[{t->record.id, key}] = name;
  }
  if (drawn.empty()) return;
  s.kind = job::BATCH;
  s.keys.clear();
  s.values.clear();
  s.items.clear();
  s.expected = errc::ok;
  s.changes_nothing = true;
  transaction& tx = model_.begin();
  s.transaction = tx.number;
  for (auto& [where, name] : drawn) {
    bool erase = draw_erase();
    value_t v = draw_value();
    if (v.length > 16 << 10) v.length &= 0xfff;
    s.keys.push_back(where.second);
    s.values.push_back(erase ? "" : make_value(v));
    btree::write_item item;
    item.t = trees_.at(name).t.get();
    item.kind = erase ? change::DELETE : change::UPSERT;
    item.key = as_bytes(s.keys.back());
    item.value = as_bytes(s.values.back());
    s.items.push_back(item);
    const version* now = history_.newest(name, where.second);
    if (!erase || (now && now->value)) s.changes_nothing = false;
    tx.effects.push_back({erase ? effect::ERASE : effect::SET, name, where.second, v});
    history_.begin_write(name, where.second, erase ? std::nullopt : std::optional<value_t>(v),
                         tx.number);
    locks_.insert({name, where.second});
    ++trees_.at(name).users;
  }
  s.write.reset();
  s.write.prepare(*core_->ctx, s.items, s.durable);
  launch(s, s.write);
}

void run::start_read(slot& s) {
  using btree::seek;
  static constexpr seek modes[] = {seek::EXACT, seek::EXACT,   seek::EXACT,  seek::AT_LEAST,
                                   seek::AFTER, seek::AT_MOST, seek::BEFORE, seek::LAST};
  bool walk = random_.chance(config_.iterate_per_mille);
  s.kind = walk ? job::WALK : job::READ;
  s.forward = random_.chance(500);
  s.steps_left = walk ? 1 + static_cast<u32>(random_.below(40)) : 0;
  s.mode = walk ? (s.forward ? seek::AT_LEAST : seek::AT_MOST) : modes[random_.below(8)];
  s.sought = draw_key();
  s.wants_value = random_.chance(800);
  ++trees_.at(s.tree).users;
  s.read.reset();
  if (!s.copy_bytes)
    s.copy_bytes = std::make_unique<std::byte[]>(u64{config_.max_node_blocks} * block_bytes);
  s.copy.bytes = s.copy_bytes.get();
  s.copy.source = nullptr;
  s.read.prepare(
      *trees_.at(s.tree).t, s.mode, as_bytes(s.sought),
      {&s.key, s.wants_value ? &s.value : nullptr, random_.chance(100) ? &s.copy : nullptr});
  launch(s, s.read);
}

void run::start_create(slot& s) {
  s.kind = job::CREATE;
  s.record = {};
  s.record.state = btree::TREE_LIVE;
  s.record.order = 1;
  u32 blocks = 1;
  while (blocks < config_.max_node_blocks && random_.chance(600)) blocks *= 2;
  s.record.node_blocks = static_cast<u16>(blocks);
  transaction& tx = model_.begin();
  s.transaction = tx.number;
  tx.effects.push_back({effect::CREATE, s.tree, "", {}});
  trees_[s.tree].closing = true;  // nobody else until it is there
  s.expected = errc::ok;
  s.write.reset();
  s.write.prepare(*core_->catalogue, btree::change::CREATE_TREE, as_bytes(s.tree),
                  {reinterpret_cast<const std::byte*>(&s.record), sizeof s.record}, nullptr,
                  s.durable);
  launch(s, s.write);
}

void run::start_drop(slot& s, const std::string& name) {
  open_tree& t = trees_.at(name);
  t.closing = true;
  s.kind = job::DROP;
  s.record = t.record;
  s.record.state = btree::TREE_DROPPING;
  transaction& tx = model_.begin();
  s.transaction = tx.number;
  tx.effects.push_back({effect::DROP, name, "", {}});
  s.expected = errc::ok;
  s.write.reset();
  s.write.prepare(*core_->catalogue, btree::change::UPDATE, as_bytes(s.tree),
                  {reinterpret_cast<const std::byte*>(&s.record), sizeof s.record}, nullptr,
                  s.durable);
  launch(s, s.write);
}

void run::done(sm::op& op, void* datum) {
  run& r = *static_cast<run*>(datum);
  slot& s = *r.slots_[op.tag];
  ++r.clock_;
  r.trace_ = mix64(r.trace_ ^ static_cast<u64>(op.out.code) ^ (op.out.lsn << 20) ^ (op.tag << 50));
  if (current_report().story)
    current_report().tell(fmt::format("{} ns done #{} {} lsn {}", r.env_.now(), op.tag,
                                      name_of(op.out.code), op.out.lsn));
  r.finished(s);
  if (!r.dying_ && r.random_.chance(r.config_.from_callback_per_mille) &&
      r.core_->engine->health() == errc::ok)
    r.start_one();
}

void run::finished(slot& s) {
  switch (s.kind) {
    case job::NONE:
      violation("an operation ended twice");
    case job::WRITE:
    case job::BATCH:
      return finish_write(s);
    case job::READ:
    case job::WALK:
      return finish_read(s);
    case job::CREATE:
      return finish_create(s);
    case job::DROP:
      return finish_drop(s);
    case job::RECLAIM:
      if (s.reclaim.out.code != errc::ok && !excused(s, s.reclaim.out.code))
        violation(fmt::format("reclaiming {}: {} (page {})", s.tree, name_of(s.reclaim.out.code),
                              s.reclaim.bad_page().block()));
      if (s.reclaim.out.code == errc::ok) trees_.erase(s.tree);
      s.kind = job::NONE;
      return;
  }
}

/// Codes that an operation may end with although nothing is wrong.
bool run::excused(const slot& s, errc code) const {
  if (code == errc::cancelled || code == errc::timed_out) return s.limited;
  if (code == errc::no_space) return true;
  if (code == errc::too_large) return s.kind == job::BATCH;
  if (!failing()) return false;
  return code == errc::failed || code == errc::outcome_unknown || code == errc::io ||
         code == errc::device_gone || code == errc::device_full;
}

void run::release(slot& s) {
  if (s.kind == job::WRITE || s.kind == job::BATCH) {
    // Effects may be empty (expected failure): the keys stand in the slot.
    if (s.kind == job::WRITE) {
      locks_.erase({s.tree, s.keys[0]});
      --trees_.at(s.tree).users;
    } else {
      for (btree::write_item& i : s.items) {
        locks_.erase({i.t->name, std::string(as_text(i.key))});
        --trees_.at(i.t->name).users;
      }
    }
  } else if (s.kind == job::READ || s.kind == job::WALK) {
    --trees_.at(s.tree).users;
  }
  s.kind = job::NONE;
}

void run::finish_write(slot& s) {
  transaction& tx = model_.at(s.transaction);
  errc code = s.write.out.code;
  bool applied = s.write.applied();
  tx.lsn = applied ? s.write.out.lsn : lsn_none;
  if (code == errc::no_space) ++totals_.no_space, full_ = 40;
  if (code == errc::too_large) ++totals_.too_large;
  if (code == errc::cancelled || code == errc::timed_out) ++totals_.cancelled;
  std::string what = s.kind == job::BATCH ? fmt::format("batch of {}", s.items.size())
                                          : text_of(s.change_kind) + " " + printable(s.keys[0]);
  if (code != s.expected && !excused(s, code))
    violation(fmt::format("{} in {}: {} instead of {} (page {})", what, s.tree, name_of(code),
                          name_of(s.expected), s.write.bad_page().block()));
  if (code == errc::ok && !applied && !s.changes_nothing)
    violation(what + ": done, but nothing was applied");
  if (applied && s.expected != errc::ok) violation(what + ": applied although it had to fail");
  if (applied && code != errc::ok && code != errc::cancelled && code != errc::timed_out &&
      code != errc::outcome_unknown)
    violation(fmt::format("{}: applied, but it ended with {}", what, name_of(code)));
  if (code == errc::ok && applied && s.durable) {
    if (core_->engine->reached(txn::watermark::DURABLE) < tx.lsn)
      violation(what + ": acknowledged before it was durable");
    if (!dying_) model_.acked = std::max(model_.acked, tx.lsn);
  }
  if (code == errc::ok && s.kind == job::WRITE && s.wants_old && s.before &&
      !same_value(s.old_value, *s.before))
    violation(what + ": the old value is another one");
  history_.finish(tx, applied, clock_);
  release(s);
}

void run::finish_create(slot& s) {
  transaction& tx = model_.at(s.transaction);
  errc code = s.write.out.code;
  bool applied = s.write.applied();
  tx.lsn = applied ? s.write.out.lsn : lsn_none;
  if (code != errc::ok && !excused(s, code))
    violation(fmt::format("create {}: {}", s.tree, name_of(code)));
  if (applied) {
    open_tree& o = trees_[s.tree];
    o.record = s.write.created();
    o.t = std::make_unique<btree::tree>(*core_->ctx);
    o.t->id = o.record.id;
    o.t->root = {page_addr(o.record.root_addr), o.record.root_gen};
    o.t->node_blocks = o.record.node_blocks;
    o.t->name = s.tree;
    o.closing = false;
    history_.add_tree(s.tree);
  } else {
    trees_.erase(s.tree);
  }
  s.kind = job::NONE;
}

void run::finish_drop(slot& s) {
  transaction& tx = model_.at(s.transaction);
  errc code = s.write.out.code;
  bool applied = s.write.applied();
  tx.lsn = applied ? s.write.out.lsn : lsn_none;
  if (code != errc::ok && !excused(s, code))
    violation(fmt::format("drop {}: {}", s.tree, name_of(code)));
  open_tree& t = trees_.at(s.tree);
  s.kind = job::NONE;
  if (!applied) {
    t.closing = false;
    return;
  }
  history_.drop_tree(s.tree);
  t.t->dropped = true;
  if (dying_ || failing()) return;
  s.kind = job::RECLAIM;
  s.reclaim.reset();
  s.reclaim.prepare(*t.t, *core_->catalogue, as_bytes(s.tree), s.record);
  launch(s, s.reclaim);
}

void run::finish_read(slot& s) {
  errc code = s.read.out.code;
  if (code != errc::ok && code != errc::not_found) {
    if (!excused(s, code))
      violation(fmt::format("read in {} of {}: {} (page {})", s.tree, printable(s.sought),
                            name_of(code), s.read.bad_page().block()));
    return release(s);
  }
  check_read(s, code);
  if (s.kind == job::WALK && code == errc::ok && s.steps_left-- > 0 && !dying_) {
    s.sought = s.key;
    s.mode = s.forward ? btree::seek::AFTER : btree::seek::BEFORE;
    s.limited = false;
    s.read.reset();
    s.read.prepare(*trees_.at(s.tree).t, s.mode, as_bytes(s.sought),
                   {&s.key, s.wants_value ? &s.value : nullptr, nullptr});
    return launch(s, s.read);
  }
  release(s);
}

/// The answer is explained by versions that were possible while the read ran, and nothing that
/// certainly was there is left out.
void run::check_read(slot& s, errc code) {
  using btree::seek;
  ++totals_.reads_checked;
  auto bad = [&](const std::string& what) {
    violation(fmt::format("read mode {} in {} from {}: {}", static_cast<int>(s.mode), s.tree,
                          printable(s.sought), what));
  };
  bool found = code == errc::ok;
  if (s.mode == seek::EXACT && found && s.key != s.sought)
    bad("another key came back: " + printable(s.key));
  std::string key = s.mode == seek::EXACT ? s.sought : s.key;
  if (found || s.mode == seek::EXACT) {
    const version* v = nullptr;
    if (!found || s.wants_value) {
      v = history_.explain(s.tree, key, s.started,
                           found ? std::optional<std::string>(s.value) : std::nullopt);
      if (v == nullptr)
        bad(found ? "a value came back for " + printable(key) + " that it did not have then"
                  : "it is not found, but it was there");
    }
    if (v && v->transaction != ~u64{0} && v->visible_by == ~u64{0})
      history_.seen(model_.at(v->transaction), clock_);
  }
  if (found && s.copy.source != nullptr) check_copy(s);
  if (s.mode == seek::EXACT) return;
  const history::tree_history& t = history_.tree(s.tree);
  bool up = s.mode == seek::AT_LEAST || s.mode == seek::AFTER;
  if (found) {
    bool ordered = s.mode == seek::AT_LEAST  ? s.key >= s.sought
                   : s.mode == seek::AFTER   ? s.key > s.sought
                   : s.mode == seek::AT_MOST ? s.key <= s.sought
                   : s.mode == seek::BEFORE  ? s.key < s.sought
                                             : true;
    if (!ordered) bad("a key on the wrong side came back: " + printable(s.key));
  }
  auto from = t.begin(), to = t.end();
  if (up) {
    from = s.mode == seek::AT_LEAST ? t.lower_bound(s.sought) : t.upper_bound(s.sought);
    if (found) to = t.lower_bound(s.key);
  } else {
    if (s.mode != seek::LAST)
      to = s.mode == seek::AT_MOST ? t.upper_bound(s.sought) : t.lower_bound(s.sought);
    if (found) from = t.upper_bound(s.key);
  }
  for (; from != to; ++from)
    if (!history::may_be_absent(from->second, s.started))
      bad("it skipped " + printable(from->first) + ", which was there all the time");
}

}  // namespace pleach::sim
