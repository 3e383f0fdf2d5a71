// Proves: with many operations in flight on keys that share more than their nodes hold of them,
// each ends, finds what it must find, and the tree is the model's afterwards; cursors skip and
// repeat nothing; cancelled at any moment an operation has changed all or nothing; what was
// reserved for keys comes back, also when the store is closed or the tree dropped meanwhile.
#include <deque>
#include <memory>

#include "tests/store/long_keys.hh"

using namespace store_test;
using pleach::category;

namespace {

constexpr auto ordered = pleach::durability::ordered;
constexpr std::size_t shared_bytes = inline_bytes + 476;

#define SAME(a, expected) DOCTEST_REQUIRE_MESSAGE(((a).what() == (expected)), (a).text())

/// Keys by number: every tenth is a pillar, which stays.
struct world {
  judged_tree& w;
  u64 span, actors;
  int walkers = 0;
  bool stop = false;
  static bool pillar(u64 i) { return i % 10 == 0; }
  static std::string key(u64 i) { return sharing_key(shared_bytes, i); }
};

/// Changes and reads keys of its own, among those of all others, and knows what it must find. What
/// was cancelled it looks up afterwards.
class actor {
 public:
  actor(world& of, u64 number) : of_(of), number_(number), random_(base_seed() * 100 + number) {}
  void start() { next(); }
  bool idle() const { return op_ == nullptr; }
  u64 turns() const { return turns_; }
  void cancel() {
    if (op_ == nullptr || op_->done()) return;
    cancelled_ = true;
    op_->cancel();
  }

 private:
  enum class doing { PUT, UPSERT, DEL, GET, NEXT, PREV, COUNT, LOOK };

  void next() {
    if (of_.stop) return;
    ++turns_;
    do id_ = random_() % (of_.span / of_.actors) * of_.actors + number_;
    while (world::pillar(id_));
    key_ = world::key(id_);
    const auto at = mine_.find(key_);
    before_.reset();
    if (at != mine_.end()) before_ = at->second;
    value_ = value_of(random_());
    got_ = found_ = "untouched";
    const u64 r = random_() % 100;
    what_ = r < 25   ? doing::PUT
            : r < 40 ? doing::UPSERT
            : r < 60 ? doing::DEL
            : r < 80 ? doing::GET
            : r < 89 ? doing::NEXT
            : r < 98 ? doing::PREV
                     : doing::COUNT;
    begin();
  }
  void begin() {
    cancelled_ = false;
    pleach::tree& t = of_.w.t;
    switch (what_) {
      case doing::PUT:
        return run(new pleach::operation(t.put(key_, value_, ordered, &near_)));
      case doing::UPSERT:
        return run(new pleach::operation(t.upsert(key_, value_, ordered)));
      case doing::DEL:
        return run(new pleach::operation(t.del(key_, &got_, ordered, &near_)));
      case doing::GET:
      case doing::LOOK:
        return run(new pleach::operation(t.get(key_, got_, &near_)));
      case doing::NEXT:
        return run(new pleach::operation(t.next(key_, found_, got_)));
      case doing::PREV:
        return run(new pleach::operation(t.prev(key_, found_, got_)));
      case doing::COUNT:
        return run(new pleach::operation(t.count(key_, {}, count_)));
    }
  }
  void run(pleach::operation* op) {
    op_.reset(op);
    op->start(
        [](pleach::operation&, void* self) {
          auto& a = *static_cast<actor*>(self);
          const std::unique_ptr<pleach::operation> done = std::move(a.op_);
          a.judge(done->result());
        },
        this);
  }
  void judge(const pleach::answer& a) {
    if (cancelled_ && a.what() == category::cancelled) {
      const bool changes = what_ == doing::PUT || what_ == doing::UPSERT || what_ == doing::DEL;
      if (!changes) return next();
      was_ = what_;
      what_ = doing::LOOK;
      return begin();
    }
    switch (what_) {
      case doing::PUT:
        SAME(a, before_ ? category::exists : category::ok);
        mine_.emplace(key_, value_);
        break;
      case doing::UPSERT:
        SAME(a, category::ok);
        mine_[key_] = value_;
        break;
      case doing::DEL:
        SAME(a, before_ ? category::ok : category::not_found);
        if (before_) DOCTEST_REQUIRE((got_ == *before_));
        mine_.erase(key_);
        break;
      case doing::GET:
        SAME(a, before_ ? category::ok : category::not_found);
        if (before_) DOCTEST_REQUIRE((got_ == *before_));
        break;
      case doing::NEXT: {
        // Nobody else changes my keys: none of them is skipped.
        const auto at = mine_.upper_bound(key_);
        if (a.ok()) DOCTEST_REQUIRE((found_ > key_));
        if (at == mine_.end()) break;
        SAME(a, category::ok);
        DOCTEST_REQUIRE((found_ <= at->first));
        break;
      }
      case doing::PREV: {
        const auto at = mine_.lower_bound(key_);
        SAME(a, category::ok);  // there is a pillar
        DOCTEST_REQUIRE((found_ < key_));
        if (at != mine_.begin()) DOCTEST_REQUIRE((found_ >= std::prev(at)->first));
        break;
      }
      case doing::COUNT:
        SAME(a, category::ok);
        DOCTEST_REQUIRE(count_ >=
                        static_cast<u64>(std::distance(mine_.lower_bound(key_), mine_.end())));
        break;
      case doing::LOOK:
        // All of it, or nothing.
        if (a.ok()) {
          const bool old = before_ && got_ == *before_;
          const bool fresh = was_ != doing::DEL && got_ == value_;
          DOCTEST_REQUIRE((old || fresh));
          mine_[key_] = got_;
        } else {
          SAME(a, category::not_found);
          DOCTEST_REQUIRE((!before_ || was_ == doing::DEL));
          mine_.erase(key_);
        }
    }
    next();
  }

 public:
  model mine_;

 private:
  world& of_;
  u64 number_, turns_ = 0, id_ = 0, count_ = 0;
  std::mt19937_64 random_;
  std::unique_ptr<pleach::operation> op_;
  doing what_ = doing::GET, was_ = doing::GET;
  bool cancelled_ = false;
  std::string key_, value_, got_, found_;
  std::optional<std::string> before_;
  pleach::cookie near_;
};

/// Over all keys, again and again: in order, and every pillar once.
task walk(world& of, bool forward, u32 passes) {
  ++of.walkers;
  for (u32 pass = 0; pass < passes; ++pass) {
    pleach::cursor c(of.w.t);
    std::string last;
    u64 pillars = 0;
    pleach::answer a;
    if (forward)
      a = co_await c.first();
    else
      a = co_await c.last();
    while (a.ok()) {
      const std::string key(c.key());
      if (!last.empty()) DOCTEST_REQUIRE((forward ? last < key : key < last));
      if (c.value() == "pillar") {
        const u64 expected = forward ? pillars * 10 : of.span - 10 - pillars * 10;
        require_key(key, world::key(expected));
        ++pillars;
      }
      last = key;
      const bool stepped = forward ? c.try_next() : c.try_prev();
      if (stepped) continue;
      if (forward)
        a = co_await c.next();
      else
        a = co_await c.prev();
    }
    SAME(a, category::not_found);
    DOCTEST_REQUIRE(pillars == of.span / 10);
  }
  --of.walkers;
}

/// All pillars at once, again and again.
task look_up(world& of, u32 times) {
  ++of.walkers;
  for (u32 i = 0; i < times; ++i) {
    std::deque<std::string> keys, values;
    std::vector<pleach::lookup> all;
    for (u64 id = 0; id < of.span; id += 10) {
      keys.push_back(world::key(id));
      values.emplace_back();
      all.push_back({keys.back(), &values.back()});
    }
    pleach::answer a = co_await of.w.t.multi_get(all);
    require_ok(a);
    for (std::size_t k = 0; k < all.size(); ++k) {
      require_ok(all[k].result);
      DOCTEST_REQUIRE((values[k] == "pillar"));
    }
  }
  --of.walkers;
}

/// Fills a group of its own with batches, and deletes ranges of it.
task sweep(world& of, u64 number, u32 times) {
  ++of.walkers;
  std::mt19937_64 random(base_seed() + number);
  const std::string stem = bytes_of(1000 + number, 2 * inline_bytes), end = stem + "~";
  for (u32 i = 0; i < times; ++i) {
    pleach::batch b(of.w.s());
    u64 n = 0, left = 0;
    for (u64 k = 0; k < 60; ++k) b.upsert(of.w.t, stem + digits(k), value_of(k));
    pleach::answer a = co_await b.commit(ordered);
    require_ok(a);
    const std::string from = stem + digits(random() % 60), to = stem + digits(random() % 60) + "x";
    a = co_await of.w.t.count(from, to, left);
    require_ok(a);
    a = co_await of.w.t.delete_range(from, to, n, ordered);
    require_ok(a);
    DOCTEST_REQUIRE(n == left);
    a = co_await of.w.t.count(from, to, left);
    require_ok(a);
    DOCTEST_REQUIRE(left == 0);
  }
  u64 n = 0;
  pleach::answer a = co_await of.w.t.delete_range(stem, end, n, ordered);
  require_ok(a);
  --of.walkers;
}

}  // namespace

DOCTEST_TEST_CASE("actors, walkers, lookups and ranges at once on one group") {
  struct setting {
    u32 node_bytes;
    u64 cache, cancel_each;
  };
  for (const setting& of : {setting{4096, 32 * mib, 0}, setting{4096, 6 * mib, 7},
                            setting{16384, 8 * mib, 0}, setting{65536, 16 * mib, 7}}) {
    DOCTEST_CAPTURE(of.node_bytes);
    DOCTEST_CAPTURE(of.cancel_each);
    judged_tree w({.tree = {.node_bytes = of.node_bytes}, .cache = of.cache});
    world all{w, 400, 23};
    for (u64 i = 0; i < all.span; i += 10) w.put(world::key(i), "pillar");
    std::deque<actor> actors;
    for (u64 i = 0; i < all.actors; ++i) actors.emplace_back(all, i);
    for (actor& a : actors) a.start();
    walk(all, true, 3);
    walk(all, false, 3);
    look_up(all, 10);
    sweep(all, 1, 12);
    sweep(all, 2, 12);
    std::mt19937_64 random(base_seed());
    u64 turns = 0;
    for (u64 round = 0; all.walkers != 0 || turns < 4000; ++round) {
      host_step(w.s());
      if (of.cancel_each != 0 && round % of.cancel_each == 0)
        actors[random() % actors.size()].cancel();
      turns = 0;
      for (const actor& a : actors) turns += a.turns();
      DOCTEST_REQUIRE_MESSAGE(round < 3'000'000, w.s().waiting_text());
    }
    all.stop = true;
    for (actor& a : actors)
      while (!a.idle()) host_step(w.s());
    for (const actor& a : actors) w.m.insert(a.mine_.begin(), a.mine_.end());
    w.check();
    w.check_probes(arranged(sharing(shared_bytes, 400), arrangement::ascending), 37);
    w.erase_range({}, {});
    w.check_empty();
  }
}

DOCTEST_TEST_CASE("everybody puts and deletes the same long key") {
  judged_tree w({});
  for (std::size_t bytes : {inline_bytes + 1, std::size_t{5000}, longest_bytes}) {
    const std::string key = bytes_of(1, bytes);
    u64 puts = 0, dels = 0;
    for (u32 round = 0; round < 10; ++round) {
      std::deque<std::unique_ptr<pleach::operation>> ops;
      int running = 0;
      for (u32 i = 0; i < 24; ++i) {
        ops.push_back(std::unique_ptr<pleach::operation>(
            i % 2 == 0 ? new pleach::operation(w.t.put(key, "v", ordered))
                       : new pleach::operation(w.t.del(key, nullptr, ordered))));
        ops.back()->tag = i % 2;
        ++running;
        ops.back()->start([](pleach::operation&, void* left) { --*static_cast<int*>(left); },
                          &running);
      }
      host_until(w.s(), running);
      for (const auto& op : ops) {
        if (op->result().ok()) {
          ++(op->tag == 0 ? puts : dels);
          continue;
        }
        SAME(op->result(), op->tag == 0 ? category::exists : category::not_found);
      }
      const bool there = w.s().run(w.t.exists(key)).ok();
      DOCTEST_REQUIRE(puts == dels + there);
      DOCTEST_REQUIRE(w.t.record_count() == there);
      require_clean(w.s());
    }
    if (w.t.record_count() != 0) require_ok(w.s().run(w.t.del(key)));
    w.check_empty();
    puts = dels = 0;
  }
}

DOCTEST_TEST_CASE("cancelled after so many rounds: all or nothing, and nothing leaks") {
  judged_tree w({.cache = 6 * mib, .on_file = true});
  for (u64 i = 0; i < 80; ++i) w.put(world::key(i * 2), value_of(i));
  w.reopen();  // nothing is resident
  std::string key, bound, value, found;
  std::mt19937_64 random(base_seed());
  u64 n = 0;
  u32 ended = 0;
  for (u32 rounds = 0; ended < 40 && rounds < 400; ++rounds) {
    key = world::key(random() % 160);
    bound = key + "~";
    const bool there = w.m.contains(key);
    const auto start = [&](u32 kind) {
      return kind == 0   ? new pleach::operation(w.t.upsert(key, value, ordered))
             : kind == 1 ? new pleach::operation(w.t.del(key, nullptr, ordered))
             : kind == 2 ? new pleach::operation(w.t.next(key, found, value))
                         : new pleach::operation(w.t.delete_range(key, bound, n, ordered));
    };
    const u32 kind = rounds % 4;
    value = "new";
    const std::unique_ptr<pleach::operation> op(start(kind));
    int running = 1;
    op->start([](pleach::operation&, void* left) { --*static_cast<int*>(left); }, &running);
    for (u32 i = 0; i < rounds / 4 && running != 0; ++i) DOCTEST_REQUIRE(w.s().poll());
    op->cancel();
    host_until(w.s(), running);
    const pleach::answer a = op->result();
    if (a.ok()) ++ended;
    const bool fine = a.ok() || a.what() == category::cancelled || a.what() == category::not_found;
    DOCTEST_REQUIRE_MESSAGE(fine, a.text());
    std::string now;
    const bool is = w.s().run(w.t.get(key, now)).ok();
    if (kind == 0) {
      if (a.ok()) DOCTEST_REQUIRE((is && now == "new"));
      DOCTEST_REQUIRE((is || !there));
    } else if (kind == 2) {
      DOCTEST_REQUIRE(is == there);
    } else if (a.ok()) {
      DOCTEST_REQUIRE(!is);
    }
    if (is)
      w.m[key] = now;
    else
      w.m.erase(key);
    if (rounds % 16 == 15) w.check();
  }
  w.check();
  w.erase_range({}, {});
  w.check_empty();
}

DOCTEST_TEST_CASE("closed and dropped with operations in flight") {
  scratch_file f("long-keys");
  format(f.path, 64 * mib, 8 * mib);
  for (bool drops : {true, false}) {
    {
      pleach::store s = open(f.path, 8 * mib);
      pleach::tree t = create(s, drops ? "dropped" : "closed");
      for (u64 i = 0; i < 200; ++i) require_ok(s.run(t.put(world::key(i), value_of(i), ordered)));
      std::deque<std::string> keys, values;
      std::deque<std::unique_ptr<pleach::operation>> ops;
      int running = 0;
      auto ended = [](pleach::operation& o, void* left) {
        const category c = o.result().what();
        const bool fine = c == category::ok || c == category::invalid || c == category::cancelled ||
                          c == category::not_found;
        DOCTEST_CHECK_MESSAGE(fine, o.result().text());
        --*static_cast<int*>(left);
      };
      for (u64 i = 0; i < 60; ++i) {
        keys.push_back(world::key(i * 5));
        values.push_back(digits(i));
        ops.push_back(std::unique_ptr<pleach::operation>(
            i % 3 == 0   ? new pleach::operation(t.upsert(keys.back(), values.back()))
            : i % 3 == 1 ? new pleach::operation(t.del(keys.back()))
                         : new pleach::operation(t.get(keys.back(), values.back()))));
      }
      for (auto& op : ops) {
        ++running;
        op->start(ended, &running);
      }
      for (u32 i = 0; i < 3; ++i) DOCTEST_REQUIRE(s.poll());
      if (drops) {
        require_ok(s.run(s.drop_tree("dropped")));
        host_until(s, running);
      } else {
        DOCTEST_REQUIRE(s.close());
        DOCTEST_REQUIRE(running == 0);
      }
    }
    pleach::store s = open(f.path, 8 * mib);
    require_clean(s);
    if (drops) continue;
    pleach::tree t = open_tree(s, "closed");
    pleach::cursor c(t);
    u64 n = 0;
    for (pleach::answer a = s.run(c.first()); a.ok(); a = s.run(c.next())) ++n;
    DOCTEST_CHECK(n == t.record_count());
  }
}
