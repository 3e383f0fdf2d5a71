// Proves: every way in which a store cannot be made or opened has its own code and a sentence that
// a person understands.
#include <cstring>
#include <fstream>

#include "be/superblock.hh"
#include "be/volume.hh"
#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

struct outcome {
  category what;
  std::string message;
};

outcome try_open(const std::string& path, bool read_only = false) {
  pleach::open_options o;
  o.cache_bytes = 8 * mib;
  o.read_only = read_only;
  auto s = pleach::store::open(path, o);
  if (s) return {category::ok, ""};
  return {s.error().what(), s.error().message};
}

outcome try_format(const std::string& path, u64 size, bool force = false) {
  pleach::format_options o;
  o.size_bytes = size;
  o.force = force;
  auto done = pleach::store::format(path, o);
  if (done) return {category::ok, ""};
  return {done.error().what(), done.error().message};
}

#define SAYS(out, code, words)                                                      \
  do {                                                                              \
    outcome o_ = (out);                                                             \
    DOCTEST_CHECK_MESSAGE(o_.what == (code), o_.message);                           \
    DOCTEST_CHECK_MESSAGE(o_.message.find(words) != std::string::npos, o_.message); \
  } while (0)

/// Changes all copies of the superblock and seals them again.
template <class Change>
void patch(const std::string& path, Change change) {
  int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  DOCTEST_REQUIRE(fd >= 0);
  for (u32 copy = 0; copy < pleach::superblock_copies; ++copy) {
    pleach::superblock sb;
    off_t at = static_cast<off_t>(pleach::superblock_block(copy) * 4096);
    DOCTEST_REQUIRE(::pread(fd, &sb, sizeof sb, at) == 4096);
    change(sb, copy);
    pleach::seal(sb, copy);
    DOCTEST_REQUIRE(::pwrite(fd, &sb, sizeof sb, at) == 4096);
  }
  ::close(fd);
}

}  // namespace

DOCTEST_TEST_CASE("files that are no store") {
  scratch_file f("open");
  SAYS(try_open(f.path), category::not_found, f.path);
  { std::ofstream(f.path) << std::string(5 << 20, 'x'); }
  SAYS(try_open(f.path), category::invalid, "not a Pleach store");
  SAYS(try_open(f.path, true), category::invalid, "not a Pleach store");
  { std::ofstream(f.path) << "short"; }
  outcome o = try_open(f.path);
  DOCTEST_CHECK_MESSAGE(o.what == category::invalid, o.message);
  { std::ofstream(f.path, std::ios::trunc); }
  o = try_open(f.path);
  DOCTEST_CHECK_MESSAGE(o.what == category::invalid, o.message);
  o = try_open("/tmp");
  DOCTEST_CHECK(o.what != category::ok);
  SAYS(try_format(f.path, 32 * mib), category::exists, "exists");
  std::ifstream still(f.path, std::ios::ate);
  DOCTEST_CHECK(still.tellg() == 0);
}

DOCTEST_TEST_CASE("a failed format leaves nothing") {
  scratch_file f("open");
  SAYS(try_format(f.path, 64 << 10), category::invalid, "too small");
  DOCTEST_CHECK(::access(f.path.c_str(), F_OK) != 0);
  outcome o = try_format("/nonexistent-directory/store", 32 * mib);
  DOCTEST_CHECK_MESSAGE(o.what == category::not_found, o.message);
  o = try_format(f.path, 1ull << 60);
  DOCTEST_CHECK_MESSAGE(o.what != category::ok, o.message);
  DOCTEST_CHECK(::access(f.path.c_str(), F_OK) != 0);
  SAYS(try_format(f.path, 8 * mib), category::ok, "");
  SAYS(try_format(f.path, 8 * mib, true), category::ok, "");
  SAYS(try_open(f.path), category::ok, "");
}

DOCTEST_TEST_CASE("an open store is already open") {
  scratch_file f("open");
  format(f.path, 32 * mib, 4 * mib);
  {
    pleach::store s = open(f.path);
    SAYS(try_open(f.path), category::busy, "already open");
    SAYS(try_open(f.path, true), category::busy, "already open");
    require_ok(s.run(s.flush()));
  }
  {
    pleach::store reader = open(f.path, 8 * mib, true);
    SAYS(try_open(f.path, true), category::ok, "");
    SAYS(try_open(f.path), category::busy, "already open");
  }
  SAYS(try_open(f.path), category::ok, "");
}

DOCTEST_TEST_CASE("a truncated file") {
  scratch_file f("open");
  format(f.path, 32 * mib, 4 * mib);
  DOCTEST_REQUIRE(::truncate(f.path.c_str(), 20 * static_cast<off_t>(mib)) == 0);
  SAYS(try_open(f.path), category::corrupt, "truncated");
  SAYS(try_open(f.path, true), category::corrupt, "truncated");
}

DOCTEST_TEST_CASE("feature bits") {
  scratch_file f("open");
  format(f.path, 32 * mib, 4 * mib);
  patch(f.path, [](pleach::superblock& s, u32) { s.compat = u64{s.compat} | 1ull << 60; });
  SAYS(try_open(f.path), category::ok, "");
  patch(f.path, [](pleach::superblock& s, u32) { s.ro_compat = u64{s.ro_compat} | 1ull << 60; });
  SAYS(try_open(f.path), category::read_only, "read-only");
  SAYS(try_open(f.path, true), category::ok, "");
  patch(f.path, [](pleach::superblock& s, u32) { s.incompat = u64{s.incompat} | 1ull << 60; });
  SAYS(try_open(f.path), category::unsupported, "feature");
  SAYS(try_open(f.path), category::unsupported, "0x1000000000000000");
  SAYS(try_open(f.path, true), category::unsupported, "feature");
  // Numbers that were given out have a name, whether this program knows the feature or not.
  patch(f.path, [](pleach::superblock& s, u32) { s.incompat = 1ull << 60 | 16 | 64 | 2; });
  SAYS(try_open(f.path), category::unsupported, "0x1000000000000000 (bit 60)");
  DOCTEST_CHECK(pleach::feature_names(0x7f) ==
                "fixed lengths, value maps, cut branches, aggregates, leaf version 2, key orders, "
                "record extras");
  patch(f.path, [](pleach::superblock& s, u32) {
    s.incompat = s.ro_compat = 0;
    s.version = static_cast<std::uint16_t>(s.version + 1);
  });
  outcome o = try_open(f.path);
  DOCTEST_CHECK_MESSAGE(o.what == category::unsupported, o.message);
}

DOCTEST_TEST_CASE("a store names the features that it has come to use, and no others") {
  scratch_file f("open");
  format(f.path, 32 * mib, 4 * mib);
  auto named = [&] {
    std::vector<u64> bits;
    patch(f.path, [&](pleach::superblock& s, u32) { bits.push_back(s.incompat); });
    return bits;
  };
  auto all = [](u64 bits) { return std::vector<u64>(4, bits); };
  {
    pleach::store s = open(f.path);
    pleach::tree t;
    require_ok(s.run(s.create_tree("variable", {.leaf_version = 1}, t)));
    require_ok(s.run(t.put("k", "v")));
    DOCTEST_CHECK(s.features() == "");
  }
  DOCTEST_CHECK(named() == all(0));
  {
    pleach::store s = open(f.path);
    pleach::tree t;
    require_ok(s.run(s.create_tree("fixed", {4096, 8, 8}, t)));
  }
  DOCTEST_CHECK(named() == all(pleach::feature_fixed_lengths));
  {
    pleach::store s = open(f.path);
    require_ok(s.run(open_tree(s, "variable").put("large", std::string(3 * mib, 'l'))));
  }
  u64 so_far = pleach::feature_fixed_lengths | pleach::feature_value_maps;
  DOCTEST_CHECK(named() == all(so_far));
  {
    pleach::store s = open(f.path);
    pleach::tree t;
    require_ok(s.run(s.create_tree("whole", {.prefix_compression = false, .leaf_version = 1}, t)));
  }
  so_far |= pleach::feature_key_orders;
  DOCTEST_CHECK(named() == all(so_far));
  {
    pleach::store s = open(f.path);
    pleach::upgrade_report report;
    require_ok(s.run(open_tree(s, "variable").upgrade(report)));
    DOCTEST_CHECK(report.converted == 1);
  }
  DOCTEST_CHECK(named() == all(so_far | pleach::feature_slotted_2));
  {
    pleach::store s = open(f.path);
    require_ok(s.run(open_tree(s, "variable").upsert("k", "v", pleach::record_flags{1, 0})));
  }
  so_far |= pleach::feature_slotted_2 | pleach::feature_record_extras;
  DOCTEST_CHECK(named() == all(so_far));
  u64 n = 0;
  {
    pleach::store s = open(f.path);
    pleach::tree t = open_tree(s, "variable");
    require_ok(s.run(t.delete_range("", "", n)));
    DOCTEST_CHECK(n == 2);
  }
  // Leaves go without a holder.
  DOCTEST_CHECK(named() == all(so_far));
  {
    pleach::store s = open(f.path);
    pleach::tree t = create(s, "high");  // three levels
    for (int i = 0; i < 6000; ++i)
      require_ok(s.run(t.put(std::to_string(i * 7919 % 6007), std::string(400, 'v'),
                             pleach::durability::ordered)));
    require_ok(s.run(t.delete_range("", "", n)));
    DOCTEST_CHECK(n == 6000);
  }
  DOCTEST_CHECK(named() == all(so_far | pleach::feature_cuts));
}

DOCTEST_TEST_CASE("damaged superblocks") {
  scratch_file f("open");
  format(f.path, 32 * mib, 4 * mib);
  auto smash = [&](u32 copy) {
    int fd = ::open(f.path.c_str(), O_RDWR | O_CLOEXEC);
    char junk = '!';
    DOCTEST_REQUIRE(::pwrite(fd, &junk, 1,
                             static_cast<off_t>(pleach::superblock_block(copy) * 4096 + 100)) == 1);
    ::close(fd);
  };
  for (u32 copy : {0u, 1u, 2u}) smash(copy);
  {
    // One is enough to read; the check tells of the others.
    pleach::store s = open(f.path, 8 * mib, true);
    auto r = s.check({});
    DOCTEST_REQUIRE(r);
    DOCTEST_CHECK(!r->clean);
    DOCTEST_CHECK(r->problem_count == 3);
  }
  smash(3);
  outcome o = try_open(f.path);
  DOCTEST_CHECK_MESSAGE(o.what == category::corrupt, o.message);
}

DOCTEST_TEST_CASE("a cache that is too small") {
  scratch_file f("open");
  format(f.path, 32 * mib, 4 * mib);
  pleach::open_options o;
  o.cache_bytes = 64 << 10;
  auto s = pleach::store::open(f.path, o);
  DOCTEST_REQUIRE(!s);
  DOCTEST_CHECK(s.error().what() == category::no_memory);
  SAYS(try_open(f.path), category::ok, "");
}
