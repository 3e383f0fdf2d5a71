// Power cuts at random device events of random workloads over plain pages and extents. After each
// the store must equal the state after some group that is not older than the last acknowledged one;
// recovery cut off at any event, and again, must give the same; a read-only opening of the same
// image must show the same and write nothing.
//
// PLEACH_TXN_SEEDS sets the number of seeds, PLEACH_TXN_SEED runs one; a failure prints the seed.
// PLEACH_PLANT breaks one rule.
#include <doctest/doctest.h>

#include "tests/txn/world.hh"

using namespace pleach;
using namespace pleach::txn;

namespace {

struct crash {
  io::sim_image image;
  lsn_t acked;
};

u64 number(const char* name, u64 otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

io::crash_policy random_policy(random_stream& r) {
  io::crash_policy p;
  p.what = static_cast<io::crash_policy::kind>(r.below(io::crash_policy::kinds));
  p.keep_per_mille = static_cast<u32>(100 + r.below(800));
  return p;
}

/// Takes crash images at random events.
void watch(world& w, oracle& o, std::vector<crash>& out, random_stream& r, u32 per_mille,
           u64 most) {
  w.dev->on_event = [&o, &out, &r, per_mille, most](io::sim_device& d) {
    if (out.size() >= most || !r.chance(per_mille)) return;
    out.push_back({d.crash_image(r, random_policy(r)), o.acked});
  };
}

world_options draw(random_stream& r, u64 seed) {
  world_options o;
  o.seed = seed;
  o.log_bytes = (32 + r.below(3) * 40) * 4096;
  o.log_buffer_bytes = (16 << 10) << r.below(4);
  o.chaos = r.chance(400) ? 80 : 0;
  o.extra_cache = r.below(3) << 17;
  return o;
}

struct verdict {
  std::string problem;
  u64 images = 0, nested = 0, torn = 0;
};

/// RETURNS: what is wrong with the store after recovery, or empty.
std::string check(world& w, const oracle& o, lsn_t acked) {
  lsn_t lsn = w.eng->recovered();
  if (lsn < acked)
    return "recovered to LSN " + std::to_string(lsn) + ", acknowledged " + std::to_string(acked);
  std::string diff = compare(w, o.at(lsn));
  return diff.empty() ? diff : "at LSN " + std::to_string(lsn) + ": " + diff;
}

std::string check_read_only(const world_options& o, const crash& c, const oracle& all,
                            lsn_t expected) {
  world w(o);
  if (errc code = w.mount(c.image, true); code != errc::ok)
    return std::string("read-only: ") + name_of(code) + ": " + w.report;
  if (w.eng->recovered() != expected) return "read-only sees another end of the log";
  if (std::string s = compare(w, all.at(expected)); !s.empty()) return "read-only: " + s;
  w.close_parts();
  if (w.dev->stats().writes != 0 || !(w.dev->current() == c.image)) return "read-only wrote";
  return {};
}

/// Recovers one image, several times over;
/// RETURNS: the first problem.
std::string recover_and_check(world_options o, const crash& c, const oracle& all, random_stream& r,
                              verdict& v, io::sim_image* next) {
  o.seed = r.next();
  ++v.images;
  std::vector<crash> again;
  lsn_t first;
  {
    world w(o);
    w.attach(c.image);
    oracle dummy;
    watch(w, dummy, again, r, 150, 2);
    errc code = w.open();
    w.dev->on_event = nullptr;
    if (code != errc::ok) return std::string("open: ") + name_of(code) + ": " + w.report;
    if (w.report.find("torn") != std::string::npos) ++v.torn;
    if (std::string s = check(w, all, c.acked); !s.empty()) return s;
    first = w.eng->recovered();
    if (next != nullptr) {
      w.close_parts();
      *next = w.dev->durable();
    }
  }
  for (const crash& n : again) {
    ++v.nested;
    world w(o);
    if (errc code = w.mount(n.image); code != errc::ok)
      return std::string("nested open: ") + name_of(code) + ": " + w.report;
    if (w.eng->recovered() != first) return "nested recovery ends elsewhere";
    if (std::string s = check(w, all, c.acked); !s.empty()) return "nested: " + s;
  }
  if (r.chance(300)) return check_read_only(o, c, all, first);
  return {};
}

void run_seed(u64 seed, verdict& v) {
  random_stream r(seed * 0x9e3779b9 + 17);
  world_options o = draw(r, seed);
  io::sim_image image = world::formatted(o);
  oracle all;
  bool fresh = true;
  bool brief = r.chance(
      300);  // many openings that are cut off in their first groups: ghosts of abandoned ones
  for (u32 life = 0; life < (brief ? 16 : 4) && v.problem.empty(); ++life) {
    std::vector<crash> crashes;
    bool stuck = false;
    o.seed = r.next();
    {
      world w(o);
      if (errc code = w.mount(image); code != errc::ok) {
        v.problem = std::string("mount: ") + name_of(code) + ": " + w.report;
        return;
      }
      lsn_t base = w.eng->recovered();
      if (!fresh) all.now = all.at(base);
      fresh = false;
      all.begin(base);
      watch(w, all, crashes, r, static_cast<u32>(5 + r.below(40)) * (brief ? 4 : 1),
            brief ? 4 : 12);
      {
        workload load(w, all, r.next());
        load.width = 1 + static_cast<u32>(r.below(8));
        load.ordered_per_mille = static_cast<u32>(r.below(600));
        load.large_per_mille = brief ? 600 : 100;
        if (r.chance(200)) load.width = 24;
        stuck = !load.run(brief ? 6 + r.below(12) : 60 + r.below(120));
        if (stuck && !load.drain()) {
          std::fprintf(stderr, "stuck: seed %llu\n", static_cast<unsigned long long>(seed));
          std::abort();
        }
      }
      if (w.eng->stats().credit_overruns != 0)
        v.problem = "a transaction took more log than it had claimed";
      if (r.chance(300)) (void)w.eng->close();
      w.dev->on_event = nullptr;
      crashes.push_back({w.dev->crash_image(r, random_policy(r)), all.acked});
      // A brief life goes on from a cut in its midst.
      if (brief && crashes.size() > 1) std::swap(crashes[r.below(crashes.size())], crashes.back());
    }
    for (std::size_t i = 0; i < crashes.size() && v.problem.empty(); ++i) {
      bool last = i + 1 == crashes.size();
      v.problem = recover_and_check(o, crashes[i], all, r, v, last ? &image : nullptr);
    }
  }
}

}  // namespace

DOCTEST_TEST_CASE("every crash leaves a prefix that holds all that was acknowledged") {
#ifdef PLEACH_PLANTED_BUGS
  plant(std::getenv("PLEACH_PLANT"));
#endif
  u64 only = number("PLEACH_TXN_SEED", 0);
  u64 seeds = number("PLEACH_TXN_SEEDS", 40);
  verdict v;
  for (u64 seed = only ? only : 1; seed <= (only ? only : seeds); ++seed) {
    run_seed(seed, v);
    DOCTEST_REQUIRE_MESSAGE(v.problem == "", "PLEACH_TXN_SEED=" << seed << ": " << v.problem);
  }
  DOCTEST_MESSAGE("crash images " << v.images << ", nested " << v.nested << ", torn tails "
                                  << v.torn);
  DOCTEST_CHECK((only != 0 || v.images > seeds * 10));
}

DOCTEST_TEST_CASE("a shorn sector is seen, or harmless: never wrong data") {
#ifdef PLEACH_PLANTED_BUGS
  plant(std::getenv("PLEACH_PLANT"));
#endif
  u64 seen = 0, harmless = 0;
  for (u64 seed = 1; seed <= 60; ++seed) {
    random_stream r(seed);
    world_options o = draw(r, seed);
    oracle all;
    std::vector<crash> crashes;
    {
      world w(o);
      DOCTEST_REQUIRE(w.mount(world::formatted(o), all) == errc::ok);
      w.dev->on_event = [&](io::sim_device& d) {
        if (crashes.size() >= 10 || !r.chance(30)) return;
        io::crash_policy p = random_policy(r);
        p.shorn = true;
        crashes.push_back({d.crash_image(r, p), all.acked});
      };
      workload load(w, all, seed);
      DOCTEST_REQUIRE(load.run(80));
      w.dev->on_event = nullptr;
    }
    for (const crash& c : crashes) {
      world w(o);
      errc code = w.mount(c.image);
      std::string diff = code == errc::ok ? check(w, all, c.acked) : "";
      DOCTEST_CAPTURE(seed);
      DOCTEST_REQUIRE(diff == "");
      if (code != errc::ok) {
        DOCTEST_CHECK(code == errc::corrupt);
        ++seen;
      } else {
        ++harmless;
      }
    }
  }
  DOCTEST_CHECK(seen > 0);
  DOCTEST_CHECK(harmless > 0);
}

DOCTEST_TEST_CASE("the chain: a good block of another past does not continue a log") {
#ifdef PLEACH_PLANTED_BUGS
  plant(std::getenv("PLEACH_PLANT"));
#endif
  world_options o;
  oracle all;
  io::sim_image image = world::formatted(o);
  {
    world w(o);
    DOCTEST_REQUIRE(w.mount(image, all) == errc::ok);
    workload load(w, all, 4);
    load.width = 1;
    DOCTEST_REQUIRE(load.run(8));
    image = w.dev->durable();
  }
  world probe(o);
  DOCTEST_REQUIRE(probe.mount(image, true) == errc::ok);
  const superblock& s = probe.vol->super;
  for (u64 i = 0; i < log_blocks(s); ++i) {
    std::vector<std::byte> block(block_bytes);
    u64 at = log_position(s, i) * block_bytes;
    image.read(at, block);
    auto& h = *reinterpret_cast<log_block_header*>(block.data());
    if (h.magic != log_magic || h.salt != s.salt || h.group != all.acked) continue;
    h.prev_checksum = h.prev_checksum + 1;
    h.checksum = 0;
    h.checksum = hash64(block);
    io::sim_image forged = image;
    forged.write(at, block);
    world w(o);
    DOCTEST_REQUIRE(w.mount(forged) == errc::ok);
    DOCTEST_CHECK(w.eng->recovered() == all.acked - 1);
    break;
  }
}

DOCTEST_TEST_CASE("a damaged block: refused if it was durable, dropped if nothing says so") {
  world_options o;
  oracle all;
  io::sim_image image = world::formatted(o);
  std::map<u64, lsn_t> last_of;  // log position -> group
  {
    world w(o);
    DOCTEST_REQUIRE(w.mount(image, all) == errc::ok);
    workload load(w, all, 4);
    load.width = 1;
    load.ordered_per_mille = 0;
    DOCTEST_REQUIRE(load.run(12));
    image = w.dev->durable();
  }
  world probe(o);
  DOCTEST_REQUIRE(probe.mount(image, true) == errc::ok);
  superblock s = probe.vol->super;
  u64 blocks = log_blocks(s);
  u64 refused = 0, dropped = 0, untouched = 0;
  for (u64 i = 0; i < blocks; ++i) {
    std::vector<std::byte> block(block_bytes);
    u64 at = log_position(s, i) * block_bytes;
    image.read(at, block);
    const auto& h = *reinterpret_cast<const log_block_header*>(block.data());
    if (h.magic != log_magic || h.salt != s.salt) continue;
    bool newest = h.group == all.acked;
    block[200] ^= std::byte{1};
    io::sim_image damaged = image;
    damaged.write(at, block);
    world w(o);
    errc c = w.mount(damaged);
    if (c == errc::corrupt_log) {
      ++refused;
      DOCTEST_CHECK(!newest);
      DOCTEST_CHECK(w.report.find("log corrupt at LSN") != std::string::npos);
    } else {
      DOCTEST_REQUIRE(c == errc::ok);
      lsn_t lsn = w.eng->recovered();
      if (lsn < all.acked)
        ++dropped;  // what looks like a torn tail is one
      else
        ++untouched;
      DOCTEST_CHECK((lsn == all.acked || newest));
      DOCTEST_CHECK(compare(w, all.at(lsn)) == "");
    }
  }
  DOCTEST_CHECK(refused > 0);
  DOCTEST_CHECK(dropped > 0);
  (void)untouched;
}

DOCTEST_TEST_CASE("garbage in the log never leads recovery out of bounds") {
  world_options o;
  oracle all;
  io::sim_image image = world::formatted(o);
  {
    world w(o);
    DOCTEST_REQUIRE(w.mount(image, all) == errc::ok);
    workload load(w, all, 5);
    DOCTEST_REQUIRE(load.run(30));
    image = w.dev->durable();
  }
  random_stream r(8);
  u64 refused = 0;
  for (u32 round = 0; round < 300; ++round) {
    io::sim_image damaged = image;
    world w(o);
    w.attach(image);
    volume v = *read_volume(*w.loop, *w.dev);
    // Turns bytes of payloads and headers and makes the checksum right again, so that the code
    // behind it is reached.
    for (u64 n = 1 + r.below(3); n > 0; --n) {
      u64 at = log_position(v.super, r.below(log_blocks(v.super))) * block_bytes;
      std::vector<std::byte> block(block_bytes);
      image.read(at, block);
      for (u64 k = 1 + r.below(4); k > 0; --k)
        block[r.chance(500) ? r.below(128) : r.below(block_bytes)] =
            static_cast<std::byte>(r.next());
      auto& h = *reinterpret_cast<log_block_header*>(block.data());
      h.checksum = 0;
      h.checksum = hash64(block);
      damaged.write(at, block);
    }
    world x(o);
    errc c = x.mount(damaged);
    if (c != errc::ok) ++refused;
  }
  DOCTEST_CHECK(refused > 10);
}
