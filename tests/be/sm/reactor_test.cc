// Proves the executive's rules with ops whose phases are lambdas and a clock set by hand: order,
// sub-ops, completions, timers, bounds of a round, background share, and when a host that sleeps is
// woken.
#include <doctest/doctest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <memory>

#include "tests/be/sm/walker.hh"

using namespace pleach;
using namespace pleach::sm;

namespace {

/// A device of the tests: `arrived` requests wait for their reap.
struct test_poller final : poller {
  reactor* r = nullptr;
  std::vector<op*> arrived;
  std::function<void()> on_reap = [] {};
  int attached = 0, submits = 0, reaps = 0;
  u32 reap() override {
    ++reaps;
    on_reap();
    u32 n = static_cast<u32>(arrived.size());
    for (op* o : arrived) r->make_ready(*o);
    arrived.clear();
    return n;
  }
  void submit() override { ++submits; }
  u32 in_flight() const override { return 0; }
  status attach(int) override { return ++attached, status{}; }
};

}  // namespace

DOCTEST_TEST_CASE("ops run in the order of their start; nothing runs inside start") {
  manual_environment env;
  reactor r(env);
  std::string order;
  std::deque<walker> ops(3);
  char name = 'a';
  for (walker& w : ops) {
    w.work = [&order, name](walker&) { return order += name, walker::yield(walker::AFTER); };
    w.after = [&order, name](walker&) { return order += name, walker::go(walker::CLEANUP); };
    ++name;
    r.start(w);
  }
  DOCTEST_CHECK(order.empty());
  DOCTEST_CHECK(r.alive() == 3);
  settle(r);
  DOCTEST_CHECK(order == "abcabc");
  DOCTEST_CHECK(r.alive() == 0);
  for (walker& w : ops) DOCTEST_CHECK(w.done());
}

DOCTEST_TEST_CASE(
    "a queue wakes one or all, first come first; waits are visible with their reason") {
  manual_environment env;
  reactor r(env);
  wait_queue q("page load");
  std::string order;
  std::deque<walker> ops(4);
  char name = 'a';
  for (walker& w : ops) {
    w.waits_in(q);
    w.after = [&order, name](walker&) { return order += name, walker::go(walker::CLEANUP); };
    ++name;
    r.start(w);
  }
  settle(r);
  int seen = 0;
  r.for_each_waiting(
      [](op& o, void* n) {
        ++*static_cast<int*>(n);
        DOCTEST_CHECK(std::string(o.waiting_for()) == "page load");
      },
      &seen);
  DOCTEST_CHECK(seen == 4);
  q.wake_one();
  DOCTEST_CHECK(order.empty());
  DOCTEST_CHECK(ops[0].waiting_for() == nullptr);
  settle(r);
  DOCTEST_CHECK(order == "a");
  q.wake_all();
  DOCTEST_CHECK(q.empty());
  settle(r);
  DOCTEST_CHECK(order == "abcd");
}

DOCTEST_TEST_CASE("an op woken before it returned its wait resumes") {
  manual_environment env;
  reactor r(env);
  wait_queue q("test");
  walker w;
  w.work = [&](walker& me) {
    step s = me.wait_in(q, walker::AFTER);
    q.wake_one();
    return s;
  };
  r.start(w);
  settle(r);
  DOCTEST_CHECK(w.done());
  DOCTEST_CHECK(w.aftered == 1);
}

DOCTEST_TEST_CASE("a sub-op that does not wait costs no round trip; its parent goes straight on") {
  manual_environment env;
  reactor r(env);
  walker parent, child;
  std::string order;
  child.work = [&](walker&) { return order += "c", walker::go(walker::AFTER); };
  parent.work = [&](walker& me) { return me.sub(child, walker::AFTER); };
  parent.after = [&](walker&) { return order += "p", walker::go(walker::CLEANUP); };
  r.start(parent);
  DOCTEST_CHECK(r.poll().value() == 1);
  DOCTEST_CHECK(order == "cp");
  DOCTEST_CHECK(child.done());
  DOCTEST_CHECK(r.alive() == 0);
}

DOCTEST_TEST_CASE(
    "a sub-op that waits, two levels deep, resumes its parents; outcomes stay with each") {
  manual_environment env;
  reactor r(env);
  wait_queue q("test");
  walker top, middle, leaf;
  leaf.waits_in(q);
  leaf.after = [](walker& me) { return me.fail(errc::not_found); };
  middle.work = [&](walker& me) { return me.sub(leaf, walker::AFTER); };
  top.work = [&](walker& me) { return me.sub(middle, walker::AFTER); };
  r.start(top);
  settle(r);
  DOCTEST_CHECK(top.waiting());
  DOCTEST_CHECK(r.alive() == 3);
  DOCTEST_CHECK(std::string(top.waiting_for()) == "walker");
  q.wake_one();
  settle(r);
  DOCTEST_CHECK(top.done());
  DOCTEST_CHECK(middle.done());
  DOCTEST_CHECK(leaf.out.code == errc::not_found);
  DOCTEST_CHECK(top.out.code == errc::ok);
  DOCTEST_CHECK(top.aftered == 1);
  DOCTEST_CHECK(r.alive() == 0);
  leaf.reset();
  DOCTEST_CHECK(leaf.idle());
  DOCTEST_CHECK(leaf.out.code == errc::ok);
}

DOCTEST_TEST_CASE(
    "completions run from the loop, once; poll, run_until and run_while inside are refused") {
  manual_environment env;
  reactor r(env);
  struct seen_t {
    reactor* r;
    int calls = 0;
  } seen{&r};
  walker w;
  w.on_done(
      [](op& o, void* datum) {
        auto& s = *static_cast<seen_t*>(datum);
        ++s.calls;
        DOCTEST_CHECK(s.r->in_callback());
        DOCTEST_CHECK(s.r->poll().error() == errc::invalid);
        DOCTEST_CHECK(s.r->run_until(o).error() == errc::invalid);
        auto never = [](void*) { return false; };
        DOCTEST_CHECK(s.r->run_while(never, nullptr).error() == errc::invalid);
      },
      &seen);
  r.start(w);
  DOCTEST_CHECK(seen.calls == 0);
  settle(r);
  DOCTEST_CHECK(seen.calls == 1);
  DOCTEST_CHECK(!r.in_callback());
}

DOCTEST_TEST_CASE("a completion may restart its op, and may destroy it") {
  manual_environment env;
  reactor r(env);
  struct seen_t {
    reactor* r;
    int calls = 0;
    std::unique_ptr<walker> mortal;
  } seen{&r, 0, {}};
  walker w;
  w.on_done(
      [](op& o, void* datum) {
        auto& s = *static_cast<seen_t*>(datum);
        if (++s.calls == 5) return;
        o.reset();
        s.r->start(o);
      },
      &seen);
  r.start(w);
  settle(r);
  DOCTEST_CHECK(seen.calls == 5);
  DOCTEST_CHECK(w.worked == 5);

  seen.mortal = std::make_unique<walker>();
  seen.mortal->on_done([](op&, void* s) { static_cast<seen_t*>(s)->mortal.reset(); }, &seen);
  r.start(*seen.mortal);
  DOCTEST_CHECK(r.run_until(*seen.mortal).has_value());
  DOCTEST_CHECK(seen.mortal == nullptr);
}

DOCTEST_TEST_CASE("a DONE op destroyed by another's completion takes its own completion with it") {
  manual_environment env;
  reactor r(env);
  auto second = std::make_unique<walker>();
  walker first;
  first.on_done([](op&, void* s) { static_cast<std::unique_ptr<walker>*>(s)->reset(); }, &second);
  int called = 0;
  second->on_done([](op&, void* n) { ++*static_cast<int*>(n); }, &called);
  r.start(first);
  r.start(*second);
  settle(r);
  DOCTEST_CHECK(called == 0);
  DOCTEST_CHECK(r.alive() == 0);
}

DOCTEST_TEST_CASE(
    "run_until refuses an idle op, returns at once for a DONE one, sleeps till a timer else") {
  manual_environment env;
  reactor r(env);
  wait_queue q("test");
  walker w;
  DOCTEST_CHECK(r.run_until(w).error() == errc::invalid);
  w.waits_in(q);
  struct alarm_t : timer {
    wait_queue* q = nullptr;
  } alarm;
  alarm.q = &q;
  alarm.at_ns = env.now + 5000;
  alarm.fire = [](timer& t) { static_cast<alarm_t&>(t).q->wake_all(); };
  r.arm(alarm);
  r.start(w);
  DOCTEST_CHECK(r.run_until(w).has_value());
  DOCTEST_CHECK(w.done());
  DOCTEST_CHECK(env.now == 6000);
  DOCTEST_CHECK(env.sleeps == 1);
  DOCTEST_CHECK(r.run_until(w).has_value());
}

DOCTEST_TEST_CASE(
    "timers fire in order of time, then of arming; disarmed ones do not; re-arming moves") {
  manual_environment env;
  reactor r(env);
  static std::vector<int> fired;
  fired.clear();
  struct numbered : timer {
    int number = 0;
  };
  std::deque<numbered> timers(200);
  random_stream random(7);
  struct entry {
    u64 at;
    int armed, number;
    auto operator<=>(const entry&) const = default;
  };
  std::vector<entry> expected;
  int armed = 0;
  for (int i = 0; i < 200; ++i) {
    timers[i].number = i;
    timers[i].at_ns = 2000 + random.below(50);
    timers[i].fire = [](timer& t) { fired.push_back(static_cast<numbered&>(t).number); };
    r.arm(timers[i]);
  }
  for (int i = 0; i < 200; i += 3) r.disarm(timers[i]);
  for (int i = 1; i < 200; i += 9) {
    timers[i].at_ns = 3000;
    r.arm(timers[i]);
  }
  for (int i = 0; i < 200; ++i)
    if (i % 3 != 0 && i % 9 != 1) expected.push_back({timers[i].at_ns, ++armed, i});
  for (int i = 1; i < 200; i += 9) expected.push_back({3000, ++armed, i});
  std::sort(expected.begin(), expected.end());
  settle(r);
  DOCTEST_CHECK(fired.empty());
  while (r.next_timeout_ns() >= 0) {
    env.now += static_cast<u64>(r.next_timeout_ns());
    settle(r);
  }
  std::vector<int> order;
  for (const entry& e : expected) order.push_back(e.number);
  DOCTEST_CHECK(fired == order);
}

DOCTEST_TEST_CASE("a timer that arms itself for the past fires once a round") {
  manual_environment env;
  reactor r(env);
  struct again : timer {
    reactor* r = nullptr;
    int fired = 0;
  } t;
  t.r = &r;
  t.fire = [](timer& me) {
    auto& a = static_cast<again&>(me);
    ++a.fired;
    a.r->arm(a);
  };
  r.arm(t);
  DOCTEST_CHECK(r.poll().value() == 1);
  DOCTEST_CHECK(t.fired == 1);
  DOCTEST_CHECK(r.next_timeout_ns() == 0);
  DOCTEST_CHECK(r.poll().value() == 1);
  r.disarm(t);
  DOCTEST_CHECK(r.next_timeout_ns() == -1);
}

DOCTEST_TEST_CASE("a round ends after its time, or a count of ops where the clock stands still") {
  manual_environment env;
  reactor r(env, {.round_ns = 1000, .background_share = 8});
  std::deque<walker> ops(1000);
  int run = 0;
  u64 cost = 0;
  for (walker& w : ops) {
    w.work = [&](walker&) { return ++run, env.now += cost, walker::go(walker::AFTER); };
    r.start(w);
  }
  (void)r.poll();
  DOCTEST_CHECK(run > 32);
  DOCTEST_CHECK(run < 1000);
  run = 0;
  cost = 2000;
  (void)r.poll();
  DOCTEST_CHECK(run <= 3);
  cost = 0;
  settle(r);
  DOCTEST_CHECK(r.alive() == 0);
}

DOCTEST_TEST_CASE("background ops get their share of a round however long the other queue is") {
  manual_environment env;
  reactor r(env, {.round_ns = 1'000'000, .background_share = 4});
  std::string order;
  std::deque<walker> front(12), back(12);
  for (walker& w : front) {
    w.work = [&](walker&) { return order += 'f', walker::go(walker::AFTER); };
    r.start(w);
  }
  for (walker& w : back) {
    w.work = [&](walker&) { return order += 'b', walker::go(walker::AFTER); };
    r.start_background(w);
  }
  settle(r);
  DOCTEST_CHECK(order == "ffffbffffbffff" + std::string(10, 'b'));
}

DOCTEST_TEST_CASE("ops that do not wait cost no look at the clock, with a timer armed too") {
  manual_environment env;
  reactor r(env);
  timer far;
  far.at_ns = ~u64{0} / 2;
  far.fire = [](timer&) {};
  r.arm(far);
  walker w;
  env.looks = 0;
  for (int i = 0; i < 3200; ++i) {
    r.start(w);
    DOCTEST_REQUIRE(r.run_until(w).has_value());
    w.reset();
  }
  DOCTEST_CHECK(env.looks <= 100);
  DOCTEST_CHECK(env.sleeps == 0);
  r.disarm(far);
}

DOCTEST_TEST_CASE(
    "the eventfd: readable while work is left after a round, drained by an empty round") {
  manual_environment env;
  reactor r(env, {.round_ns = 1000, .background_share = 8});
  int fd = r.event_fd();
  settle(r);
  DOCTEST_CHECK(!readable(fd));
  DOCTEST_CHECK(r.next_timeout_ns() == -1);
  std::deque<walker> ops(600);
  for (walker& w : ops) r.start(w);
  // Trap 5: the budget of a round ends with work left.
  for (int rounds = 0; r.alive() != 0; ++rounds) {
    DOCTEST_REQUIRE(rounds < 100);
    DOCTEST_REQUIRE(readable(fd));
    DOCTEST_REQUIRE(r.next_timeout_ns() == 0);
    (void)r.poll();
  }
  settle(r);
  DOCTEST_CHECK(!readable(fd));
  // A wake-up or cancellation from outside a round.
  wait_queue q("test");
  walker w;
  w.waits_in(q);
  r.start(w);
  settle(r);
  DOCTEST_CHECK(!readable(fd));
  w.cancel();
  DOCTEST_CHECK(readable(fd));
  settle(r);
  DOCTEST_CHECK(w.done());
  r.notify();
  DOCTEST_CHECK(readable(fd));
  settle(r);
  DOCTEST_CHECK(!readable(fd));
}

DOCTEST_TEST_CASE("asking for the eventfd after a start finds it readable") {
  manual_environment env;
  reactor r(env);
  walker w;
  r.start(w);
  DOCTEST_CHECK(readable(r.event_fd()));
  settle(r);
}

DOCTEST_TEST_CASE("a host that only sleeps on the eventfd finishes everything") {
  reactor r(system_environment());
  int epoll = epoll_create1(0);
  epoll_event interest{};
  interest.events = EPOLLIN;
  DOCTEST_REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, r.event_fd(), &interest) == 0);
  wait_queue q("test");
  std::deque<walker> ops(1000);
  int left = 1000;
  for (walker& w : ops) {
    w.waits_in(q);
    w.after = [&](walker&) { return q.wake_one(), walker::yield(walker::CLEANUP); };
    w.on_done([](op&, void* n) { --*static_cast<int*>(n); }, &left);
    r.start(w);
  }
  walker starter;
  starter.after = [&](walker&) { return q.wake_one(), walker::go(walker::CLEANUP); };
  r.start(starter);
  int wakes = 0;
  while (left != 0) {
    epoll_event e{};
    DOCTEST_REQUIRE(epoll_wait(epoll, &e, 1, 10'000) == 1);  // 0: slept over work
    DOCTEST_REQUIRE(++wakes < 100'000);
    (void)r.poll();
  }
  close(epoll);
}

DOCTEST_TEST_CASE("what arrives while an empty round drains the eventfd is found by that round") {
  manual_environment env;
  reactor r(env);
  test_poller device;
  device.r = &r;
  r.add_poller(device);
  wait_queue q("test");
  walker w;
  w.waits_in(q);
  r.start(w);
  settle(r);
  DOCTEST_CHECK(device.attached == 1);
  int fd = r.event_fd();
  // Arrives, and rings, between the first look of a round and its drain.
  int reaps = 0;
  device.on_reap = [&] {
    if (++reaps == 2) device.arrived.push_back(&w);
  };
  r.notify();
  int submits = device.submits;
  DOCTEST_CHECK(r.poll().value() == 1);
  DOCTEST_CHECK(reaps == 2);
  DOCTEST_CHECK(device.submits == submits + 2);  // what the late completion queued is submitted too
  DOCTEST_CHECK(readable(fd));
  settle(r);
  DOCTEST_CHECK(w.done());
  r.remove_poller(device);
}

DOCTEST_TEST_CASE(
    "a poller is attached once, reaped and submitted in each round; a failed attach is reported") {
  manual_environment env;
  reactor r(env);
  struct refusing final : poller {
    u32 reap() override { return 0; }
    void submit() override {}
    u32 in_flight() const override { return 0; }
    status attach(int) override { return fail(errc::unsupported); }
  } bad;
  test_poller good;
  good.r = &r;
  r.add_poller(good);
  r.add_poller(bad);
  DOCTEST_CHECK(r.poll().error() == errc::unsupported);
  r.remove_poller(bad);
  DOCTEST_CHECK(r.poll().has_value());
  DOCTEST_CHECK(r.poll().has_value());
  DOCTEST_CHECK(good.attached == 1);
  DOCTEST_CHECK(good.submits == 2);
  r.remove_poller(good);
}

DOCTEST_TEST_CASE("chaos: the same seed gives the same order, another seed another, all ops end") {
  auto order_of = [](u64 seed) {
    manual_environment env;
    env.chaotic = true;
    env.seed_ = seed;
    env.stream = random_stream(seed);
    env.chaos_per_mille = 300;
    reactor r(env);
    std::string order;
    std::deque<walker> ops(20);
    char name = 'a';
    for (walker& w : ops) {
      w.work = [&order, name](walker&) { return order += name, walker::go(walker::AFTER); };
      w.after = [&order, name](walker&) { return order += name, walker::go(walker::CLEANUP); };
      ++name;
      r.start(w);
    }
    settle(r);
    DOCTEST_CHECK(r.alive() == 0);
    return order;
  };
  DOCTEST_CHECK(order_of(1) == order_of(1));
  DOCTEST_CHECK(order_of(1) != order_of(2));
  DOCTEST_CHECK(order_of(1).size() == 40);
}
