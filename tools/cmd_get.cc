// pleach get: writes exactly the bytes of a value; a newline only where a person reads it, or with
// --hex.
//
// I1 Memory is that of a piece, whatever the value has; each piece is checked before it is written.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/signals.hh"
#include "tools/text/hex.hh"
#include "tools/text/safe_output.hh"
#include "tools/tree_words.hh"

namespace pleach::tool {

namespace {
// A value of one run is read whole for any part of it: so in one piece.
constexpr std::size_t piece_bytes = 1 << 20;
}  // namespace

outcome<int> run_get(const command& c) {
  auto s = open_store(c, access::read);
  if (!s) return std::unexpected(s.error());
  auto t = open_tree(*s, c.tree);
  if (!t) return std::unexpected(t.error());
  // No stored key is so long: it is not there, and that is no error.
  if (c.key.size() > s->limits().key_bytes) return exit_missing;
  auto key = key_for(*t, c.key, c.hex);
  if (!key) return std::unexpected(key.error());
  value_reader reader(*t, *key);
  text::safe_output output;
  std::string piece(piece_bytes, '\0'), digits;
  std::uint64_t at = c.offset.value_or(0), left = c.length.value_or(~std::uint64_t{0});
  for (;;) {
    std::size_t got = 0;
    const std::size_t wanted = std::min<std::uint64_t>(piece.size(), left);
    const answer a = s->run(reader.read(at, {piece.data(), wanted}, got));
    if (is_missing(a)) return exit_missing;
    if (!a.ok()) {
      return fail(
          fmt::format("getting key {} from tree {}", text::quoted(c.key), text::quoted(c.tree)), a);
    }
    std::string_view bytes(piece.data(), got);
    if (c.hex) {
      digits.clear();
      text::append_hex(digits, bytes);
      bytes = digits;
    }
    if (auto done = output.write(bytes); !done) return fail(done.error(), exit_done);
    at += got;
    left -= got;
    if (at >= reader.size() || left == 0) break;
    if (interrupted()) return fail("interrupted");
  }
  if (c.hex || isatty(STDOUT_FILENO)) {
    if (auto done = output.write("\n"); !done) return fail(done.error(), exit_done);
  }
  if (auto done = output.commit(); !done) return fail(done.error(), exit_done);
  return exit_done;
}

}  // namespace pleach::tool
