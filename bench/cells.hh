// The cells: what is measured, with what in flight, on what data; and the running of one engine
// through them.
//
// Each engine runs in a process of its own, so that memory and CPU time are its own, and so that
// one that fails takes only its own cells along. It runs up to three sections there:
//   CACHED   fill, reads and scans with all data in the cache;
//   DURABLE  the same data, one durable commit per record;
//   COLD     other, more data, with a cache of about a quarter of it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/engine.hh"
#include "bench/workload.hh"

namespace pleach::bench {

enum class section : std::uint8_t { CACHED, DURABLE, COLD };

struct cell {
  const char* name;
  section where;
  activity what;
  order requests;
  unsigned in_flight = 1;
  bool callbacks = false;
  std::uint32_t raw_page_bytes = 16 << 10;
  bool raw_only = false;
  const char* help;
};

const std::vector<cell>& all_cells();

struct settings {
  std::string dir;
  std::vector<std::string> engines, cells;
  std::uint64_t records = 1'000'000, cold_records = 2'000'000;
  std::uint64_t cache_bytes = 1ull << 30, cold_cache_bytes = 64ull << 20, log_bytes = 256ull << 20;
  double seconds = 2.5;
  unsigned repeat = 1;
  bool stats = false;
};

/// One measured cell. Plain bytes: it comes through a pipe.
struct measurement {
  char engine[16] = {}, cell[24] = {};
  unsigned in_flight = 1;
  double operations_per_s = 0, p50_us = 0, p99_us = 0, p999_us = 0, cpu_us = 0;
  std::uint64_t operations = 0;
  std::uint64_t user_bytes = 0;  ///< written, keys and values
  std::uint64_t process_read = 0, process_written = 0, device_read = 0, device_written = 0;
  std::uint64_t peak_memory = 0, base_memory = 0;  ///< base: before the engine was opened
};

/// Runs the chosen cells of one engine in this process; `report` gets each measurement (the median
/// of `repeat`).
void run_cells(const std::string& engine_name, const settings& s,
               const std::function<void(const measurement&)>& report);

/// The same in a process of its own.
/// RETURNS: false if that process failed.
bool run_cells_apart(const std::string& engine_name, const settings& s,
                     const std::function<void(const measurement&)>& report);

}  // namespace pleach::bench
