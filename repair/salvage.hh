// Records out of the bytes of a leaf that is damaged.
//
// That a record is as it was written, only its own checksums can prove.
#pragma once

#include <string>
#include <vector>

#include "btree/node_salvage.hh"
#include "repair/tree_walk.hh"

namespace pleach::repair {

struct salvaged_record : btree::possible_record {
  bool proven = false;  ///< by its own checksums, or by what else is known of it
};

/// `page`: the bytes at the place of a leaf of `g`'s tree. Changes them.
/// RETURNS: the records with keys in the range of `g`, in the order of their bytes, one a key.
std::vector<salvaged_record> salvage_leaf(const raw_store& s, const gap& g, page_buffer& page);

}  // namespace pleach::repair
