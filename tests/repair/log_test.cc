// Proves: a repair applies the log of a store that was killed, which is no fault; a log that is
// damaged in its durable part is given up only when that is asked for, and what is left then is a
// sound store without a wrong record.
#include "tests/repair/damaged.hh"
#include "txn/log_format.hh"

using namespace repair_test;

namespace {

constexpr u64 count = 600;

std::string numbered(u64 i) {
  return "key" + std::to_string(i * 7919 % 1'000'003);
}

/// A store whose program was killed after `count` durable records; nothing of them need be home.
void make_killed(const std::string& path) {
  format(path, 16 * mib, 2 * mib);
  const int code = in_child([&] {
    pleach::store s = open(path);
    pleach::tree t = create(s, "t");
    for (u64 i = 0; i < count; ++i)
      if (!s.run(t.put(numbered(i), bytes_of(i, 60), pleach::durability::durable)).ok()) return 1;
    ::_exit(0);  // without closing
  });
  DOCTEST_REQUIRE(code == 0);
}

/// Offsets of the blocks of the log that a recovery needs, in the order of their numbers.
std::vector<u64> log_blocks_of(const image& x) {
  const auto& super = *reinterpret_cast<const pleach::superblock*>(x.data());
  std::map<u64, u64> found;
  u64 head = 0, start = 0;
  for (const pleach::log_segment& l : super.log)
    for (u64 b = l.start; b < l.start + l.blocks; ++b) {
      const auto& h = *reinterpret_cast<const pleach::txn::log_block_header*>(x.data() + b * 4096);
      if (h.magic != pleach::txn::log_magic) continue;
      found[h.seq] = b * 4096;
      if (h.seq < head) continue;
      head = h.seq;
      start = h.log_start;
    }
  std::vector<u64> out;
  for (const auto& [seq, at] : found)
    if (seq >= start) out.push_back(at);
  return out;
}

u64 judge(const std::string& path) {
  pleach::store s = open(path);
  require_clean(s);
  const content now = content_of(s);
  u64 there = 0;
  if (const auto t = now.find("t"); t != now.end())
    for (u64 i = 0; i < count; ++i)
      if (const auto r = t->second.find(numbered(i)); r != t->second.end()) {
        ++there;
        DOCTEST_REQUIRE(r->second == bytes_of(i, 60));
      }
  DOCTEST_REQUIRE(s.close());
  return there;
}

}  // namespace

DOCTEST_TEST_CASE("the log of a killed store is applied, and its undo brings it back") {
  scratch_file f("repair-killed"), undo("repair-killed-undo");
  make_killed(f.path);
  const image before = read_file(f.path);
  DOCTEST_CHECK(!*pleach::is_clean(f.path, pleach::device_kind::automatic));
  const mended m = mend(f.path, {.safe_only = true, .undo_file = undo.path});
  DOCTEST_CHECK(m.report.repaired == 0);
  DOCTEST_CHECK(m.report.left == 0);
  DOCTEST_CHECK(!m.report.recovery.empty());
  DOCTEST_REQUIRE(pleach::undo_repair(undo.path, f.path).has_value());
  DOCTEST_REQUIRE(read_file(f.path) == before);
  mend(f.path);
  DOCTEST_CHECK(judge(f.path) == count);
}

DOCTEST_TEST_CASE("a damaged log is given up only when that is asked for") {
  scratch_file made("repair-log");
  make_killed(made.path);
  const image whole = read_file(made.path);
  const std::vector<u64> blocks = log_blocks_of(whole);
  DOCTEST_CAPTURE(blocks.size());
  DOCTEST_REQUIRE(blocks.size() > 20);
  std::set<u64> counts;
  // In the durable part: near the beginning, in the middle, not at the end.
  for (std::size_t at : {blocks.size() / 8, blocks.size() / 2, blocks.size() * 3 / 4}) {
    image x = whole;
    x[blocks[at] + 200] ^= std::byte{1};
    scratch_file f("repair-log-damaged");
    write_file(f.path, x);
    auto refused = pleach::repair_store(f.path, {});
    DOCTEST_REQUIRE(!refused.has_value());
    DOCTEST_CHECK(refused.error().what() == pleach::category::corrupt);
    DOCTEST_REQUIRE(read_file(f.path) == x);
    const mended m = mend(f.path, {.salvage = true});
    DOCTEST_CAPTURE(lines_of(m));
    DOCTEST_REQUIRE(m.report.left == 0);
    DOCTEST_CHECK(m.steps.at(0).where == "log");
    counts.insert(judge(f.path));
    DOCTEST_CHECK(mend(f.path).report.repaired == 0);
  }
  // The later the damage, the more is saved.
  DOCTEST_CHECK(counts.size() == 3);
  DOCTEST_CHECK(*counts.rbegin() < count);
}

DOCTEST_TEST_CASE("a page that the log does not fit costs that page, not the log") {
  scratch_file f("repair-log-page");
  make_killed(f.path);
  image x = read_file(f.path);
  // Leaves of the tree that are home already: one of them loses a sector under the log's records.
  u64 hit = 0;
  const auto& super = *reinterpret_cast<const pleach::superblock*>(x.data());
  for (u64 b = 3; b < x.size() / 4096 && hit == 0; ++b) {
    const auto& h = *reinterpret_cast<const pleach::page_header*>(x.data() + b * 4096);
    if (h.magic == pleach::page_magic && h.store_id == pleach::load_le<u64>(super.uuid) &&
        h.tree_id == 2 && h.address == pleach::page_addr(b, 1).raw)
      hit = b;
  }
  DOCTEST_REQUIRE(hit != 0);
  std::memset(x.data() + hit * 4096 + 512, 0, 512);
  write_file(f.path, x);
  const mended m = mend(f.path, {.salvage = true});
  DOCTEST_CAPTURE(lines_of(m));
  DOCTEST_REQUIRE(m.report.left == 0);
  DOCTEST_CHECK(judge(f.path) > count / 2);
}
