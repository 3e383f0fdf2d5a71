// Proves: a power cut at any event of mkfs leaves the store that was there, no store, or the new
// one, each whole; one in the middle of write_superblocks leaves the old or the new facts with
// three sound copies at least; an error of the device at any request is reported and leaves no half
// store.
//
// How: on the simulated device, after every submission and completion, one image per crash policy;
// then the same work with the n-th request failing, for n = 0, 1, ... until a run meets no fault.
#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "be/block_buffer.hh"
#include "be/io/sim.hh"
#include "be/page.hh"
#include "be/space_policy.hh"
#include "be/volume.hh"

namespace {
using namespace pleach;

constexpr u64 size = u64{4} << 20;
constexpr u8 uuid_old[16] = {1};
constexpr u8 uuid_new[16] = {2};

struct rig {
  io::sim_environment env;
  io::sim_device dev;
  sm::reactor loop;

  explicit rig(u64 seed, io::sim_image image)
      : env(io::sim_environment_options{.seed = seed}), dev(env, std::move(image)), loop(env) {
    loop.add_poller(dev);
  }
  ~rig() { loop.remove_poller(dev); }
};

status make(rig& r, const u8 (&uuid)[16]) {
  geometry g = plan_geometry(size, min_log_blocks * block_bytes, 16).value();
  page_addr at(first_free_block(g), 2);
  block_buffer image(at.size());
  format_header(image.all(), page_kind::leaf, 1, at, load_le<u64>(uuid), tree_catalogue,
                format_generation, 0);
  std::memset(image.data() + 100, uuid[0], 8000);
  initial_page pages[] = {{at, image.data()}};
  return format_volume(r.loop, r.dev, g, uuid, pages, nullptr);
}

/// RETURNS: what is wrong with the volume beyond its superblocks, or "".
std::string contents_problem(rig& r, const volume& v) {
  auto load = [&](page_addr at, block_buffer& b) {
    generation_t gen = format_generation;
    return read_blocks(r.loop, r.dev, at.block(), b.all()).has_value() &&
           unstamp(b.all(), at, v.store_id(), &gen).has_value();
  };
  block_buffer one(block_bytes);
  if (!load(page_addr(bitmap_block(0, v.super.group_blocks), 1), one)) return "bitmap";
  if (count_free(one.all(), 1024) != 1024 - 4 - 1 - 1 - min_log_blocks - 2) return "free blocks";
  if (!load(page_addr(root_block_number, 1), one)) return "root block";
  block_buffer two(2 * block_bytes);
  if (!load(page_addr(one.as<root_record>().catalogue_root), two)) return "initial page";
  for (u64 i = 0; i < log_blocks(v.super); ++i) {
    if (!read_blocks(r.loop, r.dev, log_position(v.super, i), one.all())) return "log";
    for (std::byte x : one.all())
      if (x != std::byte{0}) return "log not zero";
  }
  return "";
}

struct verdict {
  errc code = errc::ok;
  u64 store = 0, generation = 0;
  u32 good = 0, newest = 0;
  std::string problem;
};
verdict open_image(io::sim_image image) {
  rig r(1, std::move(image));
  verdict d;
  result<volume> v = read_volume(r.loop, r.dev);
  if (!v) {
    d.code = v.error();
    return d;
  }
  d.store = v->store_id();
  d.generation = v->super.generation;
  for (bool good : v->copy_good) d.good += good;
  for (copy_state s : v->copy_states) d.newest += s == copy_state::GOOD;
  d.problem = contents_problem(r, *v);
  return d;
}

struct cut {
  io::sim_image image;
  bool shorn;
};
/// Takes an image per policy at every event of the device.
void take_cuts(rig& r, u64 seed, std::vector<cut>& cuts) {
  r.dev.on_event = [&cuts, seed](io::sim_device& dev) {
    random_stream random = random_stream(seed).split(dev.events());
    for (u32 kind = 0; kind < io::crash_policy::kinds; ++kind) {
      bool shorn = kind == io::crash_policy::MIXED && random.chance(500);
      io::crash_policy policy{static_cast<io::crash_policy::kind>(kind), 500, shorn};
      cuts.push_back({dev.crash_image(random, policy), shorn});
    }
  };
}

io::sim_image formatted_image(const u8 (&uuid)[16]) {
  rig r(9, io::sim_image(size));
  DOCTEST_REQUIRE(make(r, uuid));
  return r.dev.durable();
}

void cut_mkfs(const io::sim_image& before, bool had_store, u64 seed) {
  std::vector<cut> cuts;
  {
    rig r(seed, before);
    take_cuts(r, seed, cuts);
    DOCTEST_REQUIRE(make(r, uuid_new));
    cuts.push_back({r.dev.durable(), false});
  }
  u32 old_stores = 0, none = 0, new_stores = 0;
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    DOCTEST_CAPTURE(seed);
    DOCTEST_CAPTURE(i);
    verdict d = open_image(cuts[i].image);
    if (d.code != errc::ok) {
      // A sector that turns to garbage in the only copy of a new store looks like damage.
      bool shorn_copy = cuts[i].shorn && d.code == errc::corrupt_superblock;
      DOCTEST_REQUIRE((d.code == errc::not_a_store || shorn_copy));
      ++none;
      continue;
    }
    DOCTEST_REQUIRE(d.problem == "");
    bool is_new = d.store == load_le<u64>(uuid_new);
    DOCTEST_REQUIRE((is_new || (had_store && d.store == load_le<u64>(uuid_old))));
    DOCTEST_REQUIRE(d.generation == 1);
    ++(is_new ? new_stores : old_stores);
  }
  DOCTEST_CHECK(none > 0);
  DOCTEST_CHECK(new_stores > 0);
  DOCTEST_CHECK((old_stores > 0) == had_store);
  verdict last = open_image(cuts.back().image);
  DOCTEST_CHECK(last.code == errc::ok);
  DOCTEST_CHECK(last.newest == superblock_copies);
}

DOCTEST_TEST_CASE("power cut at every event of mkfs on an empty device") {
  for (u64 seed = 1; seed <= 4; ++seed) cut_mkfs(io::sim_image(size), false, seed);
}

DOCTEST_TEST_CASE("power cut at every event of mkfs over another store") {
  io::sim_image old = formatted_image(uuid_old);
  for (u64 seed = 1; seed <= 4; ++seed) cut_mkfs(old, true, seed);
}

DOCTEST_TEST_CASE("power cut at every event of write_superblocks") {
  io::sim_image before = formatted_image(uuid_old);
  for (u64 seed = 1; seed <= 12; ++seed) {
    std::vector<cut> cuts;
    {
      rig r(seed, before);
      volume v = read_volume(r.loop, r.dev).value();
      take_cuts(r, seed, cuts);
      v.super.salt = v.super.salt + 1;
      DOCTEST_REQUIRE(write_superblocks(r.loop, r.dev, v));
      cuts.push_back({r.dev.durable(), false});
    }
    bool seen_old = false, seen_new = false;
    for (const cut& c : cuts) {
      verdict d = open_image(c.image);
      DOCTEST_REQUIRE(d.code == errc::ok);
      DOCTEST_REQUIRE(d.problem == "");
      DOCTEST_REQUIRE((d.generation == 1 || d.generation == 2));
      DOCTEST_REQUIRE(d.good >= (c.shorn ? 3u : 4u));
      (d.generation == 2 ? seen_new : seen_old) = true;
    }
    DOCTEST_CHECK(seen_old);
    DOCTEST_CHECK(seen_new);
    DOCTEST_CHECK(open_image(cuts.back().image).newest == superblock_copies);
  }
}

/// Fails the n-th request of `work`, n = 0, 1, ..., until a run meets no fault.
/// RETURNS: that n.
template <class Work>
u32 fail_each_request(const io::sim_image& before, u8 kinds, Work work) {
  for (u32 n = 0;; ++n) {
    DOCTEST_CAPTURE(n);
    rig r(n + 1, before);
    io::fault_rule rule;
    rule.kinds = kinds;
    rule.at = n;
    rule.what = {io::fault::ERROR, EIO, 0};
    r.dev.faults.rules.push_back(rule);
    status s = work(r);
    if (r.dev.faults.rules[0].fired == 0) {
      DOCTEST_CHECK(s.has_value());
      return n;
    }
    DOCTEST_REQUIRE_FALSE(s.has_value());
    DOCTEST_CHECK(s.error() == errc::io);
    verdict d = open_image(r.dev.durable());
    DOCTEST_CHECK((d.code == errc::ok || d.code == errc::not_a_store));
    DOCTEST_CHECK(d.problem == "");
  }
}

constexpr u8 writes = io::on(io::request_kind::WRITE) | io::on(io::request_kind::FLUSH);

DOCTEST_TEST_CASE("every write and flush of mkfs fails once") {
  u32 n = fail_each_request(formatted_image(uuid_old), writes,
                            [](rig& r) { return make(r, uuid_new); });
  DOCTEST_CHECK(n >= 4 + 1 + 4 + 1 + 8);
}

DOCTEST_TEST_CASE("every write and flush of write_superblocks fails once") {
  u32 n = fail_each_request(formatted_image(uuid_old), writes, [](rig& r) -> status {
    volume v = read_volume(r.loop, r.dev).value();
    return write_superblocks(r.loop, r.dev, v);
  });
  DOCTEST_CHECK(n == 8);
}

DOCTEST_TEST_CASE("unreadable copies count as bad, all of them as an I/O error") {
  io::sim_image image = formatted_image(uuid_old);
  for (u32 mask = 0; mask < 16; ++mask) {
    DOCTEST_CAPTURE(mask);
    rig r(1, image);
    for (u32 i = 0; i < superblock_copies; ++i) {
      if (!(mask >> i & 1)) continue;
      io::fault_rule rule;
      rule.kinds = io::on(io::request_kind::READ);
      rule.sticky = true;
      rule.from = superblock_block(i) * block_bytes;
      rule.to = rule.from + block_bytes;
      rule.what = {io::fault::ERROR, EIO, 0};
      r.dev.faults.rules.push_back(rule);
    }
    result<volume> v = read_volume(r.loop, r.dev);
    DOCTEST_REQUIRE(v.has_value() == (mask != 15));
    if (!v) {
      DOCTEST_CHECK(v.error() == errc::io);
      continue;
    }
    for (u32 i = 0; i < superblock_copies; ++i)
      DOCTEST_CHECK(v->copy_good[i] == !(mask >> i & 1));
  }
}

DOCTEST_TEST_CASE("a device that is gone says so") {
  rig r(1, formatted_image(uuid_old));
  r.dev.remove();
  result<volume> v = read_volume(r.loop, r.dev);
  DOCTEST_REQUIRE_FALSE(v.has_value());
  DOCTEST_CHECK(v.error() == errc::device_gone);
}
}  // namespace
