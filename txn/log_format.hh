// The log on the device: blocks of 4 KiB, chained by checksum, salted per incarnation.
// doc/format.md describes each byte.
//
// Block with sequence number `seq` stands at index seq mod (log blocks). A group is the
// concatenation of the payloads of its blocks: a stream of records that may cross block boundaries.
//
// Record = record_header, body of `length` bytes.
//   PAGE: page_body, runs of {varint gap, varint count, count * 8 bytes}, in 8-byte granules, gap
//         from the end of the run before.
//   FREE: free_body. The page or extent was freed: captures before it are neither applied nor
//         verified.
#pragma once

#include "be/base/le.hh"

namespace pleach::txn {

enum block_flag : u16 { BLOCK_FIRST = 1, BLOCK_LAST = 2 };

struct log_block_header {
  le32 magic;
  le16 version;
  le16 flags;
  le64 store_id;
  le64 salt;
  le64 seq;
  le64 group;
  le64 log_start;      ///< seq from which recovery must read, valid once this group is durable
  le64 durable_upto;   ///< newest LSN known durable when this block was built
  le64 prev_checksum;  ///< of block seq - 1; the first of an incarnation: the salt
  le32 index;          ///< of this block in its group
  le32 payload_length;
  u8 hash_kind;  ///< 1 = XXH3-64
  u8 reserved0[7];
  u8 host_position[16];  ///< in the first block; zero otherwise
  u8 reserved1[24];
  le64 checksum;  ///< XXH3-64 of the 4096 bytes with this field zero
};
static_assert(sizeof(log_block_header) == 128 && alignof(log_block_header) == 1);

inline constexpr u32 log_magic = 0x676c4c50;  // "PLlg"
inline constexpr u16 log_version = 1;
inline constexpr u32 log_payload_bytes = 4096 - sizeof(log_block_header);

enum class record_type : u8 { invalid = 0, page = 1, free = 2 };
enum record_flag : u8 {
  RECORD_MUST_UNDERSTAND = 1,
  RECORD_FORMAT = 2
};  // FORMAT: zero-fill the page first

struct record_header {
  u8 type;
  u8 flags;
  le16 reserved;
  le32 length;  ///< of the body
};
static_assert(sizeof(record_header) == 8);

struct page_body {
  le64 addr;
  le32 gen;
  le32 runs;
  le64 sum;  ///< page sum of the after-image
};
static_assert(sizeof(page_body) == 24);

struct free_body {
  le64 addr;
  le32 gen;
  le32 reserved;
};
static_assert(sizeof(free_body) == 16);

}  // namespace pleach::txn
