// Proves that each raw outcome of a device has its one meaning (device::complete), fault by fault,
// and that each fault of the simulated device really happens (a rule that never fired proves
// nothing).
#include <doctest/doctest.h>

#include <cerrno>

#include "be/io/sim.hh"
#include "tests/be/io/driver.hh"

namespace pleach::io {
namespace {

struct rig {
  explicit rig(sim_options o = {}) : dev(env, sim_image(1 << 20), o), d(dev, env) {}
  void plan(u8 kinds, fault what, u64 at = 0, bool sticky = false) {
    fault_rule r;
    r.kinds = kinds;
    r.at = at;
    r.sticky = sticky;
    r.what = what;
    dev.faults.rules.push_back(r);
  }
  u64 fired() const { return dev.faults.rules.back().fired; }
  sim_environment env{{.seed = 11}};
  sim_device dev;
  driver d;
};

constexpr u8 READS = on(request_kind::READ), WRITES = on(request_kind::WRITE),
             FLUSHES = on(request_kind::FLUSH);

DOCTEST_TEST_CASE("EINTR and EAGAIN are resubmitted") {
  for (int number : {EINTR, EAGAIN}) {
    for (u8 kinds : {READS, WRITES, FLUSHES, on(request_kind::RESIZE)}) {
      rig t;
      for (u64 i = 0; i < 3; ++i) t.plan(kinds, {fault::ERROR, number}, 0);
      DOCTEST_CHECK(t.d.fill(0, 4096, 1) == errc::ok);
      DOCTEST_CHECK(t.d.holds(0, 4096, 1));
      DOCTEST_CHECK(t.d.flush() == errc::ok);
      DOCTEST_CHECK(t.d.resize(2 << 20) == errc::ok);
      DOCTEST_CHECK(t.fired() == 1);
      DOCTEST_CHECK(t.dev.stats().retries == 3);
      DOCTEST_CHECK(t.dev.stats().errors == 0);
    }
  }
}

DOCTEST_TEST_CASE("a read that fails with EIO is tried again three times, then it is an error") {
  for (u64 failures = 0; failures <= 5; ++failures) {
    rig t;
    for (u64 i = 0; i < failures; ++i) t.plan(READS, {fault::ERROR, EIO});
    aligned_buffer b(4096);
    const errc want = failures <= device::read_retries ? errc::ok : errc::io;
    DOCTEST_CHECK(t.d.read_at(0, b) == want);
    DOCTEST_CHECK(t.dev.starts() == std::min<u64>(failures, device::read_retries) + 1);
  }
}

DOCTEST_TEST_CASE("a bad sector fails its own readers only") {
  rig t;
  t.plan(READS, {fault::ERROR, EIO}, 0, true);
  t.dev.faults.rules[0].from = 8192;
  t.dev.faults.rules[0].to = 8704;
  DOCTEST_CHECK(t.d.holds(0, 8192, 0));
  DOCTEST_CHECK(t.d.holds(12288, 8192, 0));
  aligned_buffer b(16384);
  DOCTEST_CHECK(t.d.read_at(0, b) == errc::io);
}

DOCTEST_TEST_CASE("writes and flushes that fail are not tried again") {
  rig t;
  t.plan(WRITES, {fault::ERROR, EIO});
  t.plan(FLUSHES, {fault::ERROR, EIO});
  DOCTEST_CHECK(t.d.fill(0, 4096, 1) == errc::io);
  DOCTEST_CHECK(t.d.flush() == errc::io);
  DOCTEST_CHECK(t.dev.starts() == 2);
  DOCTEST_CHECK(t.dev.stats().errors == 2);
}

DOCTEST_TEST_CASE("flushes go one after the other; behind one that failed none succeeds") {
  for (u64 which = 0; which < 3; ++which) {
    DOCTEST_CAPTURE(which);
    rig t;
    t.plan(FLUSHES, {fault::ERROR, EIO}, which);
    // Each starts when those before it have ended.
    t.dev.on_event = [&](sim_device& dev) { DOCTEST_CHECK(dev.starts() <= t.d.done().size() + 1); };
    for (u32 i = 0; i < 3; ++i) t.d.queue(t.d.make(request_kind::FLUSH, 0));
    t.d.drain();
    DOCTEST_CHECK(t.dev.starts() == 3);
    for (u64 i = 0; i < 3; ++i)
      DOCTEST_CHECK(t.d.done()[i]->code == (i < which ? errc::ok : errc::io));
    DOCTEST_CHECK(t.fired() == 1);
    DOCTEST_CHECK(t.d.fill(0, 4096, 1) == errc::ok);
    DOCTEST_CHECK(t.d.flush() == errc::io);
  }
}

DOCTEST_TEST_CASE("each errno has one meaning") {
  struct {
    int number;
    errc code;
  } cases[] = {{ENOSPC, errc::device_full},
               {EDQUOT, errc::device_full},
               {ENODEV, errc::device_gone},
               {ENXIO, errc::device_gone},
               {EIO, errc::io},
               {EBADF, errc::io},
               {ECANCELED, errc::io},
               {EROFS, errc::read_only},
               {EPERM, errc::read_only},
               {ENOMEM, errc::io}};
  for (auto c : cases) {
    rig t;
    DOCTEST_INFO(c.number);
    t.plan(WRITES, {fault::ERROR, c.number});
    DOCTEST_CHECK(t.d.fill(0, 4096, 1) == c.code);
    DOCTEST_CHECK(t.fired() == 1);
  }
  rig t;
  t.plan(on(request_kind::DISCARD), {fault::ERROR, EOPNOTSUPP});
  DOCTEST_CHECK(t.d.run(t.d.make(request_kind::DISCARD, 0, nullptr, 4096)) == errc::unsupported);
}

DOCTEST_TEST_CASE("growth beyond the space is device_full and changes nothing") {
  rig t(sim_options{.max_bytes = 2 << 20});
  DOCTEST_CHECK(t.d.resize(3 << 20) == errc::device_full);
  DOCTEST_CHECK(t.dev.size() == 1 << 20);
  DOCTEST_CHECK(t.d.resize(2 << 20) == errc::ok);
  rig fixed(sim_options{.resizable = false});
  DOCTEST_CHECK(fixed.d.resize(2 << 20) == errc::unsupported);
}

DOCTEST_TEST_CASE("short transfers go on with the remainder, from a whole sector") {
  for (u64 amount : {512u, 4096u, 5000u, 12288u - 1}) {
    rig t;
    DOCTEST_INFO(amount);
    aligned_buffer a(4096, 1), b(8192, 2);
    iovec out[] = {{a.data(), 4096}, {b.data(), 8192}};
    t.plan(WRITES, {fault::SHORT, 0, amount});
    request& w = t.d.make(request_kind::WRITE, 4096, nullptr, 12288);
    w.vec = out;
    w.vec_count = 2;
    DOCTEST_CHECK(t.d.run(w) == errc::ok);
    DOCTEST_CHECK(t.fired() == 1);
    t.plan(READS, {fault::SHORT, 0, amount});
    aligned_buffer c(12288);
    DOCTEST_CHECK(t.d.read_at(4096, c) == errc::ok);
    DOCTEST_CHECK(t.fired() == 1);
    DOCTEST_CHECK(std::memcmp(c.data(), a.data(), 4096) == 0);
    DOCTEST_CHECK(std::memcmp(c.data() + 4096, b.data(), 8192) == 0);
    DOCTEST_CHECK(t.dev.starts() == 4);
    DOCTEST_CHECK(t.dev.stats().written_bytes == 12288);
  }
}

DOCTEST_TEST_CASE("a transfer that gets nowhere ends") {
  rig t;
  t.plan(WRITES, {fault::SHORT, 0, 100}, 0, true);
  t.plan(READS, {fault::SHORT, 0, 511}, 0, true);
  DOCTEST_CHECK(t.d.fill(0, 4096, 1) == errc::io);
  aligned_buffer b(4096);
  DOCTEST_CHECK(t.d.read_at(0, b) == errc::truncated);
}

DOCTEST_TEST_CASE("lost, misdirected and flipped transfers are acknowledged") {
  rig t;
  t.plan(WRITES, {fault::LOSE});
  DOCTEST_CHECK(t.d.fill(0, 4096, 1) == errc::ok);
  DOCTEST_CHECK(t.d.holds(0, 4096, 0));
  t.plan(WRITES, {fault::MISDIRECT, 0, 65536});
  DOCTEST_CHECK(t.d.fill(0, 4096, 2) == errc::ok);
  DOCTEST_CHECK(t.d.holds(0, 4096, 0));
  DOCTEST_CHECK(t.d.holds(65536, 4096, 2));
  t.plan(READS, {fault::MISDIRECT, 0, 65536});
  DOCTEST_CHECK(t.d.holds(0, 4096, 2));
  t.plan(WRITES, {fault::FLIP, 0, 8 * 4096 + 1});
  DOCTEST_CHECK(t.d.fill(8192, 8192, 0) == errc::ok);
  t.plan(READS, {fault::FLIP, 0, 7});
  aligned_buffer b(8192);
  DOCTEST_CHECK(t.d.read_at(8192, b) == errc::ok);
  DOCTEST_CHECK(b.data()[4096] == std::byte{2});
  DOCTEST_CHECK(b.data()[0] == std::byte{0x80});
  DOCTEST_CHECK(t.d.read_at(8192, b) == errc::ok);
  DOCTEST_CHECK(b.data()[0] == std::byte{0});
}

DOCTEST_TEST_CASE("a device that hangs lets time pass; a removed one fails all") {
  rig t;
  const u64 until = t.env.now() + 60'000'000'000;
  t.plan(READS, {fault::HANG, 0, until});
  DOCTEST_CHECK(t.env.now() < until);
  aligned_buffer b(4096, 1);
  t.d.queue(t.d.make(request_kind::READ, 0, b.data(), 4096));
  t.dev.submit();
  while (t.dev.in_flight()) {
    t.env.sleep(-1, -1);
    t.dev.reap();
  }
  DOCTEST_CHECK(t.env.now() >= until);

  t.plan(WRITES, {fault::HANG, 0, sim_source::never});
  t.d.queue(t.d.make(request_kind::WRITE, 0, b.data(), 4096));
  t.dev.submit();
  DOCTEST_CHECK(t.dev.next_event_ns() == sim_source::never);
  t.dev.remove();
  t.d.drain();
  DOCTEST_CHECK(t.d.done().back()->code == errc::device_gone);
  aligned_buffer c(4096);
  DOCTEST_CHECK(t.d.read_at(0, c) == errc::device_gone);
  DOCTEST_CHECK(t.d.flush() == errc::device_gone);
}

DOCTEST_TEST_CASE("the hook sees every start") {
  rig t;
  u64 seen = 0;
  t.dev.faults.hook = [&](const request&, u64 index) {
    DOCTEST_CHECK(index == seen++);
    return index == 1 ? fault{fault::ERROR, EIO} : fault{};
  };
  DOCTEST_CHECK(t.d.fill(0, 4096, 1) == errc::ok);
  DOCTEST_CHECK(t.d.fill(0, 4096, 1) == errc::io);
  DOCTEST_CHECK(seen == 2);
}

}  // namespace
}  // namespace pleach::io
