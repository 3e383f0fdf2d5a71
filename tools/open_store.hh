// Opening and closing for the commands, with errors a person can act on.
#pragma once

#include <string_view>

#include "pleach/pleach.hh"
#include "tools/command.hh"
#include "tools/outcome.hh"

namespace pleach::tool {

enum class access : std::uint8_t { read, write };

// ERRORS: exit 8 with `not a Pleach store`, `too small`, `already open`, `read-only`, `corrupt`,
// ...
outcome<store> open_store(const command& c, access how);
// Makes everything durable and home. Handles of trees must be gone.
outcome<void> close_store(store& s);

// ERRORS: `unknown tree`, with the names of the trees there are.
outcome<tree> open_tree(store& s, std::string_view name);
outcome<tree> create_tree(store& s, std::string_view name, const tree_options& options);

bool same_file(const std::string& a, const std::string& b);

// RETURNS: all trees by name, without those being dropped.
outcome<std::vector<tree_info>> list_trees(store& s);

}  // namespace pleach::tool
