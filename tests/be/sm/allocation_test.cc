// Proves: an op in the steady state costs no heap allocation, whether it waits, has a sub-op or a
// deadline, and one that does not wait costs no system call (the eventfd stays as it was, the
// environment is not asked).
#include <doctest/doctest.h>

#include <cstdlib>
#include <new>

#include "be/sm/gate.hh"
#include "tests/be/sm/walker.hh"

using namespace pleach;
using namespace pleach::sm;

static u64 allocations = 0;

[[gnu::noinline]] void* operator new(std::size_t n) {
  ++allocations;
  if (void* p = std::malloc(n)) return p;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

DOCTEST_TEST_CASE("no heap allocation per op") {
  manual_environment env;
  reactor r(env);
  wait_queue q("test");
  gate g("gate");
  gate_hold hold;
  walker parent, child, waker;
  child.waits_in(q);
  parent.work = [&](walker& w) {
    if (!g.try_exclusive(w, hold)) return w.wait(walker::WORK);
    return w.sub(child, walker::AFTER);
  };
  parent.cleanup = [&](walker&) { return hold.release(), walker::go(walker::DONE); };
  waker.after = [&](walker&) { return q.wake_all(), walker::go(walker::CLEANUP); };
  u64 before = allocations;
  for (int i = 0; i < 1000; ++i) {
    parent.deadline(env.now + 1'000'000);
    child.deadline(env.now + 1'000'000);
    r.start(parent);
    r.start(waker);
    if (!r.run_until(parent)) break;
    parent.reset();
    child.reset();
    waker.reset();
  }
  DOCTEST_CHECK(allocations == before);
  DOCTEST_CHECK(parent.cleaned == 1000);
  // The counter counts.
  delete new int;
  DOCTEST_CHECK(allocations > before);
}

DOCTEST_TEST_CASE("an op that does not wait touches neither clock, sleep nor eventfd") {
  manual_environment env;
  reactor r(env);
  walker w;
  env.looks = 0;
  for (int i = 0; i < 1000; ++i) {
    r.start(w);
    if (!r.run_until(w)) break;
    w.reset();
  }
  DOCTEST_CHECK(w.worked == 1000);
  DOCTEST_CHECK(env.looks == 0);
  DOCTEST_CHECK(env.sleeps == 0);
  DOCTEST_CHECK(!readable(r.event_fd()));
}
