// The superblock: static facts of a store, four copies, 4 KiB each. doc/format.md describes each
// byte.
//
// It holds nothing that a transaction changes. `salt`, `first_seq`, `base_lsn` and `incarnation`
// change once per opening that writes; `clean_seq` says that the log is empty from there on.
#pragma once

#include "be/base/le.hh"

namespace pleach {

struct log_segment {
  le32 device;  ///< 0: the only device
  le32 reserved;
  le64 start;   ///< first block
  le64 blocks;  ///< 0: segment unused
};
static_assert(sizeof(log_segment) == 24);

/// LSNs that no page may carry: numbers of groups that were given up with a torn tail of the log.
struct lsn_range {
  le64 first;
  le64 last;  ///< 0: unused
};
static_assert(sizeof(lsn_range) == 16);
inline constexpr u32 lost_ranges = 16;

inline constexpr u32 superblock_copies = 4;
/// Block numbers of the copies: 1 MiB apart.
inline constexpr u64 superblock_block(u32 copy) { return u64{copy} * 256; }
inline constexpr u64 root_block_number = 1;

inline constexpr u64 superblock_magic = 0x00686361656c5031;  // "1Pleach\0"
inline constexpr u16 superblock_version = 1;

struct superblock {
  le64 magic;
  le16 version;
  u8 checksum_id;      ///< 1 = XXH3-64 page sums
  u8 block_shift;      ///< 12
  le32 copy;           ///< 0..3: which copy this is
  le64 checksum;       ///< XXH3-64 of the 4096 bytes with this field zero
  u8 uuid[16];         ///< the first 8 bytes are the store id
  le64 compat;         ///< features that an old program may ignore
  le64 ro_compat;      ///< features with which an old program may only read
  le64 incompat;       ///< features with which an old program must not open
  le64 generation;     ///< of the superblock; the highest good copy wins
  le64 incarnation;    ///< openings that wrote
  le64 blocks;         ///< size of the volume
  le64 group_blocks;   ///< blocks per allocation group
  le64 root_block;     ///< block number of the root block
  le16 max_node_blocks;
  u8 page_tail;        ///< bytes kept free at the end of each page, in 16s
  u8 torn_mode;        ///< 1 = sector
  le32 device_count;   ///< 1
  log_segment log[4];
  le64 salt;           ///< of log blocks written since the last opening that wrote
  le64 first_seq;      ///< first log block of this incarnation
  le64 base_lsn;       ///< LSNs of this incarnation are greater
  le64 clean_seq;      ///< != 0: cleanly closed, nothing to recover, the next block has this number
  le64 dwb_block;      ///< double-write area, 0 = none
  le64 dwb_blocks;
  lsn_range lost[lost_ranges];  ///< the newest first
  u8 reserved[4096 - 512];
};
static_assert(sizeof(superblock) == 4096 && alignof(superblock) == 1);

}  // namespace pleach
