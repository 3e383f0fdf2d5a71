// Proves: what motr's own test suites of its b-tree ask, on one thread with concurrent actors:
// handles and their life cycle, interleaved ascending streams, each record shape under 1 to 8
// actors on 1 to 4 trees, create/fill/close/open/delete/destroy in loops, persistence over
// reopening with even and odd deletes, eight trees of production shapes at once; and what they
// leave out: many writers on one leaf end, destroy and close with operations in flight, awkward
// keys, records of all sizes.
#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;
using pleach::durability;

namespace {

using model = std::map<std::string, std::string>;

#define SAME(a, expected) DOCTEST_REQUIRE_MESSAGE((a).what() == (expected), (a).text())

std::string numbered(u64 n, std::size_t width = 8) {
  std::string s = std::to_string(n);
  return std::string(width > s.size() ? width - s.size() : 0, '0') + s;
}

/// The whole tree both ways by cursor, and its ends, against the model.
task check_tree(pleach::tree t, const model& expected, int& running) {
  ++running;
  pleach::cursor c(t);
  pleach::answer a = co_await c.first();
  for (auto& [k, v] : expected) {
    require_ok(a);
    DOCTEST_REQUIRE(c.key() == k);
    DOCTEST_REQUIRE(c.value() == v);
    if (!c.try_next()) a = co_await c.next();
  }
  SAME(a, category::not_found);
  a = co_await c.last();
  for (auto i = expected.rbegin(); i != expected.rend(); ++i) {
    require_ok(a);
    DOCTEST_REQUIRE(c.key() == i->first);
    if (!c.try_prev()) a = co_await c.prev();
  }
  SAME(a, category::not_found);
  std::string k, v;
  a = co_await t.min(k, v);
  SAME(a, expected.empty() ? category::not_found : category::ok);
  if (!expected.empty()) DOCTEST_CHECK(k == expected.begin()->first);
  a = co_await t.max(k, v);
  if (!expected.empty()) DOCTEST_CHECK(k == expected.rbegin()->first);
  DOCTEST_CHECK(t.record_count() == expected.size());
  --running;
}

void check_against(pleach::store& s, pleach::tree& t, const model& expected) {
  int running = 0;
  check_tree(t, expected, running);
  host_until(s, running);
}

}  // namespace

DOCTEST_TEST_CASE("handles: counted, copied, closed twice, of trees that are gone") {
  scratch_file file("suites");
  format(file.path, 16 * mib);
  for (int round = 0; round < 3; ++round) {
    pleach::store s = open(file.path);
    pleach::tree t;
    SAME(s.run(s.open_tree("t", t)), round == 0 ? category::not_found : category::ok);
    if (round == 0) t = create(s, "t");
    SAME(s.run(s.create_tree("t", {}, t)), category::exists);
    pleach::tree same = open_tree(s, "t"), copy = same;
    same = {};
    std::string v;
    DOCTEST_CHECK(s.run(same.get("k", v)).what() == category::invalid);  // an empty handle
    require_ok(s.run(copy.upsert("k", numbered(static_cast<u64>(round)))));
    require_ok(s.run(open_tree(s, "t").get("k", v)));
    DOCTEST_CHECK(v == numbered(static_cast<u64>(round)));
    DOCTEST_REQUIRE(s.close());
    DOCTEST_REQUIRE(s.close());
    DOCTEST_CHECK(s.run(copy.get("k", v)).what() == category::invalid);
  }
  pleach::store s = open(file.path);
  pleach::tree t = open_tree(s, "t"), other = t;
  require_ok(s.run(s.drop_tree("t")));
  std::string v;
  SAME(s.run(t.get("k", v)), category::invalid);
  SAME(s.run(other.upsert("k", "v")), category::invalid);
  SAME(s.run(s.drop_tree("t")), category::not_found);
  SAME(s.run(s.open_tree("t", t)), category::not_found);
  create(s, "t");
  require_clean(s);
}

namespace {

/// One stream: ascending keys of its own, put one after the other.
task stream(pleach::tree t, u64 number, u64 records, int& running) {
  ++running;
  for (u64 i = 0; i < records; ++i)
    require_ok(co_await t.put(numbered(i) + "." + std::to_string(number), numbered(i * number),
                              durability::ordered));
  std::string v;
  for (u64 i = 0; i < records; ++i) {
    require_ok(co_await t.get(numbered(i) + "." + std::to_string(number), v));
    DOCTEST_REQUIRE(v == numbered(i * number));
  }
  --running;
}

task erase_stream(pleach::tree t, u64 number, u64 records, bool backwards, int& running) {
  ++running;
  for (u64 n = 0; n < records; ++n) {
    u64 i = backwards ? records - 1 - n : n;
    require_ok(
        co_await t.del(numbered(i) + "." + std::to_string(number), nullptr, durability::ordered));
  }
  --running;
}

}  // namespace

DOCTEST_TEST_CASE("interleaved ascending streams: put, min, max, get, both ways, delete") {
  pleach::store s = open_memory(64 * mib);
  u64 round = 0;
  for (u64 streams : {5, 6, 7, 8, 9})
    for (u64 records : {5, 17, 60, 199}) {
      pleach::tree t = create(s, "t" + std::to_string(round++));
      int running = 0;
      model expected;
      for (u64 n = 1; n <= streams; ++n) {
        stream(t, n, records, running);
        for (u64 i = 0; i < records; ++i)
          expected[numbered(i) + "." + std::to_string(n)] = numbered(i * n);
      }
      host_until(s, running);
      check_against(s, t, expected);
      for (u64 n = 1; n <= streams; ++n) erase_stream(t, n, records, n % 2 == 0, running);
      host_until(s, running);
      check_against(s, t, {});
    }
  require_clean(s);
}

namespace {

/// How the records of a tree look.
struct record_shape {
  const char* name;
  u32 node_bytes;
  u32 key, value;  ///< bytes; 0: of any length
};

struct record_maker {
  record_shape shape;
  std::string key(u64 n) const {
    std::string k = numbered(n, shape.key == 0 ? 1 + n % 9 : std::min<u32>(shape.key, 8));
    if (shape.key == 0) return k + std::string(n % 90, 'k');
    k.resize(shape.key, 'k');
    return k;
  }
  std::string value(u64 seed) const {
    return bytes_of(seed, shape.value != 0 ? shape.value : seed % 300);
  }
};

/// An actor owns the keys that are its number modulo the number of actors: its outcomes are known.
task actor(std::vector<pleach::tree> trees, std::vector<model>& models, record_maker make,
           u64 number, u64 actors, u64 steps, int& running) {
  ++running;
  std::mt19937_64 random(number * 77 + actors);
  std::string k, v;
  for (u64 step = 0; step < steps; ++step) {
    std::size_t which = random() % trees.size();
    pleach::tree& t = trees[which];
    model& m = models[which];
    std::string key = make.key((random() % 150) * actors + number), value = make.value(random());
    bool there = m.contains(key);
    pleach::answer a;
    switch (random() % 6) {
      case 0:
        a = co_await t.put(key, value, durability::ordered);
        SAME(a, there ? category::exists : category::ok);
        if (!there) m[key] = value;
        break;
      case 1:
        a = co_await t.update(key, value, durability::ordered);
        SAME(a, there ? category::ok : category::not_found);
        if (there) m[key] = value;
        break;
      case 2:
        require_ok(co_await t.upsert(key, value, durability::ordered));
        m[key] = value;
        break;
      case 3:
        a = co_await t.del(key, &v, durability::ordered);
        SAME(a, there ? category::ok : category::not_found);
        if (there) DOCTEST_REQUIRE(v == m[key]);
        m.erase(key);
        break;
      case 4:
        a = co_await t.get(key, v);
        SAME(a, there ? category::ok : category::not_found);
        if (there) DOCTEST_REQUIRE(v == m[key]);
        break;
      default:
        a = co_await t.get_at_least(key, k, v);
        if (there) DOCTEST_REQUIRE(k == key);
        if (a) DOCTEST_REQUIRE(k >= key);
    }
  }
  --running;
}

}  // namespace

DOCTEST_TEST_CASE("each record shape, 1 to 8 actors, 1 to 4 trees") {
  const record_shape shapes[] = {{"fixed/fixed", 4096, 8, 8},
                                 {"fixed/variable", 8192, 16, 0},
                                 {"variable/variable", 4096, 0, 0},
                                 {"variable/fixed", 4096, 0, 24}};
  for (const record_shape& shape : shapes)
    for (u64 actors : {1, 2, 5, 8})
      for (u64 trees : {1, 2, 4}) {
        DOCTEST_CAPTURE(shape.name);
        pleach::store s = open_memory(64 * mib, 4 * mib);
        std::vector<pleach::tree> handles;
        std::vector<model> models(trees);
        for (u64 i = 0; i < trees; ++i)
          handles.push_back(create(s, "t" + std::to_string(i), shape.node_bytes));
        int running = 0;
        for (u64 n = 0; n < actors; ++n)
          actor(handles, models, {shape}, n, actors, 600 / actors, running);
        host_until(s, running);
        for (u64 i = 0; i < trees; ++i) check_against(s, handles[i], models[i]);
        require_clean(s);
      }
}

DOCTEST_TEST_CASE("create, fill, close, open, delete, destroy, 60 times: the space comes back") {
  scratch_file file("suites");
  format(file.path, 16 * mib);
  u64 used = 0;
  for (int round = 0; round < 60; ++round) {
    {
      pleach::store s = open(file.path);
      pleach::tree t = create(s, "t", round % 2 ? 4096 : 16384);
      pleach::batch b(s);
      for (u64 i = 0; i < 400; ++i) b.upsert(t, numbered(i), bytes_of(i, i % 40 == 0 ? 9000 : 90));
      require_ok(s.run(b.commit()));
    }
    pleach::store s = open(file.path);
    pleach::tree t = open_tree(s, "t");
    DOCTEST_CHECK(t.record_count() == 400);
    if (round % 3 == 0) {  // destroyed empty, or with its records
      for (u64 i = 0; i < 400; ++i)
        require_ok(s.run(t.del(numbered(i), nullptr, durability::ordered)));
      check_against(s, t, {});
    }
    require_ok(s.run(s.drop_tree("t")));
    pleach::check_report r = require_clean(s);
    if (round == 0) used = r.blocks_used;
    DOCTEST_CHECK(r.blocks_used == used);
  }
}

DOCTEST_TEST_CASE("persistence over reopening, with even and odd deletes and additions again") {
  scratch_file file("suites");
  format(file.path, 32 * mib);
  model expected;
  for (int round = 0; round < 6; ++round) {
    pleach::store s = open(file.path, 4 * mib);
    pleach::tree t;
    if (!s.run(s.open_tree("t", t))) t = create(s, "t");
    check_against(s, t, expected);
    for (u64 i = 0; i < 3000; ++i) {
      std::string key = numbered(i);
      if (round == 0 || (round % 2 == 0 && !expected.contains(key))) {
        std::string value = bytes_of(i + static_cast<u64>(round), i % 100);
        require_ok(s.run(t.put(key, value, durability::ordered)));
        expected[key] = value;
      } else if (round % 2 == 1 && i % 2 == (round == 3 ? 1u : 0u) && expected.contains(key)) {
        require_ok(s.run(t.del(key, nullptr, durability::ordered)));
        expected.erase(key);
      }
    }
    check_against(s, t, expected);
    require_clean(s);
  }
}

DOCTEST_TEST_CASE("eight trees of production shapes at once") {
  const record_shape shapes[] = {{"8/8", 4096, 8, 8},         {"8/struct", 4096, 8, 40},
                                 {"fixed/var", 16384, 24, 0}, {"var/var", 8192, 0, 0},
                                 {"20/var", 8192, 20, 0},     {"fixed/var", 8192, 32, 0},
                                 {"var/var", 65536, 0, 0},    {"24/24", 65536, 24, 24}};
  pleach::store s = open_memory(128 * mib, 16 * mib);
  std::vector<pleach::tree> trees;
  std::vector<std::vector<model>> models(8, std::vector<model>(1));
  int running = 0;
  for (u64 i = 0; i < 8; ++i) {
    trees.push_back(create(s, "t" + std::to_string(i), shapes[i].node_bytes));
    for (u64 n = 0; n < 3; ++n) actor({trees[i]}, models[i], {shapes[i]}, n, 3, 1500, running);
  }
  host_until(s, running);
  for (u64 i = 0; i < 8; ++i) check_against(s, trees[i], models[i][0]);
  require_clean(s);
}

namespace {
task writer_on_one_leaf(pleach::tree t, u64 n, int& running) {
  ++running;
  for (u64 i = 0; i < 50; ++i)
    require_ok(co_await t.upsert("k" + std::to_string(n % 4), bytes_of(i + n, (i * 37 + n) % 700),
                                 durability::ordered));
  --running;
}
task reader_of_one_leaf(pleach::tree t, int& running, const int& writers) {
  ++running;
  std::string v;
  while (writers != 0) {
    pleach::answer a = co_await t.get("k1", v);
    DOCTEST_REQUIRE((a.ok() || a.what() == category::not_found));
  }
  --running;
}
}  // namespace

DOCTEST_TEST_CASE(
    "a hundred writers and readers on one leaf: each ends in a bounded number of rounds") {
  pleach::store s = open_memory(16 * mib, 4 * mib);
  pleach::tree t = create(s, "t");
  int writers = 0, readers = 0;
  for (u64 n = 0; n < 100; ++n) writer_on_one_leaf(t, n, writers);
  for (u64 n = 0; n < 10; ++n) reader_of_one_leaf(t, readers, writers);
  u64 rounds = 0;
  while (writers != 0 || readers != 0) {
    host_step(s);
    DOCTEST_REQUIRE(++rounds < 200'000);
  }
  DOCTEST_CHECK(t.record_count() == 4);
  require_clean(s);
}

DOCTEST_TEST_CASE(
    "keys that are empty, differ in the last byte, or begin one another; empty values") {
  pleach::store s = open_memory(32 * mib);
  pleach::tree t = create(s, "t");
  model expected;
  std::string chain;
  expected[""] = "";
  for (int i = 0; i < 300; ++i) {
    chain += static_cast<char>('a' + i % 3);
    expected[chain] = "";
    expected[std::string(200, 'z') + static_cast<char>(i)] = i % 2 ? "" : "v";
    expected[std::string(static_cast<std::size_t>(i), '\0')] = std::string(1, '\0');
  }
  for (auto& [k, v] : expected) require_ok(s.run(t.put(k, v, durability::ordered)));
  check_against(s, t, expected);
  for (auto& [k, v] : expected) {
    std::string got = "x";
    require_ok(s.run(t.get(k, got)));
    DOCTEST_REQUIRE(got == v);
    SAME(s.run(t.put(k, "other")), category::exists);
  }
  require_clean(s);
  for (auto& [k, v] : expected) require_ok(s.run(t.del(k, nullptr, durability::ordered)));
  check_against(s, t, {});
}

DOCTEST_TEST_CASE("records of 0.3 to 100 times the node among tiny ones, in random order") {
  for (u32 node : {4096u, 16384u}) {
    pleach::store s = open_memory(256 * mib, 16 * mib);
    pleach::tree t = create(s, "t", node);
    model expected;
    std::mt19937_64 random(node);
    const u64 tenths[] = {3, 5, 9, 10, 11, 1000};
    for (int i = 0; i < 1500; ++i) {
      u64 size = random() % 10 != 0
                     ? random() % 20
                     : std::min<u64>(node * tenths[random() % 6] / 10, s.limits().value_bytes);
      std::string key = std::to_string(random() % 1000);
      expected[key] = bytes_of(random(), size);
      require_ok(s.run(t.upsert(key, expected[key], durability::ordered)));
    }
    check_against(s, t, expected);
    require_clean(s);
  }
}

namespace {
task until_closed(pleach::tree t, u64 n, int& running, int& refused) {
  ++running;
  for (u64 i = 0; i < 100'000; ++i) {
    pleach::answer a =
        co_await t.upsert(numbered(n * 1000 + i % 300), bytes_of(i, 60), durability::ordered);
    if (a.ok()) continue;
    SAME(a, category::invalid);  // the tree is gone
    ++refused;
    break;
  }
  --running;
}
}  // namespace

DOCTEST_TEST_CASE(
    "destroy with operations in flight: each is done or refused, and the rest is clean") {
  pleach::store s = open_memory(64 * mib, 4 * mib);
  pleach::tree t = create(s, "t"), other = create(s, "other");
  require_ok(s.run(other.put("k", "v")));
  u64 used = require_clean(s).blocks_used;
  int running = 0, refused = 0;
  for (u64 n = 0; n < 20; ++n) until_closed(t, n, running, refused);
  for (int i = 0; i < 300; ++i) host_step(s);
  require_ok(s.run(s.drop_tree("t")));
  host_until(s, running);
  DOCTEST_CHECK(refused == 20);
  DOCTEST_CHECK(require_clean(s).blocks_used < used);
  std::string v;
  require_ok(s.run(other.get("k", v)));
}
