// Proves: a fiber suspends at await and goes on in the loop; many interleave; fibers start fibers;
// an op on a fiber's own stack is safe; the stack is as deep as said and guarded below.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <deque>

#include "be/sm/fiber.hh"
#include "tests/be/sm/walker.hh"

using namespace pleach;
using namespace pleach::sm;

namespace {

struct world {
  manual_environment env;
  reactor r{env};
  wait_queue q{"test"};
  std::string order;
};

/// Touches `depth` bytes of stack.
[[gnu::noinline]] int deep(std::size_t depth) {
  char block[1024];
  block[0] = static_cast<char>(depth);
  asm volatile("" : : "r"(block) : "memory");  // else the recursion becomes a loop
  if (depth <= sizeof block) return block[0];
  return deep(depth - sizeof block) + block[0];
}

}  // namespace

DOCTEST_TEST_CASE_FIXTURE(world,
                          "a fiber runs to its await, then from the loop to its end, and again") {
  fiber f;
  DOCTEST_REQUIRE(f.valid());
  DOCTEST_CHECK(f.stack_bytes() > fiber::default_stack_bytes);
  auto body = [](void* datum) {
    auto& me = *static_cast<world*>(datum);
    DOCTEST_CHECK(fiber::current() != nullptr);
    me.order += 'a';
    walker w;
    w.waits_in(me.q);
    fiber::await(me.r, w);
    DOCTEST_CHECK(w.done());
    DOCTEST_CHECK(me.r.in_callback());
    me.order += 'b';
    w.reset();
    w.work = [](walker& x) { return x.fail(errc::exists); };
    fiber::await(me.r, w);
    DOCTEST_CHECK(w.out.code == errc::exists);
    me.order += 'c';
  };
  for (int i = 0; i < 3; ++i) {
    order.clear();
    f.start(body, static_cast<world*>(this));
    DOCTEST_CHECK(order == "a");
    DOCTEST_CHECK(fiber::current() == nullptr);
    settle(r);
    DOCTEST_CHECK(order == "a");
    DOCTEST_CHECK(f.alive());
    q.wake_all();
    settle(r);
    DOCTEST_CHECK(order == "abc");
    DOCTEST_CHECK(!f.alive());
  }
}

DOCTEST_TEST_CASE_FIXTURE(world, "a hundred fibers interleave on the reactor") {
  std::deque<fiber> fibers(100);
  static int ended;
  ended = 0;
  for (fiber& f : fibers)
    f.start(
        [](void* datum) {
          auto& me = *static_cast<world*>(datum);
          for (int i = 0; i < 20; ++i) {
            walker w;
            w.work = [](walker&) { return walker::yield(walker::AFTER); };
            fiber::await(me.r, w);
          }
          ++ended;
        },
        static_cast<world*>(this));
  DOCTEST_CHECK(ended == 0);
  settle(r);
  DOCTEST_CHECK(ended == 100);
}

DOCTEST_TEST_CASE_FIXTURE(world, "a fiber starts another, which outlives the start") {
  struct both : world {
    fiber outer, inner;
  } b;
  b.outer.start(
      [](void* datum) {
        auto& me = *static_cast<both*>(datum);
        me.order += '1';
        me.inner.start(
            [](void* d) {
              auto& you = *static_cast<both*>(d);
              you.order += '2';
              walker w;
              w.waits_in(you.q);
              fiber::await(you.r, w);
              you.order += '5';
            },
            datum);
        DOCTEST_CHECK(fiber::current() == &me.outer);
        me.order += '3';
        walker w;
        fiber::await(me.r, w);
        me.order += '4';
      },
      &b);
  settle(b.r);
  b.q.wake_all();
  settle(b.r);
  DOCTEST_CHECK(b.order == "12345");
}

DOCTEST_TEST_CASE("the stack is as large as asked for, and running over its end is a fault") {
  auto ends_by = [](std::size_t depth) {
    pid_t child = fork();
    if (child == 0) {
      std::signal(SIGSEGV, SIG_DFL);
      fiber f(256 * 1024);
      f.start([](void* d) { (void)deep(*static_cast<std::size_t*>(d)); }, &depth);
      _exit(0);
    }
    int state = 0;
    waitpid(child, &state, 0);
    return WIFEXITED(state) && WEXITSTATUS(state) == 0;
  };
  DOCTEST_CHECK(ends_by(100 * 1024));
  DOCTEST_CHECK(!ends_by(1024 * 1024));
}
