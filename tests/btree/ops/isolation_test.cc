// Proves: a cursor among inserts, deletes, splits, merges and changing large values never skips or
// repeats a key that lived throughout; a batch is seen whole or not at all, and so is an
// overwritten value.
#include <map>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;

namespace {

constexpr int pillars = 400;

std::string pillar(int i) {
  char text[16];
  std::snprintf(text, sizeof text, "%06d", i * 100);
  return text;
}

struct world {
  pleach::store& s;
  pleach::tree t;
  std::mt19937_64 random;
  int running = 0;
  bool stop = false;
};

/// Writes between the pillars: thick and thin, so that leaves split, empty and merge; the pillars'
/// values change, some of them large.
task churn(world& w, u64 seed) {
  ++w.running;
  std::mt19937_64 random(seed);
  std::string key;
  while (!w.stop) {
    u64 what = random() % 10;
    int near = static_cast<int>(random() % pillars);
    if (what < 5) {
      key = pillar(near) + std::to_string(random() % 50);
      std::string value = bytes_of(seed, random() % 900);
      pleach::answer a = co_await w.t.upsert(key, value, pleach::durability::ordered);
      require_ok(a);
    } else if (what < 9) {
      key = pillar(near) + std::to_string(random() % 50);
      pleach::answer a = co_await w.t.del(key, nullptr, pleach::durability::ordered);
      bool expected = a.ok() || a.what() == pleach::category::not_found;
      DOCTEST_REQUIRE(expected);
    } else {
      std::string value(random() % 12 == 0 ? 20'000 + random() % 9000 : random() % 90,
                        static_cast<char>('a' + random() % 26));
      pleach::answer a = co_await w.t.update(pillar(near), value, pleach::durability::ordered);
      require_ok(a);
    }
  }
  --w.running;
}

/// Large values between the pillars that come and go under the cursor.
task blink(world& w, u64 seed) {
  ++w.running;
  std::mt19937_64 random(seed);
  while (!w.stop) {
    std::string key = pillar(static_cast<int>(random() % pillars)) + "x";
    std::string value(15'000, static_cast<char>('a' + random() % 26));
    pleach::answer a = co_await w.t.upsert(key, value, pleach::durability::ordered);
    require_ok(a);
    a = co_await w.t.del(key, nullptr, pleach::durability::ordered);
    bool expected = a.ok() || a.what() == pleach::category::not_found;
    DOCTEST_REQUIRE(expected);
  }
  --w.running;
}

task walk(world& w, bool forward, int passes) {
  ++w.running;
  for (int pass = 0; pass < passes; ++pass) {
    pleach::cursor c(w.t);
    int expected = forward ? 0 : pillars - 1;
    std::string last;
    pleach::answer a;
    if (forward)
      a = co_await c.first();
    else
      a = co_await c.last();
    while (a.ok()) {
      std::string key(c.key());
      std::string value(c.value());
      // A value is one of those that were written, not a mixture.
      if (key.size() == 6)
        DOCTEST_REQUIRE(value.find_first_not_of(value.empty() ? 'a' : value[0]) ==
                        std::string::npos);
      if (!last.empty()) DOCTEST_REQUIRE((forward ? last < key : key < last));
      if (key.size() == 6) {
        DOCTEST_REQUIRE(key == pillar(expected));
        expected += forward ? 1 : -1;
      }
      last = key;
      bool stepped = forward ? c.try_next() : c.try_prev();
      if (stepped) continue;
      if (forward)
        a = co_await c.next();
      else
        a = co_await c.prev();
    }
    DOCTEST_REQUIRE(a.what() == pleach::category::not_found);
    DOCTEST_REQUIRE(expected == (forward ? pillars : -1));
  }
  --w.running;
}

}  // namespace

DOCTEST_TEST_CASE("a cursor never skips or repeats a key that lives throughout") {
  pleach::store s = open_memory(256 * mib, 8 * mib);
  world w{s, create(s, "t", 4096), std::mt19937_64(base_seed())};
  for (int i = 0; i < pillars; ++i)
    require_ok(s.run(w.t.put(pillar(i), "", pleach::durability::ordered)));
  for (u64 i = 0; i < 12; ++i) churn(w, base_seed() * 100 + i);
  for (u64 i = 0; i < 4; ++i) blink(w, base_seed() * 100 + 50 + i);
  int churners = w.running;
  for (int pass = 0; pass < 25; ++pass) {
    walk(w, true, 1);
    walk(w, false, 1);
    walk(w, pass & 1, 1);
    while (w.running > churners) host_step(s);
  }
  w.stop = true;
  host_until(s, w.running);
  DOCTEST_CHECK(counter_of(s, "tree.splits") > 50);
  DOCTEST_CHECK(counter_of(s, "tree.merges") + counter_of(s, "tree.unlinks") > 5);
  require_clean(s);
}

namespace {

/// Each batch writes one number under all keys of both trees.
task write_all(world& w, pleach::tree& other, u64 seed, int keys) {
  ++w.running;
  pleach::batch b(w.s);
  for (u64 n = seed; !w.stop; n += 16) {
    std::string value = std::to_string(n) + std::string(n % 300, '.');
    b.clear();
    for (int k = 0; k < keys; ++k) {
      b.upsert(w.t, pillar(k), value);
      b.upsert(other, pillar(k), value);
    }
    pleach::answer a = co_await b.commit(pleach::durability::ordered);
    require_ok(a);
  }
  --w.running;
}

}  // namespace

DOCTEST_TEST_CASE("a batch over two trees is never half seen") {
  pleach::store s = open_memory(256 * mib, 8 * mib);
  world w{s, create(s, "t", 4096), std::mt19937_64(base_seed())};
  pleach::tree other = create(s, "other", 4096);
  constexpr int keys = 30;
  for (u64 i = 0; i < 4; ++i) write_all(w, other, i, keys);
  int writers = w.running;
  // One leaf is read in one piece, and reads of resident pages run in one round each: what a leaf
  // shows of a batch is all or nothing.
  u64 seen = 0;
  // (A step without an operation works while the leaf is as it was read: not every round gives
  // one.)
  for (int round = 0; round < 400 || (seen < 2 && round < 5000); ++round) {
    host_step(s);
    pleach::cursor c(w.t);
    pleach::answer a = s.run(c.first());
    if (!a.ok()) continue;
    std::string value(c.value());
    u64 lsn = a.lsn;
    int count = 1;
    while (c.try_next()) {
      ++count;
      DOCTEST_REQUIRE(c.value() == value);
    }
    DOCTEST_REQUIRE(lsn != 0);
    if (count > 1) ++seen;
  }
  DOCTEST_CHECK(seen >= 2);
  DOCTEST_CHECK(w.running == writers);
  w.stop = true;
  host_until(s, w.running);
  // All trees, all keys: the last batch, whole.
  std::string value, v;
  require_ok(s.run(w.t.get(pillar(0), value)));
  for (int k = 0; k < keys; ++k) {
    require_ok(s.run(w.t.get(pillar(k), v)));
    DOCTEST_REQUIRE(v == value);
    require_ok(s.run(other.get(pillar(k), v)));
    DOCTEST_REQUIRE(v == value);
  }
  require_clean(s);
}
