// Records out of a slotted leaf whose bytes nothing vouches for.
//
// Nothing of the page is trusted: each record is taken by itself, if its slot, its lengths and its
// place are possible and the head in its slot agrees with its key.
#pragma once

#include <functional>
#include <string>

#include "btree/node_format.hh"

namespace pleach::btree {

struct possible_record {
  std::string key;  ///< as a node stores it, prefix included
  u8 key_flags = 0, value_flags = 0;
  std::string value, attached;
};

/// Shows what the slots name, in their order. `format`: node_format_slotted or _slotted_2. Reads
/// nothing outside of the page.
void each_possible_record(cbytes page, u16 format,
                          const std::function<void(possible_record&&)>& visit);

}  // namespace pleach::btree
