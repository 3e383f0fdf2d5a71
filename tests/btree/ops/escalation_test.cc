// Proves: an operation ends after a number of ticks that does not depend on how many others work on
// the same leaf (LOCKALL): 2 to 64 writers, batches, modifies and deletes of one leaf, among
// readers.
//
// How: a step watch counts the ticks of each operation, those of its sub-operations included. The
// writers' values change size, some need extents, so every CHECK may find another leaf than PLAN
// saw; the environment yields and fails checks at random besides.
//
// The bound of a write: it begins again at most `restarts_before_alone` (4) times before it holds
// the gate alone. Alone, nobody changes what it has planned for, but the environment fails CHECK
// now and then, which makes a new plan, not a restart. Besides, each pass may end in a request for
// more frames, which at least doubles the grant: at most 8 from the first grant to the limit. So
// there are at most 4 + 1 + 8 passes. In a pass the op is resumed once for each of its waits:
// start, gate, frames, at most 4 loads of 3 ticks (load, its sub-op, a yield), value to be read
// (4), bitmap pages (4), extent (4), spare frames (each of at most 8 twice), credit, commit,
// restart: below 64. A reader restarts only if its page was restructured while it waited for it.
#include <algorithm>
#include <map>
#include <memory>

#include "be/base/random.hh"
#include "tests/support/sim_store.hh"

namespace pleach {
namespace {

constexpr u64 passes = 4 + 1 + 8;
constexpr u64 ticks_of_a_pass = 64;
constexpr u64 bound = passes * ticks_of_a_pass;

/// Ticks by operation, since it was forgotten last.
class tick_counter final : public sm::step_watch {
 public:
  tick_counter() { sm::watched_by = this; }
  ~tick_counter() override { sm::watched_by = nullptr; }
  void step_begins(const sm::op* runs) override {
    if (runs != nullptr) ++ticks_[runs];
  }
  void step_ends() override {}
  /// Of the op, and of all that lie inside of it.
  u64 take(const sm::op& o, std::size_t bytes) {
    const char* begin = reinterpret_cast<const char*>(&o);
    u64 sum = 0;
    for (auto i = ticks_.begin(); i != ticks_.end();) {
      const char* at = reinterpret_cast<const char*>(i->first);
      bool inside = at >= begin && at < begin + bytes;
      if (inside) sum += i->second;
      i = inside ? ticks_.erase(i) : std::next(i);
    }
    return sum;
  }

 private:
  std::map<const sm::op*, u64> ticks_;
};

struct measured {
  u64 write = 0, read = 0;  ///< most ticks of one operation
  u64 operations = 0, alone = 0, restarts = 0;
};

btree::verdict turn_round(void*, bool present, std::string& value) {
  if (!present) value = "new";
  std::reverse(value.begin(), value.end());
  value += 'm';
  if (value.size() > 500) value.resize(3);
  return btree::verdict::STORE;
}

/// One that starts operations on the leaf, one after the other.
struct actor {
  fixture* f = nullptr;
  btree::tree* t = nullptr;
  random_stream random{1};
  btree::write_op write;
  btree::read_op read;
  std::string key, value, got, edit;
  std::string keys[4];
  std::vector<btree::write_item> items;
  bool reads = false;

  sm::op& op() { return reads ? static_cast<sm::op&>(read) : write; }
  std::size_t bytes() const { return reads ? sizeof read : sizeof write; }

  std::string draw_key() { return "k" + std::to_string(random.below(12)); }
  std::string draw_value() {
    u64 size = random.chance(100) ? 3000 + random.below(9000) : random.below(280);
    return std::string(size, static_cast<char>('a' + random.below(26)));
  }

  void start() {
    op().reset();
    key = draw_key();
    if (reads) {
      read.prepare(*t, random.chance(500) ? seek::EXACT : seek::AT_LEAST, as_bytes(key),
                   {nullptr, &got, nullptr});
    } else if (u64 what = random.below(10); what < 5) {
      value = draw_value();
      write.prepare(*t, change::UPSERT, as_bytes(key), as_bytes(value), nullptr, false);
    } else if (what < 7) {
      write.prepare(*t, change::DELETE, as_bytes(key), {}, nullptr, false);
    } else if (what < 8) {
      write.prepare_modify(*t, as_bytes(key), {turn_round, nullptr, &edit}, false);
    } else {
      start_batch();
    }
    f->store->loop.start(op());
  }

  void start_batch() {
    value = draw_value();
    for (std::string& k : keys) k = draw_key();
    std::sort(std::begin(keys), std::end(keys));
    items.clear();
    for (u32 i = 0; i < 4; ++i) {
      btree::write_item item;
      item.t = t;
      item.kind = i % 2 == 0 ? change::UPSERT : change::DELETE;
      item.key = as_bytes(keys[i]);
      if (item.kind == change::UPSERT) item.value = as_bytes(value);
      item.sequence = i;
      items.push_back(item);
    }
    write.prepare(*f->store->ctx, items, false);
  }

  void judge() {
    errc e = op().out.code;
    DOCTEST_REQUIRE((e == errc::ok || e == errc::not_found));
  }
};

measured crowd(u32 writers, u32 each, u64 seed) {
  fixture f(1, 256, 8 << 20);
  btree::tree& t = f.create("t", 1);
  for (u32 i = 0; i < 12; ++i)
    DOCTEST_REQUIRE(f.put(t, "k" + std::to_string(i), std::string(150, 'v')) == errc::ok);
  f.env.chaotic = true;
  f.env.set_chaos("yield", 200);
  f.env.set_chaos("check", 100);
  tick_counter ticks;
  measured m;
  std::vector<std::unique_ptr<actor>> actors;
  std::vector<u32> left;
  for (u32 i = 0; i < writers + writers / 4 + 1; ++i) {
    actors.push_back(std::make_unique<actor>());
    actor& a = *actors.back();
    a.f = &f;
    a.t = &t;
    a.random = random_stream(mix64(seed * 1000 + i));
    a.reads = i >= writers;
    left.push_back(each);
    a.start();
  }
  for (bool running = true; running;) {
    struct wait {
      std::vector<std::unique_ptr<actor>>* actors;
      std::vector<u32>* left;
    } w{&actors, &left};
    DOCTEST_REQUIRE(f.store->loop.run_while(
        [](void* p) {
          auto& x = *static_cast<wait*>(p);
          for (u32 i = 0; i < x.actors->size(); ++i)
            if ((*x.left)[i] != 0 && (*x.actors)[i]->op().done()) return false;
          return true;
        },
        &w));
    running = false;
    for (u32 i = 0; i < actors.size(); ++i) {
      actor& a = *actors[i];
      if (left[i] != 0 && a.op().done()) {
        a.judge();
        u64 n = ticks.take(a.op(), a.bytes());
        u64& most = a.reads ? m.read : m.write;
        most = std::max(most, n);
        ++m.operations;
        if (--left[i] != 0) a.start();
      }
      running |= left[i] != 0;
    }
  }
  const btree::tree_statistics& s = f.store->ctx->stats;
  m.alone = s.lock_all;
  m.restarts = s.restart_check + s.restart_plan + s.restart_stale;
  f.env.chaotic = false;
  return m;
}

}  // namespace

DOCTEST_TEST_CASE("the ticks of an operation are bounded, however many work on its leaf") {
  u64 alone = 0, restarts = 0, most = 0;
  for (u32 writers : {2u, 4u, 8u, 16u, 32u, 64u}) {
    DOCTEST_CAPTURE(writers);
    measured m = crowd(writers, 40, writers);
    DOCTEST_CHECK(m.operations == u64{40} * (writers + writers / 4 + 1));
    DOCTEST_CHECK(m.write < bound);
    DOCTEST_CHECK(m.read < ticks_of_a_pass);
    DOCTEST_MESSAGE(writers << " writers: most ticks of a write " << m.write << ", of a read "
                            << m.read << "; restarts " << m.restarts << ", alone " << m.alone);
    alone += m.alone;
    restarts += m.restarts;
    most = std::max(most, m.write);
  }
  // The crowd was one: operations restarted, and some went through the gate alone.
  DOCTEST_CHECK(restarts > 100);
  DOCTEST_CHECK(alone >= 5);
  // And the bound is no idle one.
  DOCTEST_CHECK(most > 10);
}

}  // namespace pleach
