// The ends of operations: each outcome is judged by the model and the history.
#include <fmt/format.h>

#include <algorithm>

#include "be/base/checksum.hh"
#include "tests/sim/run.hh"

namespace pleach::sim {

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
      return s.appending ? finish_append(s) : s.patch ? finish_patch(s) : finish_write(s);
    case job::BATCH:
      return finish_write(s);
    case job::READ:
    case job::WALK:
      return finish_read(s);
    case job::MULTI_GET:
      return finish_multi_get(s);
    case job::COUNT:
      return finish_count(s);
    case job::BULK:
      return s.loaded ? finish_bulk(s) : finish_added(s);
    case job::SUM:
      return finish_sum(s);
    case job::CREATE:
      return finish_create(s);
    case job::DROP:
      return finish_drop(s);
    case job::RANGE:
      return finish_range(s);
    case job::RECLAIM:
      if (s.reclaim.out.code != errc::ok && !excused(s, s.reclaim.out.code))
        violation(fmt::format("reclaiming {}: {} (page {})", s.tree, name_of(s.reclaim.out.code),
                              s.reclaim.bad_page().block()));
      if (s.reclaim.out.code == errc::ok) trees_.erase(s.tree);
      s.kind = job::NONE;
      return;
    case job::UPGRADE:
      return finish_upgrade(s, s.upgrade, s.upgrade.bad_page());
    case job::EDIT_ALL:
      return finish_upgrade(s, s.edit_all, s.edit_all.bad_page());
  }
}

void run::finish_upgrade(slot& s, sm::op& op, page_addr bad) {
  if (errc code = op.out.code; code != errc::ok && !excused(s, code))
    violation(fmt::format("{} of {}: {} (page {})", op.machine().name, s.tree, name_of(code),
                          bad.block()));
  release(s);
}

/// Codes that an operation may end with although nothing is wrong.
bool run::excused(const slot& s, errc code) const {
  if (code == errc::cancelled || code == errc::timed_out) return s.limited;
  if (code == errc::no_space) return true;
  if (code == errc::too_large) return s.kind == job::BATCH;
  // Others write to the tree meanwhile; or it became empty, but kept its height.
  if (code == errc::not_empty) return s.kind == job::BULK;
  if (!failing()) return false;
  // What a failed flush has lost is found out by who reads it before the engine hears of the flush.
  if (code == errc::corrupt) return config_.trouble == trouble_kind::FLUSH;
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
  } else if (s.kind == job::BULK) {
    for (const std::string& k : s.keys) locks_.erase({s.tree, k});
    --trees_.at(s.tree).users;
  } else if (s.reads() || s.kind == job::UPGRADE || s.kind == job::EDIT_ALL ||
             s.kind == job::RANGE) {
    --trees_.at(s.tree).users;
  }
  s.kind = job::NONE;
}

void run::finish_append(slot& s) {
  errc code = s.append.out.code;
  if (code == errc::ok && !dying_) return append_more(s);
  if (code != errc::ok && !excused(s, code))
    violation(fmt::format("appending to {} in {}: {}", printable(s.keys[0]), s.tree,
                          name_of(code)));
  if (code == errc::no_space) ++totals_.no_space, full_ = 40;
  s.appending = false;
  s.draft->give_back();
  s.draft.reset();
  transaction& tx = model_.at(s.transaction);
  tx.lsn = lsn_none;
  history_.finish(tx, false, clock_);
  release(s);
}

void run::finish_patch(slot& s) {
  if (s.patcher.out.code == errc::ok && !s.committing && !dying_) return patch_more(s);
  finish_write(s);
}

void run::finish_write(slot& s) {
  transaction& tx = model_.at(s.transaction);
  errc code = s.outcome();
  bool applied = s.last_write().applied();
  tx.lsn = applied ? s.last_write().out.lsn : lsn_none;
  if (code == errc::no_space) ++totals_.no_space, full_ = 40;
  if (code == errc::too_large) ++totals_.too_large;
  if (code == errc::cancelled || code == errc::timed_out) ++totals_.cancelled;
  std::string what = s.kind == job::BATCH ? fmt::format("batch of {}", s.items.size())
                                          : text_of(s.change_kind) + " " + printable(s.keys[0]);
  if (code != s.expected && !excused(s, code))
    violation(fmt::format("{} in {}: {} instead of {} (page {})", what, s.tree, name_of(code),
                          name_of(s.expected), s.last_write().bad_page().block()));
  bool gave_up = s.patch && !s.committing;  // the store went down between two pieces
  if (code == errc::ok && !applied && !s.changes_nothing && !gave_up)
    violation(what + ": done, but nothing was applied");
  if (applied &&
      (s.expected != errc::ok || (s.kind == job::WRITE && s.modifies && s.changes_nothing)))
    violation(what + ": applied although it had to fail, or to change nothing");
  if (applied && code != errc::ok && code != errc::cancelled && code != errc::timed_out &&
      code != errc::outcome_unknown)
    violation(fmt::format("{}: applied, but it ended with {}", what, name_of(code)));
  if (code == errc::ok && applied && s.durable) {
    if (core_->engine->reached(txn::watermark::DURABLE) < tx.lsn)
      violation(what + ": acknowledged before it was durable");
    if (!dying_) model_.acked = std::max(model_.acked, tx.lsn);
  }
  if (code == errc::ok && s.kind == job::WRITE && s.wants_old && !s.modifies && s.before &&
      !same_value(s.old_value, *s.before))
    violation(what + ": the old value is another one");
  if (s.draft) {
    s.draft->give_back();  // nothing, if it was taken
    s.draft.reset();
  }
  if (s.patch) {
    s.patch->draft.give_back();
    s.patch.reset();
  }
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
    btree::adopt(*o.t, o.record, reverse_name);
    o.t->name = s.tree;
    o.closing = false;
    history_.add_tree(s.tree);
  } else {
    trees_.erase(s.tree);
  }
  s.kind = job::NONE;
  if (applied && config_.bulk_per_mille != 0 && !dying_ && !failing() && random_.chance(700) &&
      may_be_loaded(s.tree))
    start_bulk(s);
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
  s.reclaim.prepare(*t.t, *core_->catalogue, as_bytes(s.tree), s.record.record);
  launch(s, s.reclaim);
}

void run::finish_read(slot& s) {
  refresh();
  errc code = s.read.out.code;
  if (code != errc::ok && code != errc::not_found) {
    if (!excused(s, code))
      violation(fmt::format("read in {} of {}: {} (page {})", s.tree, printable(s.sought),
                            name_of(code), s.read.bad_page().block()));
    return release(s);
  }
  check_read(s, code);
  if (code == errc::ok) check_flags(s);
  if (s.kind == job::WALK && code == errc::ok && s.steps_left-- > 0 && !dying_) {
    s.sought = s.key;
    s.mode = s.forward ? btree::seek::AFTER : btree::seek::BEFORE;
    s.limited = false;
    s.read.reset();
    s.read.prepare(
        *trees_.at(s.tree).t, s.mode, as_bytes(s.sought),
        {.key = &s.key, .value = s.wants_value ? &s.value : nullptr, .user_flags = &s.user_flags},
        &s.near);
    if (s.bounded) s.read.bound(as_bytes(s.bound));
    s.read.follow(s.ahead);
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
    if (found && s.ranged) {
      v = history_.explain_range(s.tree, key, s.started, s.range.offset, s.range.total,
                                 s.range_bytes.substr(0, s.range.got));
      if (v == nullptr) bad("a range of the value of " + printable(key) + " is wrong");
    }
    if (v && v->transaction != ~u64{0} && v->visible_by == ~u64{0})
      history_.seen(model_.at(v->transaction), clock_);
  }
  if (found && s.copy.source != nullptr) check_copy(s);
  if (s.mode == seek::EXACT) return;
  const history::tree_history& t = history_.tree(s.tree);
  const key_less less = t.key_comp();
  bool up = s.mode == seek::AT_LEAST || s.mode == seek::AFTER;
  if (found) {
    bool ordered = s.mode == seek::AT_LEAST  ? !less(s.key, s.sought)
                   : s.mode == seek::AFTER   ? less(s.sought, s.key)
                   : s.mode == seek::AT_MOST ? !less(s.sought, s.key)
                   : s.mode == seek::BEFORE  ? less(s.key, s.sought)
                                             : true;
    if (!ordered) bad("a key on the wrong side came back: " + printable(s.key));
    if (s.bounded && less(s.key, s.bound) != up)
      bad("a key beyond the bound came back: " + printable(s.key));
  }
  auto from = t.begin(), to = t.end();
  if (up) {
    from = s.mode == seek::AT_LEAST ? t.lower_bound(s.sought) : t.upper_bound(s.sought);
    if (found)
      to = t.lower_bound(s.key);
    else if (s.bounded)
      to = !less(s.sought, s.bound) ? from : t.lower_bound(s.bound);
  } else {
    if (s.mode != seek::LAST)
      to = s.mode == seek::AT_MOST ? t.upper_bound(s.sought) : t.lower_bound(s.sought);
    if (found)
      from = t.upper_bound(s.key);
    else if (s.bounded)
      from = s.mode != seek::LAST && less(s.sought, s.bound) ? to : t.lower_bound(s.bound);
  }
  for (; from != to; ++from)
    if (!history::may_be_absent(from->second, s.started))
      bad("it skipped " + printable(from->first) + ", which was there all the time");
}

}  // namespace pleach::sim
