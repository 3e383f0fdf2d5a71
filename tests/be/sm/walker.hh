// What the tests of the executive share: an op whose phases are given as lambdas, and a clock set
// by hand.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "be/sm/reactor.hh"

namespace pleach::sm {

#define PLEACH_WALKER_PHASES(X)       \
  X(WORK, WAIT, WORK, AFTER, CLEANUP) \
  X(AFTER, WAIT, AFTER, CLEANUP)      \
  X(CLEANUP, WAIT, CLEANUP, DONE)     \
  X(DONE, NOWAIT)

struct walker final : machine<walker> {
  PLEACH_PHASES("walker", PLEACH_WALKER_PHASES)

  using machine<walker>::go;
  using machine<walker>::wait;
  using machine<walker>::yield;
  using machine<walker>::wait_in;
  using machine<walker>::sub;
  using machine<walker>::fail;
  using op::cancel_requested;
  using op::loop;

  std::function<step(walker&)> work = [](walker&) { return go(AFTER); };
  std::function<step(walker&)> after = [](walker&) { return go(CLEANUP); };
  std::function<step(walker&)> cleanup = [](walker&) { return go(DONE); };
  int worked = 0, aftered = 0, cleaned = 0;

  step tick(phase p) noexcept {
    switch (p) {
      case WORK: return ++worked, work(*this);
      case AFTER: return ++aftered, after(*this);
      case CLEANUP: return ++cleaned, cleanup(*this);
      default: PLEACH_ASSERT(false);
    }
    __builtin_unreachable();
  }

  /// Waits in `q` once, then goes on at AFTER.
  void waits_in(wait_queue& q) {
    work = [&q](walker& w) { return w.wait_in(q, AFTER); };
  }
};

/// Time stands still but for sleeps; a sleep without a limit is a deadlock in these tests.
struct manual_environment final : environment {
  u64 now = 1000;
  u64 seed_ = 1;
  int sleeps = 0;
  u64 looks = 0;
  u32 chaos_per_mille = 0;
  random_stream stream{1};

  u64 mono_ns() override { return ++looks, now; }
  u64 real_ms() override { return now / 1'000'000; }
  void sleep(int, i64 timeout_ns) override {
    PLEACH_ASSERT(timeout_ns >= 0);
    ++sleeps;
    now += static_cast<u64>(timeout_ns);
  }
  u64 seed() override { return seed_; }
  bool chaos(const char*) override { return stream.chance(chaos_per_mille); }
};

/// Polls until a round finds nothing.
inline void settle(reactor& r) {
  for (int round = 0; round < 10'000; ++round)
    if (r.poll().value() == 0) return;
  PLEACH_ASSERT(false);
}

/// RETURNS: true if a sleeper on `fd` would wake at once.
bool readable(int fd);

}  // namespace pleach::sm
