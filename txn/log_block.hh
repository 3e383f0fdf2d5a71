// Building and validating one log block: pure functions on 4096 bytes.
//
// I1 A block counts only if its magic, version, hash kind, payload length and checksum are right:
//    whatever the bytes, nothing else of it is looked at.
// I2 Store, salt and sequence number are compared by the caller's expectation, chain and group
//    order by the walk.
#pragma once

#include "be/base/error.hh"
#include "txn/log_format.hh"

namespace pleach::txn {

/// What the writer knows of a block before its payload is complete.
struct block_identity {
  u64 store_id = 0;
  u64 salt = 0;
  u64 seq = 0;
  u64 group = 0;
  u64 log_start = 0;
  u64 durable_upto = 0;
  u64 prev_checksum = 0;
  u32 index = 0;
};

inline const log_block_header& block_header(const std::byte* block) {
  return *reinterpret_cast<const log_block_header*>(block);
}
inline cbytes block_payload(const std::byte* block) {
  return {block + sizeof(log_block_header), block_header(block).payload_length};
}

/// Zeroes what follows the payload, fills the header in and seals it.
/// RETURNS: the checksum, the next block's `prev_checksum`.
u64 seal_block(std::byte* block, const block_identity& id, u16 flags, u32 payload_length);

u64 block_checksum(cbytes block);

/// I1.
/// RETURNS: true if the 4096 bytes are a log block of this version, undamaged, of this store and
/// salt.
bool block_valid(cbytes block, u64 store_id, u64 salt);

}  // namespace pleach::txn
