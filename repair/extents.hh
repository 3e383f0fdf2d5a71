// Extents below a repair: values and long keys that stand outside of nodes.
#pragma once

#include <string>

#include "btree/value_map.hh"
#include "repair/raw_store.hh"

namespace pleach::repair {

class extents {
 public:
  extents(raw_store& s, block_set& reached) : store_(s), reached_(reached) {}

  /// Claims all blocks of a value, or of a long key, and compares its bytes with its checksums.
  /// `value` (may be null): gets the bytes.
  /// RETURNS: what is wrong with it, in words, or null. Nothing is claimed then.
  const char* claim(tree_id_t tree, u64 key_hash, const btree::value_reference& ref,
                    std::string* value = nullptr);
  /// The same without claiming: whose is it?
  const char* read(const btree::value_reference& ref, std::string& value);

 private:
  bool load_run(page_addr run, u64 length, std::string& to);
  const char* claim_runs(const btree::value_map& map, page_addr map_run);
  const char* read_map(const btree::value_reference& ref, btree::value_map& map);
  const char* read_data(const btree::value_map& map, const btree::value_reference& ref,
                        std::string* value);

  raw_store& store_;
  block_set& reached_;
};

}  // namespace pleach::repair
