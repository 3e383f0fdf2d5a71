// The transaction engine: credits, groups, the redo log, watermarks, space, recovery.
//
// What it is not: it knows no tree. Ops of `btree` pin pages, reserve space (alloc_op) and credit,
// and then change everything within one tick: from the first `write` to `end` nothing waits and
// nothing can fail. So no transaction is ever ACTIVE across a wait, others never see half of one,
// and abort is giving everything back.
//
// A transaction's states, as motr names them: PREPARE (planning), OPENING (waits for credit),
// GROUPING (holds credit), ACTIVE (inside its tick), CLOSED (`end` was called: visible), then
// LOGGED (durable), PLACED (home and flushed), DONE. The last three are watermarks over LSNs.
//
// I1 A group's record is written only after all pages of it are drained; groups are acknowledged
//    strictly in order.
// I2 durable moves only when all before it is durable and the group's extents were flushed.
// I3 Log space is reused only below the log_start of a durable group. The last two blocks are never
//    credited.
// I4 After a failed log write or flush nothing is acknowledged any more; every op ends with
//    `failed`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "be/volume.hh"
#include "pagecache/page_cache.hh"
#include "txn/log_format.hh"

namespace pleach::txn {

enum class watermark : u8 { VISIBLE, DURABLE, PLACED };

struct engine_options {
  bool read_only = false;
  u64 log_buffer_bytes = 512 << 10;  ///< counted against the store's budget by the caller
  u64 index_bytes = 8 << 20;  ///< most memory that the recovery index may take (no_memory beyond)
};

struct engine_statistics {
  u64 groups = 0, empty_groups = 0, log_blocks_written = 0, log_bytes_payload = 0,
      captured_bytes = 0;
  u64 page_records = 0, frees = 0, credit_overruns = 0, credit_waits = 0, log_writes = 0,
      flushes = 0;
  u64 log_blocks = 0, log_blocks_used = 0, durable_lsn = 0, visible_lsn = 0, placed_lsn = 0;
  u64 transactions = 0, claimed_bytes = 0;
};

/// A page or run that an op will need. `hint`: a block near which it should lie, 0 = anywhere.
struct space_need {
  u32 blocks;
  u64 hint;
};

/// What one op reserved of the volume, and the bitmap pages it holds pinned. Given back in CLEANUP,
/// used or not. Vectors stay empty (no heap) for an op that needs no space.
class space_claim {
 public:
  space_claim() = default;
  space_claim(const space_claim&) = delete;
  ~space_claim();  // REQUIRES: given back
  bool empty() const { return runs.empty() && bitmaps.empty(); }

  struct run {
    page_addr addr;
    bool taken;
  };
  std::vector<run> runs;
  std::vector<cache::descriptor*> bitmaps;
};

class engine;

/// Sub-op: reserves space in memory for every need and pins the bitmap page of every need and of
/// every page to be freed (so that ACT can set and clear bits). Waits for page loads, and for
/// blocks freed by a group that is not durable yet.
/// ERRORS: no_space (nothing stays reserved), corrupt, io.
/// REQUIRES: the caller's frame grant covers one unit per distinct bitmap page.
class alloc_op;

class engine {
 public:
  /// Opens the log of `v`: recovers, or (read_only) builds the index that applies the log to pages
  /// as they are loaded. Blocking: runs `loop`. `report` receives what recovery did.
  /// ERRORS: corrupt_log, corrupt, io, no_memory.
  static result<std::unique_ptr<engine>> open(sm::reactor& loop, io::device& dev,
                                              cache::page_cache& pages, volume& v,
                                              const engine_options& options, std::string* report);
  ~engine();
  /// All groups durable, all pages home and flushed, superblocks marked clean. Blocking. No effect
  /// on a read-only engine.
  /// ERRORS: failed (it had failed before: the next open recovers), io.
  status close();

  // --- before ACT ---
  /// Takes log credit in OPEN; `end` turns it into the group's.
  /// RETURNS: true if `c` is held now; else `op` must wait, and holds it when it resumes: the log
  /// writer knows of it and makes room.
  /// REQUIRES: bytes <= largest_credit().
  bool take_credit(sm::claim& c, sm::op& op, u64 bytes);
  /// Worst-case log bytes of capturing `bytes` in `pages` pages (record headers, run headers, block
  /// headers).
  static u64 credit_bytes(u64 bytes, u64 pages);
  /// Log bytes of a page's record, before its runs.
  static constexpr u64 page_record_bytes = sizeof(record_header) + sizeof(page_body);
  /// Log bytes of a free's record.
  static constexpr u64 free_record_bytes = sizeof(record_header) + sizeof(free_body);
  /// Largest claim that can be granted.
  u64 largest_credit() const;
  /// ok, or `failed` once the engine has stopped; checked in INIT by every op.
  errc health() const;

  // --- ACT: one tick, nothing waits, nothing fails ---
  /// The open group: LSN of everything that changes now.
  lsn_t lsn() const;
  /// The page joins the open group (drained first if a closed group still has changes of it).
  page_writer write(cache::descriptor& d);
  /// Makes the page of a reservation of `blocks`: its bits set and captured, the page resident,
  /// pinned, zeroed, logged as FORMAT.
  cache::descriptor& create(space_claim& claim, u32 blocks, cache::spare_frame& frame);
  /// The same for one particular reservation of the claim (runs stand in the order of the needs).
  cache::descriptor& create_at(space_claim& claim, page_addr addr, cache::spare_frame& frame);
  page_ref take_run_at(space_claim& claim, page_addr addr);
  /// Same for an extent of raw data that was already written: RETURNS its reference. Use with
  /// require_flush.
  page_ref take_run(space_claim& claim, u32 blocks);
  /// The bits of a run that `keep` left reserved are set.
  /// REQUIRES: `claim` pins the bitmap page of the run.
  void take_kept(space_claim& claim, page_addr run);
  /// The open group uses an incompatible feature: the superblocks name it before its first block.
  void require_feature(u64 incompat);
  /// Do the superblocks name all these features, or will they before anything changed from now on?
  bool uses_feature(u64 incompat) const;
  /// Frees a pinned page / an extent: bits cleared, FREE logged, block reusable once the group is
  /// durable and no I/O is in flight.
  void free_page(space_claim& claim, cache::descriptor& d);
  void free_run(space_claim& claim, page_ref ref);
  /// The open group refers to data that was written outside the log: flush before it is
  /// acknowledged.
  void require_flush();
  /// CLOSED: the claim's credit becomes the group's. Groups that log more than all of their claims
  /// are counted as overruns.
  lsn_t end(sm::claim& credit);

  // --- CLEANUP ---
  /// Credit that was not used, or not granted yet; no effect on an empty claim.
  void give_back(sm::claim& credit);
  void give_back(space_claim& claim);

  // --- reservations that outlive an op, in memory only ---
  /// Moves the claim's runs to `to` and lets its bitmap pages go: they stay reserved without any
  /// pin until `take_kept` or `give_back_kept`.
  void keep(space_claim& claim, std::vector<page_addr>& to);
  void give_back_kept(page_addr run);
  /// Gives all but the first `blocks` back.
  /// RETURNS: what is left.
  page_addr shorten_kept(page_addr run, u32 blocks);
  /// RETURNS: number of the allocation group that holds the run: runs of one group have one bitmap
  /// page.
  u64 group_of(page_addr run) const;

  // --- watermarks ---
  lsn_t reached(watermark w) const;
  /// The newest group that was there when the engine was opened.
  lsn_t recovered() const;
  /// Asks for `lsn` to become durable soon (starts a log write when none is in flight).
  void want_durable(lsn_t lsn);
  /// Ops waiting for a watermark; woken whenever it moves or the engine fails; look again when
  /// resumed.
  sm::wait_queue& waiters(watermark w);

  /// What an op's COMMIT needs: asks for `lsn` to become durable.
  /// RETURNS: the queue to wait in before asking again; null: it is durable.
  /// ERRORS: outcome_unknown: the engine has failed before it was.
  result<sm::wait_queue*> await_durable(lsn_t lsn);

  // --- the root block ---
  /// Pinned for the life of the engine. Change it with write().
  cache::descriptor& root_block();

  /// Grows the file-backed volume: reserves and syncs the device, then superblocks, then formats
  /// groups by logged transactions. Blocking.
  status grow(u64 new_bytes);
  /// Free blocks, reading every bitmap page that is not known yet. Blocking.
  result<u64> count_free_blocks();

  engine_statistics stats() const;
  volume& vol();
  cache::page_cache& pages();
  sm::reactor& loop();

  struct impl;

 private:
  friend class alloc_op;
  explicit engine(std::unique_ptr<impl> i);
  std::unique_ptr<impl> impl_;
};

}  // namespace pleach::txn
