// Proves: nodes follow the workload, and the counters show it. Runs of inserts, up or down, at the
// ends or between other records, leave full leaves; random inserts do not. Leaves grow before they
// split. A delete never reads a leaf only to merge it; sparse leaves that were cold neighbours
// merge when a later write passes while both are in memory. Windows of read-ahead grow with a cold
// scan and shrink with a cached one.
#include <algorithm>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;

namespace {

constexpr auto ordered = pleach::durability::ordered;
constexpr u64 records = 20'000;
constexpr u64 value_bytes = 100;

std::string numbered(u64 i) {
  char text[24];
  std::snprintf(text, sizeof text, "%08llu", static_cast<unsigned long long>(i));
  return text;
}

struct outcome {
  u64 splits, in_run, pages, fill;
};

outcome load(const std::vector<u64>& order, bool fixed = false) {
  pleach::store s = open_memory(64 * mib, 32 * mib);
  pleach::tree_options o{4096};
  if (fixed) o.key_bytes = 8, o.value_bytes = 8;
  pleach::tree t;
  require_ok(s.run(s.create_tree("t", o, t)));
  const u64 length = fixed ? 8 : value_bytes;
  for (u64 i : order) require_ok(s.run(t.put(numbered(i), bytes_of(i, length), ordered)));
  const pleach::check_report r = require_clean(s);
  return {counter_of(s, "tree.splits"), counter_of(s, "tree.splits_in_run"), r.pages,
          100 * r.leaf_bytes_used / r.leaf_bytes};
}

std::vector<u64> ascending() {
  std::vector<u64> order(records);
  for (u64 i = 0; i < records; ++i) order[i] = i;
  return order;
}

/// A closed store with the tree "t" of `n` records in full leaves of 4 KiB.
struct cold {
  scratch_file f{"adaptive"};
  explicit cold(u64 n = records) {
    pleach::format_options o;
    o.size_bytes = 64 * mib;
    o.log_bytes = 8 * mib;
    o.max_node_bytes = 16 << 10;  // so that a cache may be small
    DOCTEST_REQUIRE(pleach::store::format(f.path, o));
    pleach::store s = open(f.path, 32 * mib);
    pleach::tree t = create(s, "t", 4096);
    for (u64 i = 0; i < n; ++i)
      require_ok(s.run(t.put(numbered(i), bytes_of(i, value_bytes), ordered)));
    DOCTEST_REQUIRE(s.close());
  }
};

/// Nearly all of 60 neighbouring keys in each of many places far apart: the leaves there become
/// sparse, but not empty, and what is beside them is not touched otherwise.
std::vector<u64> scattered() {
  std::vector<u64> keys;
  for (u64 place = 100; place + 100 < records; place += 400)
    for (u64 i = 0; i < 60; ++i)
      if (i % 9 != 0) keys.push_back(place + i);
  return keys;
}

}  // namespace

/// Eight streams, one after the other in the order of the keys; who is next is drawn.
std::vector<u64> streams(bool down) {
  std::vector<u64> order, next(8);
  std::mt19937_64 random(base_seed());
  for (u64 i = 0; i < records; ++i) {
    const u64 s = random() % 8, n = next[s]++;
    order.push_back(s * 10'000'000 + (down ? 9'000'000 - n : n));
  }
  return order;
}

DOCTEST_TEST_CASE("runs split where they are and leave full leaves, random inserts do not") {
  std::vector<u64> order = ascending();
  outcome up = load(order);
  std::mt19937_64 random(base_seed());
  std::shuffle(order.begin(), order.end(), random);
  outcome any = load(order);
  DOCTEST_CHECK(up.splits > 300);
  DOCTEST_CHECK(up.in_run > up.splits * 9 / 10);
  DOCTEST_CHECK(any.in_run < any.splits / 20);
  DOCTEST_CHECK(up.pages < any.pages * 8 / 10);
  DOCTEST_CHECK(up.fill >= 95);
  DOCTEST_CHECK(any.fill < 80);
}

DOCTEST_TEST_CASE("runs downwards and runs between other records leave full leaves") {
  std::vector<u64> down = ascending();
  std::reverse(down.begin(), down.end());
  for (bool fixed : {false, true}) {
    DOCTEST_CAPTURE(fixed);
    for (const auto& order : {down, streams(false), streams(true)}) {
      outcome o = load(order, fixed);
      DOCTEST_CHECK(o.in_run > o.splits * 3 / 4);
      DOCTEST_CHECK(o.fill >= 85);
    }
  }
}

DOCTEST_TEST_CASE("a leaf grows to the tree's node size before it splits") {
  pleach::store s = open_memory(64 * mib, 32 * mib);
  pleach::tree t = create(s, "t", 65536);
  u64 i = 0;
  for (; counter_of(s, "tree.splits") == 0; ++i)
    require_ok(s.run(t.put(numbered(i * 7919 % 100'000), bytes_of(i, value_bytes), ordered)));
  // Of 8, 16, 32 and 64 KiB, one after the other.
  DOCTEST_CHECK(counter_of(s, "tree.growths") + counter_of(s, "tree.push_downs") == 4);
  DOCTEST_CHECK(i * value_bytes > 48 * 1024);
  require_clean(s);
}

DOCTEST_TEST_CASE("deletes read what gets of the same keys read, and no neighbour") {
  cold c;
  u64 reads[2];
  for (bool erase : {false, true}) {
    pleach::store s = open(c.f.path, 4 * mib);
    pleach::tree t = open_tree(s, "t");
    u64 before = counter_of(s, "cache.misses");
    std::string v;
    for (u64 i : scattered())
      require_ok(erase ? s.run(t.del(numbered(i), nullptr, ordered))
                       : s.run(t.get(numbered(i), v)));
    reads[erase] = counter_of(s, "cache.misses") - before;
    if (!erase) continue;
    // There was something to merge, and it was left.
    DOCTEST_CHECK(counter_of(s, "tree.merges_absent") > 10);
    require_clean(s);
  }
  DOCTEST_CHECK(reads[0] > records / 400);
  // But for the bitmap page, where two neighbours were there and one of them was freed.
  DOCTEST_CHECK(reads[1] <= reads[0] + 1);
}

DOCTEST_TEST_CASE("sparse leaves that were cold beside one another merge when a write passes") {
  constexpr u64 many = 3 * records, place = 20, apart = 7;
  cold c(many);
  // Places shorter than a leaf, every seventh in a round: when a round comes to a place, those
  // beside it are no longer in memory: a round reads about 430 leaves, the cache holds 256.
  pleach::store s = open(c.f.path, 1 * mib);
  pleach::tree t = open_tree(s, "t");
  for (u64 round = 0; round < apart; ++round)
    for (u64 i = 0; i < many; ++i)
      if (i / place % apart == round && i % 6 != 0)
        require_ok(s.run(t.del(numbered(i), nullptr, ordered)));
  u64 sparse = require_clean(s).blocks_used;
  DOCTEST_CHECK(counter_of(s, "tree.merges_absent") > 100);
  DOCTEST_CHECK(counter_of(s, "tree.merges_passing") == 0);
  // Reads alone change nothing.
  std::string v;
  for (u64 i = 0; i < many; i += 6) require_ok(s.run(t.get(numbered(i), v)));
  DOCTEST_CHECK(require_clean(s).blocks_used == sparse);
  // Writes in the order of the keys, without any delete.
  for (u64 i = 0; i < many; i += 6)
    require_ok(s.run(t.upsert(numbered(i), bytes_of(i, value_bytes), ordered)));
  require_ok(s.run(s.flush()));
  DOCTEST_CHECK(counter_of(s, "tree.merges_passing") > 500);
  u64 tidy = require_clean(s).blocks_used;
  DOCTEST_CHECK(tidy < sparse);
  DOCTEST_MESSAGE("blocks: " << sparse << " sparse, " << tidy << " after writes that passed");
  for (u64 i = 0; i < many; i += 6) {
    require_ok(s.run(t.get(numbered(i), v)));
    DOCTEST_REQUIRE(v == bytes_of(i, value_bytes));
  }
}

DOCTEST_TEST_CASE("a leaf that is being filled from its end does not merge") {
  pleach::store s = open_memory(64 * mib, 32 * mib);
  pleach::tree t = create(s, "t", 4096);
  for (u64 i = 0; i < 5000; ++i)
    require_ok(s.run(t.put(numbered(i), bytes_of(i, value_bytes), ordered)));
  DOCTEST_CHECK(counter_of(s, "tree.merges") == 0);
}

DOCTEST_TEST_CASE("the space comes back when all but every n-th record is deleted") {
  for (u64 n : {3, 4, 5, 9})
    for (u64 batch : {1, 7, 500})
      for (bool counted : {false, true}) {
        DOCTEST_CAPTURE(n);
        DOCTEST_CAPTURE(batch);
        pleach::store s = open_memory(64 * mib, 32 * mib);
        pleach::tree_options o{4096};
        o.digest = counted;
        pleach::tree t;
        require_ok(s.run(s.create_tree("t", o, t)));
        std::vector<u64> order = ascending();
        order.resize(6000);
        std::shuffle(order.begin(), order.end(), std::mt19937_64(base_seed()));
        for (u64 i : order)
          require_ok(s.run(t.put(numbered(i), bytes_of(i, value_bytes), ordered)));
        pleach::batch b(s);
        for (u64 i = 0; i < order.size(); ++i) {
          if (i % n == 0) continue;
          b.del(t, numbered(i));
          if (b.size() < batch && i + 1 < order.size()) continue;
          require_ok(s.run(b.commit(ordered)));
          b.clear();
        }
        if (b.size() != 0) require_ok(s.run(b.commit(ordered)));
        const pleach::check_report r = require_clean(s);
        // Two pages are the catalogue's and, often, the root's.
        DOCTEST_CHECK(r.leaf_bytes_used * 100 / r.leaf_bytes >= 40);
        DOCTEST_CHECK(counter_of(s, "tree.merges") > 20);
        DOCTEST_CHECK(counter_of(s, "log.credit_overruns") == 0);
        u64 found = 0;
        std::string v;
        for (u64 i = 0; i < order.size(); ++i) found += s.run(t.get(numbered(i), v)).ok();
        DOCTEST_CHECK(found == (order.size() + n - 1) / n);
      }
}

DOCTEST_TEST_CASE("windows of read-ahead grow with a cold scan and shrink with a cached one") {
  cold c;
  pleach::store s = open(c.f.path, 32 * mib);
  pleach::tree t = open_tree(s, "t");
  pleach::cursor at(t);
  // The second half is in memory already.
  std::string v;
  for (u64 i = records / 2; i < records; ++i) require_ok(s.run(t.get(numbered(i), v)));
  u64 n = 0, grown = 0;
  for (pleach::answer a = s.run(at.first()); a.ok(); ++n) {
    if (n == records / 2) grown = counter_of(s, "tree.read_ahead_grown");
    if (!at.try_next()) a = s.run(at.next());
  }
  DOCTEST_REQUIRE(n == records);
  DOCTEST_CHECK(grown >= 4);
  // A device that is slow today makes a window close and open again on the way, never behind it.
  DOCTEST_CHECK(counter_of(s, "tree.read_ahead_grown") == grown);
  DOCTEST_CHECK(counter_of(s, "tree.read_ahead_shrunk") > grown);
}
