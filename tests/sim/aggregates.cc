// Counts, selects and digests of counted trees, started and judged. What they say is of one moment
// while they ran: it is compared with the versions that were possible then.
#include <fmt/format.h>

#include <algorithm>

#include "be/base/checksum.hh"
#include "tests/sim/run.hh"

namespace pleach::sim {

void run::start_sum(slot& s) {
  open_tree& t = trees_.at(s.tree);
  s.kind = job::SUM;
  s.what = static_cast<sum_kind>(random_.below(t.t->digest ? 3 : 2));
  s.sought = random_.chance(300) ? "" : draw_edge(s.tree);
  s.bound = draw_edge(s.tree);
  s.bounded = random_.chance(600);
  s.index = random_.below(config_.key_space + 1);
  if (random_.chance(500)) s.index = random_.below(20);
  ++t.users;
  s.sum.reset();
  const cbytes bound = as_bytes(s.bound);
  if (s.what == sum_kind::SELECT)
    s.sum.prepare_select(*t.t, s.index, s.key, &s.value);
  else
    s.sum.prepare_sum(*t.t, as_bytes(s.sought), s.bounded ? &bound : nullptr,
                      s.what == sum_kind::DIGEST);
  launch(s, s.sum);
}

void run::finish_sum(slot& s) {
  const errc code = s.sum.out.code;
  const bool missing = code == errc::not_found && s.what == sum_kind::SELECT;
  if (code != errc::ok && !missing) {
    if (!excused(s, code))
      violation(fmt::format("a sum in {}: {} (page {})", s.tree, name_of(code),
                            s.sum.bad_page().block()));
    return release(s);
  }
  ++totals_.sums_checked;
  if (s.what == sum_kind::SELECT)
    check_select(s, !missing);
  else
    check_sum(s);
  release(s);
}

/// The records of a range at one moment while the operation ran: at least, and at most, so many.
run::bounds run::possible_count(const slot& s, const std::string& from, const std::string* to) {
  bounds b;
  const history::tree_history& t = history_.tree(s.tree);
  for (auto i = t.lower_bound(from); i != t.end() && (to == nullptr || t.key_comp()(i->first, *to));
       ++i) {
    b.least += !history::may_be_absent(i->second, s.started);
    b.most += history::may_be_present(i->second, s.started);
  }
  return b;
}

void run::check_select(slot& s, bool found) {
  if (!found) {
    if (const bounds all = possible_count(s, "", nullptr); s.index < all.least)
      violation(
          fmt::format("select {} in {}: not found, of at least {}", s.index, s.tree, all.least));
    return;
  }
  if (history_.explain(s.tree, s.key, s.started, s.value) == nullptr)
    violation(fmt::format("select {} in {}: {} did not have this value", s.index, s.tree,
                          printable(s.key)));
  const bounds below = possible_count(s, "", &s.key);
  if (s.index < below.least || s.index > below.most)
    violation(fmt::format("select {} in {}: {}, which has {} to {} records below it", s.index,
                          s.tree, printable(s.key), below.least, below.most));
}

void run::check_sum(slot& s) {
  const std::string* to = s.bounded ? &s.bound : nullptr;
  const history::tree_history& t = history_.tree(s.tree);
  const bool backwards = to != nullptr && !t.key_comp()(s.sought, *to);
  const bounds b = backwards ? bounds{} : possible_count(s, s.sought, to);
  const btree::aggregate& got = s.sum.sum();
  if (got.count < b.least || got.count > b.most)
    violation(fmt::format("{} of [{}, {}) in {}, not {} to {}", got.count, printable(s.sought),
                          to ? printable(*to) : "", s.tree, b.least, b.most));
  if (s.what != sum_kind::DIGEST || backwards) return;
  btree::aggregate expected;
  for (auto i = t.lower_bound(s.sought);
       i != t.end() && (to == nullptr || t.key_comp()(i->first, *to)); ++i) {
    const version* only = history::only_possible(i->second, s.started);
    if (only == nullptr) return;  // it is being written: the sum may be one of several
    if (!only->value) continue;
    const std::string v = make_value(*only->value);
    expected += btree::record_sum(as_bytes(i->first), v.size(), hash64(as_bytes(v)));
  }
  ++totals_.digests_checked;
  if (!(got == expected))
    violation(fmt::format("the digest of [{}, {}) in {} is not that of its records",
                          printable(s.sought), to ? printable(*to) : "", s.tree));
}

}  // namespace pleach::sim
