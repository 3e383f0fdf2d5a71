// The map of a large value: which runs hold its bytes, and a checksum for each 64 KiB of them.
// doc/format.md describes each byte.
//
// A map is an extent like its runs: written once, outside the log, flushed before the group that
// refers to it; the reference to it has its checksum. (A logged page of its own would be written
// twice and replayed, and nothing of a map ever changes.)
//
//     | header 64 | runs * 8: page_addr | chunks * 8: checksum | zeros up to a whole block |
//
// Each run but the last one has whole chunks, so a chunk lies in one run.
#pragma once

#include "be/page_format.hh"

namespace pleach::btree {

struct value_map_header {
  le32 magic;
  le16 version;
  le16 chunk_blocks;  ///< 16
  le64 store_id;
  le64 tree_id;   ///< of the owner
  le64 key_hash;  ///< XXH3-64 of the owner's key
  le64 length;    ///< bytes of the value
  le32 runs;
  le32 chunks;
  u8 reserved[16];
};
static_assert(sizeof(value_map_header) == 64 && alignof(value_map_header) == 1);

inline constexpr u32 value_map_magic = 0x6d764c50;  // "PLvm"
inline constexpr u16 value_map_version = 1;
inline constexpr u32 value_chunk_blocks = 16;
inline constexpr u32 value_chunk_bytes = value_chunk_blocks * block_bytes;

}  // namespace pleach::btree
