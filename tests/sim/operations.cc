// The operations of a run: started, with what draws.cc gives them.
#include <fmt/format.h>

#include <algorithm>

#include "be/base/checksum.hh"
#include "tests/sim/run.hh"

namespace pleach::sim {

std::string text_of(btree::change k) {
  static const char* const names[] = {"put",    "update", "upsert", "delete",
                                      "create", "remove", "convert"};
  return names[static_cast<u32>(k)];
}

/// What the user's flags of a record with this value are, if they are stated at all: then every
/// read can check them.
static u8 flags_for(std::string_view value) {
  return static_cast<u8>(hash64(as_bytes(value)) % 3 == 0 ? 0 : hash64(as_bytes(value)) >> 8);
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
  if (config_.bulk_per_mille != 0 && random_.chance(config_.bulk_per_mille) && may_be_loaded(name))
    return start_bulk(s);
  if (config_.range_per_mille != 0 && range_random_.chance(config_.range_per_mille) &&
      start_range(s))
    return;
  if (random_.chance(config_.write_per_mille))
    return random_.chance(config_.batch_per_mille) ? start_batch(s) : start_write(s);
  if (config_.upgrade_per_mille != 0 && edit_random_.chance(config_.upgrade_per_mille))
    return start_upgrade(s);
  if (config_.sums_per_mille != 0 && t->t->counted && random_.chance(config_.sums_per_mille))
    return start_sum(s);
  start_read(s);
}

/// An upgrade, or an edit of all records that stores what it sees: neither changes any record.
void run::start_upgrade(slot& s) {
  btree::tree& t = *trees_.at(s.tree).t;
  ++trees_.at(s.tree).users;
  if (edit_random_.chance(600)) {
    s.kind = job::UPGRADE;
    s.upgrade.reset();
    s.upgrade.prepare(t, s.leaves, s.converted);
    return launch(s, s.upgrade);
  }
  s.kind = job::EDIT_ALL;
  s.edit_all.reset();
  s.edit_all.prepare(t, {&run::store_again, this});
  launch(s, s.edit_all);
}

btree::verdict run::store_again(void* datum, cbytes, std::string& value) {
  run& r = *static_cast<run*>(datum);
  // A patch goes over the very value that it has read.
  const bool may = value.size() <= r.config_.longest_edit() && r.config_.patch_per_mille == 0;
  return may && r.edit_random_.chance(500) ? btree::verdict::STORE : btree::verdict::KEEP;
}

/// The value of a record and its flags belong together.
void run::check_flags(const slot& s) const {
  if (s.wants_value && flags_stated(*trees_.at(s.tree).t) && s.user_flags != flags_for(s.value))
    violation(fmt::format("read in {} of {}: the flags are {}, not {}", s.tree, printable(s.sought),
                          s.user_flags, flags_for(s.value)));
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
  std::string key =
      erase && random_.chance(800) ? draw_present_key(s.tree) : shaped(s.tree, draw_key());
  if (locked(s.tree, key)) return;
  open_tree& t = trees_.at(s.tree);
  s.change_kind = erase ? change::DELETE : kinds[random_.below(5)];
  s.kind = job::WRITE;
  value_t v = draw_value(s.tree);
  s.keys.assign(1, key);
  s.values.assign(1, erase ? "" : make_value(v));
  const version* now = history_.newest(s.tree, key);
  s.before = now ? now->value : std::nullopt;
  s.expected = s.change_kind == change::PUT && s.before ? errc::exists
               : (s.change_kind == change::UPDATE || s.change_kind == change::DELETE) && !s.before
                   ? errc::not_found
                   : errc::ok;
  s.wants_old = random_.chance(300);
  s.modifies = edit_random_.chance(200);
  if (s.modifies) {
    static constexpr btree::verdict rare[] = {btree::verdict::KEEP, btree::verdict::FAIL};
    s.decision = edit_random_.chance(200) ? rare[edit_random_.below(2)]
                 : erase                  ? btree::verdict::ERASE
                                          : btree::verdict::STORE;
    s.expected = s.decision == btree::verdict::FAIL ? errc::callback_failed
                 : s.decision == btree::verdict::STORE && v.length > config_.longest_edit()
                     ? errc::value_too_large
                     : errc::ok;
  }
  bool patches = config_.patch_per_mille != 0 && !erase && !s.modifies && s.expected == errc::ok &&
                 s.before && s.before->length != 0 && lengths_of(s.tree).value == 0 &&
                 random_.chance(config_.patch_per_mille);
  if (patches) {
    v = {s.before->seed, std::max(v.length, s.before->length)};
    s.values.assign(1, make_value(v));
  }
  transaction& tx = model_.begin();
  s.transaction = tx.number;
  s.changes_nothing = s.modifies && (s.decision == btree::verdict::KEEP ||
                                     (s.decision == btree::verdict::ERASE && !s.before));
  if (s.expected == errc::ok && !s.changes_nothing) {
    tx.effects.push_back({erase ? effect::ERASE : effect::SET, s.tree, key, v});
    history_.begin_write(s.tree, key, erase ? std::nullopt : std::optional<value_t>(v), tx.number);
  }
  locks_.insert({s.tree, key});
  ++t.users;
  if (patches) {
    s.patch = std::make_unique<btree::value_patch>();
    s.patch->t = t.t.get();
    s.patch->key = as_bytes(s.keys[0]);
    s.patch->draft.begin(*core_->ctx, t.record.id, s.patch->key, 0, t.t->digest);
    s.patch->at = random_.below(std::min<u64>(s.before->length, v.length - 1) + 1);
    s.wants_old = s.committing = false;
    return patch_more(s);
  }
  bool streams = s.change_kind == change::UPSERT && !s.modifies && config_.large_per_mille != 0 &&
                 random_.chance(500);
  if (streams) {
    s.draft = std::make_unique<btree::value_draft>();
    s.draft->begin(*core_->ctx, t.record.id, as_bytes(s.keys[0]),
                   random_.chance(500) ? v.length : random_.below(200'000), t.t->digest);
    s.wants_old = false;
    s.appended = 0;
    s.appending = true;
    return append_more(s);
  }
  s.write.reset();
  if (s.modifies)
    s.write.prepare_modify(*t.t, as_bytes(s.keys[0]), {&run::decide, &s, &s.edited}, s.durable);
  else
    s.write.prepare(*t.t, s.change_kind, as_bytes(s.keys[0]), as_bytes(s.values[0]),
                    s.wants_old ? &s.old_value : nullptr, s.durable,
                    s.transaction % 2 ? &s.near : nullptr);
  if (!erase && flags_stated(*t.t)) s.write.state_flags(flags_for(s.values[0]));
  launch(s, s.write);
}

/// The editor of a modify: nobody else writes the key, so it sees the model's record.
btree::verdict run::decide(void* datum, bool present, std::string& value) {
  auto& s = *static_cast<slot*>(datum);
  if (present != s.before.has_value() || (present && !same_value(value, *s.before)))
    violation("an editor sees another record than " + printable(s.keys[0]) + " has");
  value = s.values[0];
  return s.decision;
}

/// The next piece of a streamed value, or its commit.
void run::append_more(slot& s) {
  cbytes all = as_bytes(s.values[0]);
  cbytes rest = all.subspan(std::min<u64>(s.appended, all.size()));
  if (!rest.empty() || s.appended == 0) {
    cbytes piece = rest.first(std::min<u64>(rest.size(), 1 + random_.below(150'000)));
    s.appended += std::max<u64>(piece.size(), 1);  // an empty value is one empty piece
    s.append.reset();
    s.append.prepare(*s.draft, piece, false);
    return launch(s, s.append);
  }
  s.appending = false;
  btree::write_item item;
  item.t = trees_.at(s.tree).t.get();
  if (flags_stated(*item.t)) item.user_flags = flags_for(s.values[0]);
  item.key = as_bytes(s.keys[0]);
  if (s.draft->outside())
    item.draft = s.draft.get();
  else
    item.value = s.draft->small();
  s.items.assign(1, item);
  s.write.reset();
  s.write.prepare(*core_->ctx, s.items, s.durable);
  launch(s, s.write);
}

/// The next piece of a range, or the commit. What lies over the present value is its own bytes.
void run::patch_more(slot& s) {
  btree::value_patch& p = *s.patch;
  cbytes rest = as_bytes(s.values[0]).subspan(p.at + p.given);
  bool reached = p.given != 0 && p.at + p.given >= s.before->length;
  s.committing = rest.empty() || (p.given != 0 && s.before->length == s.values[0].size() &&
                                  (reached || random_.chance(500)));
  s.patcher.reset();
  if (s.committing)
    s.patcher.prepare_commit(p, s.durable);
  else
    s.patcher.prepare(p, rest.first(std::min<u64>(rest.size(), 1 + random_.below(150'000))));
  launch(s, s.patcher);
}

void run::start_batch(slot& s) {
  using btree::change;
  u64 n = 1 + random_.below(config_.batch_max);
  using place = std::pair<tree_id_t, std::string>;
  std::set<tree_id_t> reversed;
  const auto before = [&](const place& a, const place& b) {
    if (a.first != b.first) return a.first < b.first;
    return key_less{reversed.contains(a.first)}(a.second, b.second);
  };
  std::map<place, std::string, decltype(before)> drawn(before);  // sorted as the engine wants it
  for (auto& [name, t] : trees_)
    if (t.t != nullptr && t.t->order != nullptr) reversed.insert(t.record.id);
  for (u64 i = 0; i < n; ++i) {
    std::string name, key = draw_key();
    open_tree* t = draw_tree(name);
    key = shaped(name, key);
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
    value_t v = draw_value(name);
    if (v.length > 16 << 10 && (config_.large_per_mille == 0 || n > 3)) v.length &= 0xfff;
    s.keys.push_back(where.second);
    s.values.push_back(erase ? "" : make_value(v));
    btree::write_item item;
    item.t = trees_.at(name).t.get();
    item.kind = erase ? change::DELETE : change::UPSERT;
    item.key = as_bytes(s.keys.back());
    item.value = as_bytes(s.values.back());
    if (!erase && flags_stated(*item.t)) item.user_flags = flags_for(s.values.back());
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
  if (config_.multi_per_mille != 0 && random_.chance(config_.multi_per_mille))
    return random_.chance(600) ? start_multi_get(s) : start_count(s);
  static constexpr seek modes[] = {seek::EXACT, seek::EXACT,   seek::EXACT,  seek::AT_LEAST,
                                   seek::AFTER, seek::AT_MOST, seek::BEFORE, seek::LAST};
  bool walk = random_.chance(config_.iterate_per_mille);
  s.kind = walk ? job::WALK : job::READ;
  s.forward = random_.chance(500);
  s.steps_left = walk ? 1 + static_cast<u32>(random_.below(40)) : 0;
  s.mode = walk ? (s.forward ? seek::AT_LEAST : seek::AT_MOST) : modes[random_.below(8)];
  // Where ranges go, cookies are put to the test: the same key again.
  const bool again = config_.range_per_mille != 0 && range_random_.chance(400);
  if (std::string other = draw_edge(s.tree); !again || s.sought.empty())
    s.sought = std::move(other);
  s.sought = issued_ % 4 != 0 ? shaped(s.tree, s.sought)  // reads may seek any length
                              : sought_in(s.tree, s.sought);
  s.wants_value = random_.chance(800);
  ++trees_.at(s.tree).users;
  s.read.reset();
  if (!s.copy_bytes)
    s.copy_bytes = std::make_unique<std::byte[]>(u64{config_.max_node_blocks} * block_bytes);
  s.copy.bytes = s.copy_bytes.get();
  s.copy.source = nullptr;
  s.ranged = config_.large_per_mille != 0 && s.mode == seek::EXACT && random_.chance(500);
  if (s.ranged) {
    s.wants_value = false;
    s.range = {};
    s.range.offset = random_.below(random_.chance(300) ? 500 : config_.large_bytes);
    s.range_bytes.assign(random_.below(100'000), '#');
    s.range.to = std::as_writable_bytes(std::span(s.range_bytes.data(), s.range_bytes.size()));
  }
  s.read.prepare(*trees_.at(s.tree).t, s.mode, as_bytes(s.sought),
                 {.key = &s.key,
                  .value = s.wants_value ? &s.value : nullptr,
                  .copy = random_.chance(100) ? &s.copy : nullptr,
                  .range = s.ranged ? &s.range : nullptr,
                  .user_flags = &s.user_flags},
                 &s.near);
  s.bounded = config_.bound_per_mille != 0 && s.mode != seek::EXACT &&
              random_.chance(config_.bound_per_mille);
  if (s.bounded) {
    draw_bound(s);
    s.read.bound(as_bytes(s.bound));
  }
  s.ahead.forget();
  launch(s, s.read);
}

void run::start_create(slot& s) {
  s.kind = job::CREATE;
  s.record = {};
  btree::tree_record& record = s.record.record;
  record.state = btree::TREE_LIVE;
  const key_rules& rules = config_.rules[index_of(s.tree)];
  record.order = rules.order;
  record.flags = rules.flags;
  std::strcpy(s.record.comparator, reverse_name);
  u32 blocks = 1;
  while (blocks < config_.max_node_blocks && random_.chance(600)) blocks *= 2;
  if (u32 given = config_.node_blocks[index_of(s.tree)]; given != 0) blocks = given;
  record.node_blocks = static_cast<u16>(blocks);
  record.key_bytes = static_cast<u16>(lengths_of(s.tree).key);
  record.value_bytes = static_cast<u16>(lengths_of(s.tree).value);
  record.flags = record.flags | config_.tree_flags[index_of(s.tree)];
  btree::tree_record summed = record;
  summed.flags = summed.flags | config_.sums[index_of(s.tree)];
  if (btree::lengths_possible(record.node_blocks, record.key_bytes, record.value_bytes,
                              btree::sum_bytes(summed)))
    record = summed;
  btree::choose_leaf_layout(record);
  transaction& tx = model_.begin();
  s.transaction = tx.number;
  tx.effects.push_back({effect::CREATE, s.tree, "", {}});
  trees_[s.tree].closing = true;  // nobody else until it is there
  s.expected = errc::ok;
  s.write.reset();
  s.write.prepare(*core_->catalogue, btree::change::CREATE_TREE, as_bytes(s.tree), s.record_bytes(),
                  nullptr, s.durable);
  s.write.leaf_format(config_.new_leaves[index_of(s.tree)] ? btree::node_format_slotted_2
                                                           : btree::node_format_slotted);
  launch(s, s.write);
}

void run::start_drop(slot& s, const std::string& name) {
  open_tree& t = trees_.at(name);
  t.closing = true;
  s.kind = job::DROP;
  s.record.record = t.record;
  s.record.record.state = btree::TREE_DROPPING;
  std::strcpy(s.record.comparator, reverse_name);
  transaction& tx = model_.begin();
  s.transaction = tx.number;
  tx.effects.push_back({effect::DROP, name, "", {}});
  s.expected = errc::ok;
  s.write.reset();
  s.write.prepare(*core_->catalogue, btree::change::UPDATE, as_bytes(s.tree), s.record_bytes(),
                  nullptr, s.durable);
  launch(s, s.write);
}

}  // namespace pleach::sim
