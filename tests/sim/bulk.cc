// Bulk loads: drawn, added piece by piece, committed or given up; judged.
#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <set>

#include "tests/sim/run.hh"

namespace pleach::sim {

/// Mostly trees that hold nothing; now and then another one, which must refuse.
bool run::may_be_loaded(const std::string& tree) {
  if (random_.chance(20)) return true;
  for (auto& [key, versions] : history_.tree(tree))
    if (!versions.empty() && versions.back().value) return false;
  return true;
}

/// The keys are locked, as those of a batch: others may write beside them, and then the load fails.
void run::start_bulk(slot& s) {
  std::set<std::string, key_less> drawn(order_of(s.tree));
  const u64 n = random_.below(random_.chance(500) ? 30 : config_.bulk_records) + 1;
  // A long key is refused: few loads have one.
  const bool short_keys = config_.long_groups != 0 && random_.chance(800);
  for (u64 i = 0; i < n; ++i) {
    std::string key = shaped(s.tree, draw_key());
    if (short_keys && key.size() > inline_key_bytes) continue;
    if (!locked(s.tree, key)) drawn.insert(key);
  }
  if (drawn.empty()) return;
  s.kind = job::BULK;
  s.keys.assign(drawn.begin(), drawn.end());
  s.values.clear();
  s.expected = errc::ok;
  s.changes_nothing = false;
  transaction& tx = model_.begin();
  s.transaction = tx.number;
  for (const std::string& key : s.keys) {
    value_t v = draw_value(s.tree);
    if (n > 100 && v.length > 4000) v.length &= 0xfff;
    s.values.push_back(make_value(v));
    tx.effects.push_back({effect::SET, s.tree, key, v});
    history_.begin_write(s.tree, key, v, tx.number);
    locks_.insert({s.tree, key});
  }
  open_tree& t = trees_.at(s.tree);
  ++t.users;
  t.loading = random_.chance(500);
  s.bulk = std::make_unique<btree::bulk_draft>();
  s.bulk->begin(*t.t);
  s.piece = {};
  s.piece.keys = &s.keys;
  s.piece.values = &s.values;
  s.loaded = false;
  add_more(s);
}

/// The next records; or some of those before, which must be refused; or the commit.
void run::add_more(slot& s) {
  const u64 all = s.keys.size(), had = s.piece.to;
  if (had == all && random_.chance(900)) {
    s.loaded = true;
    s.bulk_commit.reset();
    s.bulk_commit.prepare(*s.bulk, s.durable);
    return launch(s, s.bulk_commit);
  }
  if (had == all || random_.chance(10)) return end_bulk(s, false);  // given up
  s.refused = had != 0 && random_.chance(50);
  s.piece.from = s.refused ? random_.below(had) : had;
  s.piece.to = s.piece.from + 1 + random_.below(random_.chance(500) ? 20 : all);
  s.piece.to = std::min(s.piece.to, all);
  s.build.reset();
  s.build.prepare(*s.bulk, s.piece);
  launch(s, s.build);
}

void run::finish_added(slot& s) {
  const errc code = s.build.out.code;
  if (code == errc::no_space) ++totals_.no_space, full_ = 40;
  const auto piece = std::ranges::subrange(s.keys.begin() + static_cast<i64>(s.piece.from),
                                           s.keys.begin() + static_cast<i64>(s.piece.to));
  if (std::ranges::any_of(piece, [](auto& k) { return k.size() > inline_key_bytes; })) {
    if (code == errc::ok) violation(fmt::format("a bulk load of {} took a long key", s.tree));
    if (code == errc::not_in_bulk) return end_bulk(s, false);
  }
  if (s.refused && (code == errc::not_ascending || code == errc::ok)) {
    if (code == errc::ok)
      violation(fmt::format("a bulk load of {} took {} after a later key", s.tree,
                            printable(s.keys[s.piece.from])));
    s.piece.to = s.bulk->records();
    return dying_ ? end_bulk(s, false) : add_more(s);
  }
  if (code == errc::ok && !dying_) return add_more(s);
  if (code != errc::ok && !excused(s, code))
    violation(fmt::format("a bulk load of {}: {} (page {})", s.tree, name_of(code),
                          s.build.bad_page().block()));
  end_bulk(s, false);
}

void run::finish_bulk(slot& s) {
  const errc code = s.bulk_commit.out.code;
  const bool applied = s.bulk_commit.applied();
  const std::string what = fmt::format("the commit of {} records to {}", s.keys.size(), s.tree);
  if (code != errc::ok && !excused(s, code))
    violation(
        fmt::format("{}: {} (page {})", what, name_of(code), s.bulk_commit.bad_page().block()));
  if (code == errc::no_space) ++totals_.no_space, full_ = 40;
  if (code == errc::ok && !applied) violation(what + ": done, but nothing was applied");
  if (applied && code != errc::ok && code != errc::cancelled && code != errc::timed_out &&
      code != errc::outcome_unknown)
    violation(fmt::format("{}: applied, but it ended with {}", what, name_of(code)));
  if (code == errc::ok && s.durable) {
    if (core_->engine->reached(txn::watermark::DURABLE) < s.bulk_commit.out.lsn)
      violation(what + ": acknowledged before it was durable");
    if (!dying_) model_.acked = std::max(model_.acked, s.bulk_commit.out.lsn);
  }
  end_bulk(s, applied);
}

void run::end_bulk(slot& s, bool applied) {
  transaction& tx = model_.at(s.transaction);
  tx.lsn = applied ? s.bulk_commit.out.lsn : lsn_none;
  s.bulk->give_back();  // nothing, if it was committed
  s.bulk.reset();
  trees_.at(s.tree).loading = false;
  history_.finish(tx, applied, clock_);
  release(s);
}

}  // namespace pleach::sim
