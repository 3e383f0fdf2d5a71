// What an operation remembers of the leaf where it ended, so that the next one near it skips the
// descent.
//
// The caller's own, opaque to it, and never trusted: `leaf` gives the leaf only if it is the same
// page in the same residence with the same structure, and whoever uses it looks at the fences as
// well. A descriptor is type-stable memory while its store is open, so that of an evicted or freed
// page may be read; versions come from one counter of the store, so a descriptor that was used
// again, and a page that was loaded again, never show the version that was noted.
//
// I1 Nothing of the cookie is followed before its `opening` was found to be that of the store.
#pragma once

#include "btree/tree.hh"

namespace pleach::btree {

struct leaf_cookie {
  u64 opening;  ///< context::opening of the store; 0: nothing is remembered
  tree_id_t tree;
  cache::descriptor* page;
  u64 structure_version;
  page_addr addr;
  generation_t gen;
  u32 slot;  ///< where the key stood: a hint

  static constexpr u32 no_slot = ~0u;

  bool empty() const { return opening == 0; }
  void clear() { opening = 0; }
  void set(const btree::tree& t, cache::descriptor& leaf, u32 at) {
    opening = t.ctx->opening;
    tree = t.id;
    page = &leaf;
    structure_version = leaf.structure_version;
    addr = leaf.addr;
    gen = leaf.gen;
    slot = at;
  }
  /// RETURNS: the leaf, resident, unchanged in structure since `set`; else null. Not pinned.
  cache::descriptor* leaf(const btree::tree& t) const {
    if (opening != t.ctx->opening || tree != t.id) return nullptr;
    bool same = page->resident() && page->structure_version == structure_version &&
                page->addr == addr && page->gen == gen;
    return same ? page : nullptr;
  }
};

/// The same as n.find(key), quick if the key is that of `slot` or falls between it and the one
/// behind the next. `slot` may be anything.
inline search_result find_near(const node_view& n, u32 slot, cbytes key,
                               key_probe* probe = nullptr) {
  const u32 count = n.count();
  if (slot >= count || probe != nullptr) return n.find(key, probe);
  int c = n.compare(slot, key);
  if (c == 0) return {slot, true};
  if (c > 0) return n.find(key);
  if (slot + 1 == count) return {count, false};
  c = n.compare(slot + 1, key);
  return c >= 0 ? search_result{slot + 1, c == 0} : n.find(key);
}

}  // namespace pleach::btree
