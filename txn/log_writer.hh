// The log writer: closes the open group, drains it into blocks, writes them, makes them durable,
// publishes.
//
//   forever:
//     IDLE     await (somebody needs the open group durable, or it is large or old, or log space
//              is short)
//     SALT     once an opening, before its first log block: new salt and first_seq to all
//              superblock copies, each written and flushed in turn. Again before the first group
//              that needs a feature bit which they do not name yet
//     CLOSE    the open group is frozen; the next one opens; log_start and durable_upto of its
//              blocks are taken
//     EXTENTS  if the group refers to data written outside the log: flush that first
//     DRAIN    page by page into blocks, at most 64 pages a tick; full halves of the buffer are
//              written meanwhile
//     WRITE    await all writes of the group
//     FLUSH    unless the group was one durable write
//     PUBLISH  durable = group; space below its log_start is free; wake
//
// What it is not: it decides nothing about pages and holds no credit of its own.
//
// I1 One group is on its way at a time, so everything before it is durable, and acknowledgement is
//    in order.
// I2 A group that refers to extents writes no block before they are flushed: no crash finds the one
//    without the other.
// I3 No block of this opening is written before every superblock copy has its salt.
// I4 A failed write or flush stops the store; nothing is retried (the kernel may have dropped what
//    it had).
//
// Why it never waits for ever: draining needs no resource but the buffer, and the buffer only I/O.
// The blocks of a group were credited before its pages changed, an empty group uses the two blocks
// that nobody can claim, so page writes (which wait for durable) never wait for log space that
// waits for page writes.
#pragma once

#include <array>

#include "be/volume.hh"
#include "txn/group.hh"
#include "txn/log_stream.hh"

namespace pleach::txn {

struct engine_state;

#define PLEACH_LOG_WRITER_PHASES(X)           \
  X(IDLE, WAIT, IDLE, SALT, CLOSE, STOP)      \
  X(SALT, WAIT, SALT, CLOSE, STOP)            \
  X(CLOSE, NOWAIT, EXTENTS, DRAIN)            \
  X(EXTENTS, WAIT, EXTENTS, DRAIN, STOP)      \
  X(DRAIN, WAIT, DRAIN, WRITE, STOP)          \
  X(WRITE, WAIT, WRITE, FLUSH, PUBLISH, STOP) \
  X(FLUSH, WAIT, FLUSH, PUBLISH, STOP)        \
  X(PUBLISH, NOWAIT, IDLE)                    \
  X(STOP, WAIT, STOP, DONE)                   \
  X(DONE, NOWAIT)

class log_writer final : public sm::machine<log_writer> {
 public:
  PLEACH_PHASES("log_writer", PLEACH_LOG_WRITER_PHASES)

  log_writer(engine_state& e, u32 half_blocks, u64 spill_reserve);

  sm::step tick(phase p) noexcept;
  /// Looks at the conditions of IDLE again.
  void wake();
  /// Ends after what is on its way now.
  void stop();
  bool salting() const { return phase_index() == SALT; }
  /// Drains a page of the closing group out of turn.
  void drain(cache::descriptor& d);

  log_stream stream;

 private:
  static constexpr u32 pages_per_tick = 64;
  static constexpr u32 max_requests = 24;  ///< of one half: segments, wrap, largest transfer

  struct half_requests {
    std::array<io::request, max_requests> r;
  };

  sm::step IDLE_tick();
  sm::step SALT_tick();
  sm::step CLOSE_tick();
  sm::step EXTENTS_tick();
  sm::step DRAIN_tick();
  sm::step WRITE_tick();
  sm::step FLUSH_tick();
  sm::step PUBLISH_tick();
  sm::step STOP_tick();

  bool wants_close() const;
  bool wants_publish() const;
  bool wants_superblocks() const;
  bool drain_some(u32& budget);
  void submit(log_stream::half& h, bool durable);
  void queue_flush();
  void acknowledge();
  void queue_aux(io::request_kind kind, u64 offset);
  sm::step broken();
  static void half_written(io::request& r);
  static void aux_done(io::request& r);
  void io_ended(errc code);

  engine_state& e_;
  group* group_ = nullptr;  ///< on its way
  u64 log_start_ = 0;
  std::array<half_requests, 2> requests_;
  io::request aux_;
  block_buffer aux_block_{block_bytes};
  superblock next_super_{};
  u64 flush_token_ = 0;
  u32 in_flight_ = 0;
  u32 salt_step_ = 0;
  errc io_error_ = errc::ok;
  bool asleep_ = false;  ///< IDLE waits for `wake`
  bool stopping_ = false;
  bool flushed_ = false;    ///< the present phase's flush was queued
  bool submitted_ = false;  ///< a half of the group went out before its end
  bool one_durable_write_ = false;
};

}  // namespace pleach::txn
