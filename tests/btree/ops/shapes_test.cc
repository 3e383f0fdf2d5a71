// Proves: trees of every record shape, with lengths declared where they are fixed, under put,
// update, growing, shrinking, both slants, steps both ways and delete by concurrent actors: eight
// trees of production shapes at once, over reopenings; every shape under 1 to 8 actors on 1 to 4
// trees; records of 0.3 to 100 times the node in every node size, by single writes and batches; a
// store that is closed with operations in flight.
#include <algorithm>
#include <map>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;
using pleach::durability;

namespace {

using model = std::map<std::string, std::string>;

#define SAME(a, expected) DOCTEST_REQUIRE_MESSAGE((a).what() == (expected), (a).text())

/// Of a tree; 0 bytes: of any length.
struct shape {
  const char* name;
  u32 node_bytes, key, value;

  pleach::tree_options options() const { return {node_bytes, key, value}; }
  std::string key_of(u64 n) const {
    std::string digits = std::to_string(n);
    if (key == 0) return digits + std::string(n % 90, 'k');
    // Turned round, so that neighbours in number are not neighbours in order.
    std::reverse(digits.begin(), digits.end());
    digits.resize(key, '.');
    return digits;
  }
  std::string value_of(u64 seed) const {
    return bytes_of(seed, value != 0 ? value : seed % 7 == 0 ? seed % 2000 : seed % 120);
  }
};

constexpr shape production[] = {
    {"8/8", 4096, 8, 8},      {"8/struct", 4096, 8, 40}, {"fixed/var", 16384, 24, 0},
    {"var/var", 8192, 0, 0},  {"20/var", 8192, 20, 0},   {"fixed/var", 8192, 32, 0},
    {"var/var", 65536, 0, 0}, {"24/24", 65536, 24, 24},
};

struct world {
  pleach::store& s;
  std::vector<pleach::tree> trees;
  std::vector<shape> shapes;
  std::vector<model>& models;
  u64 actors = 1, keys = 150;
  int running = 0;
};

/// Steps both ways from a key: strictly in order, and its own record is met if it is there.
task steps(world& w, std::size_t which, std::string key, bool there, bool forward) {
  ++w.running;
  pleach::cursor at(w.trees[which]);
  pleach::answer a = co_await at.seek(key);
  if (there) {
    require_ok(a);
    DOCTEST_REQUIRE(at.key() == key);
  }
  std::string last;
  for (int i = 0; i < 12 && a.ok(); ++i) {
    std::string now(at.key());
    if (i > 0) DOCTEST_REQUIRE((forward ? last < now : now < last));
    last = now;
    if (forward ? at.try_next() : at.try_prev()) continue;
    if (forward)
      a = co_await at.next();
    else
      a = co_await at.prev();
  }
  --w.running;
}

/// Owns the keys that are its number modulo the number of actors: its outcomes are known.
task actor(world& w, u64 number, u64 count, u64 seed) {
  ++w.running;
  std::mt19937_64 random(seed * 1000 + number);
  std::string k, v;
  for (u64 step = 0; step < count; ++step) {
    std::size_t which = random() % w.trees.size();
    pleach::tree t = w.trees[which];
    model& m = w.models[which];
    const shape& sh = w.shapes[which];
    std::string key = sh.key_of((random() % w.keys) * w.actors + number);
    std::string value = sh.value_of(random());
    bool there = m.contains(key);
    pleach::answer a;
    switch (random() % 10) {
      case 0:
      case 1:
        a = co_await t.put(key, value, durability::ordered);
        SAME(a, there ? category::exists : category::ok);
        if (!there) m[key] = value;
        break;
      case 2:
        a = co_await t.update(key, value, durability::ordered);
        SAME(a, there ? category::ok : category::not_found);
        if (there) m[key] = value;
        break;
      case 3:  // grows, or shrinks, by much
        if (sh.value == 0) value = bytes_of(random(), there && m[key].size() > 400 ? 3 : 900);
        require_ok(co_await t.upsert(key, value, durability::ordered));
        m[key] = value;
        break;
      case 4:
      case 5:
        a = co_await t.del(key, &v, durability::ordered);
        SAME(a, there ? category::ok : category::not_found);
        if (there) DOCTEST_REQUIRE(v == m[key]);
        m.erase(key);
        break;
      case 6:
        a = co_await t.get(key, v);
        SAME(a, there ? category::ok : category::not_found);
        if (there) DOCTEST_REQUIRE(v == m[key]);
        break;
      case 7:
        a = co_await t.get_at_least(key, k, v);
        if (there) DOCTEST_REQUIRE((k == key && v == m[key]));
        if (a) DOCTEST_REQUIRE(k >= key);
        break;
      case 8:
        a = co_await t.get_at_most(key, k, v);
        if (there) DOCTEST_REQUIRE((k == key && v == m[key]));
        if (a) DOCTEST_REQUIRE(k <= key);
        break;
      default:
        steps(w, which, key, there, random() % 2 == 0);
    }
  }
  --w.running;
}

void compare(pleach::store& s, pleach::tree& t, const model& m) {
  pleach::cursor at(t);
  pleach::answer a = s.run(at.first());
  for (auto& [k, v] : m) {
    require_ok(a);
    DOCTEST_REQUIRE((at.key() == k && at.value() == v));
    if (!at.try_next()) a = s.run(at.next());
  }
  SAME(a, category::not_found);
  a = s.run(at.last());
  for (auto i = m.rbegin(); i != m.rend(); ++i) {
    require_ok(a);
    DOCTEST_REQUIRE(at.key() == i->first);
    if (!at.try_prev()) a = s.run(at.prev());
  }
  SAME(a, category::not_found);
  DOCTEST_REQUIRE(t.record_count() == m.size());
}

}  // namespace

DOCTEST_TEST_CASE("eight trees of production shapes, their lengths declared, over reopenings") {
  scratch_file file("shapes");
  format(file.path, 128 * mib, 16 * mib);
  std::vector<model> models(8);
  for (u64 round = 0; round < 4; ++round) {
    pleach::store s = open(file.path, 12 * mib);
    world w{s, {}, {std::begin(production), std::end(production)}, models, 6, 300};
    for (u64 i = 0; i < 8; ++i) {
      std::string name = "t" + std::to_string(i);
      pleach::tree t;
      if (round == 0)
        require_ok(s.run(s.create_tree(name, production[i].options(), t)));
      else
        t = open_tree(s, name);
      compare(s, t, models[i]);
      w.trees.push_back(t);
    }
    for (u64 n = 0; n < w.actors; ++n) actor(w, n, 1500, round + 1);
    host_until(s, w.running);
    for (u64 i = 0; i < 8; ++i) {
      // Every second record goes, the even ones in one round and the odd ones in the next.
      u64 n = 0;
      for (auto r = models[i].begin(); r != models[i].end(); ++n) {
        if (n % 2 == round % 2) {
          require_ok(s.run(w.trees[i].del(r->first, nullptr, durability::ordered)));
          r = models[i].erase(r);
        } else {
          ++r;
        }
      }
      compare(s, w.trees[i], models[i]);
    }
    require_clean(s);
    w.trees.clear();
    DOCTEST_REQUIRE(s.close());
  }
}

DOCTEST_TEST_CASE("every declared shape, 1 to 8 actors, 1 to 4 trees") {
  const shape shapes[] = {{"fixed/fixed", 4096, 8, 8},
                          {"fixed/variable", 8192, 16, 0},
                          {"variable/fixed", 4096, 0, 24},
                          {"variable/variable", 4096, 0, 0}};
  for (const shape& sh : shapes)
    for (u64 actors : {1, 3, 8})
      for (u64 trees : {1, 2, 4}) {
        DOCTEST_CAPTURE(sh.name);
        pleach::store s = open_memory(64 * mib, 4 * mib);
        std::vector<model> models(trees);
        world w{s, {}, std::vector<shape>(trees, sh), models, actors};
        for (u64 i = 0; i < trees; ++i) {
          pleach::tree t;
          require_ok(s.run(s.create_tree("t" + std::to_string(i), sh.options(), t)));
          w.trees.push_back(t);
        }
        for (u64 n = 0; n < actors; ++n) actor(w, n, 1200 / actors, actors * 10 + trees);
        host_until(s, w.running);
        for (u64 i = 0; i < trees; ++i) compare(s, w.trees[i], models[i]);
        require_clean(s);
      }
}

DOCTEST_TEST_CASE(
    "records of 0.3 to 100 times the node in every node size: a split always succeeds") {
  for (u32 node : {4096u, 8192u, 16384u, 65536u}) {
    DOCTEST_CAPTURE(node);
    pleach::store s = open_memory(256 * mib, 16 * mib);
    pleach::tree t = create(s, "t", node);
    model m;
    std::mt19937_64 random(node);
    const u64 tenths[] = {3, 5, 9, 10, 11, 1000};
    auto draw = [&] {
      if (random() % 8 != 0) return bytes_of(random(), random() % 24);
      u64 size = node * tenths[random() % (random() % 8 == 0 ? 6 : 5)] / 10;
      return bytes_of(random(), std::min<u64>(size, 2 * mib));
    };
    for (int i = 0; i < 400; ++i) {
      // Keys of a quarter of a small node among short ones.
      auto key = [&] {
        u64 n = random() % 300;
        return std::to_string(n) + std::string(n % 11 == 0 ? 900 : n % 5, '~');
      };
      if (random() % 4 == 0) {
        pleach::batch b(s);
        for (int k = 0; k < 8; ++k) {
          std::string at = key();
          if (random() % 4 == 0) {
            b.del(t, at);
            m.erase(at);
          } else {
            m[at] = draw();
            b.upsert(t, at, m[at]);
          }
        }
        require_ok(s.run(b.commit(durability::ordered)));
      } else {
        std::string at = key();
        m[at] = draw();
        require_ok(s.run(t.upsert(at, m[at], durability::ordered)));
      }
    }
    compare(s, t, m);
    require_clean(s);
    for (auto& [k, v] : m) require_ok(s.run(t.del(k, nullptr, durability::ordered)));
    compare(s, t, {});
    require_clean(s);
  }
}

namespace {

/// Durable writes until the store refuses; `acked`: how many were acknowledged.
task write_until_closed(pleach::tree t, u64 n, u64& acked, int& running, int& refused) {
  ++running;
  for (u64 i = 0;; ++i) {
    std::string key = std::to_string(n) + "." + std::to_string(i);
    pleach::answer a = co_await t.upsert(key, bytes_of(i, i % 400), durability::durable);
    if (!a.ok()) {
      bool expected = a.what() == category::invalid || a.what() == category::cancelled;
      DOCTEST_REQUIRE_MESSAGE(expected, a.text());
      ++refused;
      break;
    }
    acked = i + 1;
  }
  --running;
}

}  // namespace

DOCTEST_TEST_CASE(
    "a store that is closed with operations in flight: what was acknowledged is there") {
  scratch_file file("shapes");
  format(file.path, 64 * mib, 8 * mib);
  constexpr u64 writers = 24;
  u64 acked[writers] = {};
  {
    pleach::store s = open(file.path);
    pleach::tree t = create(s, "t");
    int running = 0, refused = 0;
    for (u64 n = 0; n < writers; ++n) write_until_closed(t, n, acked[n], running, refused);
    for (int i = 0; i < 400; ++i) host_step(s);
    DOCTEST_CHECK(running == static_cast<int>(writers));
    DOCTEST_REQUIRE(s.close());
    DOCTEST_CHECK(running == 0);
    DOCTEST_CHECK(refused == static_cast<int>(writers));
    DOCTEST_REQUIRE(s.close());
  }
  pleach::store s = open(file.path);
  pleach::tree t = open_tree(s, "t");
  std::string v;
  u64 total = 0;
  for (u64 n = 0; n < writers; ++n)
    for (u64 i = 0; i < acked[n]; ++i, ++total) {
      require_ok(s.run(t.get(std::to_string(n) + "." + std::to_string(i), v)));
      DOCTEST_REQUIRE(v == bytes_of(i, i % 400));
    }
  DOCTEST_CHECK(total > writers);
  require_clean(s);
}
