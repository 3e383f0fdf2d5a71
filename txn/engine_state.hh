// What the parts of the engine share. Internal to txn.
//
// I1 available credit + claims + claimed of open and closing groups + used blocks * payload ==
//    credit total, where used = next_seq - durable_start.
// I2 next_seq - durable_start <= blocks of the log, always: checked before each log write.
#pragma once

#include "txn/engine.hh"
#include "txn/log_area.hh"
#include "txn/log_filter.hh"
#include "txn/log_writer.hh"
#include "txn/page_op.hh"
#include "txn/space.hh"

namespace pleach::txn {

/// How the log is divided. A claim is in bytes of payload; one block is added to each for the last,
/// part-filled block.
struct log_shares {
  u64 largest = 0;  ///< largest claim, bytes
  u64 total = 0;    ///< of all claims and all used blocks
  static log_shares of(u64 log_blocks);
};

struct engine_state : cache::log_hooks {
  engine_state(sm::reactor& l, io::device& d, cache::page_cache& p, volume& vo,
               const engine_options& o);
  ~engine_state() override;

  // log_hooks
  void please_make_durable(lsn_t lsn) override { want_durable(lsn); }
  void recovery_lsn_moved() override;
  void fail_store(errc code, page_addr where) override;
  u32 log_use_per_mille() override;
  bool belongs(lsn_t lsn) override;

  /// Recovery found the log to end before `seq`, after group `last`; groups go on with number
  /// `next`.
  void start_at(u64 seq, lsn_t last, lsn_t next);
  void want_durable(lsn_t lsn);
  void fail(errc code);
  lsn_t visible() const;
  /// The LSNs that this opening left out, and the first that it may use, into the superblock that
  /// it begins with. Together: a range beyond base_lsn is no possible superblock.
  void begin_incarnation(superblock& s) const;
  /// First block that recovery must read if group `g`, starting at `first`, is the last.
  u64 log_start_for(lsn_t g, u64 first) const;
  u64 used_blocks() const { return next_seq - durable_start; }
  void wake_space_waiters();
  void arm_space_retry();
  bool writes() const { return !options.read_only; }
  page_writer write(cache::descriptor& d);
  u64 root_blocks() const;  ///< size up to which the root block allows allocation
  status write_grown_superblocks(u64 blocks);

  sm::reactor& loop;
  io::device& dev;
  cache::page_cache& pages;
  volume& vol;
  engine_options options;
  log_area area;
  log_shares shares;
  sm::quota credit;

  group groups[2];
  group* open = &groups[0];
  group* closing = nullptr;
  lsn_t durable = 0;
  lsn_t wanted = 0;     ///< somebody waits for this LSN to be durable
  lsn_t first_lsn = 1;  ///< of this opening
  lsn_t recovered = 0;  ///< newest group of the openings before
  u64 next_seq = 1;
  u64 durable_start = 1;  ///< log_start of the newest durable group
  u64 prev_checksum = 0;
  bool salted = false;            ///< the superblocks name this opening's salt
  bool superblocks_busy = false;  ///< growth writes them
  u64 features = 0;               ///< incompat bits that groups of this opening needed
  bool replayed = false;          ///< recovery changed pages, or found something in the log
  std::vector<u64>
      first_seq;  ///< ring by LSN: first block of the group; groups have at least one block each
  sm::wait_queue queues[3]{sm::wait_queue{"visible"}, sm::wait_queue{"durable"},
                           sm::wait_queue{"placed"}};

  space_table space;
  page_load_op root;
  std::unique_ptr<log_filter> filter;
  errc health = errc::ok;
  engine_statistics stats;

  struct state_timer : sm::timer {
    engine_state* e = nullptr;
  };
  state_timer age;  ///< of the open group, for ordered commits
  state_timer space_retry;

  log_writer writer;  ///< last: uses all of the above
};

struct engine::impl : engine_state {
  using engine_state::engine_state;
};

}  // namespace pleach::txn
