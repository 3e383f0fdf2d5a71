// Proves: compare tells exactly the records that differ, in key order, by digests and by walking,
// whatever the shapes of the trees; with digests it reads pages in proportion to the difference.
#include "pleach/compare.hh"

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
