// pleach drop: removes a tree with its records. Should it be interrupted, the next writer goes on
// with it.
#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/open_store.hh"

namespace pleach::tool {

outcome<int> run_drop(const command& c) {
  auto s = open_store(c, access::write);
  if (!s) return std::unexpected(s.error());
  // Opened first for the error that lists the trees there are; closed again before the drop.
  if (auto t = open_tree(*s, c.tree); !t) return std::unexpected(t.error());
  const answer a = s->run(s->drop_tree(c.tree));
  if (!a.ok()) return fail(fmt::format("dropping tree {}", text::quoted(c.tree)), a);
  if (auto closed = close_store(*s); !closed) return std::unexpected(closed.error());
  return exit_done;
}

}  // namespace pleach::tool
