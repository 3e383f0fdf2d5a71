// Proves: the four faces give the same answers; deadlines and cancellation end waits; callbacks may
// start operations and destroy their own; a host on epoll that sleeps on event_fd and next_timeout
// never sleeps over work.
#include <sys/epoll.h>

#include <memory>
#include <vector>

#include "pleach/fiber.hh"
#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

u64 now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<u64>(t.tv_sec) * 1'000'000'000 + static_cast<u64>(t.tv_nsec);
}

/// An operation on the heap that counts its completion and destroys itself.
struct fire {
  pleach::operation op;
  int& left;
  template <class Make>
  fire(Make make, int& l) : op(make()), left(l) {}
  template <class Make>
  static void go(Make make, int& left) {
    ++left;
    auto* f = new fire(make, left);
    f->op.start(
        [](pleach::operation& o, void* self) {
          auto* mine = static_cast<fire*>(self);
          require_ok(o.result());
          --mine->left;
          delete mine;  // and `o` with it
        },
        f);
  }
};

}  // namespace

DOCTEST_TEST_CASE("blocking") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = create(s, "t");
  std::string k, v;
  pleach::answer put = s.run(t.put("a", "1"));
  require_ok(put);
  DOCTEST_CHECK(put.lsn != 0);
  DOCTEST_CHECK(s.run(t.put("a", "2")).what() == category::exists);
  DOCTEST_CHECK(s.run(t.update("b", "2")).what() == category::not_found);
  require_ok(s.run(t.update("a", "3")));
  require_ok(s.run(t.upsert("b", std::string(100'000, 'b'))));
  require_ok(s.run(t.get("a", v)));
  DOCTEST_CHECK(v == "3");
  require_ok(s.run(t.exists("b")));
  DOCTEST_CHECK(s.run(t.exists("c")).what() == category::not_found);
  require_ok(s.run(t.get_at_least("aa", k, v)));
  DOCTEST_CHECK(k == "b");
  DOCTEST_CHECK(v == std::string(100'000, 'b'));
  require_ok(s.run(t.get_at_most("aa", k, v)));
  DOCTEST_CHECK(k == "a");
  std::string old;
  require_ok(s.run(t.del("b", &old)));
  DOCTEST_CHECK(old == std::string(100'000, 'b'));
  DOCTEST_CHECK(s.run(t.del("b")).what() == category::not_found);
  pleach::answer last = s.run(t.upsert("o", "1", pleach::durability::ordered));
  require_ok(s.run(s.wait(last.lsn, pleach::watermark::visible)));
  require_ok(s.run(s.wait(last.lsn, pleach::watermark::durable)));
  require_ok(s.run(s.wait(last.lsn, pleach::watermark::placed)));
  require_ok(s.run(s.flush()));
  DOCTEST_CHECK(s.run(s.wait(last.lsn + 1000, pleach::watermark::durable)).what() ==
                category::invalid);
  pleach::operation op = t.get("a", v);
  op.tag = 7;
  DOCTEST_CHECK(!op.done());
  require_ok(s.run(op));
  DOCTEST_CHECK(op.done());
  DOCTEST_CHECK(op.tag == 7);
  auto trees = s.trees();
  DOCTEST_REQUIRE(trees);
  DOCTEST_REQUIRE(trees->size() == 1);
  DOCTEST_CHECK((*trees)[0].name == "t");
  DOCTEST_CHECK((*trees)[0].records == 2);
  DOCTEST_CHECK(t.name() == "t");
  DOCTEST_CHECK(t.id() == (*trees)[0].id);
}

DOCTEST_TEST_CASE("callbacks start operations and destroy their own") {
  scratch_file f("faces");
  format(f.path, 64 * mib, 8 * mib);
  pleach::store s = open(f.path);
  pleach::tree t = create(s, "t", 4096);
  int left = 0;
  for (int i = 0; i < 200; ++i) {
    std::string key = std::to_string(i);
    // Keys belong to the caller until completion: these live in static storage.
    static std::vector<std::string> keys(200);
    keys[static_cast<std::size_t>(i)] = key;
    fire::go([&] { return t.put(keys[static_cast<std::size_t>(i)], "value"); }, left);
  }
  host_until(s, left);
  DOCTEST_CHECK(t.record_count() == 200);

  // A chain: each callback starts the next operation in the storage of the one before.
  struct chain {
    pleach::store& s;
    pleach::tree& t;
    int left, at = 0, started_inside = 0;
    std::string key, value;
    std::unique_ptr<pleach::operation> op;
    void step() {
      key = std::to_string(at);
      op.reset();
      op.reset(at % 2 ? new pleach::operation(t.get(key, value))
                      : new pleach::operation(t.upsert(key, "chain")));
      op->start(
          [](pleach::operation& o, void* self) { static_cast<chain*>(self)->done(o.result()); },
          this);
    }
    void done(pleach::answer a) {
      require_ok(a);
      if (++at == 50)
        left = 0;
      else
        step();
    }
  } c{s, t, 1, 0, 0, {}, {}, {}};
  c.step();
  host_until(s, c.left);
  DOCTEST_CHECK(c.at == 50);
  require_clean(s);
}

namespace {
task coroutine_body(pleach::store& s, pleach::tree& t, int id, int& running) {
  ++running;
  std::string mine = "co" + std::to_string(id);
  for (int i = 0; i < 20; ++i) {
    std::string key = mine + "/" + std::to_string(i), value;
    pleach::answer a = co_await t.put(key, mine);
    require_ok(a);
    a = co_await t.get(key, value);
    require_ok(a);
    DOCTEST_REQUIRE(value == mine);
  }
  pleach::batch b(s);
  b.upsert(t, mine, "end");
  b.del(t, mine + "/0");
  pleach::answer a = co_await b.commit();
  require_ok(a);
  --running;
}
}  // namespace

DOCTEST_TEST_CASE("coroutines") {
  scratch_file f("faces");
  format(f.path, 64 * mib, 8 * mib);
  pleach::store s = open(f.path);
  pleach::tree t = create(s, "t", 4096);
  int running = 0;
  for (int i = 0; i < 32; ++i) coroutine_body(s, t, i, running);
  DOCTEST_CHECK(running == 32);
  host_until(s, running);
  DOCTEST_CHECK(t.record_count() == 32 * 20);
  require_clean(s);
}

DOCTEST_TEST_CASE("fibers") {
  scratch_file f("faces");
  format(f.path, 64 * mib, 8 * mib);
  pleach::store s = open(f.path);
  pleach::tree t = create(s, "t", 4096);
  int running = 0;
  std::vector<std::unique_ptr<pleach::fiber>> fibers;
  for (int id = 0; id < 16; ++id) {
    fibers.push_back(std::make_unique<pleach::fiber>());
    ++running;
    DOCTEST_REQUIRE(fibers.back()->start([&, id] {
      std::string mine = "fi" + std::to_string(id), value;
      for (int i = 0; i < 20; ++i) {
        std::string key = mine + "/" + std::to_string(i);
        require_ok(pleach::await(t.put(key, mine)));
        require_ok(pleach::await(t.get(key, value)));
        DOCTEST_REQUIRE(value == mine);
      }
      --running;
    }));
  }
  DOCTEST_CHECK(running == 16);
  DOCTEST_CHECK(fibers[0]->alive());
  host_until(s, running);
  for (auto& one : fibers) DOCTEST_CHECK(!one->alive());
  DOCTEST_CHECK(t.record_count() == 16 * 20);
  require_clean(s);
}

DOCTEST_TEST_CASE("a deadline and a cancel end a wait, what was changed stays") {
  scratch_file f("faces");
  format(f.path, 64 * mib, 8 * mib);
  pleach::store s = open(f.path);
  pleach::tree t = create(s, "t");
  // In the past: ends at its first wait; a durable put waits at least for the log.
  pleach::operation late = t.put("late", "v");
  late.deadline_ns(1);
  pleach::answer a = s.run(late);
  DOCTEST_CHECK(a.what() == category::cancelled);
  DOCTEST_CHECK(std::string(a.name()) == "timed_out");
  // Far away: no effect.
  pleach::operation early = t.put("early", "v");
  early.deadline_ns(now_ns() + 60'000'000'000);
  require_ok(s.run(early));

  pleach::operation op = t.put("cancelled", "v");
  int left = 1;
  op.start([](pleach::operation&, void* l) { --*static_cast<int*>(l); }, &left);
  op.cancel();
  op.cancel();
  host_until(s, left);
  DOCTEST_CHECK(op.result().what() == category::cancelled);
  op.cancel();  // done: no effect
  // Whether it is there or not: the store is whole and goes on.
  std::string v;
  (void)s.run(t.get("cancelled", v));
  require_ok(s.run(t.upsert("cancelled", "again")));
  // Many at once, cancelled wherever they are.
  std::vector<std::unique_ptr<pleach::operation>> ops;
  std::vector<std::string> keys;
  for (int i = 0; i < 64; ++i) keys.push_back("k" + std::to_string(i));
  std::string large(300'000, 'l');
  left = 0;
  for (int i = 0; i < 64; ++i) {
    std::string_view value = large;
    if (i % 3) value = "small";
    ops.emplace_back(new pleach::operation(t.upsert(keys[static_cast<std::size_t>(i)], value)));
    ++left;
    ops.back()->start([](pleach::operation&, void* l) { --*static_cast<int*>(l); }, &left);
  }
  int round = 0;
  while (left != 0) {
    if (round < 64) ops[static_cast<std::size_t>(round * 37 % 64)]->cancel();
    ++round;
    host_step(s);
  }
  for (auto& o : ops) {
    bool expected = o->result().ok() || o->result().what() == category::cancelled;
    DOCTEST_CHECK_MESSAGE(expected, o->result().text());
  }
  ops.clear();
  require_ok(s.run(s.flush()));
  require_clean(s);
}

DOCTEST_TEST_CASE("an epoll host that sleeps on event_fd and next_timeout") {
  scratch_file f("faces");
  format(f.path, 64 * mib, 8 * mib);
  for (pleach::device_kind kind : {pleach::device_kind::automatic, pleach::device_kind::threads}) {
    pleach::store s = open(f.path, 16 * mib, false, kind);
    pleach::tree t;
    if (!s.run(s.open_tree("t", t)).ok()) t = create(s, "t");
    int poller = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    DOCTEST_REQUIRE(::epoll_ctl(poller, EPOLL_CTL_ADD, s.event_fd(), &event) == 0);
    // One operation at a time, started between the sleeps: the host hears of each by the fd or the
    // timeout alone.
    int sleeps = 0;
    for (int i = 0; i < 300; ++i) {
      std::string key = std::to_string(i);
      int left = 1;
      pleach::operation op =
          t.upsert(key, "v", i % 2 ? pleach::durability::durable : pleach::durability::ordered);
      op.start([](pleach::operation&, void* l) { --*static_cast<int*>(l); }, &left);
      while (left != 0) {
        std::int64_t ns = s.next_timeout_ns();
        int ms = ns < 0 ? 10'000 : static_cast<int>((ns + 999'999) / 1'000'000);
        int n = ::epoll_wait(poller, &event, 1, ms);
        ++sleeps;
        bool overslept = n == 0 && ns < 0;
        DOCTEST_REQUIRE_MESSAGE(!overslept, s.waiting_text());
        DOCTEST_REQUIRE(s.poll());
      }
      require_ok(op.result());
    }
    DOCTEST_CHECK(sleeps >= 300);
    // With nothing to do it sleeps: no busy loop on a readable fd.
    require_ok(s.run(s.flush()));
    int busy = 0;
    for (int i = 0; i < 50; ++i) {
      std::int64_t ns = s.next_timeout_ns();
      int ms = ns < 0 || ns > 2'000'000 ? 2 : static_cast<int>((ns + 999'999) / 1'000'000);
      if (::epoll_wait(poller, &event, 1, ms) > 0) ++busy;
      DOCTEST_REQUIRE(s.poll());
    }
    DOCTEST_CHECK(busy < 45);
    ::close(poller);
  }
}
