// Proves: the page sum is what doc/format.md says, and unstamp sees every damage it is meant to
// see: each single bit flip of a page, swapped granules, a page at another address, of another
// store or generation.
#include "be/page.hh"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "be/base/random.hh"

namespace {
using namespace pleach;

constexpr u64 store = 0x1122334455667788u;
constexpr generation_t generation = 7;
constexpr lsn_t page_lsn = 42;

struct sample {
  page_addr addr;
  std::vector<std::byte> raw;

  explicit sample(page_addr a, u64 seed = 1) : addr(a), raw(a.size()) {
    random_stream random(seed);
    for (std::byte& b : raw) b = static_cast<std::byte>(random.next());
    std::fill_n(raw.begin(), page_header_bytes, std::byte{0});
    format_header(raw, page_kind::leaf, 1, addr, store, 9, generation, 0);
  }
  bytes all() { return raw; }
  u64 sum() { return page_sum(raw, page_seed(store, addr, generation)); }
  sample& stamped() {
    stamp(raw, sum(), page_lsn);
    return *this;
  }
  bool sound(page_addr at, u64 of_store, const generation_t* gen) const {
    std::vector<std::byte> copy = raw;
    return unstamp(copy, at, of_store, gen).has_value();
  }
  bool sound() const { return sound(addr, store, &generation); }
};

DOCTEST_TEST_CASE("stamp and unstamp are inverse, for every size") {
  for (u32 blocks : {1u, 2u, 3u, 16u, 256u}) {
    sample s(page_addr(1000, blocks));
    std::vector<std::byte> before = s.raw;
    u64 sum = s.sum();
    s.stamped();
    result<unstamped> u = unstamp(s.raw, s.addr, store, &generation);
    DOCTEST_REQUIRE(u.has_value());
    DOCTEST_CHECK(u->lsn == page_lsn);
    DOCTEST_CHECK(u->sum == sum);
    DOCTEST_CHECK(s.raw == before);
  }
}

DOCTEST_TEST_CASE("the worked example of doc/format.md") {
  page_addr at(1000, 1);
  std::vector<std::byte> page(block_bytes);
  format_header(page, page_kind::leaf, 1, at, store, 9, generation, 0);
  u64 seed = page_seed(store, at, generation);
  DOCTEST_CHECK(at.raw == 0x3e800);
  DOCTEST_CHECK(seed == 0x2631d94a93aa0ad7);
  DOCTEST_CHECK(hash64(cbytes(page).first(512)) == 0xeacaa5c7a259dea3);
  DOCTEST_CHECK(granule_term(cbytes(page).first(512), seed, 0) == 0x8d36c2b916368ca6);
  DOCTEST_CHECK(hash64(cbytes(page).last(512)) == 0xb2987a9d949e807c);
  DOCTEST_CHECK(granule_term(cbytes(page).subspan(512, 512), seed, 1) == 0x9c961aa7fb12152f);
  DOCTEST_CHECK(granule_term(cbytes(page).last(512), seed, 7) == 0xfe6776b2df0ee1a9);
  DOCTEST_CHECK(page_sum(page, seed) == 0x7ffcabb00eef5b4e);
  DOCTEST_CHECK(mix64(42) == 0x810879608e4259cc);
  stamp(page, page_sum(page, seed), 42);
  const u8 image[64] = {0x50, 0x4c, 0x63, 0x68, 0x03, 0, 1,    0, 0x1a, 0xb5, 0x31, 0x9d, 0x10,
                        0x25, 0x05, 0x01, 0,    0xe8, 0x03, 0, 0, 0, 0, 0,    0x88, 0x77,
                        0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 9, 0, 0, 0,    0,    0,    0,
                        0,    0x2a, 0,    0,    0,    0,    0, 0, 0, 7};
  DOCTEST_CHECK(std::memcmp(page.data(), image, sizeof image) == 0);
}

DOCTEST_TEST_CASE("the sum is kept up to date granule by granule") {
  sample s(page_addr(1000, 4));
  u64 seed = page_seed(store, s.addr, generation);
  u64 sum = s.sum();
  random_stream random(3);
  for (int i = 0; i < 200; ++i) {
    u32 g = static_cast<u32>(random.below(s.raw.size() / granule_bytes));
    bytes granule = s.all().subspan(g * granule_bytes, granule_bytes);
    sum -= granule_term(granule, seed, g);
    granule[g == 0 ? 100 : random.below(granule_bytes)] ^= std::byte{0x5a};
    sum += granule_term(granule, seed, g);
    DOCTEST_REQUIRE(sum == s.sum());
  }
}

DOCTEST_TEST_CASE("every single bit flip of a 4 KiB page is seen") {
  sample s(page_addr(1000, 1));
  s.stamped();
  DOCTEST_REQUIRE(s.sound());
  u32 missed = 0;
  for (u32 bit = 0; bit < block_bytes * 8; ++bit) {
    s.raw[bit / 8] ^= std::byte{1} << bit % 8;
    if (s.sound()) ++missed;
    s.raw[bit / 8] ^= std::byte{1} << bit % 8;
  }
  DOCTEST_CHECK(missed == 0);
  DOCTEST_CHECK(s.sound());
}

DOCTEST_TEST_CASE("every pair of swapped, duplicated or zeroed granules is seen") {
  sample s(page_addr(1000, 2));
  s.stamped();
  u32 n = static_cast<u32>(s.raw.size() / granule_bytes);
  auto granule = [](std::vector<std::byte>& raw, u32 i) { return raw.begin() + i * granule_bytes; };
  for (u32 a = 0; a < n; ++a) {
    for (u32 b = a + 1; b < n; ++b) {
      sample t = s;
      std::swap_ranges(granule(t.raw, a), granule(t.raw, a) + granule_bytes, granule(t.raw, b));
      DOCTEST_CHECK_FALSE(t.sound());
      t = s;
      std::copy_n(granule(t.raw, a), granule_bytes, granule(t.raw, b));
      DOCTEST_CHECK_FALSE(t.sound());
    }
    sample t = s;
    std::fill_n(granule(t.raw, a), granule_bytes, std::byte{0});
    DOCTEST_CHECK_FALSE(t.sound());
  }
}

DOCTEST_TEST_CASE("a whole page of another time or place is seen") {
  sample s(page_addr(1000, 1));
  s.stamped();
  generation_t other = generation + 1;
  DOCTEST_CHECK(s.sound(s.addr, store, nullptr));
  DOCTEST_CHECK_FALSE(s.sound(s.addr, store, &other));
  DOCTEST_CHECK_FALSE(s.sound(page_addr(1001, 1), store, nullptr));
  DOCTEST_CHECK_FALSE(s.sound(s.addr, store + 1, nullptr));
  std::fill(s.raw.begin(), s.raw.end(), std::byte{0});
  DOCTEST_CHECK_FALSE(s.sound(s.addr, store, nullptr));
}

DOCTEST_TEST_CASE("a forged identity does not carry the sum along") {
  // Whoever changes the identity in the header would have to change every granule's term.
  sample s(page_addr(1000, 1));
  s.stamped();
  header_of(s.raw.data()).generation = generation + 1;
  DOCTEST_CHECK_FALSE(s.sound(s.addr, store, nullptr));
  header_of(s.raw.data()).generation = generation;
  header_of(s.raw.data()).address = page_addr(1001, 1).raw;
  DOCTEST_CHECK_FALSE(s.sound(page_addr(1001, 1), store, nullptr));
}

DOCTEST_TEST_CASE("a page without an LSN was never written by an engine") {
  sample s(page_addr(1000, 1));
  header_of(s.raw.data()).checksum = s.sum();
  DOCTEST_CHECK_FALSE(s.sound());
}
}  // namespace
