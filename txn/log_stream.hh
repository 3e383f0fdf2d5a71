// The byte stream of one group on its way into blocks: records are appended at any time, blocks are
// finished in order.
//
// What it is not: it does no I/O. The log writer takes finished halves and says when they have
// landed.
//
// A record goes to the spill first and is moved on into blocks where there is room. So a writer of
// a page that the closing group has not drained yet can drain it at any moment, even while both
// halves are in flight. The spill is normally smaller than its reserve (one largest record and
// some); what it grows beyond is counted.
//
// I1 A block is sealed as not the last one only when a byte of the group follows it.
// I2 A half that is in flight is not touched.
#pragma once

#include <array>
#include <vector>

#include "be/block_buffer.hh"
#include "txn/log_block.hh"

namespace pleach::txn {

class log_stream {
 public:
  struct half {
    u64 first_seq = 0;
    u32 blocks = 0;      ///< sealed
    u32 in_flight = 0;   ///< requests
    bool taken = false;  ///< handed to the writer, not landed
    bool sent = false;   ///< handed to the writer, landed or not
  };

  log_stream(u32 half_blocks, u64 spill_reserve);

  void begin(const block_identity& first);
  std::vector<std::byte>& spill() { return spill_; }
  /// Moves the spill into blocks.
  /// RETURNS: false if it stopped because the present half is full.
  bool pump();
  /// Seals the last block.
  /// REQUIRES: pump() returned true.
  void finish();

  /// The half that is full or finished.
  half& present() { return halves_[present_]; }
  half& first_half() { return halves_[0]; }
  half& second_half() { return halves_[1]; }
  std::byte* memory(const half& h) {
    return memory_.data() + (&h == &halves_[0] ? 0 : half_blocks_ * u64{block_bytes});
  }
  /// Goes on in the other half.
  /// RETURNS: false if that is still in flight.
  bool turn();

  u32 half_blocks() const { return half_blocks_; }
  u64 blocks() const { return blocks_; }
  u64 payload() const { return payload_; }
  u64 next_seq() const { return id_.seq; }
  u64 last_checksum() const { return id_.prev_checksum; }
  u64 spill_overflows() const { return overflows_; }
  bool active() const { return active_; }
  bool spilled() const { return offset_ != spill_.size(); }

 private:
  void seal(u16 flags);

  u32 half_blocks_;
  block_buffer memory_;
  std::array<half, 2> halves_{};
  u32 present_ = 0;
  block_identity id_;
  std::vector<std::byte> spill_;
  u64 offset_ = 0;  ///< of the spill: moved on already
  u64 reserve_;
  u32 fill_ = 0;    ///< payload bytes in the present block
  u64 blocks_ = 0;  ///< sealed blocks of the group
  u64 payload_ = 0;
  u64 overflows_ = 0;
  bool active_ = false;
};

}  // namespace pleach::txn
