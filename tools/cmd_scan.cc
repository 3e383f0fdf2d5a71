// pleach scan: the records of a range in key order, or backwards, as JSON Lines; or their number.
//
// I1 --reverse only turns the order; the range (key_range.hh) stays.
#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/key_range.hh"
#include "tools/open_store.hh"
#include "tools/pending.hh"
#include "tools/signals.hh"
#include "tools/text/json_lines.hh"
#include "tools/text/safe_output.hh"
#include "tools/tree_words.hh"
#include "tools/walk.hh"

namespace pleach::tool {

namespace {

// Walks the leaves, so it does not need what a scan needs: no record leaves its page.
outcome<int> print_count(store& s, tree& t, const key_range& r, const std::string& doing) {
  std::uint64_t n = 0;
  if (!r.empty()) {
    const std::string upper = r.upper.value_or("");  // the operation's until it is done
    pending counting(s);
    counting.start([&] { return t.count(r.lower, upper, n); });
    while (!counting.done()) {
      if (interrupted()) return fail(doing + ": interrupted");
      if (auto turned = counting.turn(); !turned) return std::unexpected(turned.error());
    }
    if (const answer a = counting.take(); !a.ok()) return fail(doing, a);
  }
  text::safe_output output;
  if (auto done = output.write(fmt::format("{}\n", n)); !done) return fail(done.error(), exit_done);
  if (auto done = output.commit(); !done) return fail(done.error(), exit_done);
  return exit_done;
}

}  // namespace

outcome<int> run_scan(const command& c) {
  auto s = open_store(c, access::read);
  if (!s) return std::unexpected(s.error());
  auto t = open_tree(*s, c.tree);
  if (!t) return std::unexpected(t.error());
  const std::string doing = fmt::format("scanning tree {}", text::quoted(c.tree));

  auto range = range_in(*t, c);
  if (!range) return std::unexpected(range.error());
  const key_range& r = *range;
  const std::size_t key_bytes_max = s->limits().key_bytes;
  if (r.lower.size() > key_bytes_max || (r.upper && r.upper->size() > key_bytes_max)) {
    return fail(fmt::format("{}: a bound of the range is too large: a key has at most {} bytes",
                            doing, key_bytes_max));
  }
  if (c.count) return print_count(*s, *t, r, doing);
  text::safe_output output;
  cursor at(*t);
  answer a;
  const std::uint64_t limit = c.limit.value_or(~0ull);
  const bool nothing = r.empty() || limit == 0;
  if (!nothing) {
    at.range(r.lower, r.upper.value_or(""));
    a = settled(s->run(c.reverse ? at.last() : at.first()));
  }
  std::string line;
  for (std::uint64_t count = 0; !nothing && a.ok() && at.valid();) {
    line.clear();
    const bool written = c.keys_only ? text::append_json_key_line(line, c.tree, at.key())
                                     : text::append_json_line(line, c.tree, at.key(), at.value(),
                                                              at.flags().key, at.flags().value);
    if (!written)
      return fail(doing + ": the tree's name is not valid UTF-8, which JSON Lines cannot hold");
    if (auto done = output.write(line); !done) return fail(done.error(), exit_done);
    if (++count == limit) break;
    if (interrupted()) return fail(fmt::format("{}: interrupted after {} records", doing, count));
    a = c.reverse ? step_back(*s, at) : step_forward(*s, at);
  }
  // What was found before an error is good: print it.
  if (auto done = output.commit(); !done) return fail(done.error(), exit_done);
  if (!a.ok()) return fail(doing, a);
  return exit_done;
}

}  // namespace pleach::tool
