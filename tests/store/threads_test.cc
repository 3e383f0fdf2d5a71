// Proves: post() from other threads reaches the polling thread; calls from another thread are
// refused, by a code and without harm.
#include <atomic>
#include <thread>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

DOCTEST_TEST_CASE("post from other threads wakes a sleeping host") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = create(s, "t");
  int expected = 4 * 200, done = 0;
  (void)s.event_fd();
  std::vector<std::thread> posters;
  for (int id = 0; id < 4; ++id)
    posters.emplace_back([&s, &done, &t, id] {
      for (int i = 0; i < 200; ++i) {
        s.post([&done, &t, id, i] {
          // On the polling thread: operations may start here.
          struct one {
            std::string key;
            pleach::operation op;
            int& done;
            one(std::string k, pleach::tree& tree, int& d)
                : key(std::move(k)), op(tree.put(key, "v")), done(d) {}
          };
          auto* o = new one(std::to_string(id) + "/" + std::to_string(i), t, done);
          o->op.start(
              [](pleach::operation& op, void* self) {
                require_ok(op.result());
                ++static_cast<one*>(self)->done;
                delete static_cast<one*>(self);
              },
              o);
        });
        if (i % 16 == 0) std::this_thread::yield();
      }
    });
  while (done != expected) host_step(s);
  for (std::thread& p : posters) p.join();
  DOCTEST_CHECK(t.record_count() == static_cast<u64>(expected));
}

DOCTEST_TEST_CASE("another thread than the polling one is refused") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = create(s, "t");
  category ran{}, started{}, polled{}, closed{}, listed{}, checked{};
  std::string name;
  std::thread other([&] {
    std::string v;
    pleach::answer a = s.run(t.put("k", "v"));
    ran = a.what();
    name = a.name();
    pleach::operation op = t.put("k", "v");
    bool called = false;
    op.start([](pleach::operation&, void* c) { *static_cast<bool*>(c) = true; }, &called);
    started = called ? op.result().what() : category::ok;
    auto p = s.poll();
    polled = p ? category::ok : p.error().what();
    auto l = s.trees();
    listed = l ? category::ok : l.error().what();
    auto c = s.check({});
    checked = c ? category::ok : c.error().what();
    auto e = s.close();
    closed = e ? category::ok : e.error().what();
  });
  other.join();
  DOCTEST_CHECK(ran == category::invalid);
  DOCTEST_CHECK(name == "wrong_thread");
  DOCTEST_CHECK(started == category::invalid);
  DOCTEST_CHECK(polled == category::invalid);
  DOCTEST_CHECK(listed == category::invalid);
  DOCTEST_CHECK(checked == category::invalid);
  DOCTEST_CHECK(closed == category::invalid);
  // No harm was done.
  require_ok(s.run(t.put("k", "v")));
  require_clean(s);
}

DOCTEST_TEST_CASE("a store that was opened here and is first used elsewhere") {
  pleach::store s = open_memory(64 * mib);
  category ran{};
  std::thread other([&] {
    pleach::tree t;
    ran = s.run(s.create_tree("t", {}, t)).what();
  });
  other.join();
  DOCTEST_CHECK(ran == category::invalid);
  create(s, "t");
}
