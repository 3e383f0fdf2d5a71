// Proves the thread and fork rules: mail from many threads arrives once and in order per thread,
// and wakes a sleeping loop; another thread and a forked child are refused.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <deque>
#include <thread>

#include "tests/be/sm/walker.hh"

using namespace pleach;
using namespace pleach::sm;

DOCTEST_TEST_CASE(
    "mail from four threads is delivered once, in the order of each, to a loop that sleeps") {
  constexpr int each = 5000;
  reactor r(system_environment());
  struct letter : mail {
    struct box* to = nullptr;
    int from = 0, number = 0;
  };
  struct box {
    int next[4] = {};
    int total = 0;
    bool in_order = true;
  };
  static box inbox;
  inbox = {};
  std::deque<std::deque<letter>> letters;
  for (int t = 0; t < 4; ++t) letters.emplace_back(each);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < each; ++i) {
        letter& l = letters[t][i];
        l.from = t;
        l.number = i;
        l.fn = [](mail& m) {
          auto& me = static_cast<letter&>(m);
          inbox.in_order &= inbox.next[me.from]++ == me.number;
          ++inbox.total;
        };
        r.post(l);
      }
    });
  DOCTEST_CHECK(r.run_while([](void*) { return inbox.total < 4 * each; }, nullptr).has_value());
  for (auto& t : threads) t.join();
  DOCTEST_CHECK(inbox.in_order);
  DOCTEST_CHECK(inbox.total == 4 * each);
  settle(r);
}

DOCTEST_TEST_CASE("a posted call may start an op; polling inside it is refused") {
  reactor r(system_environment());
  struct letter : mail {
    reactor* r = nullptr;
    walker w;
    errc inside = errc::ok;
  } l;
  l.r = &r;
  l.fn = [](mail& m) {
    auto& me = static_cast<letter&>(m);
    me.inside = me.r->poll().error();
    me.r->start(me.w);
  };
  std::thread([&] { r.post(l); }).join();
  DOCTEST_CHECK(r.next_timeout_ns() == 0);
  DOCTEST_CHECK(
      r.run_while([](void* d) { return !static_cast<letter*>(d)->w.done(); }, &l).has_value());
  DOCTEST_CHECK(l.inside == errc::invalid);
}

DOCTEST_TEST_CASE("the first thread that polls is the one; others are refused") {
  manual_environment env;
  reactor r(env);
  walker w;
  r.start(w);
  std::thread([&] { DOCTEST_CHECK(r.poll().has_value()); }).join();
  DOCTEST_CHECK(w.done());
  DOCTEST_CHECK(r.poll().error() == errc::wrong_thread);
  DOCTEST_CHECK(r.run_until(w).error() == errc::wrong_thread);
}

DOCTEST_TEST_CASE("a forked child is refused, its parent goes on") {
  manual_environment env;
  reactor r(env);
  DOCTEST_REQUIRE(r.poll().has_value());
  walker w;
  r.start(w);
  pid_t child = fork();
  if (child == 0) {
    bool refused = r.poll().error() == errc::forked &&
                   r.run_until(w).error() == errc::forked;
    _exit(refused ? 7 : 1);
  }
  int state = 0;
  waitpid(child, &state, 0);
  DOCTEST_CHECK(WIFEXITED(state));
  DOCTEST_CHECK(WEXITSTATUS(state) == 7);
  DOCTEST_CHECK(r.run_until(w).has_value());
}
