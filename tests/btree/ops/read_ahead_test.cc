// Proves: a cursor that goes on in one direction over cold leaves loads the next ones ahead, gives
// what a model gives, within a small budget and among writers; seeks load nothing ahead, nor does a
// cursor over cached leaves, nor past its bound; cancelled, it goes on where it was.
#include <algorithm>
#include <map>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

constexpr u64 records = 20'000;

std::string numbered(u64 i) {
  char text[16];
  std::snprintf(text, sizeof text, "%06llu", static_cast<unsigned long long>(i));
  return text;
}
std::string value_of(u64 i) { return bytes_of(i, i % 70 == 3 ? 6000 : i * 37 % 250); }

/// A closed store with the tree "t" of `records`, in leaves of 4 KiB.
struct cold {
  scratch_file f{"read-ahead"};
  cold() {
    format(f.path, 128 * mib, 8 * mib);
    pleach::store s = open(f.path, 32 * mib);
    pleach::tree t = create(s, "t", 4096);
    for (u64 i = 0; i < records; ++i)
      require_ok(s.run(t.put(numbered(i), value_of(i), pleach::durability::ordered)));
    DOCTEST_REQUIRE(s.close());
  }
};

u64 ahead(pleach::store& s) { return counter_of(s, "tree.read_ahead"); }
u64 leaves(pleach::store& s) { return counter_of(s, "cache.misses"); }

}  // namespace

DOCTEST_TEST_CASE("a cold scan loads ahead, both ways, and gives every record") {
  cold c;
  for (bool forward : {true, false})
    for (u64 cache : {3 * mib, 32 * mib}) {
      pleach::store s = open(c.f.path, cache);
      pleach::tree t = open_tree(s, "t");
      pleach::cursor at(t);
      pleach::answer a = s.run(forward ? at.first() : at.last());
      for (u64 n = 0; n < records; ++n) {
        u64 i = forward ? n : records - 1 - n;
        require_ok(a);
        DOCTEST_REQUIRE(at.key() == numbered(i));
        DOCTEST_REQUIRE(at.value() == value_of(i));
        if (forward ? !at.try_next() : !at.try_prev())
          a = s.run(forward ? at.next() : at.prev());
      }
      DOCTEST_CHECK(a.what() == category::not_found);
      // All but the first leaves, and few twice.
      DOCTEST_CHECK(ahead(s) > leaves(s) * 8 / 10);
      DOCTEST_CHECK(leaves(s) < 1200);
      if (cache == 32 * mib) {
        u64 before = ahead(s);
        for (a = s.run(at.first()); a.ok();)
          if (!at.try_next()) a = s.run(at.next());
        DOCTEST_CHECK(ahead(s) == before);
      }
      require_clean(s);
    }
}

DOCTEST_TEST_CASE("the leaves of the next parent are loaded ahead too") {
  scratch_file f("read-ahead-parents");
  format(f.path, 128 * mib, 8 * mib);
  constexpr u64 count = 12'000;
  const auto long_key = [](u64 i) { return std::string(200, 'k') + numbered(i * 7919 % 999'983); };
  std::vector<std::string> keys;
  for (u64 i = 0; i < count; ++i) keys.push_back(long_key(i));
  {
    pleach::store s = open(f.path, 32 * mib);
    pleach::tree_options o{.node_bytes = 4096};
    o.prefix_compression = o.suffix_truncation = false;  // inner nodes of 15 children
    pleach::tree t;
    require_ok(s.run(s.create_tree("t", o, t)));
    for (const std::string& key : keys)
      require_ok(s.run(t.put(key, std::string(100, 'v'), pleach::durability::ordered)));
    DOCTEST_REQUIRE(s.close());
  }
  std::sort(keys.begin(), keys.end());
  for (bool forward : {true, false}) {
    pleach::store s = open(f.path, 32 * mib);
    pleach::tree t = open_tree(s, "t");
    pleach::cursor at(t);
    u64 n = 0;
    for (pleach::answer a = s.run(forward ? at.first() : at.last()); a.ok(); ++n) {
      DOCTEST_REQUIRE(at.key() == keys[forward ? n : count - 1 - n]);
      if (forward ? !at.try_next() : !at.try_prev()) a = s.run(forward ? at.next() : at.prev());
    }
    DOCTEST_CHECK(n == count);
    // 140 parents of leaves. Two or three pages in a row are waited for where one of the 14 nodes
    // above them ends.
    DOCTEST_CHECK(leaves(s) > 1000);
    DOCTEST_CHECK(leaves(s) - ahead(s) < 70);
  }
}

DOCTEST_TEST_CASE("seeks load nothing ahead, and a bound ends what is loaded ahead") {
  cold c;
  pleach::store s = open(c.f.path, 4 * mib);
  pleach::tree t = open_tree(s, "t");
  pleach::cursor at(t);
  std::mt19937_64 random(base_seed());
  for (int i = 0; i < 300; ++i) {
    require_ok(s.run(at.seek(numbered(random() % records))));
    for (int k = 0; k < 3; ++k)
      if (!at.try_next()) s.run(at.next());
  }
  // A step that had to load its leaf may have begun a sequence, of two leaves each.
  DOCTEST_CHECK(ahead(s) <= 300 * 2 / 4);
  at.range(numbered(5000), numbered(5200));
  u64 before = leaves(s);
  u64 n = 0;
  for (pleach::answer a = s.run(at.first()); a.ok(); ++n)
    if (!at.try_next()) a = s.run(at.next());
  DOCTEST_CHECK(n == 200);
  DOCTEST_CHECK(leaves(s) - before < 200 * 300 / 3000 + 8);
  at.range(numbered(9000), numbered(9200));
  before = leaves(s);
  n = 0;
  for (pleach::answer a = s.run(at.last()); a.ok(); ++n)
    if (!at.try_prev()) a = s.run(at.prev());
  DOCTEST_CHECK(n == 200);
  DOCTEST_CHECK(leaves(s) - before < 200 * 300 / 3000 + 8);
}

namespace {

struct world {
  pleach::store& s;
  pleach::tree t;
  int running = 0;
  bool stop = false;
};

/// New records between those that stay, and away again.
task churn(world& w, u64 seed) {
  ++w.running;
  std::mt19937_64 random(seed);
  while (!w.stop) {
    std::string key = numbered(random() % records) + "x", value = bytes_of(seed, random() % 900);
    pleach::answer a;
    if (random() % 3 == 0)
      a = co_await w.t.del(key, nullptr, pleach::durability::ordered);
    else
      a = co_await w.t.upsert(key, value, pleach::durability::ordered);
    bool expected = a.ok() || a.what() == category::not_found;
    DOCTEST_REQUIRE_MESSAGE(expected, a.text());
  }
  --w.running;
}

/// Steps are cancelled now and then; the position stays.
task scan(world& w, u64 seed, bool forward) {
  ++w.running;
  std::mt19937_64 random(seed);
  pleach::cursor at(w.t);
  pleach::answer a;
  if (forward)
    a = co_await at.first();
  else
    a = co_await at.last();
  u64 n = 0;
  while (a.what() != category::not_found) {
    require_ok(a);
    if (at.key().size() == 6) {
      u64 i = forward ? n : records - 1 - n;
      DOCTEST_REQUIRE(at.key() == numbered(i));
      DOCTEST_REQUIRE(at.value() == value_of(i));
      ++n;
    }
    bool stepped = forward ? at.try_next() : at.try_prev();
    if (stepped) continue;
    do {
      pleach::operation op = forward ? at.next() : at.prev();
      if (random() % 4 == 0) op.deadline_ns(1);  // long ago
      a = co_await op;
    } while (a.what() == category::cancelled);
  }
  DOCTEST_REQUIRE(n == records);
  --w.running;
}

}  // namespace

DOCTEST_TEST_CASE("scans among writers, cancelled now and then, skip and repeat nothing") {
  cold c;
  pleach::store s = open(c.f.path, 4 * mib);
  world w{s, open_tree(s, "t")};
  for (u64 i = 0; i < 6; ++i) churn(w, base_seed() * 100 + i);
  int writers = w.running;
  for (u64 i = 0; i < 6; ++i) scan(w, base_seed() * 100 + 50 + i, i % 2);
  while (w.running > writers) host_step(s);
  w.stop = true;
  host_until(s, w.running);
  DOCTEST_CHECK(ahead(s) > 200);
  require_clean(s);
}
