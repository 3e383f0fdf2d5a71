// Proves: counts, ranks, selects and digests of counted trees are those of a std::map of the same
// records at every moment, after every kind of change and shape of tree; fsck recomputes them; the
// digest depends on the records alone, and its value never changes.
#include <map>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;
using pleach::range_digest;

namespace {

using model = std::map<std::string, std::string>;

range_digest sum(const model& m, const std::string& from, const std::string& to) {
  range_digest d;
  for (auto i = m.lower_bound(from); i != m.end() && (to.empty() || i->first < to); ++i) {
    const range_digest one = pleach::digest_of(i->first, i->second);
    d.count += one.count;
    d.low += one.low;
    d.high += one.high;
  }
  return d;
}

struct world {
  pleach::store s;
  pleach::tree t;
  model m;
  std::mt19937_64 random;

  u64 below(u64 n) { return random() % n; }
  std::string key() {
    const u64 id = below(3000);
    if (t.key_bytes() == 8) {
      std::string k(8, '\0');
      for (int i = 0; i < 8; ++i) k[i] = static_cast<char>((id * 0x9e3779b9) >> (8 * (7 - i)));
      return k;
    }
    if (id == 0) return {};
    std::string k = std::to_string(id * 7919 % 3000);
    if (id % 3 == 0) k = "directory/with/a/name/" + k;
    if (id % 97 == 0) k += std::string(900, 'k');
    return k;
  }
  std::string value() {
    if (t.value_bytes() != 0) return bytes_of(random(), t.value_bytes());
    const u64 kind = below(100);
    const u64 size = kind == 0 ? 1'100'000 + below(400'000) : kind < 4 ? below(60'000) : below(150);
    return bytes_of(random(), size);
  }

  void check_range(const std::string& from, const std::string& to) {
    const range_digest expected = sum(m, from, to);
    u64 n = 0;
    require_ok(s.run(t.count(from, to, n)));
    DOCTEST_REQUIRE(n == expected.count);
    if (!t.has_digest()) return;
    range_digest d;
    require_ok(s.run(t.digest(from, to, d)));
    DOCTEST_REQUIRE(d.text() == expected.text());
    DOCTEST_REQUIRE(d == expected);
  }
  void check_index(u64 index) {
    std::string k, v;
    const pleach::answer a = s.run(t.select(index, k, v));
    DOCTEST_REQUIRE(a.what() == (index < m.size() ? category::ok : category::not_found));
    if (index >= m.size()) return;
    const auto at = std::next(m.begin(), static_cast<std::ptrdiff_t>(index));
    DOCTEST_REQUIRE(k == at->first);
    DOCTEST_REQUIRE(v == at->second);
    u64 rank = 0;
    require_ok(s.run(t.rank(k, rank)));
    DOCTEST_REQUIRE(rank == index);
  }
  void check_all() {
    check_range({}, {});
    check_range(key(), key());
    check_range(key(), {});
    check_range({}, key());
    for (u64 i : {u64{0}, below(m.size() + 1), u64{m.size()}}) check_index(i);
  }
};

pleach::edit replace(void* datum, bool present, std::string& value) {
  auto& w = *static_cast<world*>(datum);
  if (present && w.below(4) == 0) return pleach::edit::erase;
  value = w.value();
  if (value.size() > 60'000) value.resize(60'000);
  return pleach::edit::store;
}

void change_one(world& w) {
  const std::string k = w.key();
  const auto d = pleach::durability::ordered;
  switch (w.below(8)) {
    case 0:
    case 1:
    case 2: {
      const std::string v = w.value();
      require_ok(w.s.run(w.t.upsert(k, v, d)));
      w.m[k] = v;
      break;
    }
    case 3: {
      const std::string v = w.value();
      if (w.s.run(w.t.put(k, v, d)).ok()) w.m.emplace(k, v);
      break;
    }
    case 4:
    case 5: {
      pleach::cookie near;  // of no use to a counted tree's writes, and no harm
      const bool there = w.m.contains(k);
      DOCTEST_REQUIRE(w.s.run(w.t.del(k, nullptr, d, &near)).ok() == there);
      if (there) DOCTEST_REQUIRE(!w.s.run(w.t.del(k, nullptr, d, &near)).ok());
      w.m.erase(k);
      break;
    }
    case 6: {
      std::string v;
      require_ok(w.s.run(w.t.modify(k, v, replace, &w, d)));
      std::string now;
      if (w.s.run(w.t.get(k, now)).ok())
        w.m[k] = now;
      else
        w.m.erase(k);
      break;
    }
    default: {
      pleach::batch b(w.s);
      for (u64 n = 1 + w.below(30); n != 0; --n) {
        const std::string x = w.key();
        if (w.below(3) == 0) {
          b.del(w.t, x);
          w.m.erase(x);
        } else {
          std::string v = w.value();
          if (w.t.value_bytes() == 0 && v.size() > 70'000) v.resize(70'000);
          b.upsert(w.t, x, v);
          w.m[x] = v;
        }
      }
      require_ok(w.s.run(b.commit(d)));
    }
  }
}

/// A value that comes in pieces has a map, whatever its length.
void stream_one(world& w) {
  if (w.t.value_bytes() != 0) return;
  const std::string k = w.key(), v = bytes_of(w.random(), 70'000 + w.below(200'000));
  pleach::value_writer to(w.t, k, 0);
  for (std::size_t at = 0; at < v.size(); at += 50'000)
    require_ok(
        w.s.run(to.write(std::span(v).subspan(at, std::min<std::size_t>(50'000, v.size() - at)))));
  require_ok(w.s.run(to.commit()));
  w.m[k] = v;
}

void empty_it(world& w) {
  std::vector<std::string> keys;
  for (auto& [k, v] : w.m) keys.push_back(k);
  u64 done = 0;
  for (const std::string& k : keys) {
    require_ok(w.s.run(w.t.del(k, nullptr, pleach::durability::ordered)));
    w.m.erase(k);
    if (++done % 200 == 0) w.check_all();
  }
  w.check_all();
}

void run_shape(const pleach::tree_options& o, u64 seed, u64 changes) {
  world w{open_memory(96 * mib, 8 * mib), {}, {}, std::mt19937_64(base_seed() * 1000 + seed)};
  require_ok(w.s.run(w.s.create_tree("t", o, w.t)));
  w.check_all();
  for (u64 i = 0; i < changes; ++i) {
    change_one(w);
    if (i % 150 == 149) stream_one(w);
    if (i % 20 == 0) w.check_all();
    if (i % 700 == 699) require_clean(w.s);
  }
  w.check_all();
  require_clean(w.s);
  empty_it(w);
  require_clean(w.s);
}

model fixed_records() {
  model m;
  for (u32 i = 0; i < 500; ++i) m["record " + std::to_string(i * 37)] = bytes_of(i, i % 50);
  m[""] = "the empty key";
  m["large"] = bytes_of(7, 100'000);
  return m;
}

}  // namespace

DOCTEST_TEST_CASE("counted trees under every change") {
  run_shape({.node_bytes = 4096, .counted = true}, 1, 2000);
  run_shape({.node_bytes = 16384, .counted = true}, 2, 1500);
}

DOCTEST_TEST_CASE("trees with digests under every change") {
  run_shape({.node_bytes = 4096, .digest = true}, 3, 2000);
  run_shape({.node_bytes = 65536, .digest = true}, 4, 1500);
}

DOCTEST_TEST_CASE("fixed leaves under every change") {
  run_shape({.node_bytes = 4096, .key_bytes = 8, .value_bytes = 8, .digest = true}, 5, 3000);
  run_shape({.node_bytes = 4096, .key_bytes = 8, .value_bytes = 8, .counted = true}, 6, 2000);
}

DOCTEST_TEST_CASE("many ordered inserts and deletes: merges, unlinks, pull-ups") {
  for (bool upwards : {true, false}) {
    world w{open_memory(64 * mib), {}, {}, std::mt19937_64(9)};
    require_ok(w.s.run(w.s.create_tree("t", {.node_bytes = 4096, .digest = true}, w.t)));
    const auto key = [](u32 i) { return std::to_string(1'000'000 + i) + std::string(60, 'x'); };
    for (u32 i = 0; i < 6000; ++i) {
      const std::string k = key(upwards ? i : 6000 - i);
      require_ok(w.s.run(w.t.put(k, "v", pleach::durability::ordered)));
      w.m[k] = "v";
    }
    w.check_all();
    for (u32 i = 0; i < 6000; ++i) {
      if (i % 9 == 0) continue;
      const std::string k = key(i);
      if (!w.m.contains(k)) continue;
      require_ok(w.s.run(w.t.del(k, nullptr, pleach::durability::ordered)));
      w.m.erase(k);
      if (i % 500 == 1) w.check_all();
    }
    w.check_all();
    require_clean(w.s);
    DOCTEST_CHECK(counter_of(w.s, "tree.merges") != 0);
  }
}

DOCTEST_TEST_CASE("concurrent writers leave the sums of their records") {
  world w{open_memory(64 * mib), {}, {}, std::mt19937_64(3)};
  require_ok(w.s.run(w.s.create_tree("t", {.node_bytes = 4096, .digest = true}, w.t)));
  int running = 0;
  // By value, since the frame outlives the call.
  const auto writer = [](world* x, int* count, u32 first) -> task {
    ++*count;
    for (u32 i = first; i < 4000; i += 8) {
      const std::string k = std::to_string(i * 7919 % 4000);
      const pleach::answer a = co_await x->t.put(k, "one", pleach::durability::ordered);
      DOCTEST_REQUIRE(a.ok());
      if (i % 3 == 0) {
        const pleach::answer b = co_await x->t.del(k, nullptr, pleach::durability::ordered);
        DOCTEST_REQUIRE(b.ok());
      } else {
        x->m[k] = "one";
      }
      u64 n = 0;
      const pleach::answer c = co_await x->t.rank(k, n);
      DOCTEST_REQUIRE(c.ok());
      DOCTEST_REQUIRE(n < 4000);
    }
    --*count;
  };
  for (u32 i = 0; i < 8; ++i) writer(&w, &running, i);
  host_until(w.s, running);
  w.check_all();
  require_clean(w.s);
}

DOCTEST_TEST_CASE("a cold tree within a small budget, and after reopening") {
  scratch_file file("aggregates");
  format(file.path, 64 * mib);
  world w{open(file.path, 32 * mib), {}, {}, std::mt19937_64(5)};
  require_ok(w.s.run(w.s.create_tree("t", {.node_bytes = 4096, .digest = true}, w.t)));
  for (u32 i = 0; i < 20'000; ++i) {
    const std::string k = std::to_string(100'000 + i * 7 % 20'000), v = bytes_of(i, 40);
    require_ok(w.s.run(w.t.upsert(k, v, pleach::durability::ordered)));
    w.m[k] = v;
  }
  w.t = {};
  DOCTEST_REQUIRE(w.s.close());
  w.s = open(file.path, 32 * mib, true);
  w.t = open_tree(w.s, "t");
  DOCTEST_CHECK(w.t.has_digest());
  const u64 before = counter_of(w.s, "cache.misses");
  w.check_range("105000", "117777");
  // Two paths, not the thousand leaves between them.
  DOCTEST_CHECK(counter_of(w.s, "cache.misses") - before <= 8);
  for (u32 i = 0; i < 50; ++i) w.check_index(w.below(20'000));
  require_clean(w.s);
}

DOCTEST_TEST_CASE("the digest is that of the records, not of the tree") {
  const model m = fixed_records();
  const range_digest expected = sum(m, {}, {});
  // Never to change: stores and dumps hold such numbers.
  DOCTEST_CHECK(expected.count == 502);
  DOCTEST_CHECK(expected.text() == "584d11753a37d10cbada3c260035b555");
  DOCTEST_CHECK(pleach::digest_of("", "").text() == "0e2c185b06a9a7d54f479541b07629df");
  DOCTEST_CHECK(pleach::digest_of("key", "value").text() == "4183e09b7c6764e259fc66342f3f7e76");
  DOCTEST_CHECK(pleach::digest_of(std::string(1024, 'k'), std::string(300, 'v')).text() ==
                "751d2953b8ab9cda3f83fafc9ab5aaae");
  // Of what no store takes, too.
  DOCTEST_CHECK(!(pleach::digest_of(std::string(5000, 'k'), "v") ==
                  pleach::digest_of(std::string(5001, 'k'), "v")));
  pleach::store s = open_memory(64 * mib);
  u32 number = 0;
  for (u32 node : {4096u, 16384u, 65536u})
    for (bool backwards : {false, true}) {
      pleach::tree t;
      require_ok(s.run(
          s.create_tree("t" + std::to_string(number++), {.node_bytes = node, .digest = true}, t)));
      std::vector<std::pair<std::string, std::string>> all(m.begin(), m.end());
      if (backwards) std::reverse(all.begin(), all.end());
      for (auto& [k, v] : all) {
        require_ok(s.run(t.put(k, "other", pleach::durability::ordered)));
        if (backwards && v.size() > 65536) {
          pleach::value_writer to(t, k, 0);
          require_ok(s.run(to.write(v)));
          require_ok(s.run(to.commit()));
        } else {
          require_ok(s.run(t.upsert(k, v, pleach::durability::ordered)));
        }
      }
      range_digest d;
      require_ok(s.run(t.digest({}, {}, d)));
      DOCTEST_CHECK(d == expected);
    }
  require_clean(s);
}

DOCTEST_TEST_CASE("ranges of large values are written, and counted as the whole value") {
  world w{open_memory(96 * mib), {}, {}, std::mt19937_64(11)};
  require_ok(w.s.run(w.s.create_tree("t", {.node_bytes = 4096, .digest = true}, w.t)));
  for (u32 i = 0; i < 200; ++i) {
    w.m[std::to_string(i)] = bytes_of(i, 60);
    require_ok(w.s.run(w.t.put(std::to_string(i), w.m[std::to_string(i)])));
  }
  const std::string k = "100";
  w.m[k] = bytes_of(5, 3'300'000);
  require_ok(w.s.run(w.t.upsert(k, w.m[k])));
  w.check_range({}, {});
  for (u64 at : {u64{0}, u64{70'001}, u64{2'500'000}, u64{w.m[k].size()}}) {
    const std::string piece = bytes_of(at + 1, 150'000);
    pleach::value_writer to(w.t, k, pleach::write_at{at});
    require_ok(w.s.run(to.write(piece)));
    require_ok(w.s.run(to.commit()));
    std::string& value = w.m[k];
    if (value.size() < at + piece.size()) value.resize(at + piece.size());
    value.replace(at, piece.size(), piece);
    std::string now;
    require_ok(w.s.run(w.t.get(k, now)));
    DOCTEST_REQUIRE(now == value);
    w.check_range({}, {});
  }
  require_clean(w.s);
}

DOCTEST_TEST_CASE("trees of integers count and select in their order") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t[2];
  for (u32 i : {0u, 1u}) {
    pleach::tree_options o;
    o.node_bytes = i == 0 ? 4096 : 8192;
    o.key_bytes = 4;
    o.digest = true;
    o.order = pleach::key_order::signed_integers;
    require_ok(s.run(s.create_tree("t" + std::to_string(i), o, t[i])));
  }
  const auto key = [](std::int32_t n) { return std::string(reinterpret_cast<char*>(&n), 4); };
  for (std::int32_t n = -1500; n < 1500; ++n)
    for (pleach::tree& x : t)
      require_ok(s.run(x.put(key(n * 7), "v", pleach::durability::ordered)));
  std::string k, v;
  u64 n = 0;
  require_ok(s.run(t[0].rank(key(-7), n)));
  DOCTEST_CHECK(n == 1499);
  require_ok(s.run(t[0].count(key(-70), key(70), n)));
  DOCTEST_CHECK(n == 20);
  require_ok(s.run(t[0].select(1501, k, v)));
  DOCTEST_CHECK(k == key(7));
  range_digest d[2];
  for (u32 i : {0u, 1u}) require_ok(s.run(t[i].digest(key(-700), key(700), d[i])));
  DOCTEST_CHECK(d[0] == d[1]);
  DOCTEST_CHECK(d[0].count == 200);
  DOCTEST_CHECK(s.run(t[0].rank("longer", n)).what() == category::invalid);
  require_clean(s);
}

DOCTEST_TEST_CASE("trees without the option say so") {
  pleach::store s = open_memory(32 * mib);
  pleach::tree plain, counted;
  require_ok(s.run(s.create_tree("plain", {}, plain)));
  require_ok(s.run(s.create_tree("counted", {.counted = true}, counted)));
  for (pleach::tree* t : {&plain, &counted})
    for (char c : {'a', 'b', 'c'}) require_ok(s.run(t->put(std::string(1, c), "v")));
  std::string k, v;
  u64 n = 0;
  range_digest d;
  DOCTEST_CHECK(s.run(plain.select(0, k, v)).what() == category::unsupported);
  DOCTEST_CHECK(s.run(plain.digest({}, {}, d)).what() == category::unsupported);
  DOCTEST_CHECK(s.run(counted.digest({}, {}, d)).what() == category::unsupported);
  for (pleach::tree* t : {&plain, &counted}) {
    require_ok(s.run(t->rank("c", n)));
    DOCTEST_CHECK(n == 2);
    require_ok(s.run(t->rank("", n)));
    DOCTEST_CHECK(n == 0);
  }
  require_ok(s.run(counted.select(1, k, v)));
  DOCTEST_CHECK(k == "b");
  auto all = s.trees();
  DOCTEST_REQUIRE(all);
  DOCTEST_CHECK((*all)[0].counted);
  DOCTEST_CHECK(!(*all)[0].digest);
  DOCTEST_CHECK(!(*all)[1].counted);
}
