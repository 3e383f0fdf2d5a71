// Proves: the map of a large value is what doc/format.md says; a map of which any field, run or
// length is wrong is refused, whatever its checksum says.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "be/base/checksum.hh"
#include "btree/value_map.hh"

namespace {
using namespace pleach;
using namespace pleach::btree;

constexpr u64 store = 0x1122334455667788, volume = 5000;

/// 3 chunks and 100 bytes: runs of 16, 32 and 1 blocks.
value_map sample() {
  value_map m;
  m.tree_id = 9;
  m.key_hash = 77;
  m.length = 3 * value_chunk_bytes + 100;
  m.runs = {page_addr(100, 16), page_addr(4000, 32), page_addr(4999, 1)};
  m.sums = {1, 2, 3, 4};
  return m;
}

value_reference reference_to(const value_map& m) {
  value_reference r{};
  r.length = m.length;
  r.run = page_addr(200, 1).raw;
  r.count = value_in_map | static_cast<u32>(m.runs.size());
  r.gen = 3;
  return r;
}

bool accepted(const std::vector<std::byte>& bytes, const value_reference& r) {
  value_map m;
  return m.parse(bytes, r, store, volume);
}

}  // namespace

DOCTEST_TEST_CASE("a map survives its bytes") {
  value_map m = sample(), back;
  std::vector<std::byte> bytes = m.bytes_of(store);
  DOCTEST_CHECK(bytes.size() == 4096);
  DOCTEST_REQUIRE(back.parse(bytes, reference_to(m), store, volume));
  DOCTEST_CHECK(back.tree_id == 9);
  DOCTEST_CHECK(back.key_hash == 77);
  DOCTEST_CHECK(back.length == m.length);
  DOCTEST_CHECK(back.runs == m.runs);
  DOCTEST_CHECK(back.sums == m.sums);
  DOCTEST_CHECK(std::memcmp(bytes.data(), "PLvm", 4) == 0);
  DOCTEST_CHECK(back.part(0, 49) == page_addr(100, 16));
  DOCTEST_CHECK(back.part(17, 49) == page_addr(4001, 31));
  DOCTEST_CHECK(back.part(17, 20) == page_addr(4001, 3));
  DOCTEST_CHECK(back.part(48, 49) == page_addr(4999, 1));
}

DOCTEST_TEST_CASE("what contradicts itself is no map") {
  const value_map good = sample();
  struct wrong {
    const char* what;
    std::function<void(std::vector<std::byte>&)> damage;
  };
  auto set = [](u32 offset, auto value) {
    return [offset, value](std::vector<std::byte>& b) {
      std::memcpy(b.data() + offset, &value, sizeof value);
    };
  };
  const wrong cases[] = {
      {"magic", set(0, u32{1})},
      {"version", set(4, u16{2})},
      {"chunk size", set(6, u16{8})},
      {"another store", set(8, u64{1})},
      {"another length", set(32, good.length + 1)},
      {"fewer runs", set(40, u32{2})},
      {"more runs than chunks", set(40, u32{5})},
      {"more chunks", set(44, u32{5})},
      {"fewer chunks", set(44, u32{3})},
      {"reserved", set(63, u8{1})},
      {"no run", set(64, u64{0})},
      {"a run that is no whole chunk", set(64, page_addr(100, 15).raw)},
      {"a run that is too long", set(72, page_addr(4000, 48).raw)},
      {"a run behind the volume", set(80, page_addr(5000, 1).raw)},
      {"a run over the volume's end", set(72, page_addr(4990, 32).raw)},
      {"a block too many", [](std::vector<std::byte>& b) { b.resize(8192); }},
      {"too short", [](std::vector<std::byte>& b) { b.resize(60); }},
  };
  for (const wrong& w : cases) {
    DOCTEST_CAPTURE(w.what);
    std::vector<std::byte> bytes = good.bytes_of(store);
    DOCTEST_CHECK(accepted(bytes, reference_to(good)));
    w.damage(bytes);
    DOCTEST_CHECK(!accepted(bytes, reference_to(good)));
  }
}

DOCTEST_TEST_CASE("references from the device are looked at first") {
  value_reference r = reference_to(sample());
  DOCTEST_CHECK(sound_reference(r, volume));
  r.length = u64{max_value_bytes} + 1;
  DOCTEST_CHECK(!sound_reference(r, volume));
  r.length = 0;
  DOCTEST_CHECK(!sound_reference(r, volume));
  r = {};
  r.run = page_addr(10, 2).raw;
  r.count = 1;
  r.length = 8192;
  DOCTEST_CHECK(sound_reference(r, volume));
  r.length = 8193;
  DOCTEST_CHECK(!sound_reference(r, volume));
  r.length = 1;
  r.count = 2;
  DOCTEST_CHECK(!sound_reference(r, volume));
  r.count = 1;
  r.run = page_addr(4999, 2).raw;
  DOCTEST_CHECK(!sound_reference(r, volume));
  r.run = 0;
  DOCTEST_CHECK(!sound_reference(r, volume));
}

DOCTEST_TEST_CASE("the checksum of a chunk is that of its blocks, in their order, padded") {
  std::vector<std::byte> data(5000);
  for (u32 i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7);
  std::vector<std::byte> padded = data;
  padded.resize(8192);
  u64 expected = mix64(hash64(cbytes(padded).first(4096))) +
                 mix64(hash64(cbytes(padded).subspan(4096)) ^ 0x9e3779b97f4a7c15u);
  DOCTEST_CHECK(chunk_checksum(data) == expected);
  DOCTEST_CHECK(chunk_checksum(padded) == expected);
  std::swap_ranges(padded.begin(), padded.begin() + 4096, padded.begin() + 4096);
  DOCTEST_CHECK(chunk_checksum(padded) != expected);
}
