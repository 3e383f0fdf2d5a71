// Proves: in trees with keys above 1 KiB ranges are deleted that begin and end anywhere among them,
// with branches cut off between separators that are long; trees are truncated in steps; counts,
// ranks, selects and digests are those of the records, whatever the shape of the tree; compare
// finds what differs.
#include "pleach/compare.hh"
#include "tests/store/long_keys.hh"

using namespace store_test;
using pleach::category;
using pleach::range_digest;

namespace {

constexpr auto ordered = pleach::durability::ordered;

/// Several groups, short keys between them.
key_list groups(u32 each) {
  key_list out;
  for (std::size_t shared : {inline_bytes + 1, inline_bytes + 476, 2 * inline_bytes + 5})
    for (const std::string& k : sharing(shared, each)) out.push_back(k);
  for (u32 i = 0; i < each; ++i) out.push_back(bytes_of(i, 1 + i % 30));
  return arranged(out, arrangement::ascending);
}

/// A bound near a key: it, its beginning, or something that goes on where it ends.
std::string near(std::mt19937_64& random, const key_list& keys) {
  std::string at = keys[random() % keys.size()];
  switch (random() % 5) {
    case 0:
      at.resize(random() % (at.size() + 1));
      break;
    case 1:
      at.resize(std::min(at.size(), inline_bytes - 1 + random() % 4));
      break;
    case 2:
      at.append(1 + random() % 3, static_cast<char>(random() % 2));
      break;
    default:
      break;
  }
  return at;
}

range_digest sum(const model& m, const std::string& from, const std::string& to) {
  range_digest d;
  if (!to.empty() && to <= from) return d;
  for (auto i = m.lower_bound(from); i != m.end() && (to.empty() || i->first < to); ++i)
    d += pleach::digest_of(i->first, i->second);
  return d;
}

void check_sums(judged_tree& w, const std::string& from, const std::string& to) {
  DOCTEST_CAPTURE(shown(from));
  DOCTEST_CAPTURE(shown(to));
  w.check_count(from, to);
  if (!w.t.has_digest()) return;
  range_digest got;
  require_ok(w.s().run(w.t.digest(from, to, got)));
  DOCTEST_REQUIRE(got == sum(w.m, from, to));
}

void check_select(judged_tree& w, u64 index) {
  std::string k, v;
  const pleach::answer a = w.s().run(w.t.select(index, k, v));
  DOCTEST_REQUIRE((a.what() == (index < w.m.size() ? category::ok : category::not_found)));
  if (!a.ok()) return;
  const auto at = std::next(w.m.begin(), static_cast<std::ptrdiff_t>(index));
  require_key(k, at->first);
  DOCTEST_REQUIRE((v == at->second));
  u64 rank = 0;
  require_ok(w.s().run(w.t.rank(k, rank)));
  DOCTEST_REQUIRE(rank == index);
}

}  // namespace

DOCTEST_TEST_CASE("ranges by chance, with refills, between bounds of all lengths") {
  std::mt19937_64 random(base_seed());
  const key_list keys = groups(150);
  for (u64 cache : {6 * mib, 32 * mib}) {
    judged_tree w({.cache = cache});
    for (const std::string& k : arranged(keys, arrangement::random)) w.put(k, value_of(random()));
    for (u32 round = 0; round < 50; ++round) {
      std::string from = near(random, keys), to = near(random, keys);
      if (round % 10 == 3) to.clear();
      if (from > to && !to.empty() && random() % 8 != 0) std::swap(from, to);
      // Mostly short ones, so that something is left.
      if (random() % 3 != 0) {
        const std::size_t at = random() % keys.size();
        from = keys[at];
        to = keys[std::min(at + random() % 40, keys.size() - 1)];
      }
      w.erase_range(from, to);
      for (u64 n = random() % 80; n != 0; --n)
        w.upsert(keys[random() % keys.size()], value_of(random()));
      if (round % 5 == 4) w.check();
    }
    w.check();
    w.erase_range({}, {});
    w.check_empty();
  }
}

DOCTEST_TEST_CASE("branches are cut off between long separators") {
  judged_tree w({.tree = {.node_bytes = 4096, .prefix_compression = false}});
  const key_list keys = arranged(sharing(inline_bytes + 476, 5000), arrangement::ascending);
  for (const std::string& k : arranged(keys, arrangement::random)) w.upsert(k, {});
  DOCTEST_CHECK(w.height() >= 3);
  const u64 cuts = counter_of(w.s(), "tree.cuts");
  w.erase_range(keys[20] + "x", keys[4800].substr(0, inline_bytes + 480));
  w.check();
  DOCTEST_CHECK(counter_of(w.s(), "tree.cuts") > cuts);
  // A cursor that stood in what is gone, and a cookie, find their way.
  pleach::cursor c(w.t);
  pleach::cookie at;
  std::string v;
  require_ok(w.s().run(c.seek(keys[10])));
  require_ok(w.s().run(w.t.get(keys[11], v, &at)));
  w.erase_range(keys[5], keys[15]);
  DOCTEST_CHECK(!c.try_next());
  require_ok(w.s().run(c.next()));
  require_key(c.key(), keys[15]);
  DOCTEST_CHECK(w.s().run(w.t.get(keys[11], v, &at)).what() == category::not_found);
  w.check();
  for (const std::string& k : keys) w.upsert(k, "again");
  w.check();
  w.erase_range({}, {});
  w.check_empty();
  DOCTEST_CHECK(w.height() == 1);
}

DOCTEST_TEST_CASE("truncate in steps of 1, 2, 5 and 16 pages, used between the steps") {
  for (u32 pages : {1u, 2u, 5u, 16u}) {
    DOCTEST_CAPTURE(pages);
    judged_tree w({});
    const key_list keys = groups(150);
    for (const std::string& k : keys) w.upsert(k, value_of(k.size()));
    u64 n = 1;
    for (u32 steps = 0;; ++steps) {
      require_ok(w.s().run(w.t.truncate(pages, n, 1, ordered)));
      if (n == 0) break;
      DOCTEST_REQUIRE(n <= w.m.size());
      w.m.erase(w.m.begin(), std::next(w.m.begin(), static_cast<std::ptrdiff_t>(n)));
      if (steps % 20 == 0) w.check();
      if (steps < 30 && steps % 7 == 3) w.put(keys.back() + digits(steps), "more");
    }
    w.check_empty();
  }
}

DOCTEST_TEST_CASE("a tree of long keys is dropped, whole or half cut") {
  judged_tree w({});
  for (u32 round = 0; round < 2; ++round) {
    const u64 before = w.used();
    pleach::tree u = create(w.s(), "u");
    const key_list keys = sharing(inline_bytes + 476, 1500);
    for (const std::string& k : keys) require_ok(w.s().run(u.put(k, "v", ordered)));
    DOCTEST_CHECK(w.used() > before + 1500);
    u64 n = 0;
    if (round == 1) require_ok(w.s().run(u.delete_range(keys[100], keys[1300], n)));
    require_ok(w.s().run(w.s().drop_tree("u")));
    u = {};
    require_ok(w.s().run(w.s().flush()));
    DOCTEST_CHECK(w.used() == before);
  }
}

DOCTEST_TEST_CASE("counts, ranks, selects and digests; the same in trees of another shape") {
  std::mt19937_64 random(base_seed());
  const key_list keys = groups(120);
  judged_tree one({.tree = {.node_bytes = 4096, .digest = true}});
  judged_tree two({.tree = {.node_bytes = 16384, .prefix_compression = false, .digest = true}});
  judged_tree counted({.tree = {.node_bytes = 4096, .counted = true}});
  for (u32 round = 0; round < 6; ++round) {
    for (u32 i = 0; i < 150; ++i) {
      const std::string& k = keys[random() % keys.size()];
      const std::string v = value_of(random());
      if (round % 2 == 1 && random() % 3 == 0) {
        one.del(k);
        counted.del(k);
      } else {
        one.upsert(k, v);
        counted.upsert(k, v);
      }
    }
    if (round == 3) {
      one.erase_range(keys[50], keys[140]);
      counted.erase_range(keys[50], keys[140]);
    }
    for (judged_tree* w : {&one, &counted}) {
      w->check();
      check_sums(*w, {}, {});
      for (u32 i = 0; i < 40; ++i) check_sums(*w, near(random, keys), near(random, keys));
      for (u64 index : {u64{0}, u64{w->m.size() / 2}, u64{w->m.size() - 1}, u64{w->m.size()}})
        check_select(*w, index);
      for (u32 i = 0; i < 20; ++i) check_select(*w, random() % w->m.size());
    }
  }
  // The same records, put backwards, in other nodes, with some that are gone again.
  for (auto r = one.m.rbegin(); r != one.m.rend(); ++r) two.put(r->first, r->second);
  for (const std::string& k : sharing(3 * inline_bytes, 100)) two.put(k, "gone");
  for (const std::string& k : sharing(3 * inline_bytes, 100)) two.del(k);
  range_digest a, b;
  require_ok(one.s().run(one.t.digest({}, {}, a)));
  require_ok(two.s().run(two.t.digest({}, {}, b)));
  DOCTEST_CHECK(a == b);
  DOCTEST_CHECK(a == sum(one.m, {}, {}));
  for (judged_tree* w : {&one, &two, &counted}) {
    w->erase_range({}, {});
    w->check_empty();
  }
}

DOCTEST_TEST_CASE("compare tells exactly the records that differ, by digests and by walking") {
  std::mt19937_64 random(base_seed());
  const key_list keys = groups(120);
  for (bool digests : {true, false}) {
    DOCTEST_CAPTURE(digests);
    judged_tree one({.tree = {.node_bytes = 4096, .digest = digests}});
    judged_tree two({.tree = {.node_bytes = 16384, .digest = digests}});
    for (u32 i = 0; i < keys.size(); ++i) one.put(keys[i], value_of(i));
    for (u32 i = static_cast<u32>(keys.size()); i-- > 0;)
      if (!two.m.contains(keys[i])) two.put(keys[i], one.m.at(keys[i]));
    for (u32 changes : {0u, 1u, 10u}) {
      for (u32 i = 0; i < changes; ++i) {
        one.upsert(keys[random() % keys.size()], "one");
        two.del(keys[random() % keys.size()]);
        two.put(keys[random() % keys.size()] + "+", "two");
      }
      std::map<std::string, pleach::difference> expected, told;
      for (const auto& [k, v] : one.m)
        if (!two.m.contains(k))
          expected[k] = pleach::difference::first_only;
        else if (two.m.at(k) != v)
          expected[k] = pleach::difference::changed;
      for (const auto& [k, v] : two.m)
        if (!one.m.contains(k)) expected[k] = pleach::difference::second_only;
      auto r =
          pleach::compare(one.s(), one.t, two.s(), two.t, [&](const pleach::differing_record& d) {
            told[std::string(d.key)] = d.what;
            return true;
          });
      DOCTEST_REQUIRE_MESSAGE(r.has_value(), (r ? "" : r.error().message));
      DOCTEST_CHECK((told == expected));
      DOCTEST_CHECK(r->same == expected.empty());
    }
  }
}
