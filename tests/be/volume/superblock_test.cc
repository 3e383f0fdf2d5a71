// Proves: which of four copies wins, and what is said when none can: a table of damages, every
// single bit flip of a copy, and every field set to values that are impossible under a right
// checksum.
#include "be/superblock.hh"

#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "be/volume.hh"

namespace {
using namespace pleach;
using copies_t = std::array<superblock, superblock_copies>;

superblock sound() {
  superblock s{};
  s.magic = superblock_magic;
  s.version = superblock_version;
  s.checksum_id = 1;
  s.block_shift = 12;
  for (u8 i = 0; i < 16; ++i) s.uuid[i] = static_cast<u8>(i + 1);
  s.generation = 5;
  s.incarnation = 2;
  s.blocks = 2048;
  s.group_blocks = 32256;
  s.root_block = 1;
  s.max_node_blocks = 16;
  s.torn_mode = 1;
  s.device_count = 1;
  s.log[0].start = 1024;
  s.log[0].blocks = 256;
  s.salt = 99;
  s.first_seq = 1;
  s.base_lsn = 1;
  s.clean_seq = 1;
  return s;
}

copies_t four(const std::function<void(superblock&, u32)>& change) {
  copies_t c;
  for (u32 i = 0; i < superblock_copies; ++i) {
    c[i] = sound();
    change(c[i], i);
    seal(c[i], i);
  }
  return c;
}

result<superblock_choice> choose_of(const copies_t& c, u32 unreadable = 0) {
  std::array<const superblock*, superblock_copies> p{};
  std::array<copy_state, superblock_copies> states{};
  for (u32 i = 0; i < superblock_copies; ++i) {
    p[i] = &c[i];
    states[i] = unreadable >> i & 1 ? copy_state::UNREADABLE : copy_state::NO_MAGIC;
  }
  return choose(p, states);
}

void no_change(superblock&, u32) {}

struct row {
  const char* what;
  std::function<void(copies_t&)> damage;
  u32 unreadable;
  errc code;
  u32 best;
  std::array<copy_state, superblock_copies> states;
};

constexpr auto GOOD = copy_state::GOOD;
constexpr auto STALE = copy_state::STALE;
constexpr auto SUM = copy_state::BAD_SUM;
constexpr auto NONE = copy_state::NO_MAGIC;
constexpr auto UNREAD = copy_state::UNREADABLE;
constexpr auto PLACE = copy_state::MISPLACED;
constexpr auto FOREIGN = copy_state::FOREIGN;

void spoil(superblock& s) { s.salt = s.salt + 1; }
void erase(superblock& s) { s = {}; }
void age(superblock& s, u32 copy, u64 generation) {
  s.generation = generation;
  seal(s, copy);
}
void foreign(superblock& s, u32 copy) {
  s.uuid[3] ^= 1;
  seal(s, copy);
}
void incompat(superblock& s, u32 copy) {
  s.incompat = u64{1} << 63;
  seal(s, copy);
}

DOCTEST_TEST_CASE("table of damages") {
  const row rows[] = {
      {"all good", [](copies_t&) {}, 0, errc::ok, 0, {GOOD, GOOD, GOOD, GOOD}},
      {"first spoilt", [](copies_t& c) { spoil(c[0]); }, 0, errc::ok, 1, {SUM, GOOD, GOOD, GOOD}},
      {"three spoilt",
       [](copies_t& c) { spoil(c[0]), spoil(c[1]), spoil(c[3]); }, 0, errc::ok, 2,
       {SUM, SUM, GOOD, SUM}},
      {"one erased, two unreadable", [](copies_t& c) { erase(c[0]); }, 0b0110, errc::ok, 3,
       {NONE, UNREAD, UNREAD, GOOD}},
      {"all spoilt", [](copies_t& c) { for (auto& s : c) spoil(s); }, 0,
       errc::corrupt_superblock, 0, {}},
      {"all erased", [](copies_t& c) { for (auto& s : c) erase(s); }, 0, errc::not_a_store, 0, {}},
      {"one spoilt, three erased",
       [](copies_t& c) { spoil(c[0]), erase(c[1]), erase(c[2]), erase(c[3]); }, 0,
       errc::corrupt_superblock, 0, {}},
      {"all unreadable", [](copies_t&) {}, 0b1111, errc::io, 0, {}},
      {"erased and unreadable", [](copies_t& c) { erase(c[0]), erase(c[1]); }, 0b1100, errc::io, 0,
       {}},
      {"crash after the first of four", [](copies_t& c) { age(c[0], 0, 6); }, 0, errc::ok, 0,
       {GOOD, STALE, STALE, STALE}},
      {"crash after the third of four",
       [](copies_t& c) { age(c[0], 0, 6), age(c[1], 1, 6), age(c[2], 2, 6); }, 0, errc::ok, 0,
       {GOOD, GOOD, GOOD, STALE}},
      {"first torn, others old", [](copies_t& c) { age(c[0], 0, 6), spoil(c[0]); }, 0, errc::ok, 1,
       {SUM, GOOD, GOOD, GOOD}},
      {"newest is the last", [](copies_t& c) { age(c[3], 3, 9); }, 0, errc::ok, 3,
       {STALE, STALE, STALE, GOOD}},
      {"two steps of age", [](copies_t& c) { age(c[1], 1, 4), age(c[2], 2, 7); }, 0, errc::ok, 2,
       {STALE, STALE, GOOD, STALE}},
      {"wrong copy number", [](copies_t& c) { seal(c[2], 1); }, 0, errc::ok, 0,
       {GOOD, GOOD, PLACE, GOOD}},
      {"newer copy misdirected onto an older",
       [](copies_t& c) { age(c[1], 0, 6); }, 0, errc::ok, 0, {GOOD, PLACE, GOOD, GOOD}},
      {"all misdirected",
       [](copies_t& c) { for (u32 i = 0; i < 4; ++i) seal(c[i], 3 - i); }, 0,
       errc::corrupt_superblock, 0, {}},
      {"one of another store, newer",
       [](copies_t& c) { age(c[0], 0, 50), foreign(c[0], 0); }, 0, errc::ok, 1,
       {FOREIGN, GOOD, GOOD, GOOD}},
      {"two stores, two copies each", [](copies_t& c) { foreign(c[0], 0), foreign(c[3], 3); }, 0,
       errc::corrupt_superblock, 0, {}},
      {"unknown feature everywhere",
       [](copies_t& c) { for (u32 i = 0; i < 4; ++i) incompat(c[i], i); }, 0, errc::newer_format, 0,
       {}},
      {"crash while a newer program took over",
       [](copies_t& c) { c[0].generation = 6, incompat(c[0], 0); }, 0, errc::newer_format, 0, {}},
      {"crash while a feature was given back",
       [](copies_t& c) {
         age(c[0], 0, 6), incompat(c[1], 1), incompat(c[2], 2), incompat(c[3], 3);
       },
       0, errc::ok, 0, {GOOD, STALE, STALE, STALE}},
  };
  for (const row& r : rows) {
    DOCTEST_CAPTURE(std::string(r.what));
    copies_t c = four(no_change);
    r.damage(c);
    result<superblock_choice> got = choose_of(c, r.unreadable);
    DOCTEST_REQUIRE((got ? errc::ok : got.error()) == r.code);
    if (!got) continue;
    DOCTEST_CHECK(got->best == r.best);
    for (u32 i = 0; i < superblock_copies; ++i) {
      DOCTEST_CAPTURE(i);
      DOCTEST_CHECK(std::string_view(name_of(got->states[i])) == name_of(r.states[i]));
    }
  }
}

DOCTEST_TEST_CASE("every single bit flip of a copy is seen") {
  superblock s = sound();
  seal(s, 2);
  DOCTEST_REQUIRE(check_copy(s, 2) == GOOD);
  auto* raw = reinterpret_cast<u8*>(&s);
  u32 missed = 0;
  for (u32 bit = 0; bit < sizeof s * 8; ++bit) {
    raw[bit / 8] ^= static_cast<u8>(1 << bit % 8);
    missed += check_copy(s, 2) == GOOD;
    raw[bit / 8] ^= static_cast<u8>(1 << bit % 8);
  }
  DOCTEST_CHECK(missed == 0);
}

DOCTEST_TEST_CASE("what is newer and what is impossible") {
  struct field {
    const char* what;
    std::function<void(superblock&)> set;
    errc code;
  };
  const field fields[] = {
      {"version 2", [](superblock& s) { s.version = 2; }, errc::newer_format},
      {"version 0", [](superblock& s) { s.version = 0; }, errc::corrupt_superblock},
      {"another checksum", [](superblock& s) { s.checksum_id = 2; }, errc::newer_format},
      {"page tail", [](superblock& s) { s.page_tail = 1; }, errc::newer_format},
      {"torn mode", [](superblock& s) { s.torn_mode = 2; }, errc::newer_format},
      {"double-write area", [](superblock& s) { s.dwb_block = 900; }, errc::newer_format},
      {"fixed lengths", [](superblock& s) { s.incompat = 1; }, errc::ok},
      {"values with maps", [](superblock& s) { s.incompat = 3; }, errc::ok},
      {"unknown incompat bit", [](superblock& s) { s.incompat = u64{1} << 40; },
       errc::newer_format},
      {"block shift", [](superblock& s) { s.block_shift = 13; }, errc::corrupt_superblock},
      {"no generation", [](superblock& s) { s.generation = 0; }, errc::corrupt_superblock},
      {"too few blocks", [](superblock& s) { s.blocks = 1023; }, errc::corrupt_superblock},
      {"too many blocks", [](superblock& s) { s.blocks = u64{1} << 56; }, errc::corrupt_superblock},
      {"group too small", [](superblock& s) { s.group_blocks = 512; }, errc::corrupt_superblock},
      {"group too large", [](superblock& s) { s.group_blocks = 32257; }, errc::corrupt_superblock},
      {"root elsewhere", [](superblock& s) { s.root_block = 5; }, errc::corrupt_superblock},
      {"no node", [](superblock& s) { s.max_node_blocks = 0; }, errc::corrupt_superblock},
      {"node too large", [](superblock& s) { s.max_node_blocks = 257; }, errc::corrupt_superblock},
      {"two devices", [](superblock& s) { s.device_count = 2; }, errc::corrupt_superblock},
      {"no log", [](superblock& s) { s.log[0] = {}; }, errc::corrupt_superblock},
      {"log too short", [](superblock& s) { s.log[0].blocks = 31; }, errc::corrupt_superblock},
      {"log behind the end", [](superblock& s) { s.log[0].blocks = 1025; },
       errc::corrupt_superblock},
      {"log wraps", [](superblock& s) { s.log[0].blocks = ~u64{0}; }, errc::corrupt_superblock},
      {"log starts outside", [](superblock& s) { s.log[0].start = 4096; },
       errc::corrupt_superblock},
      {"log over the root", [](superblock& s) { s.log[0].start = 1; }, errc::corrupt_superblock},
      {"log over a copy", [](superblock& s) { s.log[0].start = 700; }, errc::corrupt_superblock},
      {"log over a bitmap",
       [](superblock& s) { s.blocks = 40000, s.log[0].start = 32000, s.log[0].blocks = 257; },
       errc::corrupt_superblock},
      {"log up to a bitmap",
       [](superblock& s) { s.blocks = 40000, s.log[0].start = 32000, s.log[0].blocks = 256; },
       errc::ok},
      {"segments overlap", [](superblock& s) { s.log[1] = s.log[0]; }, errc::corrupt_superblock},
      {"segment on device 1", [](superblock& s) { s.log[0].device = 1; }, errc::corrupt_superblock},
      {"reserved byte", [](superblock& s) { s.reserved[3000] = 1; }, errc::corrupt_superblock},
      {"compat feature may use reserved bytes",
       [](superblock& s) { s.compat = 8, s.reserved[0] = 1; }, errc::ok},
      {"read-only feature may use reserved bytes",
       [](superblock& s) { s.ro_compat = 8, s.reserved[0] = 1; }, errc::ok},
  };
  for (const field& f : fields) {
    DOCTEST_CAPTURE(std::string(f.what));
    copies_t c = four([&](superblock& s, u32) { f.set(s); });
    result<superblock_choice> got = choose_of(c);
    DOCTEST_CHECK((got ? errc::ok : got.error()) == f.code);
  }
}

DOCTEST_TEST_CASE("tearing a copy over zeros at any sector gives the copy or zeros") {
  superblock s = sound();
  seal(s, 0);
  for (u32 keep = 0; keep < 256; ++keep) {
    superblock torn{};
    for (u32 sector = 0; sector < 8; ++sector)
      if (keep >> sector & 1)
        std::memcpy(reinterpret_cast<u8*>(&torn) + sector * 512,
                    reinterpret_cast<u8*>(&s) + sector * 512, 512);
    DOCTEST_CHECK(check_copy(torn, 0) == (keep & 1 ? GOOD : NONE));
  }
}
}  // namespace
