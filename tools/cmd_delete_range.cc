// pleach delete-range: deletes the records of a range, durably, and prints how many they were.
#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/key_range.hh"
#include "tools/open_store.hh"
#include "tools/pending.hh"
#include "tools/signals.hh"
#include "tools/text/progress.hh"
#include "tools/text/safe_output.hh"

namespace pleach::tool {

namespace {

// Not one transaction: whatever ends it half-way, what is deleted stays deleted.
outcome<std::uint64_t> delete_range(store& s, tree& t, const key_range& r, const command& c,
                                    const std::string& doing) {
  std::uint64_t n = 0;
  if (r.empty()) return n;
  // An empty bound above is none to the library.
  const std::string upper = r.upper.value_or("");
  text::progress line(doing, "records", {.quiet = c.quiet});
  pending deleting(s);
  deleting.start([&] { return t.delete_range(r.lower, upper, n); });
  while (!deleting.done()) {
    if (interrupted())
      return fail(doing + ": interrupted; a part of the range, or all of it, is deleted");
    if (auto turned = deleting.turn(); !turned) return std::unexpected(turned.error());
    line.update(n);
  }
  line.finish();
  if (const answer a = deleting.take(); !a.ok()) return fail(doing, a);
  return n;
}

}  // namespace

outcome<int> run_delete_range(const command& c) {
  auto s = open_store(c, access::write);
  if (!s) return std::unexpected(s.error());
  std::uint64_t n = 0;
  {
    auto t = open_tree(*s, c.tree);
    if (!t) return std::unexpected(t.error());
    const std::string doing = fmt::format("deleting from tree {}", text::quoted(c.tree));
    const auto range = range_in(*t, c);
    if (!range) return std::unexpected(range.error());
    const key_range& r = *range;
    const std::size_t key_bytes_max = s->limits().key_bytes;
    if (r.lower.size() > key_bytes_max || (r.upper && r.upper->size() > key_bytes_max))
      return fail(fmt::format("{}: a bound of the range is too large: a key has at most {} bytes",
                              doing, key_bytes_max));
    auto deleted = delete_range(*s, *t, r, c, doing);
    if (!deleted) return std::unexpected(deleted.error());
    n = *deleted;
  }
  if (auto closed = close_store(*s); !closed) return std::unexpected(closed.error());
  text::safe_output output;
  if (auto done = output.write(fmt::format("{}\n", n)); !done) return fail(done.error(), exit_done);
  if (auto done = output.commit(); !done) return fail(done.error(), exit_done);
  return exit_done;
}

}  // namespace pleach::tool
