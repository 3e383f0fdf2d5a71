// Proves: with cookies every operation answers as without, under splits, merges, eviction and
// reload, freed and reused pages, destroyed trees and reopened stores; runs of neighbouring keys
// hit; writes that need more than their leaf go the usual way and leave a sound tree.
#include <map>
#include <optional>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

using model = std::map<std::string, std::string>;
constexpr auto ordered = pleach::durability::ordered;

std::string numbered(u64 i) {
  char text[16];
  std::snprintf(text, sizeof text, "%06llu", static_cast<unsigned long long>(i));
  return text;
}

struct world {
  pleach::store& s;
  pleach::tree t;
  model m;
  int running = 0;
  u64 phase = 0;
};

#define SAME(a, expected) DOCTEST_REQUIRE_MESSAGE((a).what() == (expected), (a).text())

/// Walks over the keys that are its own (id % tasks == me), near where it was, changing them; now
/// and then far away.
task walk(world& w, u64 me, u64 tasks, int steps) {
  ++w.running;
  std::mt19937_64 random(base_seed() * 1000 + me);
  constexpr u64 span = 4000;
  pleach::cookie near;
  u64 at = random() % span;
  for (int i = 0; i < steps; ++i) {
    at = random() % 40 == 0 ? random() % span : (at + random() % 5 + span - 2) % span;
    std::string key = numbered(at * tasks + me);
    u64 size = random() % 60 == 0 ? 9000 : random() % 300;
    std::string value = bytes_of(random(), size), got = "untouched";
    auto found = w.m.find(key);
    bool there = found != w.m.end();
    std::string before = there ? found->second : "untouched";
    u64 shrink = w.phase % 2 ? 6 : 1;
    u64 what = random() % (9 + shrink);
    if (random() % 300 == 0) near.clear();
    pleach::answer a;
    if (what < 3) {
      a = co_await w.t.get(key, got, &near);
      SAME(a, there ? category::ok : category::not_found);
      DOCTEST_REQUIRE(got == before);
    } else if (what < 4) {
      a = co_await w.t.exists(key, &near);
      SAME(a, there ? category::ok : category::not_found);
    } else if (what < 6) {
      a = co_await w.t.put(key, value, ordered, &near);
      SAME(a, there ? category::exists : category::ok);
      if (!there) w.m[key] = value;
    } else if (what < 7) {
      a = co_await w.t.update(key, value, ordered, &near);
      SAME(a, there ? category::ok : category::not_found);
      if (there) w.m[key] = value;
    } else if (what < 9) {
      a = co_await w.t.upsert(key, value, ordered, &near);
      SAME(a, category::ok);
      w.m[key] = value;
    } else {
      a = co_await w.t.del(key, &got, ordered, &near);
      SAME(a, there ? category::ok : category::not_found);
      DOCTEST_REQUIRE(got == before);
      w.m.erase(key);
    }
  }
  --w.running;
}

void compare(world& w) {
  pleach::cursor c(w.t);
  pleach::answer a = w.s.run(c.first());
  for (auto& [k, v] : w.m) {
    SAME(a, category::ok);
    DOCTEST_REQUIRE((c.key() == k && c.value() == v));
    if (!c.try_next()) a = w.s.run(c.next());
  }
  SAME(a, category::not_found);
  DOCTEST_REQUIRE(w.t.record_count() == w.m.size());
  require_clean(w.s);
}

u64 hits(pleach::store& s) {
  return counter_of(s, "tree.cookie_hits");
}
u64 misses(pleach::store& s) {
  return counter_of(s, "tree.cookie_misses");
}

}  // namespace

DOCTEST_TEST_CASE("with cookies, operations in flight answer as a model does") {
  u64 cache = 32 * mib;
  DOCTEST_SUBCASE("cached") {}
  DOCTEST_SUBCASE("small cache") {
    cache = 3 * mib;
  }
  pleach::store s = open_memory(512 * mib, cache);
  world w{s, create(s, "t", 4096), {}};
  constexpr u64 tasks = 16;
  for (int round = 0; round < 6; ++round, ++w.phase) {
    for (u64 i = 0; i < tasks; ++i) walk(w, i, tasks, 700);
    host_until(s, w.running);
    compare(w);
  }
  DOCTEST_CHECK(counter_of(s, "tree.splits") > 100);
  DOCTEST_CHECK(counter_of(s, "tree.merges") + counter_of(s, "tree.unlinks") > 5);
  DOCTEST_CHECK(hits(s) > 20'000);
  DOCTEST_CHECK(misses(s) > 500);
}

DOCTEST_TEST_CASE("a run of neighbouring keys hits, whatever it does") {
  pleach::store s = open_memory(256 * mib, 64 * mib);
  world w{s, create(s, "t", 16384), {}};
  pleach::cookie near;
  constexpr u64 records = 20'000;
  for (u64 i = 0; i < records; ++i) {
    std::string key = numbered(i * 2), value = bytes_of(i, 60);
    require_ok(s.run(w.t.put(key, value, ordered, &near)));
    w.m[key] = value;
  }
  DOCTEST_CHECK(hits(s) > records * 97 / 100);  // not: the first, and what split a leaf
  u64 before = hits(s);
  std::string value;
  for (u64 i = 0; i < records; ++i) {
    auto a = s.run(w.t.get(numbered(i), value, &near));
    SAME(a, i % 2 ? category::not_found : category::ok);
    if (i % 2 == 0) DOCTEST_REQUIRE(value == w.m[numbered(i)]);
  }
  DOCTEST_CHECK(hits(s) - before > records * 98 / 100);
  before = hits(s);
  for (u64 i = 0; i < records; i += 3) {
    std::string key = numbered(i * 2);
    require_ok(s.run(w.t.update(key, "new", ordered, &near)));
    w.m[key] = "new";
    if (i % 9 == 0) {
      require_ok(s.run(w.t.del(key, nullptr, ordered, &near)));
      w.m.erase(key);
    }
  }
  DOCTEST_CHECK(hits(s) - before > records / 3 * 95 / 100);
  compare(w);
}

DOCTEST_TEST_CASE("a stale cookie is found out") {
  scratch_file f("cookie");
  format(f.path, 128 * mib, 8 * mib);
  pleach::cookie kept;
  std::string value;
  {
    pleach::store s = open(f.path, 4 * mib);
    pleach::tree t = create(s, "t", 4096);
    for (u64 i = 0; i < 2000; ++i) require_ok(s.run(t.put(numbered(i), bytes_of(i, 90), ordered)));

    DOCTEST_SUBCASE("its leaf split") {
      require_ok(s.run(t.get(numbered(1000), value, &kept)));
      for (u64 i = 0; i < 200; ++i)
        require_ok(s.run(t.put(numbered(1000) + std::to_string(i), bytes_of(i, 90), ordered)));
      u64 before = misses(s);
      require_ok(s.run(t.get(numbered(1000), value, &kept)));
      DOCTEST_CHECK(misses(s) == before + 1);
      DOCTEST_CHECK(value == bytes_of(1000, 90));
    }
    DOCTEST_SUBCASE("its leaf was emptied and unlinked, its page used again") {
      require_ok(s.run(t.get(numbered(1000), value, &kept)));
      for (u64 i = 900; i < 1100; ++i) require_ok(s.run(t.del(numbered(i), nullptr, ordered)));
      pleach::tree other = create(s, "other", 4096);
      for (u64 i = 0; i < 3000; ++i)
        require_ok(s.run(other.put(numbered(i), bytes_of(i + 7, 90), ordered)));
      require_ok(s.run(s.flush()));
      u64 before = misses(s);
      pleach::cookie copy = kept;
      SAME(s.run(t.get(numbered(1000), value, &copy)), category::not_found);
      copy = kept;
      require_ok(s.run(t.put(numbered(1000), "back", ordered, &copy)));
      DOCTEST_CHECK(misses(s) == before + 2);
      require_ok(s.run(t.get(numbered(1000), value, &copy)));
      DOCTEST_CHECK(value == "back");
      // With another tree it is no good either.
      require_ok(s.run(other.get(numbered(1000), value, &copy)));
      DOCTEST_CHECK(value == bytes_of(1007, 90));
      DOCTEST_CHECK(misses(s) == before + 3);
    }
    DOCTEST_SUBCASE("its leaf was evicted, and loaded again") {
      require_ok(s.run(t.get(numbered(1000), value, &kept)));
      pleach::tree other = create(s, "other", 16384);
      for (u64 i = 0; i < 8000; ++i)
        require_ok(s.run(other.put(numbered(i), bytes_of(i, 900), ordered)));
      for (u64 i = 0; i < 8000; ++i) require_ok(s.run(other.get(numbered(i), value)));
      u64 before = misses(s);
      pleach::cookie copy = kept;
      require_ok(s.run(t.get(numbered(1000), value, &copy)));
      DOCTEST_CHECK(value == bytes_of(1000, 90));
      DOCTEST_CHECK(misses(s) == before + 1);
      copy = kept;  // the leaf is there again, in another residence
      require_ok(s.run(t.get(numbered(1001), value, &copy)));
      DOCTEST_CHECK(value == bytes_of(1001, 90));
      DOCTEST_CHECK(misses(s) == before + 2);
      require_ok(s.run(t.get(numbered(1002), value, &copy)));
      DOCTEST_CHECK(misses(s) == before + 2);
    }
    DOCTEST_SUBCASE("its tree was destroyed, and another one has its name") {
      require_ok(s.run(t.get(numbered(1000), value, &kept)));
      require_ok(s.run(s.drop_tree("t")));
      SAME(s.run(t.get(numbered(1000), value, &kept)), category::invalid);
      t = create(s, "t", 4096);
      SAME(s.run(t.get(numbered(1000), value, &kept)), category::not_found);
      require_ok(s.run(t.put(numbered(1000), bytes_of(1000, 90), ordered, &kept)));
    }
    DOCTEST_SUBCASE("its store was closed") {
      require_ok(s.run(t.get(numbered(1000), value, &kept)));
    }
    require_clean(s);
    t = {};
    DOCTEST_REQUIRE(s.close());
  }
  // Opened again, as another store with the same pages: the descriptor of the cookie is no more.
  pleach::store s = open(f.path, 4 * mib);
  pleach::tree t = open_tree(s, "t");
  pleach::answer a = s.run(t.get(numbered(1000), value, &kept));
  DOCTEST_CHECK(a.ok());
  DOCTEST_CHECK(misses(s) == 1);
  require_ok(s.run(t.get(numbered(1000), value, &kept)));
  DOCTEST_CHECK(hits(s) == 1);
}
