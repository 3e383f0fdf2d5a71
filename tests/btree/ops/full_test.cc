// Proves: a full store still reads, deletes and closes; deletes make room without reopening; it
// grows online; the space of large values comes back.
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

std::string name(u64 i) {
  return "key " + std::to_string(i * 2654435761u % 1'000'003);
}

/// Puts records until there is no space.
/// RETURNS: how many went in.
u64 fill(pleach::store& s, pleach::tree& t, u64 from, std::size_t bytes) {
  u64 i = from;
  for (;; ++i) {
    pleach::answer a = s.run(t.upsert(name(i), bytes_of(i, bytes), pleach::durability::ordered));
    if (!a.ok()) {
      DOCTEST_REQUIRE_MESSAGE(a.what() == category::no_space, a.text());
      break;
    }
    DOCTEST_REQUIRE(i < 1'000'000);
  }
  return i - from;
}

void full_volume(std::size_t bytes) {
  scratch_file f("full");
  format(f.path, 24 * mib, 4 * mib);
  u64 there = 0;
  {
    pleach::store s = open(f.path, 8 * mib);
    pleach::tree t = create(s, "t", 4096);
    there = fill(s, t, 0, bytes);
    DOCTEST_CHECK(there * bytes > 8 * mib);
    require_clean(s);
    // Reads work, and what failed is not there.
    std::string v;
    for (u64 i = 0; i < there; i += 7) {
      require_ok(s.run(t.get(name(i), v)));
      DOCTEST_REQUIRE(v == bytes_of(i, bytes));
    }
    DOCTEST_CHECK(s.run(t.get(name(there), v)).what() == category::not_found);
    // Deletes work in a full store.
    for (u64 i = 0; i < there / 2; ++i)
      require_ok(s.run(t.del(name(i), nullptr, pleach::durability::ordered)));
    require_clean(s);
    // What they freed can be used without reopening.
    u64 again = fill(s, t, there, bytes);
    DOCTEST_CHECK(again > there / 4);
    require_clean(s);
    // Growing gives more.
    u64 used = there + again;
    DOCTEST_REQUIRE(s.grow(32 * mib));
    u64 more = fill(s, t, used, bytes);
    DOCTEST_CHECK(more * bytes > 3 * mib);
    DOCTEST_CHECK(s.size_bytes() == 32 * mib);
    there = used + more;
    DOCTEST_CHECK(t.record_count() == there - (there - again - more) / 2);
    auto closed = s.close();
    DOCTEST_CHECK_MESSAGE(closed.has_value(), (closed ? "" : closed.error().message));
  }
  pleach::store s = open(f.path, 8 * mib);
  pleach::tree t = open_tree(s, "t");
  require_clean(s);
  std::string v;
  require_ok(s.run(t.get(name(there - 1), v)));
  DOCTEST_CHECK(v == bytes_of(there - 1, bytes));
  // A whole tree can be dropped from a full store, and then it is empty again.
  fill(s, t, there, bytes);
  require_ok(s.run(s.drop_tree("t")));
  pleach::check_report r = require_clean(s);
  DOCTEST_CHECK(r.blocks_free > 16 * mib / 4096);
}

}  // namespace

DOCTEST_TEST_CASE("a full volume: small values") {
  full_volume(300);
}
DOCTEST_TEST_CASE("a full volume: large values") {
  full_volume(30'000);
}

DOCTEST_TEST_CASE("the space of large values comes back") {
  pleach::store s = open_memory(96 * mib, 8 * mib);
  pleach::tree keep = create(s, "keep");
  require_ok(s.run(keep.put("k", "v")));
  u64 at_start = require_clean(s).blocks_free;
  std::vector<std::string> sizes;
  for (int round = 0; round < 3; ++round) {
    pleach::tree t = create(s, "large");
    std::mt19937_64 random(base_seed() + static_cast<u64>(round));
    // Overwritten many times over: far more than the volume holds.
    for (int i = 0; i < 600; ++i) {
      std::string k = std::to_string(random() % 40);
      std::size_t bytes = i % 50 == 0 ? 1u << 20 : random() % 300'000;
      require_ok(s.run(t.upsert(k, bytes_of(random(), bytes), pleach::durability::ordered)));
      if (i % 5 == 0) {
        std::string old;
        (void)s.run(t.del(std::to_string(random() % 40), &old, pleach::durability::ordered));
      }
    }
    u64 filled = require_clean(s).blocks_free;
    DOCTEST_CHECK(filled < at_start);
    if (round == 1) {
      for (int i = 0; i < 40; ++i) (void)s.run(t.del(std::to_string(i)));
      DOCTEST_CHECK(t.record_count() == 0);
      // An empty tree has its root.
      DOCTEST_CHECK(require_clean(s).blocks_free + 1 == at_start);
    }
    require_ok(s.run(s.drop_tree("large")));
    DOCTEST_CHECK(require_clean(s).blocks_free == at_start);
  }
  std::string v;
  require_ok(s.run(keep.get("k", v)));
}

DOCTEST_TEST_CASE("dropping a large tree beside writers gives everything back") {
  pleach::store s = open_memory(128 * mib, 8 * mib);
  pleach::tree keep = create(s, "keep");
  u64 at_start = require_clean(s).blocks_free;
  pleach::tree t = create(s, "t", 4096);
  for (int i = 0; i < 20'000; ++i)
    require_ok(s.run(t.upsert(name(static_cast<u64>(i)), bytes_of(1, i % 500 == 0 ? 9000 : 90),
                              pleach::durability::ordered)));
  DOCTEST_CHECK(require_clean(s).blocks_free + 300 < at_start);
  require_ok(s.run(s.drop_tree("t")));
  std::string v;
  DOCTEST_CHECK(s.run(t.get(name(1), v)).what() == category::invalid);
  DOCTEST_CHECK(s.run(s.open_tree("t", t)).what() == category::not_found);
  DOCTEST_CHECK(require_clean(s).blocks_free == at_start);
}
