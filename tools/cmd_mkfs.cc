// pleach mkfs: makes a store. The library refuses what exists and leaves nothing of a failed one.
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/signals.hh"
#include "tools/text/progress.hh"

namespace pleach::tool {

outcome<int> run_mkfs(const command& c) {
  struct stat before = {};
  const bool was_there = lstat(c.store.c_str(), &before) == 0;
  if (was_there && !c.force && !S_ISBLK(before.st_mode) && !S_ISLNK(before.st_mode)) {
    return fail("exists already and is left as it was; --force overwrites it");
  }

  text::progress shown(fmt::format("making {}", c.store), "bytes", {.quiet = c.quiet});
  format_options options;
  options.size_bytes = c.size_bytes;
  options.log_bytes = c.log_bytes;
  options.max_node_bytes = c.max_node_bytes;
  options.force = c.force;
  options.progress = [&](std::uint64_t done, std::uint64_t total) { shown.update(done, total); };
  auto made = store::format(c.store, options);
  shown.finish();
  if (!made) return fail(made.error());

  if (interrupted()) {
    if (was_there) return fail("interrupted after the store was made; it is complete");
    unlink(c.store.c_str());
    return fail("interrupted; nothing is left behind");
  }
  return exit_done;
}

}  // namespace pleach::tool
