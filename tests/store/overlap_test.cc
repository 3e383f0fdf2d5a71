// Proves: operations that are made early, started late, or end together do what their order says:
// creations and drops of one name, commits of what comes to a writer or a batch after they were
// made, cursors that move meanwhile, checks among writers, stores that are closed in between.
#include <memory>
#include <thread>
#include <vector>

#include "pleach/compare.hh"
#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

void until(pleach::store& s, std::initializer_list<const pleach::operation*> ops) {
  for (const pleach::operation* op : ops)
    while (!op->done()) DOCTEST_REQUIRE(s.poll());
}

constexpr auto ignore = [](pleach::operation&, void*) {};

}  // namespace

DOCTEST_TEST_CASE("of several drops of a tree one drops it") {
  scratch_file f("overlap");
  format(f.path, 32 * mib, 4 * mib);
  for (const u32 records : {0u, 10u, 2000u, 20'000u}) {
    DOCTEST_CAPTURE(records);
    {
      pleach::store s = open(f.path);
      pleach::tree t = create(s, "t");
      pleach::batch b(s);
      for (u32 i = 0; i < records; ++i) {
        b.upsert(t, std::to_string(i), std::string(40, 'v'));
        if (b.size() < 5000 && i + 1 < records) continue;
        require_ok(s.run(b.commit()));
        b.clear();
      }
    }
    pleach::store s = open(f.path);
    pleach::operation one = s.drop_tree("t"), two = s.drop_tree("t"), three = s.drop_tree("t");
    for (pleach::operation* op : {&one, &two, &three}) op->start(ignore, nullptr);
    until(s, {&one, &two, &three});
    require_ok(one.result());
    for (const pleach::operation* op : {&two, &three})
      DOCTEST_CHECK(op->result().what() == category::not_found);
    pleach::tree t;
    DOCTEST_CHECK(s.run(s.open_tree("t", t)).what() == category::not_found);
    require_clean(s);
  }
}

DOCTEST_TEST_CASE("a tree is dropped before its creation is heard of") {
  u32 dropped = 0;
  for (u32 rounds = 0; rounds < 20; ++rounds) {
    DOCTEST_CAPTURE(rounds);
    pleach::store s = open_memory(64 * mib);
    pleach::tree t, other;
    pleach::operation made = s.create_tree("t", {}, t);
    made.start(ignore, nullptr);
    for (u32 i = 0; i < rounds; ++i) DOCTEST_REQUIRE(s.poll());
    pleach::operation gone = s.drop_tree("t"), again = s.create_tree("t", {}, other);
    gone.start(ignore, nullptr);
    until(s, {&made, &gone});
    require_ok(made.result());
    if (!gone.result().ok()) {  // it was looked for before it was made
      DOCTEST_CHECK(gone.result().what() == category::not_found);
      continue;
    }
    ++dropped;
    std::string v;
    DOCTEST_CHECK(std::string(s.run(t.put("k", "v")).name()) == "tree_closed");
    DOCTEST_CHECK(std::string(s.run(t.get("k", v)).name()) == "tree_closed");
    require_ok(s.run(again));
    require_ok(s.run(other.put("k", "v")));
    require_ok(s.run(open_tree(s, "t").get("k", v)));
    require_clean(s);
  }
  DOCTEST_CHECK(dropped > 0);
}

DOCTEST_TEST_CASE("a commit takes what is there when it starts") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = create(s, "t");
  std::string v;
  for (const std::size_t length : {std::size_t{5}, std::size_t{300'000}, 3 * std::size_t{mib}}) {
    pleach::value_writer w(t, "value");
    const std::string given(length, 'g');
    pleach::operation write = w.write(given), commit = w.commit();
    require_ok(s.run(write));
    require_ok(s.run(commit));
    require_ok(s.run(t.get("value", v)));
    DOCTEST_CHECK(v == given);
  }
  {
    pleach::value_writer w(t, "early");
    const std::string given(2 * mib, 'g');
    pleach::operation write = w.write(given), commit = w.commit();
    write.start(ignore, nullptr);
    commit.start(ignore, nullptr);
    until(s, {&write, &commit});
    DOCTEST_CHECK(commit.result().what() == category::invalid);
    DOCTEST_CHECK(s.run(t.get("early", v)).what() == category::not_found);
  }
  pleach::batch b(s);
  b.upsert(t, "a", "1");
  pleach::operation commit = b.commit(), second = b.commit();
  for (u32 i = 0; i < 1000; ++i) b.upsert(t, "more" + std::to_string(i), std::string(100, 'm'));
  commit.start(ignore, nullptr);
  second.start(ignore, nullptr);
  until(s, {&commit, &second});
  require_ok(commit.result());
  DOCTEST_CHECK(second.result().what() == category::invalid);
  u64 n = 0;
  require_ok(s.run(t.count("more", "morf", n)));
  DOCTEST_CHECK(n == 1000);
  b.clear();
  b.upsert(t, "b", "2");
  require_ok(s.run(b.commit()));
  require_clean(s);
}

DOCTEST_TEST_CASE("a step of a cursor goes on from where it was made") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = create(s, "t");
  const auto key = [](u32 i) { return std::string(100, 'k') + std::to_string(1000 + i); };
  for (u32 i = 0; i < 20; ++i) require_ok(s.run(t.put(key(i), "v")));
  pleach::cursor c(t);
  require_ok(s.run(c.seek(key(5))));
  pleach::operation step = c.next();
  DOCTEST_CHECK(c.try_next());
  DOCTEST_CHECK(c.try_next());
  require_ok(s.run(step));
  DOCTEST_CHECK(c.key() == key(6));
}

DOCTEST_TEST_CASE("what was made before its store was closed says so") {
  static const auto backwards = [](std::string_view a, std::string_view b, void*) {
    return b.compare(a);
  };
  pleach::open_options o;
  o.comparators = {{"backwards", backwards}};
  pleach::store s = *pleach::store::open_memory(64 * mib, o);
  pleach::tree t;
  require_ok(s.run(s.create_tree(
      "t", {.order = pleach::key_order::registered, .comparator = "backwards"}, t)));
  require_ok(s.run(t.put("c", "v")));
  pleach::cursor c(t);
  c.range("y", "b");
  std::string v;
  pleach::lookup lookups[] = {{"c", &v}, {"d", &v}};
  pleach::operation many = t.multi_get(lookups), again = t.multi_get(lookups);
  DOCTEST_REQUIRE(s.close());
  const auto closed = [](const pleach::answer& a) {
    DOCTEST_CHECK(std::string(a.name()) == "tree_closed");
  };
  closed(s.run(c.seek("c")));
  closed(s.run(c.seek_at_most("c")));
  closed(s.run(c.next()));
  closed(s.run(many));
  for (const pleach::lookup& l : lookups) closed(l.result);
  again.start(ignore, nullptr);
  closed(again.result());
  pleach::compare_options by_walking;
  const auto compared = pleach::compare(s, t, s, t, {}, by_walking);
  DOCTEST_REQUIRE(!compared);
  DOCTEST_CHECK(compared.error().what() == category::invalid);
}

DOCTEST_TEST_CASE("nobody has been given an LSN that is to come") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = create(s, "t");
  const pleach::answer a = s.run(t.put("k", "v"));
  for (const pleach::watermark w :
       {pleach::watermark::visible, pleach::watermark::durable, pleach::watermark::placed}) {
    require_ok(s.run(s.wait(a.lsn, w)));
    DOCTEST_CHECK(s.run(s.wait(a.lsn + 1, w)).what() == category::invalid);
  }
}

namespace {

/// Puts without end, each from the callback of the one before.
struct putter {
  putter(pleach::store& to, pleach::tree& into, u32 number) : s(to), t(into), n(number) { next(); }
  void next() {
    key = std::to_string(n = (n * 2654435761u + 1) % 100'000);
    op.reset(new pleach::operation(n % 3 ? t.upsert(key, "v") : t.del(key)));
    op->start(
        [](pleach::operation& done, void* self) {
          auto& p = *static_cast<putter*>(self);
          const pleach::answer a = done.result();
          p.refused = std::string(a.name()) == "checking";
          if (a.ok() || a.what() == category::not_found) p.next();
        },
        this);
  }
  pleach::store& s;
  pleach::tree& t;
  u32 n;
  std::string key;
  bool refused = false;
  std::unique_ptr<pleach::operation> op;
};

}  // namespace

DOCTEST_TEST_CASE("a check finds no damage where others were writing") {
  pleach::store s = open_memory(64 * mib, 4 * mib);
  pleach::tree t = create(s, "t");
  for (u32 i = 0; i < 3000; ++i)
    require_ok(s.run(t.upsert(std::to_string(i * 7919 % 100'000), std::string(300, 'v'),
                              pleach::durability::ordered)));
  std::vector<std::unique_ptr<putter>> all;
  for (u32 i = 0; i < 8; ++i) all.emplace_back(new putter(s, t, i));
  for (u32 i = 0; i < 50; ++i) DOCTEST_REQUIRE(s.poll());
  require_clean(s);
  for (const auto& p : all) DOCTEST_CHECK(p->refused);
  require_ok(s.run(t.upsert("k", "v")));
}

DOCTEST_TEST_CASE("trees are listed while one of them goes") {
  scratch_file f("overlap");
  format(f.path, 32 * mib, 4 * mib);
  for (u32 rounds = 0; rounds < 12; ++rounds) {
    pleach::store s = open(f.path);
    create(s, "goes");
    pleach::operation gone = s.drop_tree("goes");
    gone.start(ignore, nullptr);
    for (u32 i = 0; i < rounds; ++i) DOCTEST_REQUIRE(s.poll());
    const auto all = s.trees();
    DOCTEST_REQUIRE_MESSAGE(all, (all ? "" : all.error().message));
    DOCTEST_CHECK(all->size() <= 1);
    until(s, {&gone});
    require_ok(gone.result());
  }
}

DOCTEST_TEST_CASE("a store belongs to a thread, not to who has its identity") {
  scratch_file f("overlap");
  format(f.path, 32 * mib, 4 * mib);
  std::unique_ptr<pleach::store> s;
  u64 same = 0;
  pthread_t opener{};
  std::thread([&] {
    opener = pthread_self();
    s = std::make_unique<pleach::store>(open(f.path));
    create(*s, "t");
  }).join();
  for (u32 tries = 0; tries < 10; ++tries)
    std::thread([&] {
      same += pthread_equal(opener, pthread_self()) != 0;
      pleach::tree t;
      DOCTEST_CHECK(std::string(s->run(s->open_tree("t", t)).name()) == "wrong_thread");
      DOCTEST_CHECK(!s->trees());
      DOCTEST_CHECK(!s->close());
    }).join();
  DOCTEST_CHECK(same > 0);
  // It cannot be closed here: it is left as it is, locked.
  s.reset();
}

DOCTEST_TEST_CASE("a forked child that ends in the usual way takes nothing down") {
  scratch_file f("overlap");
  format(f.path, 32 * mib, 4 * mib);
  auto s = std::make_unique<pleach::store>(open(f.path));
  pleach::tree t = create(*s, "t");
  DOCTEST_CHECK(in_child([&] {
                  s.reset();
                  return 0;
                }) == 0);
  require_ok(s->run(t.put("k", "v")));
  require_clean(*s);
}
