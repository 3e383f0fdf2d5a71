// pleach get: writes exactly the bytes of a value; a newline only where a person reads it, or with
// --hex.
#include <fmt/format.h>
#include <unistd.h>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/text/hex.hh"
#include "tools/text/safe_output.hh"

namespace pleach::tool {

outcome<int> run_get(const command& c) {
  auto s = open_store(c, access::read);
  if (!s) return std::unexpected(s.error());
  auto t = open_tree(*s, c.tree);
  if (!t) return std::unexpected(t.error());
  std::string value;
  // No stored key is so long: it is not there, and that is no error.
  if (c.key.size() > s->limits().key_bytes) return exit_missing;
  const answer a = s->run(t->get(c.key, value));
  if (a.what() == category::not_found) return exit_missing;
  if (!a.ok()) {
    return fail(
        fmt::format("getting key {} from tree {}", text::quoted(c.key), text::quoted(c.tree)), a);
  }
  if (c.hex) value = text::to_hex(value);
  if (c.hex || isatty(STDOUT_FILENO)) value += '\n';
  text::safe_output output;
  if (auto done = output.write(value); !done) return fail(done.error(), exit_done);
  if (auto done = output.commit(); !done) return fail(done.error(), exit_done);
  return exit_done;
}

}  // namespace pleach::tool
