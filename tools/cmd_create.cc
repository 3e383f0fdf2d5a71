// pleach create: makes an empty tree with its options.
#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/open_store.hh"

namespace pleach::tool {

outcome<int> run_create(const command& c) {
  if (c.tree.empty()) return fail("creating a tree: its name is empty; give it a name");
  auto s = open_store(c, access::write);
  if (!s) return std::unexpected(s.error());
  tree_options options = c.new_tree();
  options.counted = c.counted;
  options.digest = c.digest;
  if (auto made = create_tree(*s, c.tree, options); !made) return std::unexpected(made.error());
  if (auto closed = close_store(*s); !closed) return std::unexpected(closed.error());
  return exit_done;
}

}  // namespace pleach::tool
