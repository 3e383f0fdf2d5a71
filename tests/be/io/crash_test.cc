// Proves what a simulated power cut may and may not do: flushed bytes always survive, a durable
// write protects itself only, everything else may be old, new, or any mixture that its policy
// allows; and that one seed is one run.
#include <doctest/doctest.h>

#include <cerrno>
#include <cstdio>
#include <set>

#include "be/io/sim.hh"
#include "tests/be/io/driver.hh"

namespace pleach::io {
namespace {

constexpr u64 device_bytes = 1 << 20;

struct rig {
  explicit rig(u64 seed = 5, sim_image image = sim_image(device_bytes), sim_options o = {})
      : env({.seed = seed}), dev(env, std::move(image), o), d(dev, env) {}
  sim_environment env;
  sim_device dev;
  driver d;
};

int byte_at(const sim_image& i, u64 offset) {
  std::byte b;
  i.read(offset, {&b, 1});
  return static_cast<int>(b);
}

std::vector<crash_policy> all_policies() {
  std::vector<crash_policy> p;
  for (u32 k = 0; k < crash_policy::kinds; ++k) p.push_back({static_cast<crash_policy::kind>(k)});
  p.push_back({crash_policy::MIXED, 500, true});
  return p;
}

DOCTEST_TEST_CASE("what was flushed survives every cut") {
  rig t;
  random_stream random(1);
  t.d.fill(0, 65536, 1);
  t.d.flush();
  for (auto& p : all_policies()) {
    for (int i = 0; i < 20; ++i) {
      sim_image image = t.dev.crash_image(random, p);
      for (u64 at = 0; at < 65536; at += 512) DOCTEST_REQUIRE(byte_at(image, at) == 1);
    }
  }
  DOCTEST_CHECK(t.dev.unsettled().empty());
}

DOCTEST_TEST_CASE("what was not flushed may be lost, kept, or torn, as the policy says") {
  for (auto& p : all_policies()) {
    DOCTEST_INFO(name_of(p.what));
    rig t;
    t.d.fill(0, 32768, 1);
    t.d.flush();
    for (u64 i = 0; i < 4; ++i) t.d.fill(i * 8192, 8192, 2);
    random_stream random(1);
    std::set<u64> images;
    bool torn_block = false, torn_write = false;
    for (int i = 0; i < 200; ++i) {
      sim_image image = t.dev.crash_image(random, p);
      images.insert(image.hash());
      for (u64 at = 0; at < 32768; at += 512) {
        const int v = byte_at(image, at);
        DOCTEST_REQUIRE((v == 1 || v == 2));
        if (at % 4096 && v != byte_at(image, at - 512)) torn_block = true;
        if (at % 8192 && v != byte_at(image, at - 512)) torn_write = true;
        if (p.what == crash_policy::NONE) DOCTEST_REQUIRE(v == 1);
        if (p.what == crash_policy::ALL) DOCTEST_REQUIRE(v == 2);
      }
    }
    const auto k = p.what;
    if (k == crash_policy::NONE || k == crash_policy::ALL) DOCTEST_CHECK(images.size() == 1);
    if (k == crash_policy::RANDOM_WRITE) DOCTEST_CHECK(images.size() == 16);
    if (k > crash_policy::RANDOM_WRITE || k == crash_policy::PREFIX)
      DOCTEST_CHECK(images.size() > 10);
    const bool tears_blocks = k == crash_policy::PREFIX || k >= crash_policy::RANDOM_SECTOR;
    DOCTEST_CHECK(torn_block == tears_blocks);
    DOCTEST_CHECK(torn_write == (tears_blocks || k == crash_policy::RANDOM_BLOCK));
  }
}

DOCTEST_TEST_CASE("a prefix keeps no later write without the earlier ones") {
  rig t;
  for (u64 i = 0; i < 8; ++i) t.d.fill(i * 4096, 4096, 1);
  random_stream random(2);
  for (int i = 0; i < 100; ++i) {
    sim_image image = t.dev.crash_image(random, {crash_policy::PREFIX});
    int old = 0;
    for (u64 b = 0; b < 8; ++b) {
      int kept = 0;
      for (u64 s = 0; s < 8; ++s) kept += byte_at(image, b * 4096 + s * 512);
      if (old) DOCTEST_REQUIRE(kept == 0);
      if (kept < 8) ++old;
    }
  }
}

DOCTEST_TEST_CASE("a durable write protects itself only, and is not undone by a later flush") {
  rig t;
  t.d.fill(0, 4096, 1);
  t.d.fill(4096, 4096, 1);
  t.d.fill(4096, 4096, 2, true);
  random_stream random(3);
  sim_image none = t.dev.crash_image(random, {crash_policy::NONE});
  DOCTEST_CHECK(byte_at(none, 0) == 0);
  DOCTEST_CHECK(byte_at(none, 4096) == 2);
  for (int i = 0; i < 50; ++i) {
    for (auto& p : all_policies())
      DOCTEST_REQUIRE(byte_at(t.dev.crash_image(random, p), 4096) == 2);
  }
  t.d.flush();
  DOCTEST_CHECK(byte_at(t.dev.durable(), 4096) == 2);
  DOCTEST_CHECK(byte_at(t.dev.durable(), 0) == 1);
  DOCTEST_CHECK(t.dev.durable() == t.dev.current());
}

DOCTEST_TEST_CASE("a flush does not promise what completed after its submission") {
  bool missed = false, covered = false;
  for (u64 seed = 0; seed < 40; ++seed) {
    rig t(seed, sim_image(device_bytes), {.write_ns = 1000, .flush_ns = 1'000'000});
    aligned_buffer b(4096, 1);
    t.d.queue(t.d.make(request_kind::WRITE, 0, b.data(), 4096));
    t.d.queue(t.d.make(request_kind::FLUSH, 0));
    t.d.drain();
    (byte_at(t.dev.durable(), 0) ? covered : missed) = true;
  }
  DOCTEST_CHECK(missed);
  DOCTEST_CHECK(covered);
}

DOCTEST_TEST_CASE("writes in flight may be there in part, and complete out of order") {
  bool reordered = false, partial = false;
  for (u64 seed = 0; seed < 30; ++seed) {
    rig t(seed);
    aligned_buffer a(4096, 1), b(4096, 1);
    t.d.queue(t.d.make(request_kind::WRITE, 0, a.data(), 4096));
    t.d.queue(t.d.make(request_kind::WRITE, 4096, b.data(), 4096));
    t.dev.submit();
    random_stream random(seed);
    sim_image image = t.dev.crash_image(random, {crash_policy::RANDOM_SECTOR});
    int kept = 0;
    for (u64 at = 0; at < 8192; at += 512) kept += byte_at(image, at);
    partial |= kept > 0 && kept < 16;
    t.d.drain();
    reordered |= t.d.done()[0]->offset == 4096;
  }
  DOCTEST_CHECK(reordered);
  DOCTEST_CHECK(partial);
}

DOCTEST_TEST_CASE("any version of a sector may survive") {
  rig t;
  for (int v = 1; v <= 3; ++v) t.d.fill(0, 4096, v);
  random_stream random(4);
  std::set<int> versions;
  for (int i = 0; i < 100; ++i) versions.insert(byte_at(t.dev.crash_image(random, {}), 0));
  DOCTEST_CHECK(versions == std::set<int>{0, 1, 2, 3});
}

DOCTEST_TEST_CASE("all subsets of the pieces") {
  rig t;
  for (u64 i = 0; i < 3; ++i) t.d.fill(i * 4096, 4096, 1);
  DOCTEST_REQUIRE(t.dev.unsettled().size() == 3);
  std::set<u64> images;
  for (u64 subset = 0; subset < 8; ++subset) {
    sim_image image = t.dev.crash_image(subset);
    images.insert(image.hash());
    for (u64 i = 0; i < 3; ++i)
      DOCTEST_CHECK(byte_at(image, i * 4096) == static_cast<int>(subset >> i & 1));
  }
  DOCTEST_CHECK(images.size() == 8);
}

DOCTEST_TEST_CASE("growth: durable with the next flush, either size before") {
  std::set<u64> sizes;
  for (u64 seed = 0; seed < 20; ++seed) {
    rig t(seed);
    t.d.queue(t.d.make(request_kind::RESIZE, 2 * device_bytes));
    t.dev.submit();
    random_stream random(seed);
    sizes.insert(t.dev.crash_image(random, {crash_policy::MIXED}).size());
    t.d.drain();
    sizes.insert(t.dev.crash_image(random, {crash_policy::NONE}).size());
    sizes.insert(t.dev.crash_image(random, {crash_policy::ALL}).size());
    DOCTEST_CHECK(t.d.flush() == errc::ok);
    DOCTEST_CHECK(t.dev.crash_image(random, {crash_policy::NONE}).size() == 2 * device_bytes);
  }
  DOCTEST_CHECK(sizes == std::set<u64>{device_bytes, 2 * device_bytes});
}

DOCTEST_TEST_CASE("a failed flush loses part of the cache; a lying one keeps none of its promise") {
  bool lost = false, kept = false;
  for (u64 seed = 0; seed < 10; ++seed) {
    rig t(seed);
    for (u64 i = 0; i < 8; ++i) t.d.fill(i * 4096, 4096, 1);
    t.dev.faults.hook = [](const request& r, u64) {
      return r.kind == request_kind::FLUSH ? fault{fault::ERROR, EIO} : fault{};
    };
    DOCTEST_CHECK(t.d.flush() == errc::io);
    t.dev.faults.hook = nullptr;
    DOCTEST_CHECK(t.d.flush() == errc::io);  // the device says ok, but the pages count as clean
    for (u64 i = 0; i < 8; ++i) (byte_at(t.dev.durable(), i * 4096) ? kept : lost) = true;
  }
  DOCTEST_CHECK(lost);
  DOCTEST_CHECK(kept);

  rig t;
  t.dev.faults.hook = [](const request&, u64) { return fault{fault::LIE}; };
  t.d.fill(0, 4096, 1, true);
  t.d.flush();
  DOCTEST_CHECK(byte_at(t.dev.durable(), 0) == 0);
  DOCTEST_CHECK(byte_at(t.dev.current(), 0) == 1);
}

DOCTEST_TEST_CASE("shorn writes leave garbage in flight only") {
  rig t;
  t.d.fill(0, 4096, 1);
  aligned_buffer b(4096, 1);
  t.d.queue(t.d.make(request_kind::WRITE, 8192, b.data(), 4096));
  t.dev.submit();
  random_stream random(9);
  sim_image image = t.dev.crash_image(random, {crash_policy::ALL, 500, true});
  aligned_buffer first(4096), second(4096);
  image.read(0, {first.data(), 4096});
  image.read(8192, {second.data(), 4096});
  DOCTEST_CHECK(first.all(1));
  DOCTEST_CHECK(!second.all(1));
  t.d.drain();
}

DOCTEST_TEST_CASE("a discarded block is old, zeros or garbage") {
  std::set<std::string> fates;
  for (u64 seed = 0; seed < 20; ++seed) {
    rig t(seed);
    t.d.fill(0, 4096, 7);
    t.d.run(t.d.make(request_kind::DISCARD, 0, nullptr, 4096));
    aligned_buffer b(4096);
    t.d.read_at(0, b);
    fates.insert(b.all(7) ? "old" : b.all(0) ? "zeros" : "garbage");
  }
  DOCTEST_CHECK(fates.size() == 3);
}

DOCTEST_TEST_CASE("a read that races a write is torn, or an assertion by option") {
  bool torn = false;
  for (u64 seed = 0; seed < 30; ++seed) {
    rig t(seed);
    aligned_buffer w(4096, 1), r(4096);
    t.d.queue(t.d.make(request_kind::WRITE, 0, w.data(), 4096));
    t.d.queue(t.d.make(request_kind::READ, 0, r.data(), 4096));
    t.d.drain();
    torn |= !r.all(0) && !r.all(1);
  }
  DOCTEST_CHECK(torn);
}

/// A workload of everything at random; stops after `events` device events.
void work(rig& t, u64 seed, int rounds) {
  random_stream random(seed);
  std::vector<aligned_buffer> buffers;
  for (int round = 0; round < rounds; ++round) {
    buffers.clear();
    for (u64 i = 0; i < 6; ++i) {
      buffers.emplace_back(4096 * (1 + random.below(3)), static_cast<int>(random.below(256)));
      const auto kind = random.chance(300) ? request_kind::READ : request_kind::WRITE;
      request& r = t.d.make(kind, (i * 4 + random.below(2)) * 4096, buffers.back().data(),
                            buffers.back().size());
      r.durable = random.chance(200);
      t.d.queue(r);
    }
    if (random.chance(300)) t.d.queue(t.d.make(request_kind::FLUSH, 0));
    if (random.chance(50)) t.d.queue(t.d.make(request_kind::RESIZE, t.dev.size() + 65536));
    t.d.drain();
  }
}

DOCTEST_TEST_CASE("one seed is one run; another seed is another") {
  auto once = [](u64 seed) {
    rig t(seed);
    work(t, 1, 60);
    random_stream random(seed);
    const u64 crash = t.dev.crash_image(random, {}).hash();
    return std::tuple(t.dev.trace_hash(), t.dev.events(), t.env.now(), t.dev.current().hash(),
                      crash, t.dev.last_events());
  };
  DOCTEST_CHECK(once(1) == once(1));
  DOCTEST_CHECK(once(2) == once(2));
  DOCTEST_CHECK(std::get<0>(once(1)) != std::get<0>(once(2)));
  DOCTEST_CHECK(std::get<3>(once(1)) == std::get<3>(once(2)));  // the same bytes whatever the order
}

DOCTEST_TEST_CASE("crash images at each event leave the run as it is") {
  rig plain(3), watched(3);
  u64 images = 0;
  random_stream random(8);
  watched.dev.on_event = [&](sim_device& dev) {
    for (auto& p : all_policies()) {
      sim_image image = dev.crash_image(random, p);
      images += image.size() != 0;
      // A device made from it is independent.
      if (images % 50 == 0) {
        rig again(1, image);
        again.d.fill(0, 4096, 0xaa);
        again.d.flush();
        DOCTEST_CHECK(byte_at(again.dev.durable(), 0) == 0xaa);
      }
    }
  };
  work(plain, 4, 20);
  work(watched, 4, 20);
  DOCTEST_CHECK(images > 2000);
  DOCTEST_CHECK(plain.dev.trace_hash() == watched.dev.trace_hash());
  DOCTEST_CHECK(plain.dev.current() == watched.dev.current());
  DOCTEST_CHECK(plain.dev.durable().hash() == watched.dev.durable().hash());
}

DOCTEST_TEST_CASE("durable is never newer than a crash image allows: model of sectors") {
  // Each sector carries the number of its write; per sector: everything from the last durable
  // version to the newest submitted one is allowed, nothing else.
  for (u64 seed = 0; seed < 20; ++seed) {
    rig t(seed);
    random_stream random(seed);
    constexpr u64 sectors = 64;
    std::vector<int> certain(sectors, 0), newest(sectors, 0);
    for (int v = 1; v < 120; ++v) {
      const u64 at = random.below(sectors), n = 1 + random.below(std::min<u64>(sectors - at, 12));
      const bool durable = random.chance(200);
      DOCTEST_REQUIRE(t.d.fill(at * 512, n * 512, v, durable) == errc::ok);
      for (u64 s = at; s < at + n; ++s) {
        newest[s] = v;
        if (durable) certain[s] = v;
      }
      if (random.chance(100)) {
        t.d.flush();
        certain = newest;
      }
      for (auto& p : all_policies()) {
        sim_image image = t.dev.crash_image(random, p);
        for (u64 s = 0; s < sectors; ++s) {
          const int found = byte_at(image, s * 512);
          DOCTEST_REQUIRE(found >= certain[s]);
          DOCTEST_REQUIRE(found <= newest[s]);
        }
      }
    }
  }
}

DOCTEST_TEST_CASE("images: copies share, hashes follow the bytes, files hold them") {
  sim_image a(8 << 20);
  std::vector<std::byte> ones(10000, std::byte{1});
  a.write(5000, ones);
  sim_image b = a;
  DOCTEST_CHECK(a == b);
  b.write(5000, {ones.data(), 1});
  DOCTEST_CHECK(a == b);
  DOCTEST_CHECK(a.hash() == b.hash());
  const std::byte two{2};
  b.write(14000, {&two, 1});
  DOCTEST_CHECK(!(a == b));
  DOCTEST_CHECK(sim_image::first_difference(a, b) == 14000 / 4096);
  DOCTEST_CHECK(byte_at(a, 14000) == 1);
  b.write(14000, {ones.data(), 1});
  DOCTEST_CHECK(a.hash() == b.hash());

  sim_image zero(8 << 20), written(8 << 20);
  std::vector<std::byte> zeros(4096);
  written.write(0, zeros);
  DOCTEST_CHECK(zero.hash() == written.hash());
  DOCTEST_CHECK(zero == written);
  b.resize(8192 - 512);
  b.resize(8 << 20);
  DOCTEST_CHECK(byte_at(b, 8192 - 513) == 1);
  DOCTEST_CHECK(byte_at(b, 8192 - 512) == 0);

  temporary_file f("image");
  DOCTEST_CHECK(a.save(f.path));
  auto loaded = sim_image::load(f.path);
  DOCTEST_REQUIRE(loaded);
  DOCTEST_CHECK(*loaded == a);
  DOCTEST_CHECK(!sim_image::load(f.path + ".none"));
}

DOCTEST_TEST_CASE("the environment: time moves to events only, chaos by site") {
  sim_environment env({.seed = 4});
  const u64 t0 = env.now();
  env.sleep(-1, 5'000'000);
  DOCTEST_CHECK(env.now() == t0 + 5'000'000);
  DOCTEST_CHECK(env.mono_ns() > t0 + 5'000'000);
  DOCTEST_CHECK(!env.chaotic);
  DOCTEST_CHECK(!env.chaos("a"));
  env.set_chaos("a", 1000);
  env.set_chaos("b", 300);
  DOCTEST_CHECK(env.chaotic);
  DOCTEST_CHECK(env.chaos("a"));
  sim_environment other({.seed = 4});
  other.set_chaos("b", 300);
  int hits = 0;
  for (int i = 0; i < 1000; ++i) {
    env.chaos("a");
    const bool hit = env.chaos("b");
    hits += hit;
    DOCTEST_REQUIRE(hit == other.chaos("b"));
  }
  DOCTEST_CHECK(hits > 200);
  DOCTEST_CHECK(hits < 400);
  DOCTEST_CHECK(env.seed() == other.seed());
  const u64 wall = env.real_ms();
  env.jump_real(-1000);
  DOCTEST_CHECK(env.real_ms() + 1000 == wall);
  bool stuck = false;
  env.on_stuck = [](void* p) { *static_cast<bool*>(p) = true; };
  env.on_stuck_datum = &stuck;
  env.sleep(-1, -1);
  DOCTEST_CHECK(stuck);
}

}  // namespace
}  // namespace pleach::io
