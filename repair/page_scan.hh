// Finds nodes by themselves: each names its store, its tree, its level and the range of its keys.
//
// A page that was freed looks as it did until its blocks are used again. Two things tell it from
// one that lives: its blocks are marked free; or, where the bitmap is damaged, another page of its
// tree and level has the same keys and a greater LSN (who took them over was changed then).
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "repair/journal.hh"
#include "repair/space_map.hh"

namespace pleach::repair {

struct found_node {
  page_ref ref;
  lsn_t lsn = 0;
  std::string low, high;
  bool has_high = false;
  btree::record_shape shape;
  bool aggregated = false;
  bool used = false;  ///< it hangs on a tree again
};

/// By level; each in the order of bytes of their low fences.
using tree_nodes = std::map<u32, std::vector<found_node>>;
using found_nodes = std::map<tree_id_t, tree_nodes>;

/// Reads what is in use, or may be, and is not reached. `wanted`: trees; empty: all.
found_nodes scan_pages(raw_store& s, const block_set& reached, const space_map& space,
                       const std::set<tree_id_t>& wanted, journal& j);

}  // namespace pleach::repair
