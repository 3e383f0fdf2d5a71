// pleach upgrade: rewrites leaves of an old version as leaves of the newest one; of the trees that
// are named, or of all trees and the catalogue. The store can be read and written by the same
// program meanwhile; should it be interrupted, the next upgrade goes on.
#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/pending.hh"
#include "tools/signals.hh"
#include "tools/text/json_lines.hh"
#include "tools/text/progress.hh"
#include "tools/text/safe_output.hh"

namespace pleach::tool {

namespace {

// Runs the operation that `make` returns, showing how far it is, until it is done or a signal came.
template <class Make>
outcome<void> finish(const command& c, store& s, Make make, const upgrade_report& report,
                     const std::string& what) {
  text::progress shown("upgrading " + what, "leaves", {.quiet = c.quiet});
  pending upgrade(s);
  upgrade.start(make);
  while (!upgrade.done()) {
    if (interrupted())
      return fail(
          fmt::format("upgrading {}: interrupted; {} leaves are converted, another upgrade "
                      "does the rest",
                      what, report.converted));
    if (auto turned = upgrade.turn(); !turned) return turned;
    shown.update(report.leaves);
  }
  shown.finish();
  if (const answer a = upgrade.take(); !a.ok()) return fail("upgrading " + what, a);
  return {};
}

}  // namespace

outcome<int> run_upgrade(const command& c) {
  auto s = open_store(c, access::write);
  if (!s) return std::unexpected(s.error());
  std::vector<std::string> names = c.trees;
  upgrade_report all, one;
  auto add = [&] {
    all.leaves += one.leaves;
    all.converted += one.converted;
  };
  if (names.empty()) {
    auto trees = list_trees(*s);
    if (!trees) return std::unexpected(trees.error());
    for (const tree_info& t : *trees) names.push_back(t.name);
    if (auto done = finish(
            c, *s, [&] { return s->upgrade_catalogue(one); }, one, "the catalogue");
        !done)
      return std::unexpected(done.error());
    add();
  }
  for (const std::string& name : names) {
    auto t = open_tree(*s, name);
    if (!t) return std::unexpected(t.error());
    if (auto done = finish(
            c, *s, [&] { return t->upgrade(one); }, one, "tree " + text::quoted(name));
        !done)
      return std::unexpected(done.error());
    add();
  }
  if (auto closed = close_store(*s); !closed) return std::unexpected(closed.error());
  text::safe_output output;
  const std::string said =
      c.json ? fmt::format("{{\"leaves\":{},\"converted\":{}}}\n", all.leaves, all.converted)
             : fmt::format("{}: {} leaves, {} converted\n", c.store, all.leaves, all.converted);
  if (auto done = output.write(said); !done) return fail(done.error(), exit_done);
  if (auto done = output.commit(); !done) return fail(done.error(), exit_done);
  return exit_done;
}

}  // namespace pleach::tool
