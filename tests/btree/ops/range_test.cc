// Proves: bounded steps and bounded cursors give what std::map gives in the range, and read nothing
// behind a bound; a count is exact when nothing changes, and among splits and merges counts each
// key that lives throughout once; cancelled at any moment it ends.
#include <map>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

using model = std::map<std::string, std::string>;

std::string numbered(u64 i) {
  char text[16];
  std::snprintf(text, sizeof text, "%06llu", static_cast<unsigned long long>(i));
  return text;
}

model fill(pleach::store& s, pleach::tree& t, u64 records, u64 size) {
  model m;
  for (u64 i = 0; i < records; ++i) {
    std::string key = numbered(i * 3), value = bytes_of(i, i % 50 == 7 ? 9000 : i * 31 % size);
    if (i % 60 == 59) key += std::string(400, 'k');
    require_ok(s.run(t.put(key, value, pleach::durability::ordered)));
    m[key] = value;
  }
  require_ok(s.run(s.flush()));
  return m;
}

u64 counted(const model& m, const std::string& from, const std::string& to) {
  if (!to.empty() && to <= from) return 0;
  auto end = to.empty() ? m.end() : m.lower_bound(to);
  return static_cast<u64>(std::distance(m.lower_bound(from), end));
}

std::string some_key(std::mt19937_64& random, u64 records) {
  u64 what = random() % 20;
  if (what == 0) return {};
  if (what == 1) return "a key behind all";
  std::string key = numbered(random() % (records * 3 + 50));
  if (what == 2) key += std::string(400, 'k');
  return key;
}

}  // namespace

DOCTEST_TEST_CASE("a warm scan goes by right links, a stale one harms nobody") {
  pleach::store s = open_memory(128 * mib, 32 * mib);
  pleach::tree t = create(s, "t");
  model m = fill(s, t, 6000, 200);
  std::mt19937_64 random(base_seed());
  for (int round = 0; round < 4; ++round) {
    const u64 before = counter_of(s, "tree.right_hints");
    pleach::cursor c(t);
    auto at = m.begin();
    for (pleach::answer a = s.run(c.first()); a.ok(); a = s.run(c.next()), ++at) {
      DOCTEST_REQUIRE(at != m.end());
      DOCTEST_REQUIRE(c.key() == at->first);
      DOCTEST_REQUIRE(c.value() == at->second);
    }
    DOCTEST_REQUIRE(at == m.end());
    // The bytes of the records fill 30 leaves at least.
    DOCTEST_CHECK(counter_of(s, "tree.right_hints") - before >= 30);
    // Leaves split, empty, merge.
    for (u64 i = 0; i < 1500; ++i) {
      const std::string key = numbered(random() % 18'000);
      require_ok(s.run(t.upsert(key, "v", pleach::durability::ordered)));
      m[key] = "v";
    }
    u64 n = 0;
    const u64 from = random() % 12'000;
    m.erase(m.lower_bound(numbered(from)), m.lower_bound(numbered(from + 2000)));
    require_ok(s.run(t.delete_range(numbered(from), numbered(from + 2000), n)));
  }
  require_clean(s);
}

DOCTEST_TEST_CASE("bounded steps, bounded cursors and counts agree with a model") {
  pleach::store s = open_memory(256 * mib, 32 * mib);
  pleach::tree t = create(s, "t", 4096);
  std::mt19937_64 random(base_seed());
  u64 records = 0;
  DOCTEST_SUBCASE("empty") {}
  DOCTEST_SUBCASE("one leaf") {
    records = 12;
  }
  DOCTEST_SUBCASE("many leaves") {
    records = 3000;
  }
  model m = fill(s, t, records, 150);
  for (int round = 0; round < 1500; ++round) {
    std::string a = some_key(random, records), b = some_key(random, records), k, v;
    DOCTEST_CAPTURE(a);
    DOCTEST_CAPTURE(b);
    auto up = m.upper_bound(a);
    bool there = up != m.end() && (b.empty() || up->first < b);
    pleach::answer r = s.run(t.next_upto(a, b, k, v));
    DOCTEST_REQUIRE(r.what() == (there ? category::ok : category::not_found));
    if (there) DOCTEST_REQUIRE((k == up->first && v == up->second));
    auto down = m.lower_bound(a);
    there = down != m.begin() && std::prev(down)->first >= b;
    r = s.run(t.prev_downto(a, b, k, v));
    DOCTEST_REQUIRE(r.what() == (there ? category::ok : category::not_found));
    if (there) DOCTEST_REQUIRE((k == std::prev(down)->first && v == std::prev(down)->second));
    u64 n = 12345;
    require_ok(s.run(t.count(a, b, n)));
    DOCTEST_REQUIRE(n == counted(m, a, b));
  }
  u64 n = 0;
  require_ok(s.run(t.count("", "", n)));
  DOCTEST_CHECK(n == t.record_count());
  DOCTEST_CHECK(s.run(t.count(std::string(s.limits().key_bytes + 1, 'x'), "", n)).what() ==
                category::too_large);

  for (int round = 0; round < 60; ++round) {
    std::string from = some_key(random, records), to = some_key(random, records);
    DOCTEST_CAPTURE(from);
    DOCTEST_CAPTURE(to);
    model in;
    for (auto i = m.lower_bound(from); i != m.end() && (to.empty() || i->first < to); ++i)
      in.insert(*i);
    pleach::cursor c(t);
    c.range(from, to);
    auto at = in.begin();
    pleach::answer a = s.run(c.first());
    for (; a.ok(); ++at) {
      DOCTEST_REQUIRE(at != in.end());
      DOCTEST_REQUIRE((c.key() == at->first && c.value() == at->second));
      if (!c.try_next()) a = s.run(c.next());
    }
    DOCTEST_REQUIRE(a.what() == category::not_found);
    DOCTEST_REQUIRE(at == in.end());
    auto back = in.rbegin();
    a = s.run(c.prev());  // from behind the range: its last key
    for (; a.ok(); ++back) {
      DOCTEST_REQUIRE(back != in.rend());
      DOCTEST_REQUIRE((c.key() == back->first && c.value() == back->second));
      if (!c.try_prev()) a = s.run(c.prev());
    }
    DOCTEST_REQUIRE(back == in.rend());
    std::string seek = some_key(random, records);
    auto least = in.lower_bound(seek);
    a = s.run(c.seek(seek));
    DOCTEST_REQUIRE(a.ok() == (least != in.end()));
    if (a.ok()) DOCTEST_REQUIRE(c.key() == least->first);
    auto most = in.upper_bound(seek);
    a = s.run(c.seek_at_most(seek));
    DOCTEST_REQUIRE(a.ok() == (most != in.begin()));
    if (a.ok()) DOCTEST_REQUIRE(c.key() == std::prev(most)->first);
    c.range("", "");
    a = s.run(c.next());
    DOCTEST_REQUIRE(a.ok() == !m.empty());
    if (a.ok()) DOCTEST_REQUIRE(c.key() == m.begin()->first);
  }
}

DOCTEST_TEST_CASE("a bound keeps a step from reading what is behind it") {
  scratch_file f("range");
  format(f.path, 64 * mib, 4 * mib);
  {
    pleach::store s = open(f.path);
    pleach::tree t = create(s, "t", 4096);
    for (u64 i = 0; i < 500; ++i)
      if (i < 100 || i >= 300)
        require_ok(s.run(t.put(numbered(i), bytes_of(i, 200), pleach::durability::ordered)));
    DOCTEST_REQUIRE(s.close());
  }
  pleach::store s = open(f.path);
  pleach::tree t = open_tree(s, "t");
  std::string k, v;
  // A leaf at a time until one ends the lower keys: then the step to the bound costs no page.
  require_ok(s.run(t.get(numbered(99), v)));
  u64 before = counter_of(s, "cache.misses");
  DOCTEST_CHECK(s.run(t.next_upto(numbered(99), numbered(100), k, v)).what() ==
                category::not_found);
  DOCTEST_CHECK(s.run(t.prev_downto(numbered(300), numbered(299), k, v)).what() ==
                category::not_found);
  DOCTEST_CHECK(counter_of(s, "cache.misses") <= before + 1);
}

namespace {

constexpr u64 pillars = 600;

struct world {
  pleach::store& s;
  pleach::tree t;
  int running = 0;
  bool stop = false;
};

/// Records between the pillars come and go, thick and thin: leaves split, empty and merge.
task churn(world& w, u64 seed) {
  ++w.running;
  std::mt19937_64 random(seed);
  for (u64 i = 0; !w.stop; ++i) {
    std::string key = numbered(random() % pillars * 10) + "x" + std::to_string(random() % 8);
    std::string value = bytes_of(seed, random() % 900);
    bool del = random() % 10 < (i / 800 % 2 ? 9 : 1);
    pleach::answer a;
    if (del)
      a = co_await w.t.del(key, nullptr, pleach::durability::ordered);
    else
      a = co_await w.t.upsert(key, value, pleach::durability::ordered);
    bool expected = a.ok() || (del && a.what() == category::not_found);
    DOCTEST_REQUIRE_MESSAGE(expected, a.text());
  }
  --w.running;
}

/// Every pillar's range of its own: exactly one at its key. And a whole count: all pillars at
/// least, and what may be between them at most.
task count(world& w, u64 seed, int rounds) {
  ++w.running;
  std::mt19937_64 random(seed);
  for (int i = 0; i < rounds; ++i) {
    u64 from = random() % pillars, to = from + random() % (pillars - from) + 1, n = 0;
    std::string a = numbered(from * 10), b = numbered(to * 10);
    pleach::answer r = co_await w.t.count(a, b, n);
    require_ok(r);
    DOCTEST_REQUIRE(n >= to - from);
    DOCTEST_REQUIRE(n <= (to - from) * 9);
    b = a + "x";  // the pillar alone
    r = co_await w.t.count(a, b, n);
    require_ok(r);
    DOCTEST_REQUIRE(n == 1);
  }
  --w.running;
}

}  // namespace

DOCTEST_TEST_CASE("a count among splits and merges has every key that lives throughout, once") {
  u64 cache = 8 * mib;
  DOCTEST_SUBCASE("cached") {}
  DOCTEST_SUBCASE("small cache") {
    cache = 3 * mib;
  }
  pleach::store s = open_memory(256 * mib, cache);
  world w{s, create(s, "t", 4096)};
  for (u64 i = 0; i < pillars; ++i)
    require_ok(s.run(w.t.put(numbered(i * 10), "", pleach::durability::ordered)));
  // Between two passes over still pillars alone the count is exact although writers rewrite them.
  for (u64 i = 0; i < 12; ++i) churn(w, base_seed() * 100 + i);
  int churners = w.running;
  for (u64 i = 0; i < 4; ++i) count(w, base_seed() * 100 + 50 + i, 500);
  while (w.running > churners) host_step(s);
  w.stop = true;
  host_until(s, w.running);
  DOCTEST_CHECK(counter_of(s, "tree.splits") > 20);
  DOCTEST_CHECK(counter_of(s, "tree.merges") + counter_of(s, "tree.unlinks") > 5);
  u64 n = 0;
  require_ok(s.run(w.t.count("", "", n)));
  DOCTEST_CHECK(n == w.t.record_count());
  require_clean(s);
}

namespace {

/// All values of one size: the number of keys stays, the leaves do not.
task rewrite(world& w, u64 seed) {
  ++w.running;
  std::mt19937_64 random(seed);
  while (!w.stop) {
    std::string value = bytes_of(seed, random() % 2 ? 900 : 10);
    pleach::answer a =
        co_await w.t.update(numbered(random() % pillars * 10), value, pleach::durability::ordered);
    require_ok(a);
  }
  --w.running;
}

task count_all(world& w, int rounds) {
  ++w.running;
  for (int i = 0; i < rounds; ++i) {
    u64 n = 0;
    pleach::answer r = co_await w.t.count("", "", n);
    require_ok(r);
    DOCTEST_REQUIRE(n == pillars);
  }
  --w.running;
}

}  // namespace

DOCTEST_TEST_CASE("while only values change and leaves split, a count is exact") {
  pleach::store s = open_memory(256 * mib, 3 * mib);
  world w{s, create(s, "t", 4096)};
  for (u64 i = 0; i < pillars; ++i)
    require_ok(s.run(w.t.put(numbered(i * 10), "", pleach::durability::ordered)));
  for (u64 i = 0; i < 8; ++i) rewrite(w, base_seed() * 100 + i);
  int writers = w.running;
  for (u64 i = 0; i < 4; ++i) count_all(w, 200);
  while (w.running > writers) host_step(s);
  w.stop = true;
  host_until(s, w.running);
  DOCTEST_CHECK(counter_of(s, "tree.splits") > 5);
}

DOCTEST_TEST_CASE("a cold count reads ahead, and ends when it is cancelled") {
  scratch_file f("count");
  format(f.path, 128 * mib, 8 * mib);
  model m;
  {
    pleach::store s = open(f.path);
    pleach::tree t = create(s, "t", 4096);
    m = fill(s, t, 20'000, 150);
    DOCTEST_REQUIRE(s.close());
  }
  bool ended = false;
  int cancelled = 0;
  for (int rounds = 0; !ended && rounds < 20'000; rounds += 1 + rounds / 2) {
    pleach::store s = open(f.path, 4 * mib);
    pleach::tree t = open_tree(s, "t");
    u64 n = 0;
    int running = 1;
    pleach::operation op = t.count("", "", n);
    op.start([](pleach::operation&, void* left) { --*static_cast<int*>(left); }, &running);
    for (int i = 0; i < rounds && running; ++i) host_step(s);
    ended = running == 0;
    op.cancel();
    host_until(s, running);
    DOCTEST_REQUIRE(n <= m.size());
    if (ended) {
      require_ok(op.result());
      DOCTEST_CHECK(n == m.size());
      DOCTEST_CHECK(counter_of(s, "tree.read_ahead") > 100);
    } else {
      DOCTEST_REQUIRE(op.result().what() == category::cancelled);
      ++cancelled;
    }
    require_clean(s);
  }
  DOCTEST_CHECK(ended);
  DOCTEST_CHECK(cancelled > 3);
}
