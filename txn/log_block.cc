#include "txn/log_block.hh"

#include "be/base/assert.hh"
#include "be/base/checksum.hh"

namespace pleach::txn {

namespace {
constexpr u32 checksum_offset = offsetof(log_block_header, checksum);
constexpr u8 hash_xxh3 = 1;
}  // namespace

u64 block_checksum(cbytes block) {
  PLEACH_ASSERT(block.size() == block_bytes);
  std::byte copy[block_bytes];
  std::memcpy(copy, block.data(), block_bytes);
  std::memset(copy + checksum_offset, 0, sizeof(le64));
  return hash64({copy, block_bytes});
}

u64 seal_block(std::byte* block, const block_identity& id, u16 flags, u32 payload_length) {
  PLEACH_ASSERT(payload_length <= log_payload_bytes);
  log_block_header h{};
  h.magic = log_magic;
  h.version = log_version;
  h.flags = flags;
  h.store_id = id.store_id;
  h.salt = id.salt;
  h.seq = id.seq;
  h.group = id.group;
  h.log_start = id.log_start;
  h.durable_upto = id.durable_upto;
  h.prev_checksum = id.prev_checksum;
  h.index = id.index;
  h.payload_length = payload_length;
  h.hash_kind = hash_xxh3;
  std::memcpy(block, &h, sizeof h);
  std::memset(block + sizeof h + payload_length, 0, log_payload_bytes - payload_length);
  // The checksum field is zero here.
  u64 sum = hash64({block, block_bytes});
  store_le<u64>(block + checksum_offset, sum);
  return sum;
}

bool block_valid(cbytes block, u64 store_id, u64 salt) {
  const log_block_header& h = block_header(block.data());
  if (h.magic != log_magic || h.version != log_version || h.hash_kind != hash_xxh3) return false;
  if (h.store_id != store_id || h.salt != salt) return false;
  if (h.payload_length > log_payload_bytes) return false;
  return block_checksum(block) == h.checksum;
}

}  // namespace pleach::txn
