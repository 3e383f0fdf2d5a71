// Proves: a gate admits many shared or one exclusive, in order of arrival; a cancelled waiter
// leaves no trace, at whatever moment it is cancelled; a random run with cancellations ends with an
// empty gate.
#include <doctest/doctest.h>

#include <deque>

#include "be/sm/gate.hh"
#include "tests/be/sm/walker.hh"

using namespace pleach;
using namespace pleach::sm;

namespace {

/// Enters the gate, stays until `exit` is woken, leaves.
struct visitor {
  gate_hold hold;
  wait_queue exit{"exit"};
  walker w;
  visitor(gate& g, bool exclusive) {
    w.work = [this, &g, exclusive](walker& me) {
      bool in = exclusive ? g.try_exclusive(me, hold) : g.try_shared(me, hold);
      return in ? walker::go(walker::AFTER) : me.wait(walker::WORK, g.what());
    };
    w.after = [this](walker& me) {
      DOCTEST_CHECK(hold.held());
      return me.wait_in(exit, walker::CLEANUP);
    };
    w.cleanup = [this](walker&) { return hold.release(), walker::go(walker::DONE); };
  }
  bool inside() const { return hold.held() && w.aftered != 0; }
};

struct world {
  manual_environment env;
  reactor r{env};
  gate g{"tree gate"};
  void leave(visitor& v) {
    v.exit.wake_all();
    settle(r);
  }
};

}  // namespace

DOCTEST_TEST_CASE_FIXTURE(world, "shared ones pass together, an exclusive one alone") {
  visitor a(g, false), b(g, false), c(g, true);
  for (visitor* v : {&a, &b, &c}) r.start(v->w);
  settle(r);
  DOCTEST_CHECK(a.inside());
  DOCTEST_CHECK(b.inside());
  DOCTEST_CHECK(!c.inside());
  DOCTEST_CHECK(std::string(c.w.waiting_for()) == "tree gate");
  leave(a);
  DOCTEST_CHECK(!c.inside());
  leave(b);
  DOCTEST_CHECK(c.inside());
  DOCTEST_CHECK(g.held_exclusive());
  leave(c);
  DOCTEST_CHECK(!g.in_use());
}

DOCTEST_TEST_CASE_FIXTURE(
    world, "an exclusive waiter stops later shared ones; they enter together after it") {
  visitor a(g, false), x(g, true), b(g, false), c(g, false), y(g, true);
  for (visitor* v : {&a, &x, &b, &c, &y}) r.start(v->w);
  settle(r);
  DOCTEST_CHECK(!b.inside());
  leave(a);
  DOCTEST_CHECK(x.inside());
  DOCTEST_CHECK(!b.inside());
  leave(x);
  DOCTEST_CHECK(b.inside());
  DOCTEST_CHECK(c.inside());
  DOCTEST_CHECK(!y.inside());
  leave(b);
  leave(c);
  DOCTEST_CHECK(y.inside());
  leave(y);
}

DOCTEST_TEST_CASE_FIXTURE(world, "nobody passes one who was granted the gate and has not run yet") {
  visitor x(g, true), y(g, true), late(g, true);
  r.start(x.w);
  r.start(y.w);
  settle(r);
  r.start(late.w);
  x.hold.release();  // grants to y, which is ready but has not run
  DOCTEST_CHECK(y.hold.held());
  x.exit.wake_all();
  settle(r);
  DOCTEST_CHECK(y.inside());
  DOCTEST_CHECK(!late.inside());
  leave(y);
  leave(late);
}

DOCTEST_TEST_CASE_FIXTURE(world, "a cancelled exclusive waiter lets in those it stopped") {
  visitor a(g, false), x(g, true), b(g, false);
  for (visitor* v : {&a, &x, &b}) r.start(v->w);
  settle(r);
  x.w.cancel();
  settle(r);
  DOCTEST_CHECK(x.w.out.code == errc::cancelled);
  DOCTEST_CHECK(b.inside());
  leave(a);
  leave(b);
  DOCTEST_CHECK(!g.in_use());
}

DOCTEST_TEST_CASE_FIXTURE(
    world, "granted and then cancelled, or cancelled and then granted: the gate goes on") {
  for (bool cancel_first : {true, false}) {
    visitor a(g, true), b(g, true), c(g, true);
    for (visitor* v : {&a, &b, &c}) r.start(v->w);
    settle(r);
    if (cancel_first) b.w.cancel();
    a.hold.release();
    DOCTEST_CHECK(b.hold.held());
    b.w.cancel();
    a.exit.wake_all();
    settle(r);
    DOCTEST_CHECK(b.w.out.code == errc::cancelled);
    DOCTEST_CHECK(c.inside());
    leave(c);
    DOCTEST_CHECK(!g.in_use());
  }
}

DOCTEST_TEST_CASE_FIXTURE(
    world, "a grant does not wake a cancelled op out of another wait of its cleanup") {
  visitor a(g, true), b(g, true);
  wait_queue other("other");
  b.w.cleanup = [&](walker& w) {
    if (w.cleaned == 1) return w.wait_in(other, walker::CLEANUP);
    b.hold.release();
    return walker::go(walker::DONE);
  };
  r.start(a.w);
  r.start(b.w);
  settle(r);
  b.w.cancel();
  settle(r);
  leave(a);
  DOCTEST_CHECK(b.w.waiting());
  DOCTEST_CHECK(b.hold.held());
  other.wake_all();
  settle(r);
  DOCTEST_CHECK(b.w.done());
  DOCTEST_CHECK(!g.in_use());
}

DOCTEST_TEST_CASE(
    "random visits and cancellations: nobody beside an exclusive one, an empty gate at the end") {
  for (u64 seed = 1; seed <= 50; ++seed) {
    manual_environment env;
    env.chaotic = true;
    env.seed_ = seed;
    env.stream = random_stream(seed);
    env.chaos_per_mille = 200;
    reactor r(env);
    gate g("tree gate");
    random_stream random(seed);
    std::deque<visitor> all;
    for (int i = 0; i < 60; ++i) {
      all.emplace_back(g, random.chance(300));
      r.start(all.back().w);
    }
    for (int turn = 0; r.alive() != 0; ++turn) {
      DOCTEST_REQUIRE(turn < 100'000);
      visitor& v = all[random.below(all.size())];
      if (random.chance(50))
        v.w.cancel();
      else
        v.exit.wake_all();
      if (random.chance(500)) (void)r.poll();
      int shared = 0, exclusive = 0;
      for (visitor& each : all) (each.hold.exclusive() ? exclusive : shared) += each.hold.held();
      DOCTEST_REQUIRE(exclusive <= 1);
      DOCTEST_REQUIRE((exclusive == 0 || shared == 0));
      DOCTEST_REQUIRE(g.shared_holders() == static_cast<u32>(shared));
    }
    DOCTEST_CHECK(!g.in_use());
  }
}
