// pleach del: deletes one record, durably. Exit 1 if it is not there.
#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/tree_words.hh"

namespace pleach::tool {

outcome<int> run_del(const command& c) {
  auto s = open_store(c, access::write);
  if (!s) return std::unexpected(s.error());
  bool missing = false;
  {
    auto t = open_tree(*s, c.tree);
    if (!t) return std::unexpected(t.error());
    missing = c.key.size() > s->limits().key_bytes;
    if (!missing) {
      auto key = key_for(*t, c.key, c.hex);
      if (!key) return std::unexpected(key.error());
      const answer a = s->run(t->del(*key));
      missing = is_missing(a);
      if (!a.ok() && !missing) {
        return fail(
            fmt::format("deleting key {} from tree {}", text::quoted(c.key), text::quoted(c.tree)),
            a);
      }
    }
  }
  if (auto closed = close_store(*s); !closed) return std::unexpected(closed.error());
  return missing ? exit_missing : exit_done;
}

}  // namespace pleach::tool
