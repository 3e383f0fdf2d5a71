// Proves: modify sees the record as it is when it changes it, whatever else goes on; it stores,
// grows, shrinks, erases, keeps, inserts; visit shows the bytes; functions that fail or throw
// change nothing.
#include <array>
#include <memory>
#include <stdexcept>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;
using pleach::edit;

namespace {

/// What an editor was shown, and what it shall do.
struct script {
  explicit script(std::string b, edit a = edit::store) : answer(a), becomes(std::move(b)) {}
  edit answer;
  std::string becomes;
  int calls = 0;
  bool present = false;
  std::string seen;

  static edit run(void* self, bool present, std::string& value) {
    auto& s = *static_cast<script*>(self);
    ++s.calls;
    s.present = present;
    s.seen = value;
    value = s.becomes;
    return s.answer;
  }
};

struct look {
  std::string seen;
  bool answer = true;
  static bool run(void* self, std::string_view value) {
    auto& l = *static_cast<look*>(self);
    l.seen = value;
    return l.answer;
  }
};

std::string value_of(pleach::store& s, pleach::tree& t, std::string_view key) {
  std::string v = "absent";
  static_cast<void>(s.run(t.get(key, v)));
  return v;
}

}  // namespace

DOCTEST_TEST_CASE("an editor decides what becomes of a record, small or large") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = create(s, "t");
  const std::string sizes[] = {"", "x", std::string(3000, 'm'), std::string(200'000, 'l')};
  std::string room;
  for (const std::string& old : sizes)
    for (const std::string& next : sizes) {
      script insert(old);
      require_ok(s.run(t.modify("k", room, script::run, &insert)));
      DOCTEST_CHECK(!insert.present);
      DOCTEST_CHECK(insert.seen == "");
      DOCTEST_CHECK(value_of(s, t, "k") == old);

      script keep("not this", edit::keep);
      require_ok(s.run(t.modify("k", room, script::run, &keep)));
      DOCTEST_CHECK(keep.present);
      DOCTEST_CHECK(keep.seen == old);
      DOCTEST_CHECK(value_of(s, t, "k") == old);

      script refuse(next, edit::fail);
      DOCTEST_CHECK(std::string(s.run(t.modify("k", room, script::run, &refuse)).name()) ==
                    "callback_failed");
      DOCTEST_CHECK(value_of(s, t, "k") == old);

      script store(next);
      require_ok(s.run(t.modify("k", room, script::run, &store)));
      DOCTEST_CHECK(store.seen == old);
      DOCTEST_CHECK(value_of(s, t, "k") == next);
      DOCTEST_CHECK(t.record_count() == 1);
      DOCTEST_CHECK(t.byte_count() == 1 + next.size());

      look l;
      require_ok(s.run(t.visit("k", look::run, &l)));
      DOCTEST_CHECK(l.seen == next);
      l.answer = false;
      DOCTEST_CHECK(std::string(s.run(t.visit("k", look::run, &l)).name()) == "callback_failed");

      script erase("", edit::erase);
      require_ok(s.run(t.modify("k", room, script::run, &erase)));
      DOCTEST_CHECK(erase.seen == next);
      DOCTEST_CHECK(t.record_count() == 0);
      require_ok(s.run(t.modify("k", room, script::run, &erase)));
      DOCTEST_CHECK(!erase.present);
      DOCTEST_CHECK(s.run(t.visit("k", look::run, &l)).what() == category::not_found);
    }
}

DOCTEST_TEST_CASE("what an editor may not do") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = create(s, "t");
  std::string room;
  require_ok(s.run(t.put("k", "v")));
  script huge(std::string(s.limits().value_bytes + 1, 'h'));
  DOCTEST_CHECK(s.run(t.modify("k", room, script::run, &huge)).what() == category::too_large);
  DOCTEST_CHECK(value_of(s, t, "k") == "v");
  auto throws = [](void*, bool, std::string& v) -> edit {
    v = "half done";
    throw std::runtime_error("no");
  };
  DOCTEST_CHECK(std::string(s.run(t.modify("k", room, throws, nullptr)).name()) ==
                "callback_failed");
  auto blind = [](void*, std::string_view) -> bool { throw std::runtime_error("no"); };
  DOCTEST_CHECK(std::string(s.run(t.visit("k", blind, nullptr)).name()) == "callback_failed");
  DOCTEST_CHECK(value_of(s, t, "k") == "v");
  DOCTEST_CHECK(s.run(t.modify("k", room, nullptr, nullptr)).what() == category::invalid);
  DOCTEST_CHECK(s.run(t.visit("k", nullptr, nullptr)).what() == category::invalid);
  auto nested = [](void* p, bool, std::string&) -> edit {
    return static_cast<pleach::store*>(p)->poll() ? edit::store : edit::fail;
  };
  DOCTEST_CHECK(std::string(s.run(t.modify("k", room, nested, &s)).name()) == "callback_failed");
  DOCTEST_CHECK(value_of(s, t, "k") == "v");
}

DOCTEST_TEST_CASE("counters: no increment is lost, whatever is in flight") {
  // Each increment changes the value's length too, so that leaves split, grow and merge meanwhile.
  pleach::store s = open_memory(64 * mib, 4 * mib);
  pleach::tree t = create(s, "t");
  constexpr int keys = 40, in_flight = 64, total = 8000;
  struct one {
    std::string room, key;
    std::unique_ptr<pleach::operation> op;
  };
  struct frame {
    int started = 0, done = 0, asked = 0;
    u64 draw = 7;
    pleach::tree* t;
    std::array<one, in_flight> ops;
    void next(one& o) {
      if (started == total) return;
      ++started;
      draw = draw * 6364136223846793005u + 1442695040888963407u;
      o.key = "counter" + std::to_string((draw >> 33) % keys);
      o.op.reset(
          new pleach::operation(t->modify(o.key, o.room, add, this, pleach::durability::ordered)));
      o.op->tag = static_cast<u64>(&o - ops.data());
      o.op->start(finished, this);
    }
    static edit add(void* self, bool present, std::string& value) {
      auto& f = *static_cast<frame*>(self);
      ++f.asked;
      unsigned long n = present ? std::stoul(value) + 1 : 1;
      value = std::to_string(n) + " " + std::string(n % 37 * (n % 11 == 0 ? 150 : 3), 'p');
      return edit::store;
    }
    static void finished(pleach::operation& op, void* self) {
      auto& f = *static_cast<frame*>(self);
      require_ok(op.result());
      ++f.done;
      f.next(f.ops[op.tag]);
    }
  } f;
  f.t = &t;
  for (one& o : f.ops) f.next(o);
  while (f.done < total) DOCTEST_REQUIRE(s.poll());
  u64 sum = 0;
  for (int k = 0; k < keys; ++k) sum += std::stoul(value_of(s, t, "counter" + std::to_string(k)));
  DOCTEST_CHECK(sum == total);
  DOCTEST_CHECK(f.asked >= total);
  auto report = s.check({});
  DOCTEST_REQUIRE(report);
  DOCTEST_CHECK(report->clean);
}
