// Deletes of ranges: drawn, told what each of their transactions takes, judged.
#include <fmt/format.h>

#include <algorithm>

#include "tests/sim/run.hh"

namespace pleach::sim {

/// Nobody else writes in the range meanwhile: so the model knows what goes. High trees are
/// preferred: they have branches.
/// RETURNS: false: not now.
bool run::start_range(slot& s) {
  if (order_of(s.tree).reversed) return false;
  u64 present = 0;
  for (const auto& [key, versions] : history_.tree(s.tree))
    present += !versions.empty() && versions.back().value;
  if (present < config_.key_space / 3 && range_random_.chance(700)) return false;
  s.from = range_random_.chance(150) ? "" : shaped(s.tree, draw_edge(s.tree));
  s.to = range_random_.chance(150) ? "" : shaped(s.tree, draw_edge(s.tree));
  if (!s.to.empty() && s.to < s.from && range_random_.chance(900)) std::swap(s.from, s.to);
  if (range_random_.chance(200)) s.from += "+";
  const bool truncates = range_random_.chance(150);
  if (truncates) s.from = s.to = "";
  auto lock = locks_.lower_bound({s.tree, s.from});
  if (lock != locks_.end() && lock->first == s.tree && (s.to.empty() || lock->second < s.to))
    return false;
  for (auto& other : slots_)
    if (other->kind == job::RANGE && other->tree == s.tree) return false;
  open_tree& t = trees_.at(s.tree);
  ++t.users;
  s.kind = job::RANGE;
  s.erased = 0;
  s.left.clear();
  for (const auto& [key, versions] : history_.tree(s.tree))
    if (s.in_range(s.tree, key) && !versions.empty() && versions.back().value) s.left.insert(key);
  btree::cut_op::options o;
  o.durable = s.durable;
  o.hold = !truncates;
  if (truncates || range_random_.chance(200))
    o.leaves = 1 + static_cast<u32>(range_random_.below(btree::cut_op::max_leaves));
  if (range_random_.chance(100)) o.steps = 1 + range_random_.below(4);
  s.changes_nothing = o.steps < 100;  // it may end with something left
  s.cut = std::make_unique<btree::cut_op>(*core_->ctx);
  const cbytes bound = as_bytes(s.to);
  s.cut->prepare(*t.t, *core_->catalogue, as_bytes(s.from), s.to.empty() ? nullptr : &bound,
                 s.removed, o);
  s.of = this;
  s.cut->tell({&run::erased, &s});
  launch(s, *s.cut);
  return true;
}

/// A transaction of the range's operation: what it deletes is gone with its group.
void run::erased(void* datum, lsn_t lsn, cbytes low, const cbytes* high) {
  slot& s = *static_cast<slot*>(datum);
  run& r = *s.of;
  transaction& step = r.model_.begin();
  step.lsn = lsn;
  auto from = s.left.lower_bound(std::string(as_text(low)));
  auto to = high == nullptr ? s.left.end() : s.left.lower_bound(std::string(as_text(*high)));
  for (auto key = from; key != to; ++key) {
    step.effects.push_back({effect::ERASE, s.tree, *key, {}});
    r.history_.begin_write(s.tree, *key, std::nullopt, step.number);
    ++s.erased;
  }
  s.left.erase(from, to);
  r.history_.finish(step, true, r.clock_);
}
void run::finish_range(slot& s) {
  const errc code = s.cut->out.code;
  const std::string what =
      fmt::format("the range from {} to {} in {}", printable(s.from), printable(s.to), s.tree);
  if (code == errc::cancelled || code == errc::timed_out) ++totals_.cancelled;
  if (code != errc::ok && (code == errc::no_space || !excused(s, code)))
    violation(fmt::format("{}: {} (page {})", what, name_of(code), s.cut->bad_page().block()));
  if (code == errc::ok && !s.left.empty() && !s.changes_nothing)
    violation(fmt::format("{}: {} is still there", what, printable(*s.left.begin())));
  if (s.removed > s.erased || (code == errc::ok && s.removed != s.erased))
    violation(fmt::format("{}: {} records are gone, it says {}", what, s.erased, s.removed));
  if (code == errc::ok && s.durable) {
    if (core_->engine->reached(txn::watermark::DURABLE) < s.cut->out.lsn)
      violation(what + ": acknowledged before it was durable");
    if (!dying_) model_.acked = std::max(model_.acked, s.cut->out.lsn);
  }
  totals_.ranges += code == errc::ok;
  release(s);
}

}  // namespace pleach::sim
