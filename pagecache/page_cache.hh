// The page cache: pages of several sizes in one bounded arena, loaded and written back
// asynchronously.
//
// What it is not: it knows no log and no tree. `txn` feeds its durable watermark and drains groups;
// page kinds register their checks; recovery hooks into loading.
//
// How an op uses it: one grant before its first pin (its worst case in units of 4 KiB); `pin` every
// page it needs, waiting while a page is LOADING; no raw pointer across a wait (frames move;
// re-read `d->data`); unpin and give the grant back in CLEANUP. A lookup of a resident page that is
// used and left within one tick needs neither pin nor grant: nothing is evicted or moved inside a
// tick of another op.
//
// I1 Units of all frames <= units of the arena; arena + tables + descriptors <= budget, a hard
//    limit.
// I2 The sum of grants <= arena units that are not the daemon's bounce pool.
// I3 A page is evicted only when unpinned, clean, not a member, and without an image in flight.
// I4 No image is written before its LSN is durable; never two writes in flight to one page.
// I5 min_recovery_lsn() never passes a change that a completed flush does not cover.
// I6 A page is asked for in the tick in which its reference was read from a page that is in use. A
//    reference that is kept over a wait may name a page that was freed meanwhile; on the device it
//    looks as it did, so whoever loads it reads the past.
#pragma once

#include <memory>
#include <vector>

#include "be/io/device.hh"
#include "be/page.hh"
#include "be/sm/quota.hh"
#include "pagecache/page_table.hh"

namespace pleach::cache {

/// What recovery knows of a page in the log window. Called for every load.
class load_filter {
 public:
  virtual ~load_filter() = default;
  enum class answer : u8 { UNTOUCHED, APPLIED, CORRUPT };
  /// RETURNS: true if the page's window starts with FORMAT, so that its home need not be read.
  virtual bool formats(page_addr addr) = 0;
  /// Applies the log's records to the raw bytes read from the home (or zeros). APPLIED: checksum
  /// and LSN fields are zero, `sum` and `lsn` are those of the after-image, already compared.
  virtual answer apply(page_addr addr, bytes page, u64& sum, lsn_t& lsn) = 0;
};

/// Validates the inside of a page whose identity and sum are good.
/// RETURNS: ok or corrupt.
using page_check = errc (*)(cbytes page);

/// What the cache asks of the log.
class log_hooks {
 public:
  virtual ~log_hooks() = default;
  /// The daemon has images up to `lsn` that wait to be durable.
  virtual void please_make_durable(lsn_t lsn) = 0;
  /// Oldest LSN that is still needed went up, or a flush completed: log space may be reclaimable.
  virtual void recovery_lsn_moved() = 0;
  /// A page write failed for good, a flush failed, or a sum differs: the store must stop.
  virtual void fail_store(errc code, page_addr where) = 0;
  /// Share of the log in use, 0..1000; the daemon paces by it.
  virtual u32 log_use_per_mille() = 0;
  /// RETURNS: whether a page read from its home may carry this LSN; if not, a group wrote it that
  /// the log has lost.
  virtual bool belongs(lsn_t lsn) = 0;
};

struct cache_options {
  u64 budget_bytes = 256ull << 20;  ///< everything the cache allocates
  u32 max_page_blocks = 16;         ///< largest page of the store
  u64 store_id = 0;
  bool read_only = false;
};

struct cache_statistics {
  u64 hits = 0, misses = 0, evictions = 0, moves = 0, images = 0, page_writes = 0, flushes = 0;
  u64 write_bytes = 0, load_failures = 0, grant_waits = 0;
  u64 units_total = 0, units_free = 0, dirty_pages = 0, resident_pages = 0, memory_bytes = 0;
};

/// A frame held ready for a page to be created in ACT. Given back in CLEANUP if unused.
struct spare_frame {
  u32 frame = 0;  ///< opaque (index of a descriptor: even a spare frame may move); 0 = none
  u32 units = 0;
};

class page_cache {
 public:
  /// ERRORS: no_memory if the budget is below the minimum (32 largest pages).
  static result<std::unique_ptr<page_cache>> make(sm::reactor& loop, io::device& dev,
                                                  const cache_options& options);
  ~page_cache();

  // --- for ops ---
  sm::quota& grants();
  /// Largest claim that can ever be granted, in units.
  u32 grantable_units() const;

  /// RETURNS: the descriptor if the page is resident with this generation, else null. Counts a hit.
  /// Does not pin; valid until the caller's tick ends or the caller's next `pin(ref)` or
  /// `take_spare`, which may evict it. Those two also move frames: read `d->data` of every page
  /// again after them.
  descriptor* find_resident(page_ref ref) {
    descriptor* d = table_.find(ref.addr.block());
    if (d == nullptr || d->addr != ref.addr || d->gen != ref.gen || !d->resident()) [[unlikely]]
      return nullptr;
    count_hit(*d);
    return d;
  }
  /// A resident page was found without the table.
  void count_hit(descriptor& d) {
    ++hits_;
    if (d.heat < d.heat_cap) ++d.heat;
  }
  /// Asks the CPU for what a later find_resident(ref) reads first: the table's slot; and, when that
  /// has had the time to arrive, for the descriptor and the first lines of the page.
  void fetch_slot(page_ref ref) const { table_.fetch_slot(ref.addr.block()); }
  void fetch_page(page_ref ref) const { table_.fetch_page(ref.addr.block()); }
  /// Pins the page, starting a load if it is not there.
  /// RETURNS: a pinned descriptor in RESIDENT, LOADING (enter `waiters`, look again when resumed)
  /// or FAILED (`error`: corrupt, io, ...). If the block is cached under another generation the
  /// answer is FAILED/corrupt: the caller's reference is stale or damaged.
  /// REQUIRES: a held grant that covers it.
  descriptor* pin(page_ref ref);
  void pin(descriptor& d) { ++d.pins; }
  /// Woken whenever any load ends, for ops that wait for the first of several; look at all of them
  /// when resumed.
  sm::wait_queue& any_load();
  void unpin(descriptor& d);
  /// Starts the load of a page that nobody waits for yet, without a pin and without a grant: only
  /// while no op waits for a frame, and half of the loads that can be in flight are free. May evict
  /// and move pages, like `pin`.
  /// RETURNS: whether a load was started.
  bool start_load(page_ref ref);

  /// Gets a frame of `units` for a page to be created (`create` zeroes it).
  /// RETURNS: false: the op was entered into a queue and must wait, then call again.
  /// REQUIRES: a held grant that covers it.
  bool take_spare(sm::op& o, u32 units, spare_frame& out);
  void give_back(spare_frame& s);
  /// The bytes of a spare frame, for direct I/O: from here on the frame does not move, until it is
  /// given back.
  std::byte* spare_data(const spare_frame& s);
  /// Makes the (new) page resident in the spare frame, pinned, all bytes zero, clean. Never fails.
  descriptor& create(page_ref ref, spare_frame& s);

  // --- for txn ---
  void set_hooks(log_hooks* hooks);
  void set_load_filter(load_filter* filter);
  void register_check(page_kind kind, page_check check);
  u64 next_version() { return ++version_; }

  /// The page joins group `lsn` (called by txn before the first writable() in it).
  void mark_dirty(descriptor& d, lsn_t lsn);
  /// The page's changes of its group are drained: sum complete, map clear. Takes an image if
  /// wanted.
  void drained(descriptor& d);
  /// The page was freed by group `lsn`: it leaves the table now (pinned users see DEAD); its
  /// recovery LSN stays until set_durable(>= lsn).
  void discard(descriptor& d, lsn_t lsn);
  void set_durable(lsn_t lsn);
  /// A page loaded through the filter in recovery is dirty since `lsn`.
  void mark_recovered(descriptor& d, lsn_t lsn);

  /// Bracket of every device flush, whoever submits it.
  u64 flush_submitted();
  void flush_completed(u64 token);
  /// Smallest LSN that a change not covered by a completed flush has; 0 if all is home and flushed.
  lsn_t min_recovery_lsn() const;

  // --- the page daemon ---
  void start_daemon();
  /// Asks the daemon to write everything that is dirty now and flush; `done` is woken. For close,
  /// recovery.
  void write_all(sm::wait_queue& done);
  /// RETURNS: nothing dirty, no image pending, all flushed.
  bool all_clean() const;
  /// The daemon looks again (log use changed, memory is short).
  void kick_daemon();
  /// Stops the daemon; ops waiting for frames fail with `code`. No new loads.
  void stop(errc code);
  bool stopped() const;

  /// RETURNS: true if I/O to any block of [block, block + blocks) is in flight or pending.
  bool io_pending(u64 block, u32 blocks) const;

  cache_statistics stats() const;
  u64 store_id() const;
  io::device& device();
  sm::reactor& loop();
  /// RETURNS: the least budget that `make` accepts for these options.
  static u64 minimum_budget(const cache_options& options);
  /// Checks all invariants that can be checked between two ticks; slow.
  /// RETURNS: null, or what fails.
  const char* check();

 private:
  struct impl;
  page_cache();
  page_table table_;
  u64 version_ = 0;
  u64 hits_ = 0;
  std::unique_ptr<impl> impl_;
};

}  // namespace pleach::cache
