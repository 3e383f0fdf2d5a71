// Proves that inserts fill what erased, replaced and split-off records leave, without touching a
// record that stays; that places_for keeps its word; and that changes_cost bounds what a group of
// changes of one leaf captures. Every step passes check_node, which finds any overlap.
#include <cstdlib>
#include <utility>

#include "be/base/planted.hh"
#include "tests/btree/node/chain.hh"

namespace pleach::btree::test {
namespace {

#ifdef PLEACH_PLANTED_BUGS
const bool planted_by_environment = (plant(std::getenv("PLEACH_PLANTED")), true);
#endif

std::string key_of(u64 i) {
  char k[24];
  std::snprintf(k, sizeof k, "key%08llu", static_cast<unsigned long long>(i));
  return k;
}

/// A leaf and what it must hold.
struct filled_leaf {
  explicit filled_leaf(u32 size) : page(size), scratch(size) {
    format_node(page.writer(), page.ref.addr, 1, 5, page.ref.gen, 0, as_bytes("ke"),
                as_bytes("ke\xff\xff\xff"), true, as_bytes("ke"));
  }
  room insert(const std::string& key, const std::string& value) {
    u32 place = 0;
    const room there = room_for_insert(page.view(), as_bytes(key), static_cast<u32>(value.size()),
                                       0, &place, hinted ? last : 0);
    if (there != room::NOW) return there;
    last = place;
    insert_at(page.writer(), page.view().find(as_bytes(key)).index, as_bytes(key), 0, 0,
              as_bytes(value), {}, place);
    model[key] = value;
    return there;
  }
  void erase(const std::string& key) {
    erase_at(page.writer(), page.view().find(as_bytes(key)).index);
    model.erase(key);
  }
  void settle() { DOCTEST_REQUIRE(page.settle() == ""); }
  void verify() {
    const node_view n = page.view();
    DOCTEST_REQUIRE(n.count() == model.size());
    u32 i = 0;
    for (const auto& [key, value] : model) {
      DOCTEST_REQUIRE(full_key(n, i) == key);
      DOCTEST_REQUIRE(text(n.at(i++).value) == value);
    }
  }

  test_page page;
  std::vector<std::byte> scratch;
  std::map<std::string, std::string> model;
  bool hinted = false;  ///< holes are looked for near the last place first
  u32 last = 0;
};

/// Some record of the leaf.
std::string any_key(const filled_leaf& f, random_stream& r) {
  return std::next(f.model.begin(), static_cast<long>(r.below(f.model.size())))->first;
}

DOCTEST_TEST_CASE("records of one size fill each other's holes to the last") {
  std::map<u32, bool> seen;
  for (const u32 size : {4096u, 16384u, 65536u, 131072u, 1u << 20, 4096u, 16384u, 65536u}) {
    DOCTEST_CAPTURE(size);
    random_stream r(size);
    filled_leaf f(size);
    f.hinted = std::exchange(seen[size], true);
    const std::string value(size / 160, 'v');
    u64 next = 0;
    const auto fill = [&] {
      while (f.insert(key_of(next * 7919 % 1000003), value) == room::NOW) ++next;
      f.settle();
    };
    fill();
    const std::size_t full = f.model.size();
    for (int round = 0; round < 20; ++round) {
      const u64 gone = 1 + r.below(full);
      for (u64 i = 0; i < gone; ++i) f.erase(any_key(f, r));
      f.settle();
      fill();
      // Compaction would gain less than one record.
      DOCTEST_CHECK(f.model.size() == full);
    }
    f.verify();
  }
}

DOCTEST_TEST_CASE("inserts, erases and replacements of any size until full") {
  for (u64 seed = 1; seed <= 40; ++seed) {
    DOCTEST_CAPTURE(seed);
    random_stream r(seed);
    filled_leaf f(seed % 3 == 0 ? 65536 : seed % 3 == 1 ? 16384 : 4096);
    f.hinted = seed % 2 == 0;
    const u64 most = 1 + r.below(f.page.size() / 16);
    u32 compactions = 0;
    for (u32 step = 0; step < 1500; ++step) {
      const std::string value(r.below(most), static_cast<char>('a' + step % 26));
      const u64 dice = r.below(10);
      if (dice < 5 || f.model.empty()) {
        const std::string key = key_of(r.below(100000));
        if (f.model.count(key) != 0) continue;
        const u32 free = f.page.view().free_bytes();
        room there = f.insert(key, value);
        if (there == room::AFTER_COMPACTION) {
          compact(f.page.writer(), f.scratch);
          ++compactions;
          there = f.insert(key, value);
          DOCTEST_REQUIRE(there == room::NOW);
        }
        const u32 record =
            record_bytes(static_cast<u32>(key.size()) - 2u, static_cast<u32>(value.size()));
        DOCTEST_REQUIRE((there == room::NOW) == (free >= record + sizeof(slot)));
        if (there == room::NOW)
          DOCTEST_REQUIRE(f.page.view().free_bytes() == free - record - sizeof(slot));
      } else if (dice < 8) {
        f.erase(any_key(f, r));
      } else {
        const std::string key = any_key(f, r);
        const u32 index = f.page.view().find(as_bytes(key)).index;
        const u32 length = static_cast<u32>(value.size());
        if (room_for_replace(f.page.view(), index, length) == room::AFTER_COMPACTION) {
          compact(f.page.writer(), f.scratch);
          ++compactions;
        }
        if (room_for_replace(f.page.view(), index, length) == room::NOW) {
          replace_value(f.page.writer(), index, 0, as_bytes(value));
          f.model[key] = value;
        }
      }
      f.settle();
    }
    f.verify();
    DOCTEST_CHECK(compactions < 400);
  }
}

DOCTEST_TEST_CASE("the left node of a split takes as many records again where it is") {
  random_stream r(5);
  filled_leaf f(16384);
  const std::string value(100, 'v');
  // Two random bytes tell most of them apart, so no longer prefix is worth a rewrite.
  const auto random = [&] { return "ke" + random_key(r, 5, 1024); };
  while (f.insert(random(), value) == room::NOW) {
  }
  f.settle();
  const u32 full = f.page.view().count();
  test_page right(16384, 5000);
  const std::string key = random();
  const u32 index = f.page.view().find(as_bytes(key)).index;
  const split_point s = choose_split(f.page.view(), as_bytes(key), index, 100, run_kind::NONE);
  split_node(f.page.writer(), right.writer(), s, f.page.ref, right.ref, 1, f.scratch);
  f.settle();
  DOCTEST_REQUIRE(right.settle() == "");
  // Header, fence, and slots that get their slack again; none of the records.
  DOCTEST_CHECK(f.page.marked < 600);
  DOCTEST_CHECK(f.page.view().count() < full * 3 / 4);
  for (;;) {
    const std::string k = random();
    if (!f.page.view().covers(as_bytes(k))) continue;
    const room there = f.insert(k, value);
    f.settle();
    if (there != room::NOW) break;
  }
  // The new fence may have cost a hole.
  DOCTEST_CHECK(f.page.view().count() + 1 >= full);
}

DOCTEST_TEST_CASE("places_for keeps its word") {
  u32 yes = 0, in_holes = 0;
  for (u64 seed = 1; seed <= 300; ++seed) {
    DOCTEST_CAPTURE(seed);
    random_stream r(seed);
    filled_leaf f(r.chance(500) ? 16384 : 4096);
    f.hinted = seed % 2 == 0;
    const u64 most = 20 + r.below(300);
    for (u64 i = 0; i < 2000; ++i) {
      const std::string key = key_of(r.below(100000));
      if (f.model.count(key) != 0) continue;
      if (f.insert(key, std::string(r.below(most), 'v')) != room::NOW) break;
    }
    for (u64 gone = r.below(f.model.size()); gone > 0; --gone) f.erase(any_key(f, r));
    f.settle();
    const u32 count = 1 + static_cast<u32>(r.below(20));
    const u32 longest = record_bytes(9, static_cast<u32>(1 + r.below(most)));
    if (!places_for(f.page.view(), longest, count)) continue;
    ++yes;
    const u32 garbage = f.page.view().node().garbage;
    for (u32 i = 0; i < count; ++i) {
      std::string key = key_of(r.below(100000));
      while (f.model.count(key) != 0) key = key_of(r.below(100000));
      const u32 length = longest - record_bytes(9, 0) - (longest > 140 ? 1 : 0);
      DOCTEST_REQUIRE(f.insert(key, std::string(r.chance(500) ? length : r.below(length + 1),
                                                'w')) == room::NOW);
    }
    if (f.page.view().node().garbage < garbage) ++in_holes;
    f.settle();
    f.verify();
  }
  DOCTEST_CHECK((yes > 50 && in_holes > 20));
}

DOCTEST_TEST_CASE("a group of changes captures no more than changes_cost says") {
  for (u64 seed = 1; seed <= 1500; ++seed) {
    DOCTEST_CAPTURE(seed);
    random_stream r(seed);
    filled_leaf f(r.chance(500) ? 16384 : 4096);
    const u64 most = 1 + r.below(200);
    for (u64 i = 0, n = r.below(200); i < n; ++i) {
      const std::string key = key_of(r.below(100000));
      if (f.model.count(key) == 0 && f.insert(key, std::string(r.below(most), 'v')) != room::NOW)
        break;
    }
    for (u64 gone = r.below(f.model.size() + 1); gone > 0; --gone) f.erase(any_key(f, r));
    f.settle();
    // As a plan does: keys ascend; each index is that of the leaf as it was.
    std::map<std::string, std::string> changes;
    for (u64 i = 0, n = 1 + r.below(12); i < n; ++i) {
      const std::string key =
          f.model.empty() || r.chance(600) ? key_of(r.below(100000)) : any_key(f, r);
      changes[key] = r.chance(250) ? "" : std::string(1 + r.below(most), 'w');  // "": erase
    }
    const node_view n = f.page.view();
    u32 done = 0, placed = 0, longest = 0;
    u64 stored = 0, cost = 0;
    for (const auto& [key, value] : changes) {
      const search_result at = n.find(as_bytes(key));
      const u32 length = static_cast<u32>(value.size());
      if (value.empty()) {
        if (at.found) cost += done == 0 ? erase_cost(n, at.index) : moved_cost(n, at.index, done);
        ++done;
        continue;
      }
      const u32 record = record_bytes(static_cast<u32>(key.size()) - 2u, length);
      longest = std::max(longest, record);
      ++placed;
      if (done++ != 0) {
        stored += record + sizeof(slot);
        if (!at.found) cost += moved_cost(n, at.index, done - 1);
        continue;
      }
      u32 place = 0;
      const room there = at.found ? room_for_replace(n, at.index, length)
                                  : room_for_insert(n, as_bytes(key), length, 0, &place);
      cost += there != room::NOW ? rewrite_cost(n, record + stretch_cost(n, sizeof(slot)))
              : at.found         ? replace_cost(n, at.index, length)
                                 : insert_cost(n, at.index, record, place);
    }
    if (longest + stored + sizeof(slot) > n.free_bytes()) continue;  // it would split
    const u64 bound = changes_cost(n, done, placed, stored, longest, cost);
    for (const auto& [key, value] : changes) {
      search_result at = n.find(as_bytes(key));
      const u32 length = static_cast<u32>(value.size());
      if (value.empty()) {
        if (at.found) f.erase(key);
        continue;
      }
      const room there = at.found ? room_for_replace(n, at.index, length)
                                  : room_for_insert(n, as_bytes(key), length);
      if (there == room::AFTER_COMPACTION) compact(f.page.writer(), f.scratch);
      DOCTEST_REQUIRE(there != room::NONE);
      if (at.found)
        replace_value(f.page.writer(), at.index, 0, as_bytes(value));
      else
        insert_at(f.page.writer(), at.index, as_bytes(key), 0, 0, as_bytes(value));
      f.model[key] = value;
    }
    f.settle();
    f.verify();
    DOCTEST_REQUIRE(f.page.logged <= bound);
  }
}

}  // namespace
}  // namespace pleach::btree::test
