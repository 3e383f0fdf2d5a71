// The 64-byte header that every page on the device starts with. doc/format.md describes each byte.
//
// Checksum and LSN are stamped at write-back, never captured, and count as zero in the page sum.
#pragma once

#include "be/base/le.hh"

namespace pleach {

/// Persistent numbers; 0 is invalid; never reused.
enum class page_kind : u16 {
  invalid = 0,
  root_block = 1,  ///< the logged block at a fixed address: catalogue root, next tree id, groups
  bitmap = 2,      ///< allocation bits of one allocation group
  leaf = 3,
  inner = 4,
};

struct page_header {
  le32 magic;
  le16 kind;
  le16 format;     ///< version of the kind's layout
  le64 checksum;   ///< page sum (be/base/checksum.hh)
  le64 address;    ///< own page_addr
  le64 store_id;   ///< first half of the store's UUID
  le64 tree_id;    ///< 0 for pages of no tree
  le64 lsn;        ///< last group in the image
  le32 generation; ///< low 32 bits of the group that allocated the page
  u8 level;        ///< 0 = leaf
  u8 tail;         ///< bytes kept free at the end of the page, in 16s
  u8 key_epoch;    ///< encryption key epoch, 0 = none
  u8 reserved0;
  le32 flags;
  le32 reserved1;
};
static_assert(sizeof(page_header) == 64 && alignof(page_header) == 1);
static_assert(offsetof(page_header, checksum) == 8 && offsetof(page_header, address) == 16 &&
              offsetof(page_header, store_id) == 24 && offsetof(page_header, tree_id) == 32 &&
              offsetof(page_header, lsn) == 40 && offsetof(page_header, generation) == 48 &&
              offsetof(page_header, level) == 52 && offsetof(page_header, flags) == 56);

inline constexpr u32 page_magic = 0x68634c50;  // "PLch"
inline constexpr u32 page_header_bytes = sizeof(page_header);

}  // namespace pleach
