// Reads blocks and records of the log back, through a small direct-mapped cache of chunks.
//
// I1 Every block given out is valid and has the sequence number that was asked for.
#pragma once

#include <memory>
#include <vector>

#include "be/block_buffer.hh"
#include "txn/log_area.hh"
#include "txn/log_block.hh"

namespace pleach::txn {

/// How bytes get here: blocking through the reactor, or (inside a page load) a synchronous read.
class block_source {
 public:
  virtual ~block_source() = default;
  virtual status read(u64 block, bytes out) = 0;
};

/// Blocking set-up code; not from callbacks or ticks.
class reactor_source final : public block_source {
 public:
  reactor_source(sm::reactor& loop, io::device& dev) : loop_(loop), dev_(dev) {}
  status read(u64 block, bytes out) override { return read_blocks(loop_, dev_, block, out); }

 private:
  sm::reactor& loop_;
  io::device& dev_;
};

/// `device::read_now`.
class immediate_source final : public block_source {
 public:
  explicit immediate_source(io::device& dev) : dev_(dev) {}
  status read(u64 block, bytes out) override;

 private:
  io::device& dev_;
};

class log_reader {
 public:
  /// `chunk_blocks` are read together, `chunks` are kept.
  log_reader(const log_area& area, u64 store_id, u64 salt, block_source& source, u32 chunk_blocks,
             u32 chunks);

  /// RETURNS: the 4096 bytes, valid until the next call; I1. `io` if the device failed,
  /// `corrupt_log` if I1 does not hold. Nothing at or after `end` is asked for.
  result<const std::byte*> block(u64 seq, u64 end);
  /// The 4096 bytes as they are, whatever they are.
  result<const std::byte*> raw(u64 seq, u64 end);
  /// Copies `length` bytes of payload from `offset` of block `seq` on, across blocks. `group` of
  /// the first block.
  status copy(u64 seq, u32 offset, u64 length, u64 end, std::vector<std::byte>& out, u64& group);

 private:
  struct chunk {
    u64 seq = ~u64{0};
    u32 blocks = 0;
    u64 checked = 0;  ///< bit i: block i is valid (chunks have at most 64 blocks)
  };
  const log_area& area_;
  u64 store_id_, salt_;
  block_source& source_;
  u32 chunk_blocks_;
  std::vector<chunk> chunks_;
  block_buffer memory_;
};

}  // namespace pleach::txn
