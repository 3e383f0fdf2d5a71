#include "tools/open_store.hh"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "tools/text/error.hh"

namespace pleach::tool {

namespace {

// "; the trees are "a", "b"": a mistyped name is seen at once.
std::string tree_names(store& s) {
  auto all = list_trees(s);
  if (!all) return "`pleach trees` lists the trees";
  if (all->empty()) return "the store has no trees; `put --create` and `load` make them";
  constexpr std::size_t shown_max = 8;
  std::string names;
  for (std::size_t i = 0; i < std::min(all->size(), shown_max); ++i) {
    names += (i == 0 ? "" : ", ") + text::quoted((*all)[i].name);
  }
  if (all->size() > shown_max) names += fmt::format(" and {} more", all->size() - shown_max);
  return fmt::format("the store has {}", names);
}

}  // namespace

outcome<store> open_store(const command& c, access how) {
  open_options options;
  options.cache_bytes = c.cache_bytes;
  options.device = c.device;
  options.read_only = how == access::read;
  auto opened = store::open(c.store, options);
  if (opened) return std::move(*opened);
  const error& found = opened.error();
  if (found.what() == category::not_found) {
    return fail(found.message.contains(';') ? found.message
                                            : found.message + "; make a store with `pleach mkfs`");
  }
  return fail(found);
}

outcome<void> close_store(store& s) {
  if (auto closed = s.close(); !closed) return fail(closed.error());
  return {};
}

outcome<tree> open_tree(store& s, std::string_view name) {
  tree opened;
  const answer a = s.run(s.open_tree(name, opened));
  if (a.ok()) return opened;
  if (a.what() == category::not_found) return fail_unknown_tree(name, tree_names(s));
  return fail(fmt::format("opening tree {}", text::quoted(name)), a);
}

outcome<tree> create_tree(store& s, std::string_view name, const tree_options& options) {
  if (const std::uint32_t most = s.limits().node_bytes; options.node_bytes > most)
    return fail(
        fmt::format("creating tree {}: nodes of {} bytes are too large: this store takes up to {} "
                    "(mkfs --max-node)",
                    text::quoted(name), options.node_bytes, most));
  tree created;
  const answer a = s.run(s.create_tree(name, options, created));
  if (a.ok()) return created;
  return fail(fmt::format("creating tree {}", text::quoted(name)), a);
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat of_a = {}, of_b = {};
  return stat(a.c_str(), &of_a) == 0 && stat(b.c_str(), &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
         of_a.st_ino == of_b.st_ino;
}

outcome<std::vector<tree_info>> list_trees(store& s) {
  auto all = s.trees();
  if (!all) return fail(all.error());
  std::ranges::sort(*all, {}, &tree_info::name);
  return std::move(*all);
}

}  // namespace pleach::tool
