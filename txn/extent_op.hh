// Raw data of one extent, written and read directly in chunks through one borrowed frame.
//
// The buffer is a frame of the cache (taken under the caller's grant), never the caller's memory:
// I/O that outlives a cancelled op touches only the frame, and a cancelled extent op waits in
// CLEANUP until its I/O has ended.
#pragma once

#include "txn/engine.hh"

namespace pleach::txn {

inline constexpr u32 extent_chunk_blocks = 16;  ///< 64 KiB: units of grant that an extent op needs

#define PLEACH_EXTENT_PHASES(X)           \
  X(INIT, NOWAIT, BUFFER, CLEANUP)        \
  X(BUFFER, WAIT, BUFFER, CHUNK, CLEANUP) \
  X(CHUNK, WAIT, NEXT, CLEANUP)           \
  X(NEXT, NOWAIT, CHUNK, CLEANUP)         \
  X(CLEANUP, WAIT, CLEANUP, DONE)         \
  X(DONE, NOWAIT)

/// Writes `data` to the blocks of `run` (the last block zero-padded), or reads `data.size()` bytes
/// from it.
class extent_op final : public sm::machine<extent_op> {
 public:
  PLEACH_PHASES("extent", PLEACH_EXTENT_PHASES)

  void prepare_write(engine& e, page_addr run, cbytes data);
  void prepare_read(engine& e, page_addr run, bytes data);
  /// Reads `length` bytes and shows them to `visit` in order, in whole blocks (the last one as it
  /// stands, beyond `length`); `offset` of the first block in the run. `corrupt` if it returns
  /// false.
  using visitor = bool (*)(void* datum, u64 offset, cbytes blocks);
  void prepare_scan(engine& e, page_addr run, u64 length, visitor visit, void* datum);
  sm::step tick(phase p) noexcept;

 private:
  static void io_done(io::request& r);
  u64 present() const;
  void start_io();
  engine* engine_ = nullptr;
  page_addr run_;
  std::byte* data_ = nullptr;
  u64 length_ = 0, done_ = 0;
  bool write_ = false, in_flight_ = false;
  visitor visit_ = nullptr;
  void* datum_ = nullptr;
  cache::spare_frame buffer_;
  io::request request_;
};

}  // namespace pleach::txn
