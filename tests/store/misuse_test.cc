// Proves: misuse of the API is answered by a code that says so, and the store works on: forks,
// throwing callbacks, polling inside callbacks, closed stores, dropped trees, empty handles,
// read-only stores, everything over its limit.
#include <memory>
#include <stdexcept>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

DOCTEST_TEST_CASE("a forked child") {
  scratch_file f("misuse");
  format(f.path, 32 * mib, 4 * mib);
  pleach::store s = open(f.path);
  pleach::tree t = create(s, "t");
  require_ok(s.run(t.put("k", "v")));
  int wrong = in_child([&] {
    int bad = 0;
    std::string v;
    pleach::answer a = s.run(t.get("k", v));
    if (a.what() != category::invalid || std::string(a.name()) != "forked") bad |= 1;
    auto p = s.poll();
    if (p || p.error().what() != category::invalid) bad |= 2;
    auto c = s.close();
    if (c || c.error().what() != category::invalid) bad |= 4;
    auto l = s.trees();
    if (l || l.error().what() != category::invalid) bad |= 8;
    if (s.run(t.put("child", "v")).what() != category::invalid) bad |= 16;
    return bad;
  });
  DOCTEST_CHECK(wrong == 0);
  std::string v;
  require_ok(s.run(t.get("k", v)));
  require_ok(s.run(t.put("parent", "v")));
  require_clean(s);
}

DOCTEST_TEST_CASE("a callback that throws is counted") {
  pleach::store s = open_memory(32 * mib);
  pleach::tree t = create(s, "t");
  int left = 3;
  std::vector<std::unique_ptr<pleach::operation>> ops;
  std::vector<std::string> keys{"a", "b", "c"};
  for (std::string& k : keys) {
    ops.emplace_back(new pleach::operation(t.put(k, "v")));
    ops.back()->start(
        [](pleach::operation&, void* l) {
          --*static_cast<int*>(l);
          throw std::runtime_error("thrown by the test");
        },
        &left);
  }
  host_until(s, left);
  for (auto& o : ops) DOCTEST_CHECK(o->result().ok());
  ops.clear();
  DOCTEST_CHECK(counter_of(s, "store.callbacks_failed") == 3);
  // A posted call too.
  bool posted = false;
  s.post([&] {
    posted = true;
    throw 1;
  });
  for (int i = 0; i < 100 && !posted; ++i) DOCTEST_REQUIRE(s.poll());
  DOCTEST_CHECK(posted);
  DOCTEST_CHECK(counter_of(s, "store.callbacks_failed") == 4);
  require_ok(s.run(t.get("a", keys[0])));
  require_clean(s);
}

DOCTEST_TEST_CASE("poll, run, close and other blocking calls inside a callback") {
  pleach::store s = open_memory(32 * mib);
  pleach::tree t = create(s, "t");
  struct inside {
    pleach::store& s;
    pleach::tree& t;
    int left = 1;
    category polled{}, ran{}, closed{}, listed{}, checked{}, grown{};
  } in{s, t, 1, {}, {}, {}, {}, {}, {}};
  pleach::operation op = t.put("k", "v");
  op.start(
      [](pleach::operation&, void* p) {
        auto& i = *static_cast<inside*>(p);
        std::string v;
        auto polled = i.s.poll();
        i.polled = polled ? category::ok : polled.error().what();
        i.ran = i.s.run(i.t.get("k", v)).what();
        auto closed = i.s.close();
        i.closed = closed ? category::ok : closed.error().what();
        auto listed = i.s.trees();
        i.listed = listed ? category::ok : listed.error().what();
        auto checked = i.s.check({});
        i.checked = checked ? category::ok : checked.error().what();
        auto grown = i.s.grow(64 * mib);
        i.grown = grown ? category::ok : grown.error().what();
        --i.left;
      },
      &in);
  host_until(s, in.left);
  DOCTEST_CHECK(in.polled == category::invalid);
  DOCTEST_CHECK(in.ran == category::invalid);
  DOCTEST_CHECK(in.closed == category::invalid);
  DOCTEST_CHECK(in.listed == category::invalid);
  DOCTEST_CHECK(in.checked == category::invalid);
  DOCTEST_CHECK(in.grown == category::invalid);
  DOCTEST_CHECK(counter_of(s, "store.callbacks_failed") == 0);
  std::string v;
  require_ok(s.run(t.get("k", v)));
  require_clean(s);
}

DOCTEST_TEST_CASE("operations on a closed store") {
  pleach::store s = open_memory(32 * mib);
  pleach::tree t = create(s, "t");
  require_ok(s.run(t.put("k", "v")));
  pleach::cursor c(t);
  require_ok(s.run(c.first()));
  pleach::batch b(s);
  b.upsert(t, "k2", "v");
  std::string v;
  pleach::operation made_before = t.get("k", v);
  const u32 longest = s.limits().key_bytes;
  DOCTEST_REQUIRE(s.close());
  DOCTEST_REQUIRE(s.close());  // idempotent
  DOCTEST_CHECK(s.run(made_before).what() == category::invalid);
  DOCTEST_CHECK(s.run(t.get("k", v)).what() == category::invalid);
  DOCTEST_CHECK(s.run(t.put("k", "v")).what() == category::invalid);
  DOCTEST_CHECK(s.run(b.commit()).what() == category::invalid);
  DOCTEST_CHECK(s.run(c.next()).what() == category::invalid);
  DOCTEST_CHECK(!c.try_next());
  pleach::tree other;
  DOCTEST_CHECK(s.run(s.create_tree("u", {}, other)).what() == category::invalid);
  DOCTEST_CHECK(s.run(s.open_tree("t", other)).what() == category::invalid);
  DOCTEST_CHECK(s.run(s.drop_tree("t")).what() == category::invalid);
  DOCTEST_CHECK(s.run(s.flush()).what() == category::invalid);
  DOCTEST_CHECK(!other);
  DOCTEST_CHECK(!s.poll());
  DOCTEST_CHECK(!s.trees());
  DOCTEST_CHECK(!s.check({}));
  DOCTEST_CHECK(!s.grow(64 * mib));
  DOCTEST_CHECK(s.next_timeout_ns() == -1);
  DOCTEST_CHECK(t.record_count() == 0);
  DOCTEST_CHECK(t.name() == "t");
  DOCTEST_CHECK(s.limits().key_bytes == longest);
  (void)s.stats();
  (void)s.stats_text();
  (void)s.stats_json();
  (void)s.waiting_text();
  DOCTEST_CHECK(s.size_bytes() == 32 * mib);
}

DOCTEST_TEST_CASE("handles outlive their store") {
  pleach::tree t;
  std::unique_ptr<pleach::cursor> c;
  {
    pleach::store s = open_memory(32 * mib);
    t = create(s, "t");
    require_ok(s.run(t.put("k", "v")));
    c = std::make_unique<pleach::cursor>(t);
    require_ok(s.run(c->first()));
  }
  std::string v;
  pleach::operation op = t.get("k", v);
  bool called = false;
  op.start([](pleach::operation&, void* p) { *static_cast<bool*>(p) = true; }, &called);
  DOCTEST_CHECK(called);
  DOCTEST_CHECK(op.result().what() == category::invalid);
  DOCTEST_CHECK(!c->try_next());
}

DOCTEST_TEST_CASE("a dropped tree and an empty handle") {
  pleach::store s = open_memory(32 * mib);
  pleach::tree t = create(s, "t"), copy = t, none;
  require_ok(s.run(t.put("k", "v")));
  pleach::cursor c(t);
  require_ok(s.run(c.first()));
  std::string v;
  pleach::operation made_before = t.get("k", v);
  require_ok(s.run(s.drop_tree("t")));
  DOCTEST_CHECK(s.run(made_before).what() == category::invalid);
  for (pleach::tree* dead : {&t, &copy, &none}) {
    std::string k;
    DOCTEST_CHECK(s.run(dead->get("k", v)).what() == category::invalid);
    DOCTEST_CHECK(s.run(dead->min(k, v)).what() == category::invalid);
    DOCTEST_CHECK(s.run(dead->put("k", "v")).what() == category::invalid);
    DOCTEST_CHECK(s.run(dead->del("k")).what() == category::invalid);
    pleach::batch b(s);
    b.upsert(*dead, "k", "v");
    DOCTEST_CHECK(s.run(b.commit()).what() == category::invalid);
    pleach::cursor dead_cursor(*dead);
    DOCTEST_CHECK(s.run(dead_cursor.first()).what() == category::invalid);
    DOCTEST_CHECK(!dead_cursor.try_next());
    DOCTEST_CHECK(!dead_cursor.valid());
    DOCTEST_CHECK(dead->record_count() == 0);
  }
  DOCTEST_CHECK(!c.try_next());
  DOCTEST_CHECK(s.run(c.next()).what() == category::invalid);
  DOCTEST_CHECK(!none);
  DOCTEST_CHECK(none.name().empty());
  // The name is free, and the old handles do not see the new tree.
  pleach::tree fresh = create(s, "t");
  require_ok(s.run(fresh.put("new", "v")));
  DOCTEST_CHECK(s.run(t.get("new", v)).what() == category::invalid);
  // A tree of another store.
  pleach::store s2 = open_memory(32 * mib);
  pleach::tree foreign = create(s2, "t");
  DOCTEST_CHECK(s.run(foreign.get("k", v)).what() == category::invalid);
  pleach::batch b(s);
  b.upsert(fresh, "a", "1");
  b.upsert(foreign, "a", "1");
  DOCTEST_CHECK(s.run(b.commit()).what() == category::invalid);
  DOCTEST_CHECK(s.run(fresh.get("a", v)).what() == category::not_found);
  require_clean(s);
}

DOCTEST_TEST_CASE("creating, opening and dropping by name") {
  pleach::store s = open_memory(32 * mib);
  pleach::tree t = create(s, "t"), u;
  pleach::answer a = s.run(s.create_tree("t", {}, u));
  DOCTEST_CHECK(a.what() == category::exists);
  DOCTEST_CHECK(!u);
  a = s.run(s.open_tree("unknown", u));
  DOCTEST_CHECK(a.what() == category::not_found);
  DOCTEST_CHECK(std::string(a.sentence()).find("unknown tree") != std::string::npos);
  DOCTEST_CHECK(s.run(s.drop_tree("unknown")).what() == category::not_found);
  DOCTEST_CHECK(s.run(s.create_tree("", {}, u)).what() == category::invalid);
  DOCTEST_CHECK(s.run(s.create_tree("u", {5000}, u)).what() == category::invalid);
  DOCTEST_CHECK(s.run(s.create_tree("u", {0}, u)).what() == category::invalid);
  DOCTEST_CHECK(s.run(s.create_tree("u", {1u << 20}, u)).what() == category::invalid);
  std::string longest(s.limits().tree_name_bytes, 'n');
  require_ok(s.run(s.create_tree(longest, {}, u)));
  DOCTEST_CHECK(s.run(s.create_tree(longest + "n", {}, u)).what() == category::too_large);
  require_ok(s.run(s.drop_tree(longest)));
}

DOCTEST_TEST_CASE("limits of keys, values and batches") {
  pleach::store s = open_memory(160 * mib);
  pleach::tree t = create(s, "t", 4096);
  pleach::limits l = s.limits();
  std::string key(l.key_bytes, 'k'), value(l.value_bytes, 'v'), v, old;
  require_ok(s.run(t.put(key, value)));
  require_ok(s.run(t.put(key.substr(1), "")));
  require_ok(s.run(t.put("", "")));
  require_ok(s.run(t.get(key, v)));
  DOCTEST_CHECK(v == value);
  pleach::answer a = s.run(t.put(key + "k", ""));
  DOCTEST_CHECK(a.what() == category::too_large);
  DOCTEST_CHECK(std::string(a.name()) == "key_too_large");
  a = s.run(t.upsert("k", value + "v"));
  DOCTEST_CHECK(a.what() == category::too_large);
  DOCTEST_CHECK(std::string(a.name()) == "value_too_large");
  DOCTEST_CHECK(s.run(t.get(key + "k", v)).what() == category::too_large);
  DOCTEST_CHECK(s.run(t.del(key + "k")).what() == category::too_large);
  require_ok(s.run(t.del(key, &old)));
  DOCTEST_CHECK(old == value);

  pleach::batch b(s);
  b.upsert(t, "a", "1");
  b.upsert(t, key + "k", "1");
  DOCTEST_CHECK(s.run(b.commit()).what() == category::too_large);
  DOCTEST_CHECK(s.run(t.get("a", v)).what() == category::not_found);
  // More records than a transaction takes.
  b.clear();
  for (u64 i = 0; i <= l.transaction_records; ++i) b.upsert(t, std::to_string(i), "v");
  DOCTEST_CHECK(b.size() == l.transaction_records + 1);
  DOCTEST_CHECK(s.run(b.commit()).what() == category::too_large);
  DOCTEST_CHECK(s.run(t.get("0", v)).what() == category::not_found);
  // More bytes, over more pages, than the memory of the store takes.
  b.clear();
  for (u64 i = 0; i < 9000; ++i) b.upsert(t, bytes_of(i, 900), bytes_of(i, 900));
  DOCTEST_CHECK(s.run(b.commit()).what() == category::too_large);
  DOCTEST_CHECK(t.record_count() == 2);
  // An empty batch, and one that is used again.
  b.clear();
  require_ok(s.run(b.commit()));
  b.upsert(t, "a", "1");
  b.del(t, "not there");
  b.upsert(t, "a", "2");
  require_ok(s.run(b.commit()));
  require_ok(s.run(t.get("a", v)));
  DOCTEST_CHECK(v == "2");
  b.clear();
  b.upsert(t, "a", "3");
  b.del(t, "a");
  require_ok(s.run(b.commit()));
  DOCTEST_CHECK(s.run(t.get("a", v)).what() == category::not_found);
  b.clear();
  b.del(t, "a");
  require_ok(s.run(b.commit()));
  require_clean(s);
}

DOCTEST_TEST_CASE("a read-only store refuses every write") {
  scratch_file f("misuse");
  format(f.path, 32 * mib, 4 * mib);
  {
    pleach::store s = open(f.path);
    pleach::tree t = create(s, "t");
    require_ok(s.run(t.put("k", "v")));
  }
  pleach::store s = open(f.path, 16 * mib, true);
  pleach::store beside = open(f.path, 16 * mib, true);  // readers share
  pleach::tree t = open_tree(s, "t"), u;
  std::string v;
  require_ok(s.run(t.get("k", v)));
  DOCTEST_CHECK(s.run(t.put("x", "v")).what() == category::read_only);
  DOCTEST_CHECK(s.run(t.update("k", "v")).what() == category::read_only);
  DOCTEST_CHECK(s.run(t.upsert("k", "v")).what() == category::read_only);
  DOCTEST_CHECK(s.run(t.del("k")).what() == category::read_only);
  pleach::batch b(s);
  b.upsert(t, "k", "w");
  DOCTEST_CHECK(s.run(b.commit()).what() == category::read_only);
  DOCTEST_CHECK(s.run(s.create_tree("u", {}, u)).what() == category::read_only);
  DOCTEST_CHECK(s.run(s.drop_tree("t")).what() == category::read_only);
  auto grown = s.grow(64 * mib);
  DOCTEST_REQUIRE(!grown);
  DOCTEST_CHECK(grown.error().what() == category::read_only);
  require_clean(s);
  DOCTEST_REQUIRE(s.close());
}
