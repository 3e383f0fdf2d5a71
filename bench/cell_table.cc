// The table of cells, in the order in which they run: within a section, what changes the data comes
// last.
#include "bench/cells.hh"

namespace pleach::bench {

const std::vector<cell>& all_cells() {
  using enum section;
  using enum activity;
  using enum order;
  constexpr std::uint32_t k16 = 16 << 10, k4 = 4 << 10;
  static const std::vector<cell> table = {
      {"fillrandom", CACHED, FILL, PERMUTATION, 1, false, k16, false,
       "all records in random order, 1000 a commit"},
      {"fillseq", CACHED, FILL, SEQUENTIAL, 1, false, k16, false,
       "all records in key order, 1000 a commit"},
      {"readrandom", CACHED, READ, UNIFORM, 1, false, k16, false,
       "cached gets, one at a time, blocking"},
      {"readrandom1cb", CACHED, READ, UNIFORM, 1, true, k16, false,
       "cached gets, one in flight, callback"},
      {"readrandom16", CACHED, READ, UNIFORM, 16, true, k16, false, "cached gets, 16 in flight"},
      {"multiget16", CACHED, MULTI_GET, UNIFORM, 16, true, k16, false,
       "cached gets, 16 keys an operation"},
      {"multiget64", CACHED, MULTI_GET, UNIFORM, 64, true, k16, false,
       "cached gets, 64 keys an operation"},
      {"readzipf", CACHED, READ, ZIPF, 1, false, k16, false, "cached gets, zipf 0.99"},
      {"readmissing", CACHED, READ_MISSING, UNIFORM, 1, false, k16, false,
       "gets of keys that are not there"},
      {"scanfwd", CACHED, SCAN_FORWARD, SEQUENTIAL, 1, false, k16, false,
       "whole passes, records/s"},
      {"scanrev", CACHED, SCAN_BACKWARD, SEQUENTIAL, 1, false, k16, false,
       "whole passes backward, records/s"},
      {"scan50", CACHED, SCAN_50, UNIFORM, 1, false, k16, false, "seek and 50 records"},
      {"durable1", DURABLE, DURABLE_PUT, PERMUTATION, 1, true, k16, false,
       "durable upserts, one at a time"},
      {"durable16", DURABLE, DURABLE_PUT, PERMUTATION, 16, true, k16, false,
       "durable upserts, 16 in flight"},
      {"durable64", DURABLE, DURABLE_PUT, PERMUTATION, 64, true, k16, false,
       "durable upserts, 64 in flight"},
      {"cold1", COLD, READ, UNIFORM, 1, true, k16, false, "gets, data about 4x the cache"},
      {"cold16", COLD, READ, UNIFORM, 16, true, k16, false, "the same, 16 in flight"},
      {"cold64", COLD, READ, UNIFORM, 64, true, k16, false, "the same, 64 in flight"},
      {"cold128", COLD, READ, UNIFORM, 128, true, k16, false, "the same, 128 in flight"},
      {"coldmulti16", COLD, MULTI_GET, UNIFORM, 16, true, k16, false,
       "gets, 16 keys an operation, data about 4x the cache"},
      {"coldmulti64", COLD, MULTI_GET, UNIFORM, 64, true, k16, false,
       "the same, 64 keys an operation"},
      {"coldscan", COLD, SCAN_FORWARD, SEQUENTIAL, 16, true, k16, false,
       "whole passes, records/s, data about 4x the cache; raw: 16 KiB reads in order, 16 in "
       "flight"},
      {"cold1-4k", COLD, READ, UNIFORM, 1, true, k4, true, "raw only: 4 KiB reads"},
      {"cold16-4k", COLD, READ, UNIFORM, 16, true, k4, true, "raw only: 4 KiB reads"},
      {"cold64-4k", COLD, READ, UNIFORM, 64, true, k4, true, "raw only: 4 KiB reads"},
      {"cold128-4k", COLD, READ, UNIFORM, 128, true, k4, true, "raw only: 4 KiB reads"},
  };
  return table;
}

}  // namespace pleach::bench
