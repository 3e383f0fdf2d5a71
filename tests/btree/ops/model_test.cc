// Proves: trees under all operations with many in flight hold and answer exactly what std::map
// does, on every kind of device, with small nodes, long keys and large values; the check is clean
// all along; a reopened store holds the same.
//
// Keys in flight at the same time are distinct, so every outcome is known beforehand. Range reads
// run between the writes (exact) and among them (within what the keys at rest allow).
#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

using model = std::map<std::string, std::string>;

struct shape {
  u32 node_bytes, key_bytes, value_bytes;
};

struct world {
  pleach::store* s = nullptr;
  std::vector<shape> shapes;
  std::vector<pleach::tree> trees;
  std::vector<model> models;
  std::mt19937_64 random;
  int running = 0;
  u64 operations = 0;

  u64 below(u64 n) { return random() % n; }
  bool one_in(u64 n) { return below(n) == 0; }

  /// A few thousand possible keys: short ones, long ones with long common beginnings, the empty
  /// one.
  std::string key() {
    u64 id = below(2500);
    if (id == 0) return {};
    std::string tail = std::to_string(id * 7919 % 2500);
    switch (id % 5) {
      case 0:
        return tail;
      case 1:
        return "directory/with/a/name/" + tail;
      case 2:
        return std::string("\0\xff", 2) + tail;
      case 3:
        return bytes_of(id, id % 120) + tail;
      default: {
        std::string k(id % 25 == 4 ? 1000 : id % 10 == 4 ? 300 : 40, 'k');
        k += tail;
        return k.substr(0, 1024);
      }
    }
  }
  /// Of fixed length the end of a long key, or a short one that goes on: also keys that share all
  /// but their last bytes, and many that collide, where keys are short.
  std::string key(u32 t) {
    std::string k = key();
    const u32 length = t < shapes.size() ? shapes[t].key_bytes : 0;
    if (length == 0) return k;
    if (k.size() > length) return k.substr(k.size() - length);
    k.resize(length, '\0');
    return k;
  }
  std::string value(u32 t) {
    const u32 length = t < shapes.size() ? shapes[t].value_bytes : 0;
    return length == 0 ? value() : bytes_of(random(), length);
  }
  std::string value() {
    u64 size = one_in(60) ? below(200'000) : one_in(10) ? below(4000) : below(120);
    return bytes_of(random(), size);
  }
};

#define SAME(a, expected) DOCTEST_REQUIRE_MESSAGE((a).what() == (expected), (a).text())

task write_one(world& w, u32 t, std::string key, u64 kind, std::string value) {
  ++w.running;
  pleach::tree& tree = w.trees[t];
  model& m = w.models[t];
  auto at = m.find(key);
  bool there = at != m.end();
  std::string before = there ? at->second : std::string();
  auto d = w.one_in(3) ? pleach::durability::durable : pleach::durability::ordered;
  if (kind < 3) {
    pleach::answer a = co_await tree.put(key, value, d);
    SAME(a, there ? category::exists : category::ok);
    if (!there) m[key] = value;
  } else if (kind < 5) {
    pleach::answer a = co_await tree.update(key, value, d);
    SAME(a, there ? category::ok : category::not_found);
    if (there) m[key] = value;
  } else if (kind < 9) {
    pleach::answer a = co_await tree.upsert(key, value, d);
    SAME(a, category::ok);
    m[key] = value;
  } else if (kind < 15) {
    std::string old = "untouched";
    bool wanted = kind & 1;
    std::string* to = wanted ? &old : nullptr;
    pleach::answer a = co_await tree.del(key, to, d);
    SAME(a, there ? category::ok : category::not_found);
    if (wanted) DOCTEST_REQUIRE(old == (there ? before : "untouched"));
    m.erase(key);
  } else if (kind < 18) {
    std::string got = "untouched";
    pleach::answer a = co_await tree.get(key, got);
    SAME(a, there ? category::ok : category::not_found);
    DOCTEST_REQUIRE(got == (there ? before : "untouched"));
  } else {
    pleach::answer a = co_await tree.exists(key);
    SAME(a, there ? category::ok : category::not_found);
  }
  ++w.operations;
  --w.running;
}

struct change {
  u32 tree;
  std::string key, value;
  bool erase;
};

task write_batch(world& w, std::vector<change> changes) {
  ++w.running;
  pleach::batch b(*w.s);
  for (const change& c : changes) {
    if (c.erase)
      b.del(w.trees[c.tree], c.key);
    else
      b.upsert(w.trees[c.tree], c.key, c.value);
  }
  auto d = w.one_in(2) ? pleach::durability::durable : pleach::durability::ordered;
  pleach::answer a = co_await b.commit(d);
  SAME(a, category::ok);
  for (const change& c : changes) {
    if (c.erase)
      w.models[c.tree].erase(c.key);
    else
      w.models[c.tree][c.key] = c.value;
  }
  w.operations += changes.size();
  --w.running;
}

model::const_iterator at_most(const model& m, const std::string& key, bool strictly) {
  auto i = strictly ? m.lower_bound(key) : m.upper_bound(key);
  return i == m.begin() ? m.end() : std::prev(i);
}

/// A read of the record beside `key`, while nothing writes: exact.
task read_one(world& w, u32 t, std::string key, u64 kind) {
  ++w.running;
  pleach::tree& tree = w.trees[t];
  const model& m = w.models[t];
  std::string k, v;
  model::const_iterator expected;
  pleach::answer a;
  // g++ 12 evaluates both arms of a ?: that shares its expression with a co_await: the expectations
  // stand apart.
  switch (kind) {
    case 0:
      expected = m.lower_bound(key);
      break;
    case 1:
      expected = at_most(m, key, false);
      break;
    case 2:
      expected = m.upper_bound(key);
      break;
    case 3:
      expected = at_most(m, key, true);
      break;
    case 4:
      expected = m.begin();
      break;
    case 5:
      expected = m.empty() ? m.end() : std::prev(m.end());
      break;
    default:
      expected = m.find(key);
      break;
  }
  switch (kind) {
    case 0:
      a = co_await tree.get_at_least(key, k, v);
      break;
    case 1:
      a = co_await tree.get_at_most(key, k, v);
      break;
    case 2:
      a = co_await tree.next(key, k, v);
      break;
    case 3:
      a = co_await tree.prev(key, k, v);
      break;
    case 4:
      a = co_await tree.min(k, v);
      break;
    case 5:
      a = co_await tree.max(k, v);
      break;
    default:
      k = key;
      a = co_await tree.get(key, v);
      break;
  }
  SAME(a, expected == m.end() ? category::not_found : category::ok);
  if (a.ok()) {
    DOCTEST_REQUIRE(k == expected->first);
    DOCTEST_REQUIRE(v == expected->second);
  }
  ++w.operations;
  --w.running;
}

/// A read beside `key` among writes of `moving` keys: it never passes a key that is at rest.
task read_among(world& w, u32 t, std::string key, bool upward, const std::set<std::string>& moving,
                const model& at_rest) {
  ++w.running;
  std::string k, v;
  pleach::answer a;
  if (upward)
    a = co_await w.trees[t].next(key, k, v);
  else
    a = co_await w.trees[t].prev(key, k, v);
  auto is_at_rest = [&](const auto& record) { return !moving.contains(record.first); };
  const std::string* limit = nullptr;
  if (upward) {
    auto i = std::find_if(at_rest.upper_bound(key), at_rest.end(), is_at_rest);
    if (i != at_rest.end()) limit = &i->first;
  } else {
    auto i = std::find_if(std::make_reverse_iterator(at_rest.lower_bound(key)), at_rest.rend(),
                          is_at_rest);
    if (i != at_rest.rend()) limit = &i->first;
  }
  if (a.ok()) {
    DOCTEST_REQUIRE((upward ? k > key : k < key));
    bool known = at_rest.contains(k) || moving.contains(k);
    DOCTEST_REQUIRE(known);
    if (limit) DOCTEST_REQUIRE((upward ? k <= *limit : k >= *limit));
    if (!moving.contains(k)) DOCTEST_REQUIRE(at_rest.at(k) == v);
  } else {
    SAME(a, category::not_found);
    DOCTEST_REQUIRE(limit == nullptr);
  }
  --w.running;
}

void write_round(world& w, u64 in_flight, bool shrinking) {
  std::vector<std::set<std::string>> moving(w.trees.size());
  std::vector<model> before;
  bool with_reads = w.one_in(4);
  struct single {
    u32 tree;
    std::string key;
    u64 kind;
  };
  std::vector<single> singles;
  std::vector<std::vector<change>> batches;
  for (u64 i = 0; i < in_flight; ++i) {
    if (w.one_in(12)) {
      std::vector<change> changes;
      for (u64 n = w.below(20) + 1; n-- > 0;) {
        u32 t = static_cast<u32>(w.below(w.trees.size()));
        change c{t, w.key(t), w.value(t), w.one_in(shrinking ? 2 : 4)};
        if (moving[c.tree].insert(c.key).second) changes.push_back(std::move(c));
      }
      batches.push_back(std::move(changes));
      continue;
    }
    u32 t = static_cast<u32>(w.below(w.trees.size()));
    single one{t, w.key(t), shrinking ? w.below(20) : w.below(18)};
    if (shrinking && one.kind < 15) {
      // Deletes of neighbours that are there.
      one.kind = 9 + w.below(6);
      const model& m = w.models[one.tree];
      auto at = m.lower_bound(one.key);
      if (at != m.end()) one.key = at->first;
    }
    if (moving[one.tree].insert(one.key).second) singles.push_back(std::move(one));
  }
  if (with_reads) before = w.models;
  for (auto& b : batches) write_batch(w, std::move(b));
  for (auto& o : singles) write_one(w, o.tree, std::move(o.key), o.kind, w.value(o.tree));
  if (with_reads)
    for (int i = 0; i < 6; ++i) {
      u32 t = static_cast<u32>(w.below(w.trees.size()));
      read_among(w, t, w.key(), w.one_in(2), moving[t], before[t]);
    }
  host_until(*w.s, w.running);
}

void read_round(world& w, u64 in_flight) {
  for (u64 i = 0; i < in_flight; ++i)
    read_one(w, static_cast<u32>(w.below(w.trees.size())), w.key(), w.below(8));
  host_until(*w.s, w.running);
}

/// Both ways through the whole tree, stepping without operations where that is possible.
void compare(world& w, u32 t) {
  const model& m = w.models[t];
  pleach::cursor c(w.trees[t]);
  pleach::answer a = w.s->run(c.first());
  for (auto& [k, v] : m) {
    SAME(a, category::ok);
    DOCTEST_REQUIRE(c.valid());
    DOCTEST_REQUIRE(c.key() == k);
    DOCTEST_REQUIRE(c.value() == v);
    if (!c.try_next()) a = w.s->run(c.next());
  }
  SAME(a, category::not_found);
  DOCTEST_REQUIRE(!c.valid());
  a = w.s->run(c.last());
  for (auto i = m.rbegin(); i != m.rend(); ++i) {
    SAME(a, category::ok);
    DOCTEST_REQUIRE(c.key() == i->first);
    DOCTEST_REQUIRE(c.value() == i->second);
    if (!c.try_prev()) a = w.s->run(c.prev());
  }
  SAME(a, category::not_found);
  DOCTEST_REQUIRE(w.trees[t].record_count() == m.size());
  u64 sum = 0;
  for (auto& [k, v] : m) sum += k.size() + v.size();
  DOCTEST_REQUIRE(w.trees[t].byte_count() == sum);
}

void compare_all(world& w) {
  u64 records = 0;
  for (u32 t = 0; t < w.trees.size(); ++t) {
    compare(w, t);
    records += w.models[t].size();
  }
  pleach::check_report r = require_clean(*w.s);
  (void)records;
  DOCTEST_REQUIRE(r.records >= records);
}

std::string tree_name(u32 t) {
  return "tree " + std::to_string(t);
}

/// One tree goes with its contents and comes again, empty, while others are written.
task drop_and_recreate(world& w, u32 t) {
  ++w.running;
  std::string name = tree_name(t);
  pleach::answer a = co_await w.s->drop_tree(name);
  SAME(a, category::ok);
  a = co_await w.s->drop_tree(name);
  SAME(a, category::not_found);
  w.models[t].clear();
  pleach::tree fresh;
  pleach::tree_options o;
  if (t != 0) o.node_bytes = 4096;
  if (t < w.shapes.size())
    o = {w.shapes[t].node_bytes, w.shapes[t].key_bytes, w.shapes[t].value_bytes};
  a = co_await w.s->create_tree(name, o, fresh);
  SAME(a, category::ok);
  w.trees[t] = fresh;
  --w.running;
}

void run(world& w, u64 rounds) {
  for (u64 r = 0; r < rounds; ++r) {
    // The trees grow, then shrink almost to nothing.
    write_round(w, 1 + w.below(48), r % 100 >= 50);
    if (w.one_in(3)) read_round(w, 24);
    if (r % 60 == 59) compare_all(w);
    if (r % 150 == 149) {
      drop_and_recreate(w, static_cast<u32>(w.below(w.trees.size())));
      host_until(*w.s, w.running);
    }
  }
  compare_all(w);
}

void make_trees(world& w) {
  for (u32 t = 0; t < 3; ++t) w.trees.push_back(create(*w.s, tree_name(t), t == 0 ? 16384 : 4096));
  w.models.resize(3);
}

void on_device(const std::string& path, pleach::device_kind kind, u64 rounds) {
  world w;
  w.random.seed(base_seed() + static_cast<u64>(kind));
  {
    pleach::store s = open(path, 8 * mib, false, kind);
    w.s = &s;
    make_trees(w);
    run(w, rounds);
    w.trees.clear();
    DOCTEST_REQUIRE(s.close());
  }
  for (bool read_only : {true, false}) {
    pleach::store s = open(path, 8 * mib, read_only, kind);
    w.s = &s;
    for (u32 t = 0; t < 3; ++t) w.trees.push_back(open_tree(s, tree_name(t)));
    compare_all(w);
    if (!read_only) run(w, rounds / 4);
    w.trees.clear();
  }
}

}  // namespace

/// Trees of all mixes of fixed and variable lengths, the shapes of production among them.
DOCTEST_TEST_CASE("lengths") {
  scratch_file f("model");
  format(f.path, 512 * mib, 16 * mib);
  world w;
  w.random.seed(base_seed());
  w.shapes = {{4096, 8, 8},      {16384, 16, 0}, {8192, 0, 32},  {65536, 24, 24},
              {16384, 16, 32},   {4096, 1, 1},   {4096, 256, 700}, {65536, 31, 3000},
              {16384, 4, 2}};
  {
    pleach::store s = open(f.path, 8 * mib);
    w.s = &s;
    for (u32 t = 0; t < w.shapes.size(); ++t) {
      pleach::tree made;
      const shape& x = w.shapes[t];
      pleach::tree_options o{x.node_bytes, x.key_bytes, x.value_bytes};
      require_ok(s.run(s.create_tree(tree_name(t), o, made)));
      w.trees.push_back(made);
    }
    w.models.resize(w.trees.size());
    run(w, 1500);
    DOCTEST_CHECK(counter_of(s, "tree.splits") > 20);
    DOCTEST_CHECK(counter_of(s, "tree.merges") + counter_of(s, "tree.unlinks") > 20);
    w.trees.clear();
    DOCTEST_REQUIRE(s.close());
  }
  for (bool read_only : {true, false}) {
    pleach::store s = open(f.path, 8 * mib, read_only);
    w.s = &s;
    for (u32 t = 0; t < w.shapes.size(); ++t) w.trees.push_back(open_tree(s, tree_name(t)));
    compare_all(w);
    auto listed = s.trees();
    DOCTEST_REQUIRE(listed);
    for (u32 t = 0; t < w.shapes.size(); ++t) {
      DOCTEST_CHECK((*listed)[t].node_bytes == w.shapes[t].node_bytes);
      DOCTEST_CHECK((*listed)[t].key_bytes == w.shapes[t].key_bytes);
      DOCTEST_CHECK((*listed)[t].value_bytes == w.shapes[t].value_bytes);
    }
    if (!read_only) run(w, 300);
    w.trees.clear();
  }
}

DOCTEST_TEST_CASE("memory") {
  pleach::store s = open_memory(512 * mib, 8 * mib);
  world w;
  w.random.seed(base_seed());
  w.s = &s;
  make_trees(w);
  run(w, 3000);
  DOCTEST_CHECK(counter_of(s, "tree.splits") > 20);
  DOCTEST_CHECK(counter_of(s, "tree.merges") + counter_of(s, "tree.unlinks") > 20);
  w.trees.clear();
}

DOCTEST_TEST_CASE("uring") {
  scratch_file f("model");
  format(f.path, 512 * mib, 16 * mib);
  pleach::open_options o;
  o.device = pleach::device_kind::uring;
  if (auto probe = pleach::store::open(f.path, o);
      !probe && probe.error().what() == category::unsupported)
    skip("no io_uring here");
  on_device(f.path, pleach::device_kind::uring, 700);
}

DOCTEST_TEST_CASE("threads") {
  scratch_file f("model");
  format(f.path, 512 * mib, 16 * mib);
  on_device(f.path, pleach::device_kind::threads, 700);
}

DOCTEST_TEST_CASE("block") {
  loop_device l(512 * mib);
  if (!l.ok()) skip("no loop device can be set up here");
  format(l.path, 0, 16 * mib);
  on_device(l.path, pleach::device_kind::automatic, 500);
}
