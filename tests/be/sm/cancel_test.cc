// Proves: a cancelled op ends through CLEANUP, once, with the code of the first request, whatever
// it was doing: waiting, ready, running, waiting for a sub-op, cleaning up; deadlines are
// cancellations by the clock.
#include <doctest/doctest.h>

#include "tests/be/sm/walker.hh"

using namespace pleach;
using namespace pleach::sm;

namespace {

#define PLEACH_STUBBORN_PHASES(X) \
  X(ONLY, WAIT, ONLY, DONE)       \
  X(DONE, NOWAIT)
struct stubborn final : machine<stubborn> {
  PLEACH_PHASES("stubborn", PLEACH_STUBBORN_PHASES)
  wait_queue* q = nullptr;
  step tick(phase) noexcept { return wait_in(*q, DONE); }
};

struct world {
  manual_environment env;
  reactor r{env};
  wait_queue q{"test"};
};

}  // namespace

DOCTEST_TEST_CASE_FIXTURE(world, "a waiting op leaves its queue and ends through CLEANUP") {
  walker a, b;
  a.waits_in(q);
  b.waits_in(q);
  r.start(a);
  r.start(b);
  settle(r);
  a.cancel(errc::closing);
  a.cancel(errc::cancelled);  // the first counts
  DOCTEST_CHECK(q.first() == &b);
  settle(r);
  DOCTEST_CHECK(a.done());
  DOCTEST_CHECK(a.out.code == errc::closing);
  DOCTEST_CHECK(a.aftered == 0);
  DOCTEST_CHECK(a.cleaned == 1);
  a.cancel();  // no effect on a DONE op
  DOCTEST_CHECK(a.out.code == errc::closing);
  q.wake_all();
  settle(r);
  DOCTEST_CHECK(b.out.code == errc::ok);
}

DOCTEST_TEST_CASE_FIXTURE(world, "a ready op runs on to its next wait, and ends there") {
  walker a;
  a.waits_in(q);
  a.after = [&](walker& w) {
    DOCTEST_CHECK(w.cancel_requested());
    return w.aftered < 3 ? w.wait_in(q, walker::AFTER) : walker::go(walker::CLEANUP);
  };
  r.start(a);
  settle(r);
  q.wake_one();
  a.cancel();
  settle(r);
  DOCTEST_CHECK(a.done());
  DOCTEST_CHECK(a.aftered == 1);
  DOCTEST_CHECK(a.out.code == errc::cancelled);
  DOCTEST_CHECK(q.empty());
}

DOCTEST_TEST_CASE_FIXTURE(world,
                          "a ready or running op that waits no more ends as if never cancelled") {
  walker a;
  a.waits_in(q);
  r.start(a);
  settle(r);
  q.wake_one();
  a.cancel();
  settle(r);
  DOCTEST_CHECK(a.done());
  DOCTEST_CHECK(a.out.code == errc::ok);
}

DOCTEST_TEST_CASE_FIXTURE(world,
                          "an op cancelled before its first phase, and one that cancels itself") {
  walker a, b, c;
  a.waits_in(q);
  b.work = [&](walker& w) { return w.cancel(), w.wait_in(q, walker::AFTER); };
  c.work = [&](walker& w) { return w.cancel(), walker::yield(walker::AFTER); };
  r.start(a);
  r.start(b);
  r.start(c);
  a.cancel();
  settle(r);
  for (walker* w : {&a, &b, &c}) {
    DOCTEST_CHECK(w->done());
    DOCTEST_CHECK(w->out.code == errc::cancelled);
    DOCTEST_CHECK(w->aftered == 0);
  }
  DOCTEST_CHECK(q.empty());
}

DOCTEST_TEST_CASE_FIXTURE(world,
                          "cancelling an idle op has no effect; reset forgets a cancellation") {
  walker a;
  a.cancel();
  a.waits_in(q);
  r.start(a);
  settle(r);
  DOCTEST_CHECK(a.waiting());
  a.cancel();
  settle(r);
  a.reset();
  r.start(a);
  settle(r);
  DOCTEST_CHECK(a.waiting());
  q.wake_all();
  settle(r);
  DOCTEST_CHECK(a.out.code == errc::ok);
  DOCTEST_CHECK(a.aftered == 1);
}

DOCTEST_TEST_CASE_FIXTURE(world, "the first failure counts, not the cancellation after it") {
  walker a;
  a.work = [&](walker& w) { return w.out.code = errc::not_found, w.wait_in(q, walker::AFTER); };
  r.start(a);
  settle(r);
  a.cancel();
  settle(r);
  DOCTEST_CHECK(a.out.code == errc::not_found);
}

DOCTEST_TEST_CASE_FIXTURE(world, "an op in its cleanup is not cancelled, waiting or ready") {
  walker a;
  a.cleanup = [&](walker& w) {
    return w.cleaned == 1 ? w.wait_in(q, walker::CLEANUP) : walker::go(walker::DONE);
  };
  r.start(a);
  settle(r);
  DOCTEST_CHECK(a.waiting());
  a.cancel();
  DOCTEST_CHECK(a.waiting());
  q.wake_all();
  a.cancel();
  settle(r);
  DOCTEST_CHECK(a.done());
  DOCTEST_CHECK(a.cleaned == 2);
  DOCTEST_CHECK(a.out.code == errc::ok);
}

DOCTEST_TEST_CASE_FIXTURE(
    world, "a wait that would resume at CLEANUP can be cancelled, and cleans up once") {
  walker a;
  a.work = [&](walker& w) { return w.wait_in(q, walker::CLEANUP); };
  r.start(a);
  settle(r);
  a.cancel();
  settle(r);
  DOCTEST_CHECK(a.out.code == errc::cancelled);
  DOCTEST_CHECK(a.cleaned == 1);
}

DOCTEST_TEST_CASE_FIXTURE(world, "a machine without CLEANUP is not cancellable") {
  stubborn s;
  s.q = &q;
  r.start(s);
  settle(r);
  s.cancel();
  settle(r);
  DOCTEST_CHECK(s.waiting());
  q.wake_all();
  settle(r);
  DOCTEST_CHECK(s.out.code == errc::ok);
}

DOCTEST_TEST_CASE_FIXTURE(world,
                          "cancelling a parent cancels its sub-op, and the parent ends after it") {
  walker top, middle, leaf;
  std::string order;
  leaf.waits_in(q);
  leaf.cleanup = [&](walker&) { return order += 'l', walker::go(walker::DONE); };
  middle.work = [&](walker& w) { return w.sub(leaf, walker::AFTER); };
  middle.cleanup = [&](walker&) { return order += 'm', walker::go(walker::DONE); };
  top.work = [&](walker& w) { return w.sub(middle, walker::AFTER); };
  top.cleanup = [&](walker&) { return order += 't', walker::go(walker::DONE); };
  r.start(top);
  settle(r);
  top.cancel(errc::closing);
  settle(r);
  DOCTEST_CHECK(order == "lmt");
  for (walker* w : {&top, &middle, &leaf}) {
    DOCTEST_CHECK(w->done());
    DOCTEST_CHECK(w->out.code == errc::closing);
    DOCTEST_CHECK(w->aftered == 0);
  }
  DOCTEST_CHECK(r.alive() == 0);
}

DOCTEST_TEST_CASE_FIXTURE(world,
                          "a parent whose sub-op cannot be cancelled ends when the sub-op does") {
  stubborn child;
  child.q = &q;
  walker parent;
  parent.work = [&](walker& w) { return w.sub(child, walker::AFTER); };
  r.start(parent);
  settle(r);
  parent.cancel();
  settle(r);
  DOCTEST_CHECK(parent.waiting());
  q.wake_all();
  settle(r);
  DOCTEST_CHECK(parent.done());
  DOCTEST_CHECK(parent.out.code == errc::cancelled);
  DOCTEST_CHECK(parent.aftered == 0);
  DOCTEST_CHECK(parent.cleaned == 1);
}

DOCTEST_TEST_CASE_FIXTURE(
    world, "a parent cancelled while it runs cancels the sub-op that it then waits for") {
  walker parent, child;
  child.waits_in(q);
  parent.work = [&](walker& w) { return w.cancel(), w.sub(child, walker::AFTER); };
  r.start(parent);
  settle(r);
  DOCTEST_CHECK(parent.done());
  DOCTEST_CHECK(child.out.code == errc::cancelled);
  DOCTEST_CHECK(parent.out.code == errc::cancelled);
  DOCTEST_CHECK(parent.aftered == 0);
}

DOCTEST_TEST_CASE_FIXTURE(world, "a sub-op of the cleanup is not cancelled through its parent") {
  walker parent, child;
  child.waits_in(q);
  parent.cleanup = [&](walker& w) {
    return w.cleaned == 1 ? w.sub(child, walker::CLEANUP) : walker::go(walker::DONE);
  };
  r.start(parent);
  settle(r);
  parent.cancel();
  settle(r);
  DOCTEST_CHECK(child.waiting());
  q.wake_all();
  settle(r);
  DOCTEST_CHECK(parent.done());
  DOCTEST_CHECK(parent.out.code == errc::ok);
}

DOCTEST_TEST_CASE_FIXTURE(
    world, "a deadline ends a wait with timed_out, and is gone when the op ends before") {
  walker late, early;
  late.waits_in(q);
  late.deadline(env.now + 500);
  r.start(late);
  DOCTEST_CHECK(r.run_until(late).has_value());
  DOCTEST_CHECK(late.out.code == errc::timed_out);
  DOCTEST_CHECK(env.now == 1500);
  DOCTEST_CHECK(r.next_timeout_ns() == -1);

  early.waits_in(q);
  early.deadline(env.now + 500);
  r.start(early);
  settle(r);
  DOCTEST_CHECK(r.next_timeout_ns() == 500);
  q.wake_all();
  settle(r);
  DOCTEST_CHECK(early.out.code == errc::ok);
  DOCTEST_CHECK(r.next_timeout_ns() == -1);
  early.reset();  // clears the deadline
  r.start(early);
  settle(r);
  DOCTEST_CHECK(r.next_timeout_ns() == -1);
  q.wake_all();
  settle(r);
}

DOCTEST_TEST_CASE_FIXTURE(world,
                          "a deadline that passes during cleanup changes nothing and fires once") {
  walker a;
  a.waits_in(q);
  a.cleanup = [&](walker& w) {
    return w.cleaned == 1 ? w.wait_in(q, walker::CLEANUP) : walker::go(walker::DONE);
  };
  a.deadline(env.now + 500);
  r.start(a);
  settle(r);
  q.wake_all();
  settle(r);
  DOCTEST_CHECK(a.cleaned == 1);
  env.now += 1000;
  settle(r);
  DOCTEST_CHECK(a.waiting());
  DOCTEST_CHECK(r.next_timeout_ns() == -1);
  q.wake_all();
  settle(r);
  DOCTEST_CHECK(a.out.code == errc::ok);
}

DOCTEST_TEST_CASE_FIXTURE(world, "a sub-op has a deadline of its own") {
  walker parent, child;
  child.waits_in(q);
  child.deadline(env.now + 500);
  parent.work = [&](walker& w) { return w.sub(child, walker::AFTER); };
  r.start(parent);
  DOCTEST_CHECK(r.run_until(parent).has_value());
  DOCTEST_CHECK(child.out.code == errc::timed_out);
  DOCTEST_CHECK(parent.out.code == errc::ok);
}
