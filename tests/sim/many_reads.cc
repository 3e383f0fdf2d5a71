// Reads of many records in one operation: multi-gets and counts, drawn, started and judged. Bounds
// of ranges.
#include <fmt/format.h>

#include "tests/sim/run.hh"

namespace pleach::sim {

/// A bound near what is sought, or anywhere; sometimes on the wrong side of it, so that the range
/// is empty.
void run::draw_bound(slot& s) {
  s.bound = random_.chance(200) ? s.sought : draw_edge(s.tree);
  if (random_.chance(500)) s.bound = shaped(s.tree, s.bound);
  if (random_.chance(50)) s.bound.clear();
}

void run::start_multi_get(slot& s) {
  s.kind = job::MULTI_GET;
  const u64 n = random_.below(random_.chance(300) ? 400 : 30);  // sometimes more than a tick takes
  s.lookups.all.clear();
  for (u64 i = 0; i < n; ++i) {
    drawn_lookups::one l;
    l.key = random_.chance(500) ? draw_present_key(s.tree) : draw_edge(s.tree);
    if (random_.chance(5)) l.key.assign(longest_key(s.tree) + 1, 'x');
    l.wants_value = random_.chance(800);
    s.lookups.all.push_back(l);
  }
  ++trees_.at(s.tree).users;
  s.multi_get.reset();
  s.multi_get.prepare(*trees_.at(s.tree).t, s.lookups);
  launch(s, s.multi_get);
}

void run::start_count(slot& s) {
  s.kind = job::COUNT;
  s.sought = random_.chance(300) ? "" : draw_edge(s.tree);
  s.bounded = random_.chance(700);
  if (s.bounded) draw_bound(s);
  s.count_to = as_bytes(s.bound);
  ++trees_.at(s.tree).users;
  s.count.reset();
  s.count.prepare(*trees_.at(s.tree).t, as_bytes(s.sought), s.bounded ? &s.count_to : nullptr);
  launch(s, s.count);
}

/// Each lookup is settled once and answered as a get; one that was not looked up ends as the
/// operation does.
void run::finish_multi_get(slot& s) {
  const errc code = s.multi_get.out.code;
  errc first = errc::ok;
  for (const drawn_lookups::one& l : s.lookups.all) {
    if (l.settled != 1)
      violation(fmt::format("a multi-get in {} settled {} {} times", s.tree, printable(l.key),
                            l.settled));
    if (l.code == errc::ok || l.code == errc::not_found) {
      check_lookup(s, l);
      continue;
    }
    if (first == errc::ok) first = l.code;
    const bool too_long = l.code == errc::key_too_large && l.key.size() > longest_key(s.tree);
    if (!too_long && !excused(s, l.code))
      violation(fmt::format("a multi-get in {}: {} for {} (page {})", s.tree, name_of(l.code),
                            printable(l.key), s.multi_get.bad_page().block()));
  }
  if ((code == errc::ok) != (first == errc::ok) && !excused(s, code))
    violation(fmt::format("a multi-get in {} ended with {}, its lookups with {}", s.tree,
                          name_of(code), name_of(first)));
  release(s);
}

void run::check_lookup(slot& s, const drawn_lookups::one& l) {
  const bool found = l.code == errc::ok;
  ++totals_.reads_checked;
  if (found && !l.wants_value) {
    auto at = history_.tree(s.tree).find(l.key);
    if (at == history_.tree(s.tree).end() || !history::may_be_present(at->second, s.started))
      violation(
          fmt::format("a multi-get in {} found {}, which was not there", s.tree, printable(l.key)));
    return;
  }
  const version* v = history_.explain(s.tree, l.key, s.started,
                                      found ? std::optional<std::string>(l.value) : std::nullopt);
  if (v == nullptr)
    violation(fmt::format(
        "a multi-get in {}: {} {}", s.tree, printable(l.key),
        found ? "has a value that it did not have then" : "is not found, but it was there"));
  if (v->transaction != ~u64{0} && v->visible_by == ~u64{0})
    history_.seen(model_.at(v->transaction), clock_);
}

/// A count lies between the keys that were there throughout and those that may have been.
void run::finish_count(slot& s) {
  const errc code = s.count.out.code;
  if (code != errc::ok && !excused(s, code))
    violation(fmt::format("a count in {} from {}: {} (page {})", s.tree, printable(s.sought),
                          name_of(code), s.count.bad_page().block()));
  if (code == errc::ok) {
    ++totals_.reads_checked;
    u64 least = 0, most = 0;
    const history::tree_history& t = history_.tree(s.tree);
    for (auto k = t.lower_bound(s.sought); k != t.end(); ++k) {
      if (s.bounded && !t.key_comp()(k->first, s.bound)) break;
      least += !history::may_be_absent(k->second, s.started);
      most += history::may_be_present(k->second, s.started);
    }
    if (s.count.counted() < least || s.count.counted() > most)
      violation(
          fmt::format("a count in {} from {} to {} gave {}; {} keys were there all the time, {} at "
                      "some time",
                      s.tree, printable(s.sought), s.bounded ? printable(s.bound) : "the end",
                      s.count.counted(), least, most));
  }
  release(s);
}

}  // namespace pleach::sim
