// Proves: a comparator that is missing is named, one that contradicts itself harms its own tree
// only, and one that leaves keys equal which are not is put right by their bytes.
#include "tests/btree/ops/key_orders.hh"

using namespace store_test;

namespace {

// The range of a leaf that the batch empties may fall to one that it has not pinned, and what it
// has still to delete in that range is not there.
DOCTEST_TEST_CASE("a batch deletes whole leaves, and keys of theirs that are not there") {
  pleach::store s = *pleach::store::open_memory(64 * mib, with_comparators(16 * mib));
  const auto key = [](u64 i) { return "key" + std::to_string(100 + i); };
  for (u64 gone = 1; gone <= 30; ++gone) {
    DOCTEST_CAPTURE(gone);
    pleach::tree t;
    const std::string name = "t" + std::to_string(gone);
    require_ok(s.run(s.create_tree(
        name, {.node_bytes = 4096, .order = key_order::registered, .comparator = "letters"}, t)));
    for (u64 i = 0; i < 60; ++i)
      require_ok(s.run(t.upsert(key(i), std::string(600, 'v'), ordered)));
    pleach::batch b(s);
    for (u64 i = 0; i < gone; ++i) {
      b.del(t, key(i));
      b.del(t, key(i) + "x");
    }
    require_ok(s.run(b.commit(ordered)));
    u64 n = 0;
    require_ok(s.run(t.count({}, {}, n)));
    DOCTEST_CHECK(n == 60 - gone);
  }
  require_clean(s);
}

DOCTEST_TEST_CASE("a comparator that contradicts itself makes wrong results, and no more") {
  for (const char* name : {"fickle", "circle"}) {
    DOCTEST_CAPTURE(name);
    pleach::store s = *pleach::store::open_memory(64 * mib, with_comparators(16 * mib));
    pleach::tree t, sound;
    require_ok(s.run(s.create_tree(
        "t", {.node_bytes = 4096, .order = key_order::registered, .comparator = name}, t)));
    require_ok(s.run(s.create_tree("sound", {}, sound)));
    const auto expected = [](const pleach::answer& a) {
      const category c = a.what();
      DOCTEST_REQUIRE_MESSAGE(
          (c == category::ok || c == category::not_found || c == category::exists ||
           c == category::corrupt || c == category::too_large),
          a.text());
    };
    std::mt19937_64 random(base_seed());
    std::string k, v;
    for (u64 i = 0; i < 2500; ++i) {
      const std::string key = path_key(random() % 4000);
      const u64 dice = random() % 20;
      if (dice == 0) {
        pleach::batch b(s);
        for (u64 n = random() % 50; n > 0; --n) b.upsert(t, path_key(random() % 4000), "batch");
        for (u64 n = random() % 20; n > 0; --n) b.del(t, path_key(random() % 4000));
        expected(s.run(b.commit(ordered)));
      } else if (dice < 12) {
        const std::size_t length = random() % 40 == 0 ? 30'000 : random() % 300;
        expected(s.run(t.upsert(key, std::string(length, 'v'), ordered)));
      } else if (dice < 16) {
        expected(s.run(t.del(key, &v, ordered)));
      } else {
        expected(s.run(t.get_at_least(key, k, v)));
        expected(s.run(t.prev(key, k, v)));
        u64 n = 0;
        expected(s.run(t.count(key, path_key(random() % 4000), n)));
        pleach::cursor c(t);
        pleach::answer a = s.run(c.seek(key));
        for (int step = 0; step < 20 && a.ok(); ++step) a = s.run(c.next());
        expected(a);
        pleach::lookup lookups[] = {{key, &v}, {"x", &k}};
        expected(s.run(t.multi_get(lookups)));
      }
      if (i % 100 == 0) require_ok(s.run(sound.upsert(key, "v", ordered)));
    }
    // What holds however keys are ordered: space, fences by parents, counts.
    const auto report = s.check({});
    DOCTEST_REQUIRE(report);
    for (const pleach::problem& p : report->problems)
      DOCTEST_CHECK_MESSAGE((p.what == "corrupt: key order" || p.what == "corrupt: fence order" ||
                             p.what == "corrupt: a key outside its fences"),
                            p.where, ": ", p.what);
    require_ok(s.run(s.drop_tree("t")));
    require_clean(s);
  }
}

DOCTEST_TEST_CASE("a tree whose comparator is not there") {
  scratch_file f("orders");
  format(f.path, 64 * mib, 8 * mib);
  const pleach::tree_options o{.order = key_order::registered, .comparator = "reverse"};
  {
    pleach::store s = *pleach::store::open(f.path, with_comparators());
    pleach::tree t;
    require_ok(s.run(s.create_tree("backwards", o, t)));
    for (const char* key : {"a", "b", "c"}) require_ok(s.run(t.put(key, "v")));
    const pleach::answer empty = s.run(t.put("", "v"));
    DOCTEST_CHECK(empty.what() == category::invalid);
    std::string v;
    DOCTEST_CHECK(s.run(t.get("", v)).what() == category::not_found);
    DOCTEST_CHECK(s.run(t.del("")).what() == category::not_found);
    DOCTEST_CHECK(s.check({})->unchecked.empty());
  }
  const auto named = [](const pleach::answer& a, const char* name) {
    DOCTEST_CHECK(a.what() == category::unsupported);
    DOCTEST_CHECK_MESSAGE(a.text().find(name) != std::string::npos, a.text());
  };
  {
    pleach::open_options other = with_comparators();
    for (pleach::comparator& c : other.comparators)
      if (c.name == "reverse") c.name = "Reverse";
    pleach::store s = *pleach::store::open(f.path, other);
    pleach::tree t;
    named(s.run(s.open_tree("backwards", t)), "reverse");
    DOCTEST_CHECK(!t);
    named(s.run(s.create_tree("other", o, t)), "reverse");
    auto all = s.trees();
    DOCTEST_REQUIRE((all && all->size() == 1));
    DOCTEST_CHECK((*all)[0].comparator == "reverse");
    DOCTEST_CHECK(!(*all)[0].comparator_known);
    DOCTEST_CHECK((*all)[0].records == 3);
    // The check says what it leaves out, and checks the rest.
    const auto r = s.check({});
    DOCTEST_REQUIRE(r);
    DOCTEST_CHECK((r->clean && r->records == 3));
    DOCTEST_REQUIRE(r->unchecked.size() == 1);
    DOCTEST_CHECK(r->unchecked[0].where == "tree backwards");
    DOCTEST_CHECK(r->unchecked[0].what.find("\"reverse\"") != std::string::npos);
    // To drop it takes no comparator.
    require_ok(s.run(s.drop_tree("backwards")));
    require_clean(s);
  }
}

DOCTEST_TEST_CASE("a check with another comparator of that name finds the order broken") {
  scratch_file f("orders");
  format(f.path, 64 * mib, 8 * mib);
  {
    pleach::store s = *pleach::store::open(f.path, with_comparators());
    pleach::tree t;
    require_ok(
        s.run(s.create_tree("t", {.order = key_order::registered, .comparator = "reverse"}, t)));
    for (const char* key : {"a", "b", "c"}) require_ok(s.run(t.put(key, "v")));
  }
  pleach::open_options wrong;
  wrong.cache_bytes = 8 * mib;
  wrong.comparators = {
      {"reverse", [](std::string_view a, std::string_view b, void*) { return a.compare(b); }}};
  pleach::store s = *pleach::store::open(f.path, wrong);
  const auto r = s.check({});
  DOCTEST_REQUIRE((r && r->problems.size() == 1));
  DOCTEST_CHECK(r->problems[0].what == "corrupt: key order");
}

DOCTEST_TEST_CASE("comparators that cannot be registered or named") {
  const auto compare = [](std::string_view a, std::string_view b, void*) { return a.compare(b); };
  const auto refused = [](std::vector<pleach::comparator> list) {
    pleach::open_options o;
    o.comparators = std::move(list);
    auto s = pleach::store::open_memory(64 * mib, o);
    DOCTEST_REQUIRE(!s);
    DOCTEST_CHECK(s.error().what() == category::invalid);
  };
  refused({{"", compare}});
  refused({{std::string(65, 'n'), compare}});
  refused({{std::string("a\0b", 3), compare}});
  refused({{"twice", compare}, {"twice", compare}});
  refused({{"none", nullptr}});
  pleach::store s = *pleach::store::open_memory(64 * mib, with_comparators(16 * mib));
  pleach::tree t;
  const pleach::tree_options bad[] = {{.order = key_order::registered}, {.comparator = "reverse"}};
  for (const pleach::tree_options& o : bad)
    DOCTEST_CHECK(s.run(s.create_tree("t", o, t)).what() == category::invalid);
}

}  // namespace
