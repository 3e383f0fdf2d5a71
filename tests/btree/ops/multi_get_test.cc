// Proves: a multi-get answers for each key exactly what a get does, whatever the keys, cached or
// cold, with values in leaves and in extents; among writers it finds every key that lives
// throughout, with a value that was written; cancelled at any moment, each of its lookups is
// answered or cancelled; a cold one loads several pages at once.
#include <map>
#include <memory>
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

/// Every third number; every 40th value is an extent, every 9th empty.
model fill(pleach::store& s, pleach::tree& t, u64 records, u64 most_value) {
  model m;
  for (u64 i = 0; i < records; ++i) {
    u64 size = i % 40 == 7 ? 9000 + i % 4000 : i % 9 == 0 ? 0 : i * 31 % most_value;
    std::string key = numbered(i * 3), value = bytes_of(i, size);
    if (i % 100 == 99) key += std::string(300, 'k');
    require_ok(s.run(t.put(key, value, pleach::durability::ordered)));
    m[key] = value;
  }
  require_ok(s.run(s.flush()));
  return m;
}

constexpr u64 longest = 1 << 20;  ///< that any key can be

/// `count` lookups of keys that are there, or not, or twice, or cannot be.
struct lookups {
  std::vector<std::string> keys, values;
  std::vector<pleach::lookup> all;

  lookups(std::mt19937_64& random, u64 count, u64 records) : keys(count), values(count, "before") {
    for (u64 i = 0; i < count; ++i) {
      u64 id = random() % records;
      keys[i] = numbered(id * 3 + (random() % 8 == 0));
      if (id % 100 == 99) keys[i] += std::string(300, 'k');
      if (random() % 200 == 0) keys[i] = std::string(longest + 1, 'x');
      if (i > 0 && random() % 50 == 0) keys[i] = keys[i - 1];
    }
    for (u64 i = 0; i < count; ++i)
      all.push_back({keys[i], random() % 5 == 0 ? nullptr : &values[i], {12345, 0, 0}});
  }
  void compare(const model& m, const pleach::answer& a) const {
    bool too_long = false;
    for (u64 i = 0; i < all.size(); ++i) {
      auto at = m.find(keys[i]);
      DOCTEST_CAPTURE(keys[i]);
      category expected = keys[i].size() > longest ? category::too_large
                          : at == m.end()          ? category::not_found
                                                   : category::ok;
      too_long |= keys[i].size() > longest;
      DOCTEST_REQUIRE(all[i].result.what() == expected);
      if (expected == category::ok) DOCTEST_REQUIRE(all[i].result.lsn != 0);
      bool written = expected == category::ok && all[i].value != nullptr;
      DOCTEST_REQUIRE(values[i] == (written ? at->second : "before"));
    }
    DOCTEST_REQUIRE(a.what() == (too_long ? category::too_large : category::ok));
  }
};

}  // namespace

DOCTEST_TEST_CASE("a multi-get answers what gets do") {
  pleach::store s = open_memory(256 * mib, 64 * mib);
  u32 node = 4096;
  DOCTEST_SUBCASE("small nodes") {}
  DOCTEST_SUBCASE("large nodes") {
    node = 65536;
  }
  pleach::tree t = create(s, "t", node);
  std::mt19937_64 random(base_seed());
  lookups none(random, 20, 1000);
  none.compare({}, s.run(t.multi_get(none.all)));
  constexpr u64 records = 4000;
  model m = fill(s, t, records, 120);
  for (u64 count : {0, 1, 2, 15, 16, 17, 64, 1000, 3000}) {
    lookups l(random, count, records);
    l.compare(m, s.run(t.multi_get(l.all)));
  }
  DOCTEST_CHECK(counter_of(s, "tree.multi_gets") == 10);
}

DOCTEST_TEST_CASE("a cold multi-get loads several pages at once, within a small budget") {
  scratch_file f("multi-get");
  format(f.path, 256 * mib, 16 * mib);
  constexpr u64 records = 30'000;
  model m;
  {
    pleach::store s = open(f.path, 64 * mib);
    pleach::tree t = create(s, "t", 16384);
    m = fill(s, t, records, 400);
    DOCTEST_REQUIRE(s.close());
  }
  pleach::store s = open(f.path, 6 * mib);
  pleach::tree t = open_tree(s, "t");
  std::mt19937_64 random(base_seed());
  struct run {
    lookups l;
    pleach::operation op;
  };
  for (int round = 0; round < 12; ++round) {
    std::vector<std::unique_ptr<run>> all;
    int running = 0;
    for (int i = 0; i < 8; ++i) {
      lookups l(random, 100, records);
      // (The spans point into vectors, which stay where they are when the struct moves.)
      std::span<pleach::lookup> span = l.all;
      all.emplace_back(new run{std::move(l), t.multi_get(span)});
      for (u64 k = 0; k < span.size(); ++k) {
        span[k].key = all.back()->l.keys[k];
        if (span[k].value) span[k].value = &all.back()->l.values[k];
      }
      ++running;
      all.back()->op.start([](pleach::operation&, void* n) { --*static_cast<int*>(n); }, &running);
    }
    host_until(s, running);
    for (auto& r : all) r->l.compare(m, r->op.result());
  }
  DOCTEST_CHECK(counter_of(s, "cache.evictions") > 100);
  require_clean(s);
}

namespace {

constexpr u64 pillars = 500;

struct world {
  pleach::store& s;
  pleach::tree t;
  int running = 0;
  bool stop = false;
};

/// Splits, merges, and pillars whose values change between small and large.
task churn(world& w, u64 seed) {
  ++w.running;
  std::mt19937_64 random(seed);
  pleach::answer a;
  while (!w.stop) {
    u64 what = random() % 10;
    std::string key = numbered(random() % pillars * 100), value;
    if (what < 8) key += std::to_string(random() % 50);
    if (what < 5) {
      value = bytes_of(seed, random() % 900);
      a = co_await w.t.upsert(key, value, pleach::durability::ordered);
    } else if (what < 8) {
      a = co_await w.t.del(key, nullptr, pleach::durability::ordered);
    } else {
      value.assign(random() % 6 == 0 ? 12'000 : random() % 90,
                   static_cast<char>('a' + random() % 26));
      a = co_await w.t.update(key, value, pleach::durability::ordered);
    }
    bool expected = a.ok() || (what >= 5 && what < 8 && a.what() == category::not_found);
    DOCTEST_REQUIRE_MESSAGE(expected, a.text());
  }
  --w.running;
}

task look(world& w, u64 seed, int rounds) {
  ++w.running;
  std::mt19937_64 random(seed);
  std::vector<std::string> keys(60), values(60);
  std::vector<pleach::lookup> l(60);
  for (int round = 0; round < rounds; ++round) {
    for (u64 i = 0; i < l.size(); ++i) {
      keys[i] = numbered(random() % pillars * 100);
      l[i] = {keys[i], &values[i], {}};
    }
    pleach::answer a = co_await w.t.multi_get(l);
    require_ok(a);
    for (u64 i = 0; i < l.size(); ++i) {
      require_ok(l[i].result);
      const std::string& v = values[i];
      DOCTEST_REQUIRE(v.find_first_not_of(v.empty() ? 'a' : v[0]) == std::string::npos);
    }
  }
  --w.running;
}

}  // namespace

DOCTEST_TEST_CASE("among writers a multi-get finds every key that lives throughout") {
  pleach::store s = open_memory(256 * mib, 3 * mib);
  world w{s, create(s, "t", 4096)};
  for (u64 i = 0; i < pillars; ++i)
    require_ok(s.run(w.t.put(numbered(i * 100), "", pleach::durability::ordered)));
  for (u64 i = 0; i < 12; ++i) churn(w, base_seed() * 100 + i);
  int churners = w.running;
  for (u64 i = 0; i < 6; ++i) look(w, base_seed() * 100 + 50 + i, 400);
  while (w.running > churners) host_step(s);
  w.stop = true;
  host_until(s, w.running);
  DOCTEST_CHECK(counter_of(s, "tree.splits") > 20);
  DOCTEST_CHECK(counter_of(s, "cache.evictions") > 20);
  require_clean(s);
}

DOCTEST_TEST_CASE("cancelled after any number of rounds, every lookup is answered or cancelled") {
  scratch_file f("multi-get-cancel");
  format(f.path, 64 * mib, 4 * mib);
  constexpr u64 records = 2000;
  model m;
  {
    pleach::store s = open(f.path);
    pleach::tree t = create(s, "t", 4096);
    m = fill(s, t, records, 100);
    DOCTEST_REQUIRE(s.close());
  }
  u64 cancelled = 0;
  bool ended = false;
  for (int rounds = 0; !ended && rounds < 5000; rounds += 1 + rounds / 4) {
    pleach::store s = open(f.path);
    pleach::tree t = open_tree(s, "t");
    std::mt19937_64 random(base_seed());
    lookups l(random, 400, records);
    int running = 1;
    pleach::operation op = t.multi_get(l.all);
    op.start([](pleach::operation&, void* n) { --*static_cast<int*>(n); }, &running);
    for (int i = 0; i < rounds && running; ++i) host_step(s);
    ended = running == 0;
    op.cancel();
    host_until(s, running);
    if (ended) {
      l.compare(m, op.result());
      break;
    }
    for (u64 i = 0; i < l.all.size(); ++i) {
      if (l.all[i].result.what() == category::cancelled) {
        ++cancelled;
        continue;
      }
      auto at = m.find(l.keys[i]);
      bool there = at != m.end();
      DOCTEST_REQUIRE(l.all[i].result.ok() == there);
      if (there && l.all[i].value) DOCTEST_REQUIRE(l.values[i] == at->second);
    }
    require_clean(s);
  }
  DOCTEST_CHECK(ended);
  DOCTEST_CHECK(cancelled > 400);
}

DOCTEST_TEST_CASE("a multi-get of a tree that is gone says so for every lookup") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = create(s, "t");
  std::string value;
  pleach::lookup l[2] = {{"a", &value, {}}, {"b", nullptr, {}}};
  {
    // Begun before the drop, run after it.
    pleach::operation op = t.multi_get(l);
    require_ok(s.run(s.drop_tree("t")));
    DOCTEST_CHECK(s.run(op).what() == category::invalid);
    for (const pleach::lookup& one : l) DOCTEST_CHECK(one.result.what() == category::invalid);
  }
  pleach::lookup again[1] = {{"a", &value, {}}};
  DOCTEST_CHECK(!s.run(t.multi_get(again)).ok());
  DOCTEST_CHECK(!again[0].result.ok());
}
