// The range of keys that --from, --to and --prefix name.
//
// I1 The range is [max(from, prefix), min(to, prefix's successor)).
#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include "tools/command.hh"
#include "tools/tree_words.hh"

namespace pleach::tool {

struct key_range {
  std::string lower;                 // inclusive
  std::optional<std::string> upper;  // exclusive; none: to the end
  bool whole = false;                // the tree knows its order, we do not
  bool empty() const { return upper && (whole ? upper->empty() : *upper <= lower); }
};

// RETURNS: the least key above all that begin with `prefix`; none if there is no such key.
inline std::optional<std::string> successor(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (prefix.empty()) return std::nullopt;
  prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

inline key_range range_of(const command& c) {
  key_range r{c.from.value_or(""), c.to};
  if (!c.prefix) return r;
  r.lower = std::max(r.lower, *c.prefix);
  if (auto end = successor(*c.prefix); end && (!r.upper || *end < *r.upper))
    r.upper = std::move(end);
  return r;
}

// Bounds of a tree of integers, which are numbers.
inline outcome<void> turn_bounds(const tree& t, command& c) {
  if (t.order() == key_order::raw) return {};
  if (c.prefix) return fail("--prefix: keys of this tree are integers", exit_usage);
  for (auto* bound : {&c.from, &c.to}) {
    if (!*bound) continue;
    auto key = key_for(t, **bound, c.hex);
    if (!key) return std::unexpected(key.error());
    *bound = std::move(*key);
  }
  return {};
}

inline outcome<key_range> range_in(const tree& t, const command& c) {
  command turned = c;
  if (auto done = turn_bounds(t, turned); !done) return std::unexpected(done.error());
  key_range r = range_of(turned);
  r.whole = t.order() != key_order::raw;
  return r;
}

}  // namespace pleach::tool
