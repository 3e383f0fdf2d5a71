#include "txn/log_stream.hh"

#include <algorithm>

#include "be/base/assert.hh"

namespace pleach::txn {

log_stream::log_stream(u32 half_blocks, u64 spill_reserve)
    : half_blocks_(half_blocks),
      memory_(u64{2} * half_blocks * block_bytes),
      reserve_(spill_reserve) {
  spill_.reserve(spill_reserve);
}

void log_stream::begin(const block_identity& first) {
  PLEACH_ASSERT(!active_ && !spilled());
  for (half& h : halves_) {
    PLEACH_ASSERT(!h.taken);
    h = {};
  }
  id_ = first;
  present_ = 0;
  halves_[0].first_seq = first.seq;
  spill_.clear();
  offset_ = 0;
  fill_ = 0;
  blocks_ = payload_ = 0;
  active_ = true;
}

void log_stream::seal(u16 flags) {
  half& h = present();
  PLEACH_ASSERT(!h.taken && h.blocks < half_blocks_);
  std::byte* block = memory(h) + u64{h.blocks} * block_bytes;
  if (id_.index == 0) flags |= BLOCK_FIRST;
  id_.prev_checksum = seal_block(block, id_, flags, fill_);
  ++h.blocks;
  ++id_.seq;
  ++id_.index;
  ++blocks_;
  fill_ = 0;
}

bool log_stream::pump() {
  if (spill_.size() > reserve_) ++overflows_;
  while (spilled()) {
    if (present().taken) return false;
    if (fill_ == log_payload_bytes) seal(0);  // I1: a byte follows
    if (present().blocks == half_blocks_) return false;
    u64 n = std::min<u64>(spill_.size() - offset_, log_payload_bytes - fill_);
    std::byte* block = memory(present()) + u64{present().blocks} * block_bytes;
    std::memcpy(block + sizeof(log_block_header) + fill_, spill_.data() + offset_, n);
    fill_ += static_cast<u32>(n);
    offset_ += n;
    payload_ += n;
  }
  spill_.clear();
  offset_ = 0;
  return true;
}

void log_stream::finish() {
  PLEACH_ASSERT(active_ && !spilled() && !present().taken && present().blocks < half_blocks_);
  seal(BLOCK_LAST);
  active_ = false;
}

bool log_stream::turn() {
  half& other = halves_[1 - present_];
  if (other.taken) return false;
  other.first_seq = id_.seq;
  other.blocks = 0;
  other.sent = false;
  present_ = 1 - present_;
  return true;
}

}  // namespace pleach::txn
