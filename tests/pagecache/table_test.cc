// The page table and the frame allocator against models.
#include <doctest/doctest.h>

#include <map>
#include <vector>

#include "be/base/random.hh"
#include "pagecache/arena.hh"
#include "pagecache/page_table.hh"

using namespace pleach;
using namespace pleach::cache;

DOCTEST_TEST_CASE("the page table agrees with a map through inserts and removals") {
  constexpr u32 capacity = 500;
  std::vector<descriptor> all(capacity + 1);
  page_table table;
  DOCTEST_REQUIRE(table.make(all.data(), capacity));
  std::map<u64, descriptor*> model;
  std::vector<u32> free;
  for (u32 i = 1; i <= capacity; ++i) free.push_back(i);
  random_stream r(7);
  for (u32 round = 0; round < 200000; ++round) {
    // Runs of neighbours and multiples of powers of two: what blocks look like.
    u64 block = r.chance(500) ? r.below(700) : r.below(700) << 32;
    auto at = model.find(block);
    DOCTEST_REQUIRE(table.find(block) == (at == model.end() ? nullptr : at->second));
    if (at != model.end()) {
      DOCTEST_REQUIRE(table.remove(*at->second));
      free.push_back(static_cast<u32>(at->second - all.data()));
      model.erase(at);
    } else if (!free.empty()) {
      descriptor& d = all[free.back()];
      free.pop_back();
      d.addr = page_addr(block, 1);
      table.insert(d);
      model[block] = &d;
    }
    DOCTEST_REQUIRE(table.size() == model.size());
    if (round % 1000 == 0) DOCTEST_REQUIRE(table.check() == nullptr);
  }
  for (auto& [block, d] : model) DOCTEST_CHECK(table.find(block) == d);
}

DOCTEST_TEST_CASE("frames of all orders never overlap, and merge when they are given back") {
  arena memory;
  DOCTEST_REQUIRE(memory.make(256));
  frame_allocator f;
  f.make(memory, 64, 192, 6);
  std::map<u32, u32> used;  // first -> order
  random_stream r(3);
  for (u32 round = 0; round < 50000; ++round) {
    if (r.chance(520)) {
      u32 order = static_cast<u32>(r.below(7));
      u32 unit = f.take(order);
      if (unit == no_unit) continue;
      DOCTEST_REQUIRE(unit % (1u << order) == 0);
      DOCTEST_REQUIRE(unit >= 64);
      auto next = used.lower_bound(unit);
      if (next != used.end()) DOCTEST_REQUIRE(unit + (1u << order) <= next->first);
      if (next != used.begin()) {
        auto before = std::prev(next);
        DOCTEST_REQUIRE(before->first + (1u << before->second) <= unit);
      }
      used[unit] = order;
    } else if (!used.empty()) {
      auto at = used.begin();
      std::advance(at, static_cast<long>(r.below(used.size())));
      f.give_back(at->first);
      used.erase(at);
    }
    if (round % 100 == 0) DOCTEST_REQUIRE(f.check() == nullptr);
  }
  for (auto& [unit, order] : used) f.give_back(unit);
  DOCTEST_CHECK(f.check() == nullptr);
  DOCTEST_CHECK(f.free_units() == 192);
  for (u32 i = 0; i < 3; ++i) DOCTEST_CHECK(f.take(6) != no_unit);
  DOCTEST_CHECK(f.take(0) == no_unit);
}

DOCTEST_TEST_CASE("holding and releasing a region changes nothing") {
  arena memory;
  DOCTEST_REQUIRE(memory.make(64));
  frame_allocator f;
  f.make(memory, 0, 64, 4);
  u32 a = f.take(0), b = f.take(2), c = f.take(0);
  u32 free = f.free_units();
  f.hold_free(0, 4);
  DOCTEST_CHECK(f.free_units() < free);
  f.release_held(0, 4);
  DOCTEST_CHECK(f.free_units() == free);
  DOCTEST_CHECK(f.check() == nullptr);
  f.give_back(a);
  f.give_back(b);
  f.give_back(c);
  DOCTEST_CHECK(f.check() == nullptr);
  DOCTEST_CHECK(f.free_units() == 64);
}
