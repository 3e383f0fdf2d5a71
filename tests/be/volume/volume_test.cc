// Proves: what mkfs writes is what read_volume, unstamp and the space policy understand; each
// defect of a device has its own error; a damaged copy is repaired by the next write of the
// superblocks.
#include "be/volume.hh"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "be/block_buffer.hh"
#include "be/page.hh"
#include "be/space_policy.hh"

namespace {
using namespace pleach;

constexpr u8 uuid_a[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

struct rig {
  sm::reactor loop{sm::system_environment()};
  std::unique_ptr<io::device> dev;

  explicit rig(u64 size) : dev(io::make_memory_device(size)) { loop.add_poller(*dev); }
  ~rig() { loop.remove_poller(*dev); }

  bytes read(u64 block, block_buffer& buffer) {
    DOCTEST_REQUIRE(read_blocks(loop, *dev, block, buffer.all()));
    return buffer.all();
  }
  void write(u64 block, block_buffer& buffer) {
    DOCTEST_REQUIRE(write_blocks(loop, *dev, block, buffer.all(), false));
  }
  errc open_code() {
    result<volume> v = read_volume(loop, *dev);
    return v ? errc::ok : v.error();
  }
  void flip(u64 block, u32 byte) {
    block_buffer b(block_bytes);
    read(block, b)[byte] ^= std::byte{1};
    write(block, b);
  }
};

errc code_of(const status& s) { return s.has_value() ? errc::ok : s.error(); }

struct formatted {
  geometry g;
  page_addr first;
};

formatted format(rig& r, u64 bytes_, u64 log_bytes, const u8 (&uuid)[16] = uuid_a) {
  geometry g = plan_geometry(bytes_, log_bytes, 16).value();
  page_addr at(first_free_block(g), 1);
  block_buffer image(block_bytes);
  format_header(image.all(), page_kind::leaf, 1, at, load_le<u64>(uuid), tree_catalogue,
                format_generation, 0);
  image.data()[2000] = std::byte{77};
  initial_page pages[] = {{at, image.data()}};
  DOCTEST_REQUIRE(format_volume(r.loop, *r.dev, g, uuid, pages, nullptr));
  return {g, at};
}

DOCTEST_TEST_CASE("mkfs writes a whole volume") {
  for (u64 size : {u64{4} << 20, u64{64} << 20, u64{300} << 20}) {
    DOCTEST_CAPTURE(size);
    rig r(size);
    block_buffer old(1 << 20);
    std::memset(old.data(), 0xee, old.size());
    for (u64 at = 0; at + 256 <= size >> block_shift; at += 256) r.write(at, old);
    formatted f = format(r, size, 0);

    result<volume> v = read_volume(r.loop, *r.dev);
    DOCTEST_REQUIRE(v.has_value());
    const superblock& s = v->super;
    for (bool good : v->copy_good) DOCTEST_CHECK(good);
    DOCTEST_CHECK(s.generation == 1);
    DOCTEST_CHECK(s.base_lsn == format_lsn);
    DOCTEST_CHECK(s.clean_seq == 1);
    DOCTEST_CHECK(s.first_seq == 1);
    DOCTEST_CHECK(s.salt != 0);
    DOCTEST_CHECK(v->store_id() == load_le<u64>(uuid_a));
    DOCTEST_CHECK_FALSE(v->upgraded_read_only);

    block_buffer b(block_bytes);
    u64 not_zero = 0;
    for (u64 i = 0; i < f.g.log_blocks; ++i)
      for (std::byte x : r.read(log_position(s, i), b)) not_zero += x != std::byte{0};
    DOCTEST_CHECK(not_zero == 0);

    generation_t gen = format_generation;
    page_addr root_at(root_block_number, 1);
    DOCTEST_REQUIRE(unstamp(r.read(1, b), root_at, v->store_id(), &gen));
    const auto& root = b.as<root_record>();
    u64 groups = group_count(s.blocks, s.group_blocks);
    DOCTEST_CHECK(root.next_tree_id == 2);
    DOCTEST_CHECK(root.groups_formatted == groups);
    DOCTEST_CHECK(root.volume_blocks == s.blocks);
    DOCTEST_CHECK(root.catalogue_root == f.first.raw);
    DOCTEST_CHECK(root.catalogue_gen == format_generation);

    result<unstamped> leaf = unstamp(r.read(f.first.block(), b), f.first, v->store_id(), &gen);
    DOCTEST_REQUIRE(leaf.has_value());
    DOCTEST_CHECK(leaf->lsn == format_lsn);
    DOCTEST_CHECK(b.data()[2000] == std::byte{77});

    u64 used = 0;
    for (u64 group = 0; group < groups; ++group) {
      page_addr at(bitmap_block(group, s.group_blocks), 1);
      DOCTEST_REQUIRE(unstamp(r.read(at.block(), b), at, v->store_id(), &gen));
      u64 in_group = std::min<u64>(s.group_blocks, s.blocks - group * s.group_blocks);
      used += in_group - count_free(b.all(), static_cast<u32>(s.group_blocks));
      u32 beyond = static_cast<u32>(s.group_blocks - in_group);
      DOCTEST_CHECK((beyond == 0 || all_used(b.all(), static_cast<u32>(in_group), beyond)));
      if (group == f.first.block() / s.group_blocks)
        DOCTEST_CHECK(all_used(b.all(), static_cast<u32>(f.first.block()), 1));
    }
    DOCTEST_CHECK(used == 4 + 1 + groups + f.g.log_blocks + 1);
  }
}

DOCTEST_TEST_CASE("a second mkfs leaves nothing of the first") {
  rig r(u64{8} << 20);
  format(r, u64{8} << 20, 0);
  volume first = read_volume(r.loop, *r.dev).value();
  for (int i = 0; i < 3; ++i) DOCTEST_REQUIRE(write_superblocks(r.loop, *r.dev, first));
  const u8 other[16] = {9, 9, 9};
  format(r, u64{4} << 20, 0, other);
  volume second = read_volume(r.loop, *r.dev).value();
  DOCTEST_CHECK(second.super.generation == 1);
  DOCTEST_CHECK(second.store_id() == load_le<u64>(other));
  DOCTEST_CHECK(second.super.salt != first.super.salt);
}

DOCTEST_TEST_CASE("errors of mkfs") {
  rig r(u64{4} << 20);
  geometry g = plan_geometry(u64{8} << 20, 0, 16).value();
  DOCTEST_CHECK(code_of(format_volume(r.loop, *r.dev, g, uuid_a, {}, nullptr)) == errc::too_small);
  g = plan_geometry(u64{4} << 20, 0, 16).value();
  block_buffer image(4 * block_bytes);
  for (u64 block : {u64{0}, u64{1}, u64{2}, g.log[0].start, u64{256}, u64{1023}, u64{5000}}) {
    DOCTEST_CAPTURE(block);
    initial_page p{page_addr(block, 4), image.data()};
    status s = format_volume(r.loop, *r.dev, g, uuid_a, std::span(&p, 1), nullptr);
    DOCTEST_CHECK(code_of(s) == errc::bad_argument);
  }
  initial_page twice[] = {{page_addr(300, 4), image.data()}, {page_addr(302, 1), image.data()}};
  DOCTEST_CHECK(code_of(format_volume(r.loop, *r.dev, g, uuid_a, twice, nullptr)) ==
                errc::bad_argument);
  DOCTEST_CHECK(r.open_code() == errc::not_a_store);
}

DOCTEST_TEST_CASE("errors of read_volume") {
  for (u64 size : {u64{0}, u64{512}, u64{4096}, u64{1} << 20, u64{16} << 20}) {
    rig empty(size);
    DOCTEST_CHECK(empty.open_code() == errc::not_a_store);
  }
  rig r(u64{8} << 20);
  format(r, u64{8} << 20, 0);
  for (u32 i = 0; i < 3; ++i) {
    r.flip(superblock_block(i), 100);
    result<volume> v = read_volume(r.loop, *r.dev);
    DOCTEST_REQUIRE(v.has_value());
    for (u32 k = 0; k < superblock_copies; ++k) DOCTEST_CHECK(v->copy_good[k] == (k > i));
  }
  r.flip(superblock_block(3), 4095);
  DOCTEST_CHECK(r.open_code() == errc::corrupt_superblock);
  r.flip(superblock_block(3), 4095);

  volume v = read_volume(r.loop, *r.dev).value();
  DOCTEST_REQUIRE(write_superblocks(r.loop, *r.dev, v));
  volume repaired = read_volume(r.loop, *r.dev).value();
  for (bool good : repaired.copy_good) DOCTEST_CHECK(good);
  DOCTEST_CHECK(repaired.super.generation == 2);

  v.super.ro_compat = 4;
  DOCTEST_REQUIRE(write_superblocks(r.loop, *r.dev, v));
  DOCTEST_CHECK(read_volume(r.loop, *r.dev).value().upgraded_read_only);
  v.super.incompat = u64{1} << 40;
  DOCTEST_REQUIRE(write_superblocks(r.loop, *r.dev, v));
  DOCTEST_CHECK(r.open_code() == errc::newer_format);
}

DOCTEST_TEST_CASE("a device cut short is truncated, not foreign") {
  const u64 size = u64{8} << 20;
  rig whole(size);
  format(whole, size, 0);
  struct cut {
    u64 size;
    errc code;
  };
  const cut cuts[] = {{size, errc::ok},           {size + 5000, errc::ok},
                      {size - 1, errc::truncated}, {u64{4} << 20, errc::truncated},
                      {300 * 4096, errc::truncated}, {4096, errc::truncated},
                      {3584, errc::not_a_store}};
  for (const cut& c : cuts) {
    DOCTEST_CAPTURE(c.size);
    rig part(c.size);
    block_buffer b(block_bytes);
    for (u64 block = 0; (block + 1) * block_bytes <= std::min(c.size, size); ++block) {
      whole.read(block, b);
      part.write(block, b);
    }
    DOCTEST_CHECK(part.open_code() == c.code);
  }
}

DOCTEST_TEST_CASE("salts do not repeat even if the environment repeats its seed") {
  struct same_seed final : sm::environment {
    u64 mono_ns() override { return 0; }
    u64 real_ms() override { return 0; }
    void sleep(int, i64) override {}
    u64 seed() override { return 7; }
  } env;
  superblock s{};
  std::vector<u64> seen;
  for (int i = 0; i < 1000; ++i) {
    s.generation = s.generation + 1;
    s.salt = new_salt(env, s);
    seen.push_back(s.salt);
  }
  std::sort(seen.begin(), seen.end());
  DOCTEST_CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
}
}  // namespace
