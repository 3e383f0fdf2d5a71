// pleach count, rank, select: how many records a range has, how many are below a key, and the
// record at an index.
#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/pending.hh"
#include "tools/signals.hh"
#include "tools/text/json_lines.hh"
#include "tools/text/safe_output.hh"
#include "tools/tree_words.hh"

namespace pleach::tool {

namespace {

outcome<int> print(const std::string& text) {
  text::safe_output output;
  if (auto done = output.write(text); !done) return fail(done.error(), exit_done);
  if (auto done = output.commit(); !done) return fail(done.error(), exit_done);
  return exit_done;
}

// Runs what `make` returns, ended by a signal. A tree that is not counted is walked.
template <class Make>
outcome<answer> run_counting(store& s, const std::string& doing, Make make) {
  pending counting(s);
  counting.start(make);
  while (!counting.done()) {
    if (interrupted()) return fail(doing + ": interrupted");
    if (auto turned = counting.turn(); !turned) return std::unexpected(turned.error());
  }
  return counting.take();
}

}  // namespace

outcome<int> run_count(const command& c) {
  auto s = open_store(c, access::read);
  if (!s) return std::unexpected(s.error());
  auto t = open_tree(*s, c.tree);
  if (!t) return std::unexpected(t.error());
  const std::string doing = fmt::format("counting tree {}", text::quoted(c.tree));
  std::string bounds[2];  // the operation's until it is done
  for (const auto& [given, bound] :
       {std::pair{&c.from, &bounds[0]}, std::pair{&c.to, &bounds[1]}}) {
    if (!*given) continue;
    auto key = key_for(*t, **given, c.hex);
    if (!key) return std::unexpected(key.error());
    *bound = std::move(*key);
  }
  std::uint64_t n = 0;
  // For the library an empty bound is none; for a person nothing is below the empty key.
  if (!c.to || !bounds[1].empty()) {
    auto done = run_counting(*s, doing, [&] { return t->count(bounds[0], bounds[1], n); });
    if (!done) return std::unexpected(done.error());
    if (!done->ok()) return fail(doing, *done);
  }
  return print(fmt::format("{}\n", n));
}

outcome<int> run_rank(const command& c) {
  auto s = open_store(c, access::read);
  if (!s) return std::unexpected(s.error());
  auto t = open_tree(*s, c.tree);
  if (!t) return std::unexpected(t.error());
  const std::string doing =
      fmt::format("ranking key {} in tree {}", text::quoted(c.key), text::quoted(c.tree));
  std::uint64_t n = 0;
  auto key = key_for(*t, c.key, c.hex);
  if (!key) return std::unexpected(key.error());
  auto done = run_counting(*s, doing, [&] { return t->rank(*key, n); });
  if (!done) return std::unexpected(done.error());
  if (!done->ok()) return fail(doing, *done);
  return print(fmt::format("{}\n", n));
}

outcome<int> run_select(const command& c) {
  auto s = open_store(c, access::read);
  if (!s) return std::unexpected(s.error());
  auto t = open_tree(*s, c.tree);
  if (!t) return std::unexpected(t.error());
  const std::string doing =
      fmt::format("selecting record {} of tree {}", c.index, text::quoted(c.tree));
  if (!t->has_counts())
    return fail(doing + ": the tree is not counted; make one with `pleach create --counted`");
  std::string key, value, line;
  const answer a = s->run(t->select(c.index, key, value));
  if (a.what() == category::not_found) return exit_missing;
  if (!a.ok()) return fail(doing, a);
  record_flags flags;  // which a line of keys does not show
  if (!c.keys_only) {
    if (const answer b = s->run(t->get(key, value, flags)); !b.ok()) return fail(doing, b);
  }
  const bool written =
      c.keys_only ? text::append_json_key_line(line, c.tree, key)
                  : text::append_json_line(line, c.tree, key, value, flags.key, flags.value);
  if (!written)
    return fail(doing + ": the tree's name is not valid UTF-8, which JSON Lines cannot hold");
  return print(line);
}

}  // namespace pleach::tool
