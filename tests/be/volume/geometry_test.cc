// Proves: mkfs splits volumes of every size so that no two areas overlap, the log is whole, and
// what is too small is refused; the log's positions are one-to-one.
#include <doctest/doctest.h>

#include <set>

#include "be/space_policy.hh"
#include "be/volume.hh"

namespace {
using namespace pleach;

constexpr u64 mib = 1 << 20;
constexpr u64 gib = 1 << 30;

superblock super_of(const geometry& g) {
  superblock s{};
  s.blocks = g.blocks;
  s.group_blocks = g.group_blocks;
  for (u32 i = 0; i < log_segments; ++i) {
    s.log[i].start = g.log[i].start;
    s.log[i].blocks = g.log[i].blocks;
  }
  return s;
}

/// Every block of the log is inside the volume, distinct, and off the fixed areas.
void check_layout(const geometry& g) {
  superblock s = super_of(g);
  DOCTEST_REQUIRE(log_blocks(s) == g.log_blocks);
  std::set<u64> fixed = {root_block_number};
  for (u32 i = 0; i < superblock_copies; ++i) fixed.insert(superblock_block(i));
  for (u64 group = 0; group < group_count(g.blocks, g.group_blocks); ++group)
    fixed.insert(bitmap_block(group, g.group_blocks));
  DOCTEST_REQUIRE(*fixed.rbegin() < g.blocks);
  u64 last = 0, clashes = 0, disorder = 0;
  for (u64 i = 0; i < g.log_blocks; ++i) {
    u64 at = log_position(s, i);
    clashes += fixed.count(at);
    disorder += i > 0 && at <= last;
    disorder += i > 0 && log_contiguous(s, i - 1) > 1 && at != last + 1;
    last = at;
  }
  DOCTEST_CHECK(clashes == 0);
  DOCTEST_CHECK(disorder == 0);
  DOCTEST_CHECK(last < g.blocks);
  u64 first = first_free_block(g);
  DOCTEST_REQUIRE(first != 0);
  DOCTEST_CHECK(fixed.count(first) == 0);
  for (const block_range& l : g.log)
    DOCTEST_CHECK((first < l.start || first >= l.start + l.blocks));
}

struct row {
  u64 volume, log;
  u32 node;
  errc code;
  u64 blocks, log_start, log_total;
  u32 segments;
};

DOCTEST_TEST_CASE("table of volumes") {
  const u64 group = group_blocks_max;
  const row rows[] = {
      {4 * mib, 0, 16, errc::ok, 1024, 3, 256, 2},
      {4 * mib, 32 * 4096, 16, errc::ok, 1024, 3, 32, 1},
      {4 * mib, 253 * 4096, 16, errc::ok, 1024, 3, 253, 1},
      {4 * mib, 254 * 4096, 16, errc::ok, 1024, 257, 254, 1},
      {4 * mib, 256 * 4096, 16, errc::ok, 1024, 3, 256, 2},
      {4 * mib, 512 * 4096, 16, errc::ok, 1024, 3, 512, 3},
      {4 * mib, 513 * 4096, 16, errc::too_small, 0, 0, 0, 0},
      {4 * mib, 31 * 4096, 16, errc::too_small, 0, 0, 0, 0},
      {4 * mib - 1, 0, 16, errc::too_small, 0, 0, 0, 0},
      {0, 0, 16, errc::too_small, 0, 0, 0, 0},
      {5 * mib + 4095, 0, 16, errc::ok, 1280, 769, 320, 1},
      {1400 * 4096, 700 * 4096, 16, errc::ok, 1400, 3, 700, 3},
      {8 * mib, 0, 16, errc::ok, 2048, 1024, 512, 1},
      {1 * gib, 0, 16, errc::ok, 262144, 1024, 16384, 1},
      {1 * gib, 0, 256, errc::ok, 262144, 1024, 16384, 1},
      {1 * gib, 256 * mib, 16, errc::ok, 262144, 1024, 65536, 3},
      {8 * gib, 496 * mib, 16, errc::ok, 2097152, 1024, 126976, 4},
      {8 * gib, 504 * mib, 16, errc::bad_argument, 0, 0, 0, 0},
      {group * 4096, 0, 16, errc::ok, group, 1024, group / 4, 1},
      {(group + 1) * 4096, 0, 16, errc::ok, group, 1024, group / 4, 1},
      {(group + 2) * 4096, 0, 16, errc::ok, group + 2, 1024, group / 4, 1},
      {64 * mib, 0, 0, errc::bad_argument, 0, 0, 0, 0},
      {64 * mib, 0, 3, errc::bad_argument, 0, 0, 0, 0},
      {64 * mib, 0, 512, errc::bad_argument, 0, 0, 0, 0},
  };
  for (const row& r : rows) {
    DOCTEST_CAPTURE(r.volume);
    DOCTEST_CAPTURE(r.log);
    result<geometry> g = plan_geometry(r.volume, r.log, r.node);
    DOCTEST_REQUIRE((g ? errc::ok : g.error()) == r.code);
    if (!g) continue;
    DOCTEST_CHECK(g->blocks == r.blocks);
    DOCTEST_CHECK(g->log_blocks == r.log_total);
    DOCTEST_CHECK(g->log[0].start == r.log_start);
    u32 used = 0;
    for (const block_range& l : g->log) used += l.blocks != 0;
    DOCTEST_CHECK(used == r.segments);
    check_layout(*g);
  }
}

DOCTEST_TEST_CASE("every volume of 4 to 10 MiB takes every allowed log") {
  for (u64 blocks = 1024; blocks <= 2560; blocks += 31)
    for (u64 log = min_log_blocks; log <= blocks / 2; log += 37) {
      result<geometry> g = plan_geometry(blocks * 4096, log * 4096, 16);
      DOCTEST_REQUIRE(g.has_value());
      check_layout(*g);
    }
}
}  // namespace
