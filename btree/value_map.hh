// The map of a large value in memory: parsed and checked, or made.
//
// What it is not: it does no I/O and reserves nothing; value_draft and value_read_op do.
//
// I1 What `parse` accepts can be read without further checks: every run lies in the volume, runs
//    but the last have whole chunks, together they hold exactly the value's blocks.
#pragma once

#include <cstring>
#include <vector>

#include "btree/node.hh"
#include "btree/value_map_format.hh"

namespace pleach::btree {

inline bool has_map(const value_reference& r) {
  return (r.count & value_in_map) != 0;
}

/// Checksum of a chunk: the sum over its blocks i of
/// mix64(XXH3-64(block i) ^ i * 0x9e3779b97f4a7c15), so that it can be computed as blocks arrive.
u64 chunk_term(cbytes block, u32 index);
/// Of up to value_chunk_bytes; a last partial block counts as padded with zeros.
u64 chunk_checksum(cbytes data);

struct value_map {
  u64 tree_id = 0, key_hash = 0, length = 0;
  std::vector<page_addr> runs;
  std::vector<u64> sums;  ///< one a chunk

  u64 blocks() const { return ceil_div<u64>(length, block_bytes); }
  u32 map_blocks() const;
  /// RETURNS: the map's bytes, whole blocks.
  std::vector<std::byte> bytes_of(u64 store_id) const;
  /// `blocks`: all of the extent that `ref` names, whose checksum agrees.
  /// RETURNS: false if it is no sound map of such a value in a volume of `volume_blocks`.
  bool parse(cbytes blocks, const value_reference& ref, u64 store_id, u64 volume_blocks);
  /// The run that holds block `at` of the value, from there on, cut at `end`.
  page_addr part(u64 at, u64 end) const;
  /// Adds the runs that hold blocks [first, last) of the value to `to`.
  void parts(u64 first, u64 last, std::vector<page_addr>& to) const;
};

/// RETURNS: false if the reference cannot be one of this version (its bytes come from the device).
bool sound_reference(const value_reference& r, u64 volume_blocks);

/// Does XXH3-64 of the value stand behind the reference to it?
inline bool has_content(const record& r) {
  return (r.value_flags & VALUE_INDIRECT) != 0 &&
         r.value.size() == sizeof(value_reference) + value_content_bytes;
}
/// What tells a value from the one that it is replaced by: its reference; of an inline value its
/// length and hash, with `count` 0.
value_reference identify(const record& r);
inline bool same_value(const value_reference& a, const value_reference& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

}  // namespace pleach::btree
