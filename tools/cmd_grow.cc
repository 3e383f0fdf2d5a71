// pleach grow: gives a store in a file its new, larger size.
#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/text/size.hh"

namespace pleach::tool {

outcome<int> run_grow(const command& c) {
  auto s = open_store(c, access::write);
  if (!s) return std::unexpected(s.error());
  const std::uint64_t now = s->size_bytes();
  if (c.size_bytes < now) {
    return fail(fmt::format(
        "growing to {}: the new size is too small: the store has {} and does not shrink",
        text::format_size(c.size_bytes), text::format_size(now)));
  }
  if (c.size_bytes > now) {
    if (auto grown = s->grow(c.size_bytes); !grown) return fail(grown.error());
  }
  if (auto closed = close_store(*s); !closed) return std::unexpected(closed.error());
  return exit_done;
}

}  // namespace pleach::tool
