// Proves: compare tells exactly the records that differ, in key order, by digests and by walking,
// whatever the shapes of the trees; with digests it reads pages in proportion to the difference.
#include "pleach/compare.hh"

#include <algorithm>
#include <map>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::difference;
using pleach::differing_record;

namespace {

using model = std::map<std::string, std::string>;

struct told {
  difference what;
  std::string key, first, second;
  bool operator==(const told&) const = default;
};

std::vector<told> differences(const model& a, const model& b) {
  std::vector<told> out;
  auto i = a.begin(), j = b.begin();
  while (i != a.end() || j != b.end()) {
    if (j == b.end() || (i != a.end() && i->first < j->first)) {
      out.push_back({difference::first_only, i->first, i->second, ""});
      ++i;
    } else if (i == a.end() || j->first < i->first) {
      out.push_back({difference::second_only, j->first, "", j->second});
      ++j;
    } else {
      if (i->second != j->second)
        out.push_back({difference::changed, i->first, i->second, j->second});
      ++i;
      ++j;
    }
  }
  return out;
}

pleach::tree make(pleach::store& s, const std::string& name, const pleach::tree_options& o,
                  const model& m, bool backwards) {
  pleach::tree t;
  require_ok(s.run(s.create_tree(name, o, t)));
  std::vector<std::pair<std::string, std::string>> all(m.begin(), m.end());
  if (backwards) std::reverse(all.begin(), all.end());
  for (auto& [k, v] : all) require_ok(s.run(t.put(k, v, pleach::durability::ordered)));
  return t;
}

pleach::compare_result expect(pleach::store& sa, pleach::tree& a, pleach::store& sb,
                              pleach::tree& b, const std::vector<told>& expected,
                              bool walk = false) {
  std::vector<told> got;
  pleach::compare_options o;
  o.ignore_digests = walk;
  auto r = pleach::compare(
      sa, a, sb, b,
      [&](const differing_record& d) {
        got.push_back(
            {d.what, std::string(d.key), std::string(d.first_value), std::string(d.second_value)});
        return true;
      },
      o);
  DOCTEST_REQUIRE_MESSAGE(r.has_value(), (r ? "" : r.error().message));
  DOCTEST_CHECK(got == expected);
  DOCTEST_CHECK(r->same == expected.empty());
  DOCTEST_CHECK(r->differences == expected.size());
  auto brief = pleach::compare(sa, a, sb, b, {}, o);
  DOCTEST_REQUIRE(brief.has_value());
  DOCTEST_CHECK(brief->same == expected.empty());
  return *r;
}

std::string key(u32 i) {
  return std::to_string(1'000'000 + i);
}

}  // namespace

DOCTEST_TEST_CASE("differing trees of all shapes, by digests and by walking") {
  std::mt19937_64 random(base_seed());
  for (u32 round = 0; round < 12; ++round) {
    DOCTEST_CAPTURE(round);
    model a, b;
    const u32 records = round == 0 ? 0 : 300 * round,
              changes = round < 3 ? round : 1 << (round / 2);
    for (u32 i = 0; i < records; ++i) a[key(i * 3)] = bytes_of(i, i % 400 == 9 ? 30'000 : i % 60);
    b = a;
    for (u32 i = 0; i < changes; ++i) {
      const std::string k = key(static_cast<u32>(random() % (3 * records + 10)));
      switch (random() % 3) {
        case 0:
          b.erase(k);
          break;
        case 1:
          b[k] = bytes_of(random(), 20);
          break;
        default:
          a[k] = bytes_of(random(), random() % 50);
          break;
      }
    }
    if (round == 11) b.clear();
    pleach::store one = open_memory(64 * mib), two = open_memory(64 * mib);
    pleach::tree ta = make(one, "a", {.node_bytes = 4096, .digest = true}, a, false);
    pleach::tree tb = make(two, "b", {.node_bytes = 16384, .digest = true}, b, true);
    pleach::tree plain = make(one, "plain", {.node_bytes = 4096}, b, true);
    expect(one, ta, two, tb, differences(a, b));
    expect(two, tb, one, ta, differences(b, a));
    expect(one, ta, two, tb, differences(a, b), true);
    const auto walked = expect(one, ta, one, plain, differences(a, b));
    DOCTEST_CHECK(walked.ranges == 0);
  }
}

DOCTEST_TEST_CASE("pages are read in proportion to the difference") {
  scratch_file first("compare-a"), second("compare-b");
  model a;
  for (u32 i = 0; i < 40'000; ++i) a[key(i)] = bytes_of(i, 40);
  for (const scratch_file* f : {&first, &second}) {
    format(f->path, 96 * mib);
    pleach::store s = open(f->path, 32 * mib);
    pleach::tree t =
        make(s, "t", {.node_bytes = f == &first ? 4096u : 8192u, .digest = true}, a, f == &second);
    t = {};
    DOCTEST_REQUIRE(s.close());
  }
  u64 leaves = 0;
  std::vector<u64> reads;
  model b = a;
  for (u32 differing : {0u, 1u, 8u}) {
    {
      pleach::store s = open(second.path, 32 * mib);
      pleach::tree t = open_tree(s, "t");
      for (u32 i = 0; i < differing; ++i) {
        const std::string k = key(i * 4999 + 17);
        b[k] = "other";
        require_ok(s.run(t.upsert(k, "other")));
      }
    }
    pleach::store one = open(first.path, 32 * mib, true), two = open(second.path, 32 * mib, true);
    pleach::tree ta = open_tree(one, "t"), tb = open_tree(two, "t");
    const auto misses = [&] {
      return counter_of(one, "cache.misses") + counter_of(two, "cache.misses");
    };
    const u64 before = misses();
    auto r = pleach::compare(one, ta, two, tb, [](const differing_record&) { return true; });
    DOCTEST_REQUIRE(r.has_value());
    DOCTEST_CHECK(r->differences == differing);
    reads.push_back(misses() - before);
    u64 n = 0;
    require_ok(one.run(ta.count({}, {}, n)));
    leaves = n * 55 / 4096;  // of the first tree, at least
  }
  DOCTEST_CAPTURE(reads[0]);
  DOCTEST_CAPTURE(reads[1]);
  DOCTEST_CAPTURE(reads[2]);
  DOCTEST_CHECK(leaves > 500);
  DOCTEST_CHECK(reads[0] <= 2);   // the roots
  DOCTEST_CHECK(reads[1] <= 60);  // a path, and a leaf for each halving
  DOCTEST_CHECK(reads[2] <= 8 * reads[1]);
  DOCTEST_CHECK(reads[2] < leaves / 2);
}

DOCTEST_TEST_CASE("a comparison that is stopped, or has heard enough") {
  pleach::store s = open_memory(32 * mib);
  model a, b;
  for (u32 i = 0; i < 500; ++i) a[key(i)] = "one", b[key(i)] = "two";
  pleach::tree ta = make(s, "a", {.digest = true}, a, false);
  pleach::tree tb = make(s, "b", {.digest = true}, b, false);
  u32 heard = 0;
  auto r = pleach::compare(s, ta, s, tb, [&](const differing_record&) { return ++heard < 3; });
  DOCTEST_REQUIRE(r.has_value());
  DOCTEST_CHECK(heard == 3);
  DOCTEST_CHECK(!r->same);
  pleach::compare_options o;
  o.stop = [] { return true; };
  auto stopped = pleach::compare(s, ta, s, tb, {}, o);
  DOCTEST_REQUIRE(!stopped.has_value());
  DOCTEST_CHECK(stopped.error().what() == pleach::category::cancelled);
  pleach::tree none;
  auto closed = pleach::compare(s, ta, s, none, {});
  DOCTEST_CHECK(!closed.has_value());
}

DOCTEST_TEST_CASE("trees of integers differ in their order") {
  pleach::store s = open_memory(64 * mib);
  const auto key = [](std::int32_t n) {
    return std::string(reinterpret_cast<const char*>(&n), sizeof n);
  };
  pleach::tree t[2], other;
  for (u32 i : {0u, 1u}) {
    pleach::tree_options o;
    o.node_bytes = i == 0 ? 4096 : 8192;
    o.key_bytes = 4;
    o.digest = true;
    o.order = pleach::key_order::signed_integers;
    require_ok(s.run(s.create_tree("t" + std::to_string(i), o, t[i])));
    for (std::int32_t n = -1500; n < 1500; ++n)
      require_ok(s.run(t[i].put(key(n * 5), "v", pleach::durability::ordered)));
  }
  require_ok(s.run(t[1].upsert(key(-500), "w")));
  require_ok(s.run(t[1].del(key(500))));
  require_ok(s.run(t[1].upsert(key(-501), "x")));
  const std::vector<told> expected = {{difference::second_only, key(-501), "", "x"},
                                      {difference::changed, key(-500), "v", "w"},
                                      {difference::first_only, key(500), "v", ""}};
  const auto r = expect(s, t[0], s, t[1], expected);
  DOCTEST_CHECK(r.records < 2000);
  expect(s, t[0], s, t[1], expected, true);
  require_ok(s.run(s.create_tree("raw", {.digest = true}, other)));
  DOCTEST_CHECK(!pleach::compare(s, t[0], s, other, {}).has_value());
}

DOCTEST_TEST_CASE("trees with a comparator differ in its order") {
  const auto folded = [](std::string_view s) {
    std::string to(s);
    for (char& c : to) c = static_cast<char>(c | 0x20);
    return to;
  };
  pleach::open_options o{.cache_bytes = 16 * mib};
  // Leaves keys equal that differ: these are told apart by their bytes.
  static const auto fold = folded;
  o.comparators = {
      {"letters",
       [](std::string_view a, std::string_view b, void*) { return fold(a).compare(fold(b)); }},
      {"reverse", [](std::string_view a, std::string_view b, void*) { return b.compare(a); }}};
  const auto below = [&](const std::string& name, const std::string& a, const std::string& b) {
    if (name == "reverse") return b < a;
    const int c = folded(a).compare(folded(b));
    return c != 0 ? c < 0 : a < b;
  };
  std::mt19937_64 random(base_seed());
  for (const std::string name : {"letters", "reverse"}) {
    DOCTEST_CAPTURE(name);
    model a;
    for (u32 i = 0; i < 3000; ++i) {
      std::string k = "key" + std::to_string(i / 2);
      if (i % 2 != 0) k[random() % 3] &= static_cast<char>(~0x20);
      a[k] = bytes_of(i, 40);
    }
    model b = a;
    b.erase("key77");
    b["key1000"] = "other";
    b["KEy5"] = "new";
    b["zzz"] = "last, or first";
    std::vector<told> expected = differences(a, b);
    std::sort(expected.begin(), expected.end(),
              [&](const told& x, const told& y) { return below(name, x.key, y.key); });
    DOCTEST_REQUIRE(expected.size() >= 3);
    pleach::store one = *pleach::store::open_memory(64 * mib, o);
    pleach::store two = *pleach::store::open_memory(64 * mib, o);
    pleach::tree_options x;
    x.node_bytes = 4096;
    x.digest = true;
    x.order = pleach::key_order::registered;
    x.comparator = name;
    pleach::tree ta = make(one, "a", x, a, false), tb = make(two, "b", x, b, true);
    const auto r = expect(one, ta, two, tb, expected);
    DOCTEST_CHECK(r.records < 1500);
    expect(one, ta, two, tb, expected, true);
    x.comparator = name == "reverse" ? "letters" : "reverse";
    pleach::tree tc = make(two, "c", x, b, false);
    const auto refused = pleach::compare(one, ta, two, tc, {});
    DOCTEST_REQUIRE(!refused.has_value());
    DOCTEST_CHECK(refused.error().message.find("different comparators") != std::string::npos);
  }
}

DOCTEST_TEST_CASE("a comparator that contradicts itself ends the comparison all the same") {
  static u64 state = 7;
  pleach::open_options o{.cache_bytes = 16 * mib};
  o.comparators = {{"fickle", [](std::string_view, std::string_view, void*) {
                      state = state * 6364136223846793005u + 1442695040888963407u;
                      return static_cast<int>(state >> 60) - 7;
                    }}};
  pleach::store s = *pleach::store::open_memory(64 * mib, o);
  pleach::tree t[2];
  for (u32 i : {0u, 1u}) {
    pleach::tree_options x;
    x.node_bytes = 4096;
    x.digest = true;
    x.order = pleach::key_order::registered;
    x.comparator = "fickle";
    require_ok(s.run(s.create_tree("t" + std::to_string(i), x, t[i])));
    for (u32 n = 0; n < 2000; ++n)
      (void)s.run(t[i].upsert(key(n), bytes_of(n + i, 40), pleach::durability::ordered));
  }
  for (bool walk : {false, true}) {
    u64 heard = 0;
    pleach::compare_options options;
    options.ignore_digests = walk;
    auto r = pleach::compare(
        s, t[0], s, t[1],
        [&](const differing_record&) {
          ++heard;
          return heard < 100'000;
        },
        options);
    DOCTEST_CHECK(heard < 100'000);
    if (r) DOCTEST_CHECK(!r->same);
  }
}
