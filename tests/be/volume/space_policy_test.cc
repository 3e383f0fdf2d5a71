// Proves: the word-wise bitmap scans agree with a naive model (one bool a block) under random
// operations, for group sizes that end on and off word boundaries, with busy runs, hints and all
// run lengths.
#include "be/space_policy.hh"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "be/base/random.hh"

namespace {
using namespace pleach;

struct model {
  explicit model(u32 n) : used(n, false) {}
  std::vector<bool> used;

  i64 find(u32 count, u32 hint, std::span<const block_run> busy) const {
    std::vector<bool> taken = used;
    for (const block_run& r : busy)
      for (u32 i = r.start; i < r.start + r.count; ++i) taken[i] = true;
    u32 n = static_cast<u32>(used.size());
    for (u32 from : {hint, 0u})
      for (u32 at = from; at + count <= n; ++at)
        if (std::find(taken.begin() + at, taken.begin() + at + count, true) ==
            taken.begin() + at + count)
          return at;
    return -1;
  }
  u32 free_total() const { return static_cast<u32>(std::count(used.begin(), used.end(), false)); }
  u32 longest() const {
    u32 best = 0, run = 0;
    for (bool u : used) {
      run = u ? 0 : run + 1;
      best = std::max(best, run);
    }
    return best;
  }
  bool all(u32 start, u32 count, bool value) const {
    return std::all_of(used.begin() + start, used.begin() + start + count,
                       [&](bool u) { return u == value; });
  }
};

struct pair_of_maps {
  u32 n;
  model m;
  std::vector<std::byte> page;

  explicit pair_of_maps(u32 blocks) : n(blocks), m(blocks), page(block_bytes) {
    if (n < group_blocks_max) set(n, group_blocks_max - n, true);
  }
  void set(u32 start, u32 count, bool used) {
    byte_range r = bits_range(start, count);
    // Through a copy of just the range, as capture hands it out.
    std::vector<std::byte> span(page.begin() + r.offset, page.begin() + r.offset + r.length);
    set_bits(span.data(), start, count, used);
    std::copy(span.begin(), span.end(), page.begin() + r.offset);
    for (u32 i = start; i < start + count && i < n; ++i) m.used[i] = used;
  }
};

std::vector<block_run> some_runs(random_stream& random, u32 n) {
  std::vector<block_run> busy;
  for (u32 at = 0; busy.size() < 6;) {
    at += static_cast<u32>(random.below(n / 3 + 1));
    u32 count = 1 + static_cast<u32>(random.below(20));
    if (at + count > n) break;
    busy.push_back({at, count});
    at += count;
  }
  return busy;
}

void run_model(u32 n, u64 seed, u32 steps) {
  DOCTEST_CAPTURE(n);
  DOCTEST_CAPTURE(seed);
  random_stream random(seed);
  pair_of_maps p(n);
  for (u32 step = 0; step < steps; ++step) {
    u32 start = static_cast<u32>(random.below(n));
    u32 count = 1 + static_cast<u32>(random.below(std::min<u32>(n - start, 150)));
    p.set(start, count, random.chance(550));
    std::vector<block_run> busy = some_runs(random, n);
    u32 want = random.chance(500) ? 1 + static_cast<u32>(random.below(8))
                                  : 1 + static_cast<u32>(random.below(n));
    u32 hint = static_cast<u32>(random.below(n));
    DOCTEST_REQUIRE(find_free_run(p.page, n, want, hint, busy) == p.m.find(want, hint, busy));
    DOCTEST_REQUIRE(find_free_run(p.page, n, want, 0, {}) == p.m.find(want, 0, {}));
    DOCTEST_REQUIRE(count_free(p.page, n) == p.m.free_total());
    DOCTEST_REQUIRE(longest_free_run(p.page, n) == p.m.longest());
    DOCTEST_REQUIRE(all_used(p.page, start, count) == p.m.all(start, count, true));
    DOCTEST_REQUIRE(all_free(p.page, start, count) == p.m.all(start, count, false));
  }
}

DOCTEST_TEST_CASE("agrees with a bool per block") {
  for (u64 seed = 1; seed <= 8; ++seed)
    for (u32 n : {64u, 65u, 127u, 1000u, 1024u}) run_model(n, seed, 150);
  run_model(group_blocks_max, 1, 40);
  run_model(group_blocks_max - 1, 2, 40);
}

DOCTEST_TEST_CASE("edges of a group") {
  pair_of_maps p(group_blocks_max);
  DOCTEST_CHECK(find_free_run(p.page, p.n, p.n, 0, {}) == 0);
  DOCTEST_CHECK(find_free_run(p.page, p.n, p.n, 5, {}) == 0);
  DOCTEST_CHECK(find_free_run(p.page, p.n, 1, p.n - 1, {}) == p.n - 1);
  DOCTEST_CHECK(find_free_run(p.page, p.n, 2, p.n - 1, {}) == 0);
  DOCTEST_CHECK(find_free_run(p.page, p.n, 1, p.n + 100, {}) == 0);
  DOCTEST_CHECK(find_free_run(p.page, p.n, p.n + 1, 0, {}) == -1);
  p.set(0, p.n, true);
  DOCTEST_CHECK(find_free_run(p.page, p.n, 1, 0, {}) == -1);
  DOCTEST_CHECK(count_free(p.page, p.n) == 0);
  p.set(p.n - 1, 1, false);
  DOCTEST_CHECK(find_free_run(p.page, p.n, 1, 0, {}) == p.n - 1);
  block_run last{p.n - 1, 1};
  DOCTEST_CHECK(find_free_run(p.page, p.n, 1, 0, std::span(&last, 1)) == -1);
}

DOCTEST_TEST_CASE("overlapping busy runs") {
  pair_of_maps p(256);
  block_run busy[] = {{0, 100}, {10, 5}, {99, 2}};
  DOCTEST_CHECK(find_free_run(p.page, p.n, 4, 0, busy) == 101);
}

DOCTEST_TEST_CASE("set_bits touches its bits only") {
  for (u32 start = 0; start < 24; ++start)
    for (u32 count = 1; count < 24; ++count) {
      std::vector<std::byte> page(block_bytes, std::byte{0});
      byte_range r = bits_range(start, count);
      set_bits(page.data() + r.offset, start, count, true);
      u32 seen = 0;
      for (u32 i = 0; i < block_bytes * 8; ++i)
        if ((page[i / 8] >> i % 8 & std::byte{1}) != std::byte{0}) {
          u32 bit = i - bitmap_payload_offset * 8;
          DOCTEST_REQUIRE(bit >= start);
          DOCTEST_REQUIRE(bit < start + count);
          ++seen;
        }
      DOCTEST_REQUIRE(seen == count);
    }
}
}  // namespace
