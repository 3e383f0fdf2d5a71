// Proves: a counted tree, one with digests and one whose records have checksums can be loaded in
// bulk, and is the tree that puts would have made: ranks, selects, counts and digests of ranges are
// those of the same records put one by one; the check recomputes all of them and the checksums; and
// it takes changes afterwards. A kill in the middle of a load leaves nothing of it.
#include <csignal>
#include <map>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::load_record;
using pleach::range_digest;

namespace {

using content = std::map<std::string, std::string>;

struct option {
  const char* name;
  bool counted, digest, key_sums, value_sums;
  u32 key_bytes, value_bytes;
  bool whole;  ///< keys and separators
};
constexpr option options[] = {
    {"counted", true, false, false, false, 0, 0, false},
    {"digest", false, true, false, false, 0, 0, false},
    {"sums", false, false, true, true, 0, 0, false},
    {"sum of keys", false, false, true, false, 0, 0, true},
    {"all", true, true, true, true, 0, 0, false},
    {"all, whole", true, true, true, true, 0, 0, true},
    {"digest, fixed", false, true, false, false, 16, 16, false},
    {"all, lengths", true, true, false, true, 16, 16, false},
};

pleach::tree make_tree(pleach::store& s, const char* name, const option& x) {
  pleach::tree_options o;
  o.node_bytes = 4096;
  o.counted = x.counted;
  o.digest = x.digest;
  o.key_checksums = x.key_sums;
  o.value_checksums = x.value_sums;
  o.key_bytes = x.key_bytes;
  o.value_bytes = x.value_bytes;
  o.prefix_compression = o.suffix_truncation = !x.whole;
  pleach::tree t;
  require_ok(s.run(s.create_tree(name, o, t)));
  return t;
}

content make(const option& x, u64 records) {
  content c;
  for (u64 i = 0; i < records; ++i) {
    std::string key =
        bytes_of(i / 4, x.key_bytes ? 15 : 10 + i / 4 % 150) + static_cast<char>('a' + i % 4);
    u64 length = x.value_bytes ? x.value_bytes : i * 31 % 150;
    if (x.value_bytes == 0 && i % 301 == 7) length = 5000 + i * 13 % 20000;
    if (x.value_bytes == 0 && i == 100) length = 1'500'000;  // with a map
    c[key] = bytes_of(i, length);
  }
  return c;
}

void load(pleach::store& s, pleach::tree& t, const content& c, bool commit = true) {
  pleach::bulk_loader l(t);
  std::vector<load_record> some;
  for (auto& [k, v] : c) {
    some.push_back({k, v});
    if (some.size() < 777) continue;
    require_ok(s.run(l.add(some)));
    some.clear();
  }
  require_ok(s.run(l.add(some)));
  if (commit) require_ok(s.run(l.commit()));
}

/// Everything that aggregates answer, of both trees.
void require_equal(pleach::store& s, pleach::tree& a, pleach::tree& b, const content& c,
                   bool counted) {
  DOCTEST_CHECK(a.record_count() == c.size());
  DOCTEST_CHECK(a.byte_count() == b.byte_count());
  std::mt19937_64 random(base_seed());
  for (int i = 0; i < 40 && !c.empty(); ++i) {
    auto from = std::next(c.begin(), static_cast<long>(random() % c.size()));
    auto to = std::next(c.begin(), static_cast<long>(random() % c.size()));
    if (to->first < from->first) std::swap(from, to);
    u64 n[2];
    require_ok(s.run(a.count(from->first, to->first, n[0])));
    DOCTEST_REQUIRE(n[0] == static_cast<u64>(std::distance(from, to)));
    std::string value;
    require_ok(s.run(a.get(from->first, value)));
    DOCTEST_REQUIRE(value == from->second);
    if (!counted) continue;
    require_ok(s.run(a.rank(from->first, n[0])));
    DOCTEST_REQUIRE(n[0] == static_cast<u64>(std::distance(c.begin(), from)));
    std::string key;
    require_ok(s.run(a.select(n[0], key, value)));
    DOCTEST_REQUIRE(key == from->first);
    if (!a.has_digest()) continue;
    range_digest d[2];
    require_ok(s.run(a.digest(from->first, to->first, d[0])));
    require_ok(s.run(b.digest(from->first, to->first, d[1])));
    DOCTEST_REQUIRE(d[0] == d[1]);
  }
  if (!a.has_digest()) return;
  range_digest d[2];
  require_ok(s.run(a.digest("", "", d[0])));
  require_ok(s.run(b.digest("", "", d[1])));
  DOCTEST_CHECK(d[0] == d[1]);
  DOCTEST_CHECK(d[0].count == c.size());
}

}  // namespace

DOCTEST_TEST_CASE("a tree that was emptied at once takes a bulk load") {
  for (const option& x : options) {
    DOCTEST_CAPTURE(x.name);
    pleach::store s = open_memory(128 * mib, 24 * mib);
    pleach::tree t = make_tree(s, "t", x), put = make_tree(s, "put", x);
    const content c = make(x, 3000);
    load(s, t, c);
    u64 removed = 0;
    require_ok(s.run(t.delete_range("", "", removed)));
    DOCTEST_REQUIRE(removed == c.size());
    load(s, t, c);
    for (auto& [k, v] : c) require_ok(s.run(put.put(k, v, pleach::durability::ordered)));
    require_clean(s);
    require_equal(s, t, put, c, x.counted || x.digest);
  }
}

DOCTEST_TEST_CASE("loaded in bulk and put one by one: the same sums") {
  for (const option& x : options)
    for (u64 records : {0, 1, 3, 40, 400, 9000}) {
      DOCTEST_CAPTURE(x.name);
      DOCTEST_CAPTURE(records);
      pleach::store s = open_memory(128 * mib, 24 * mib);
      pleach::tree loaded = make_tree(s, "loaded", x), put = make_tree(s, "put", x);
      content c = make(x, records);
      load(s, loaded, c);
      pleach::batch b(s);
      for (auto& [k, v] : c) {
        b.upsert(put, k, v);
        if (b.size() < 100) continue;
        require_ok(s.run(b.commit(pleach::durability::ordered)));
        b.clear();
      }
      if (b.size() != 0) require_ok(s.run(b.commit(pleach::durability::ordered)));
      require_clean(s);
      require_equal(s, loaded, put, c, x.counted || x.digest);
      // Changes of all kinds above what was loaded.
      u64 n = 0;
      for (auto at = c.begin(); at != c.end() && n < 1500; ++n) {
        if (n % 3 == 0) {
          require_ok(s.run(loaded.del(at->first, nullptr, pleach::durability::ordered)));
          require_ok(s.run(put.del(at->first, nullptr, pleach::durability::ordered)));
          at = c.erase(at);
          continue;
        }
        at->second = bytes_of(n + 5, x.value_bytes ? x.value_bytes : n % 300);
        require_ok(s.run(loaded.upsert(at->first, at->second, pleach::durability::ordered)));
        require_ok(s.run(put.upsert(at->first, at->second, pleach::durability::ordered)));
        ++at;
      }
      require_clean(s);
      require_equal(s, loaded, put, c, x.counted || x.digest);
    }
}

DOCTEST_TEST_CASE("killed in the middle, and after the commit") {
  const option& all = options[4];
  scratch_file file("bulk_sums");
  format(file.path, 128 * mib);
  const content c = make(all, 6000);
  const int code = in_child([&] {
    pleach::store s = open(file.path);
    pleach::tree t = make_tree(s, "t", all), half = make_tree(s, "half", all);
    load(s, t, c);
    pleach::bulk_loader l(half);
    std::vector<load_record> some;
    for (auto& [k, v] : c) some.push_back({k, v});
    require_ok(s.run(l.add(some)));
    require_ok(s.run(s.flush()));
    ::raise(SIGKILL);
    return 0;
  });
  DOCTEST_CHECK(code == -1);
  pleach::store s = open(file.path);
  require_clean(s);
  pleach::tree t = open_tree(s, "t"), half = open_tree(s, "half");
  DOCTEST_CHECK(half.record_count() == 0);
  load(s, half, c);
  require_clean(s);
  require_equal(s, t, half, c, true);
}
