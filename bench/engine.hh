// One store under test, behind one small interface. The loops are the engine's own, because "64 in
// flight" means 64 operations on one thread for an asynchronous engine and 64 threads for a
// blocking one.
//
// A benchmark cannot go on after an error, so an engine that fails ends its process (`die`): each
// engine runs in a process of its own, and the parent reports the cell as failed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "bench/histogram.hh"

namespace pleach::bench {

enum class activity {
  FILL,  ///< all records, batches, one commit each, not synced
  READ,  ///< point reads of present keys
  READ_MISSING,
  MULTI_GET,  ///< point reads, `in_flight` keys in one operation; counted and timed by the key
  SCAN_FORWARD,  ///< whole passes
  SCAN_BACKWARD,
  SCAN_50,      ///< seek and 50 records
  DURABLE_PUT,  ///< one record per commit, each acknowledged after it would survive a power cut
};

/// What a cell asks for. `ids` is a ring: it starts again at its end.
struct work {
  activity what = activity::READ;
  std::span<const std::uint32_t> ids;
  unsigned in_flight = 1;
  bool callbacks =
      false;  ///< READ with one in flight: use the asynchronous face where there is one
  std::uint64_t duration_ns = 0;  ///< FILL goes once through `ids` instead
  std::uint32_t batch_records = 1000;
  std::uint32_t page_bytes = 0;  ///< raw reads only
};

struct outcome {
  std::uint64_t operations = 0;  ///< records for FILL and whole scans
  std::uint64_t elapsed_ns = 0;
  histogram latency;  ///< per commit for FILL; empty for whole scans
};

struct engine_options {
  std::string dir;  ///< exists and is the engine's alone
  std::uint64_t cache_bytes = 0;
  std::uint64_t records = 0;  ///< room is made for this many
  std::uint64_t log_bytes = 0;
  bool cold = false;     ///< data is larger than the cache: read past the page cache if possible
  bool durable = false;  ///< DURABLE_PUT follows
};

class engine {
 public:
  virtual ~engine() = default;
  /// RETURNS: true if one thread can have many operations in flight.
  virtual bool asynchronous() const { return false; }
  virtual bool supports(activity what, const engine_options& options) const = 0;
  /// Makes an empty store; one that is there is removed first.
  virtual void create(const engine_options& options) = 0;
  /// Closes and opens again what create made, with other options.
  virtual void reopen(const engine_options& options) = 0;
  /// Everything written so far has reached the place where it will stay. The store is usable
  /// afterwards.
  virtual void settle() = 0;
  virtual outcome run(const work& w) = 0;
  virtual std::string stats() const { return {}; }
};

std::unique_ptr<engine> make_pleach_engine();
std::unique_ptr<engine> make_raw_engine();      ///< the ceiling: plain io_uring, perfect index
std::unique_ptr<engine> make_lmdb_engine();     ///< null if not compiled in
std::unique_ptr<engine> make_rocksdb_engine();  ///< null if not compiled in

/// Says what failed and ends the process with 8, without running destructors.
[[noreturn]] void die(const std::string& what);

}  // namespace pleach::bench
