// Every op, cancelled, or its store's device taken away, at every moment of its life: before each
// round of the reactor, and where it waits for what others hold. It ends with the reason, or as if
// nothing had happened; it gives everything back; the store is sound after that, and so is what is
// left on the device.
#include <functional>
#include <set>
#include <vector>

#include "btree/aggregate_op.hh"
#include "btree/bulk_commit_op.hh"
#include "btree/count_op.hh"
#include "btree/cut_op.hh"
#include "btree/edit_all_op.hh"
#include "btree/multi_get_op.hh"
#include "btree/upgrade_op.hh"
#include "btree/value_patch.hh"
#include "btree/verify.hh"
#include "store/drop_op.hh"
#include "tests/support/sim_store.hh"

namespace pleach {
namespace {

using store_layer::drop_op;

/// What others hold while the op runs.
enum class held { NOTHING, GRANTS, FRAMES, CREDIT };

#define COLLECTOR_PHASES(X)    \
  X(TAKE, WAIT, TAKE, CLEANUP) \
  X(CLEANUP, NOWAIT, DONE)     \
  X(DONE, NOWAIT)

/// Takes free frames until it has to wait for one, and gives them back when it is cancelled.
class collector final : public sm::machine<collector> {
 public:
  PLEACH_PHASES("test-collector", COLLECTOR_PHASES)
  explicit collector(cache::page_cache& pages) : pages_(pages) {}
  sm::step tick(phase p) noexcept {
    switch (p) {
      case TAKE:
        for (;;) {
          cache::spare_frame f;
          if (!pages_.take_spare(*this, 1, f)) return wait(TAKE);
          frames_.push_back(f);
        }
      case CLEANUP:
        for (cache::spare_frame& f : frames_) pages_.give_back(f);
        frames_.clear();
        return go(DONE);
      case DONE:
      case phase_count_:
        break;
    }
    return go(DONE);
  }

 private:
  cache::page_cache& pages_;
  std::vector<cache::spare_frame> frames_;
};

/// Holds all frames, or all grants of frames or credit that can be had, in ever smaller claims.
class hog {
 public:
  hog(core& c, held what) : core_(c), what_(what), claims_(64), frames_(*c.pages) {
    if (what == held::FRAMES) c.loop.start(frames_);
    u64 least = what == held::GRANTS ? 1 : 256;
    u64 most = what == held::GRANTS ? c.pages->grantable_units() / 2 : c.engine->largest_credit();
    std::size_t used = 0;
    for (u64 n = what == held::NOTHING || what == held::FRAMES ? 0 : most; n >= least && n != 0;
         n /= 2)
      while (used < claims_.size()) {
        if (take(claims_[used], n)) {
          ++used;
        } else {
          give_back(claims_[used]);  // leaves the queue
          break;
        }
      }
  }
  ~hog() {
    for (sm::claim& k : claims_) give_back(k);
    if (what_ != held::FRAMES) return;
    frames_.cancel();
    DOCTEST_CHECK(core_.loop.run_until(frames_));
  }
  /// RETURNS: whether `o` waits for what is held here.
  bool blocks(const sm::op& o) const {
    const char* why = o.innermost().waiting_for();
    return why != nullptr && std::string_view(why) == (what_ == held::FRAMES   ? "free frame"
                                                       : what_ == held::GRANTS ? "page frames"
                                                                               : "log credit");
  }

 private:
  bool take(sm::claim& k, u64 n) {
    return what_ == held::GRANTS ? core_.pages->grants().take(k, nobody_, n)
                                 : core_.engine->take_credit(k, nobody_, n);
  }
  void give_back(sm::claim& k) {
    if (what_ == held::GRANTS)
      core_.pages->grants().give_back(k);
    else
      core_.engine->give_back(k);
  }

  core& core_;
  held what_;
  store_layer::wait_op nobody_;
  std::vector<sm::claim> claims_;
  collector frames_;
};

/// A store with the tree "t": `records` of them in leaves of 4 KiB, and large values in extents.
/// All pages at home.
io::sim_image filled(u32 records, u16 leaf_format = btree::node_format_slotted_2,
                     u16 tree_flags = 0) {
  fixture f(1, 64, 4 << 20);
  btree::tree& t = f.create("t", 1, leaf_format, tree_flags);
  for (u32 i = 0; i < records; ++i)
    DOCTEST_REQUIRE(f.put(t, numbered(i), std::string(i % 50 == 7 ? 9000 : 200, 'v')) == errc::ok);
  f.home();
  return f.device->current();
}

void check_sound(core& c) {
  std::string found;
  btree::verifier v(
      *c.ctx, [&](std::string where, std::string what) { found += where + ": " + what + "\n"; },
      [](u64, u64) { return true; });
  DOCTEST_CHECK(v.run());
  DOCTEST_CHECK(found == "");
}

#define SPINNER_PHASES(X)      \
  X(SPIN, WAIT, SPIN, CLEANUP) \
  X(CLEANUP, NOWAIT, DONE)     \
  X(DONE, NOWAIT)

/// Is always ready to run: in short rounds, others stay ready for some.
class spinner final : public sm::machine<spinner> {
 public:
  PLEACH_PHASES("test-spinner", SPINNER_PHASES)
  sm::step tick(phase p) noexcept {
    return p == CLEANUP ? go(DONE) : left-- == 0 ? go(CLEANUP) : yield(SPIN);
  }
  u32 left = ~0u;
};

struct sweep {
  u32 cancelled = 0, ended = 0;
};

using maker = std::function<std::shared_ptr<sm::op>(fixture&)>;

/// Opens the image anew for each n, makes the op, and cancels it after n rounds, or where it waits
/// then for what is held from that moment on. Ends with the first op that ends before. `crowded`:
/// others are ready to run as well, and a round runs one op only.
sweep cancel_everywhere(const io::sim_image& image, held what, bool crowded, u64 seed,
                        const maker& make, u32 max_run_blocks) {
  sweep result;
  for (u32 n = 0, by = what == held::FRAMES ? 17 : 1; n < 4000; n += by) {
    DOCTEST_CAPTURE(n);
    io::sim_environment env(
        {.seed = seed + n, .chaos_per_mille = 300, .look_ns = crowded ? 1'000'000u : 20u});
    store_layer::core_options options;
    options.cache_bytes = 4 << 20;
    options.max_run_blocks = max_run_blocks;
    auto opened = core::open(env, std::make_unique<io::sim_device>(env, image), options, "test");
    DOCTEST_REQUIRE(opened);
    fixture f(std::move(*opened));
    std::shared_ptr<sm::op> op = make(f);
    struct state {
      sm::op& op;
      hog* h;
      u32 rounds;
    } s{*op, nullptr, n};
    spinner crowd[4];
    if (crowded)
      for (spinner& other : crowd) f.store->loop.start(other);
    f.store->loop.start(*op);
    DOCTEST_REQUIRE(f.store->loop.run_while(
        [](void* p) {
          return static_cast<state*>(p)->rounds-- != 0 && !static_cast<state*>(p)->op.done();
        },
        &s));
    bool ended = op->done();
    if (!ended) {
      hog h(*f.store, what);
      s.h = &h;
      s.rounds = 100;  // it may wait for a page that is never loaded: there is no frame
      if (what != held::NOTHING)
        DOCTEST_REQUIRE(f.store->loop.run_while(
            [](void* p) {
              return static_cast<state*>(p)->rounds-- != 0 && !static_cast<state*>(p)->op.done() &&
                     !static_cast<state*>(p)->h->blocks(static_cast<state*>(p)->op);
            },
            &s));
      if (!op->done()) op->cancel();
    }
    DOCTEST_REQUIRE((op->done() || f.store->loop.run_until(*op)));
    if (crowded)
      for (spinner& other : crowd) {
        other.cancel();
        DOCTEST_REQUIRE(f.store->loop.run_until(other));
      }
    errc code = op->out.code;
    DOCTEST_CHECK_MESSAGE((code == errc::cancelled || code == errc::ok), name_of(code));
    ++(code == errc::cancelled ? result.cancelled : result.ended);
    op.reset();
    f.home();
    check_sound(*f.store);
    if (ended) return result;
  }
  DOCTEST_CHECK(!"it comes to its end");
  return result;
}

constexpr held by_others[] = {held::NOTHING, held::GRANTS, held::FRAMES, held::CREDIT};
constexpr std::span<const held> all_ways = by_others, ways_of_reads{by_others, 3};

/// `max_run_blocks`: longer values have maps; 0: as usual.
void cancel_in_all_ways(const io::sim_image& image, const maker& make,
                        std::span<const held> ways = all_ways, u32 max_run_blocks = 0) {
  for (held what : ways)
    for (u64 seed : {1000, 2000, 3000, 4000, 5000}) {
      DOCTEST_CAPTURE(seed);
      sweep s = cancel_everywhere(image, what, seed % 2000 != 0, seed, make, max_run_blocks);
      DOCTEST_CHECK(s.cancelled > 0);
    }
}

DOCTEST_TEST_CASE(
    "a drop that is cancelled leaves a tree that is there, or one that is gone and goes on going") {
  io::sim_image image = filled(150);
  cancel_in_all_ways(image, [](fixture& f) { return std::make_shared<drop_op>(f.store, "t"); });
}

DOCTEST_TEST_CASE("a write that replaces a large value, cancelled") {
  io::sim_image image = filled(100);
  std::string key = numbered(57), value(9000, 'w'), old;
  cancel_in_all_ways(image, [&](fixture& f) {
    auto op = std::make_shared<btree::write_op>();
    op->prepare(f.open("t"), change::UPSERT, as_bytes(key), as_bytes(value), &old, true);
    return op;
  });
}

DOCTEST_TEST_CASE("a modify of a large value, cancelled") {
  io::sim_image image = filled(100);
  struct modify {
    btree::write_op op;
    std::string key = numbered(57), value;
    static btree::verdict grow(void*, bool present, std::string& v) {
      DOCTEST_CHECK((present && v == std::string(9000, 'v')));
      v += std::string(3000, 'w');
      return btree::verdict::STORE;
    }
  };
  cancel_in_all_ways(image, [&](fixture& f) {
    auto m = std::make_shared<modify>();
    m->op.prepare_modify(f.open("t"), as_bytes(m->key), {&modify::grow, nullptr, &m->value}, true);
    return std::shared_ptr<sm::op>(m, &m->op);
  });
}

DOCTEST_TEST_CASE("an upgrade, cancelled: another one goes on, and all leaves are new") {
  io::sim_image image = filled(150, btree::node_format_slotted);
  struct upgrade {
    btree::upgrade_op op;
    u64 leaves = 0, converted = 0;
  };
  auto make = [](fixture& f) {
    auto u = std::make_shared<upgrade>();
    u->op.prepare(f.open("t"), u->leaves, u->converted);
    u->op.on_done(
        [](sm::op&, void* self) {
          auto& done = *static_cast<upgrade*>(self);
          if (is_ok(done.op.out.code)) DOCTEST_CHECK(done.converted >= 5);
        },
        u.get());
    return std::shared_ptr<sm::op>(u, &u->op);
  };
  cancel_in_all_ways(image, make);
  fixture f(1, 64, 4 << 20);
  btree::tree& t = f.create("u", 1, btree::node_format_slotted);
  for (u32 i = 0; i < 600; ++i)
    DOCTEST_REQUIRE(f.put(t, numbered(i), std::string(200, 'v')) == errc::ok);
  upgrade first, second;
  first.op.prepare(t, first.leaves, first.converted);
  f.store->loop.start(first.op);
  DOCTEST_REQUIRE(
      f.store->loop.run_while([](void* p) { return *static_cast<u64*>(p) < 2; }, &first.converted));
  first.op.cancel();
  DOCTEST_REQUIRE(f.store->loop.run_until(first.op));
  DOCTEST_CHECK(first.op.out.code == errc::cancelled);
  second.op.prepare(t, second.leaves, second.converted);
  DOCTEST_CHECK(f.run(second.op) == errc::ok);
  DOCTEST_CHECK(second.converted > 0);
  DOCTEST_CHECK(second.converted <= second.leaves - 2);
}

DOCTEST_TEST_CASE("an edit of all records, cancelled") {
  io::sim_image image = filled(60);
  struct edit_all {
    btree::edit_all_op op;
    static btree::verdict grow(void*, cbytes, std::string& v) {
      v += "w";
      return btree::verdict::STORE;
    }
  };
  auto make = [](fixture& f) {
    auto e = std::make_shared<edit_all>();
    e->op.prepare(f.open("t"), {&edit_all::grow, nullptr});
    return std::shared_ptr<sm::op>(e, &e->op);
  };
  cancel_in_all_ways(image, make, {by_others, 1});
}

DOCTEST_TEST_CASE("an upgrade and an edit of all records of a tree that is dropped") {
  fixture f(1, 64, 4 << 20);
  btree::tree& t = f.create("t", 1, btree::node_format_slotted);
  DOCTEST_REQUIRE(f.put(t, "k", "v") == errc::ok);
  t.dropped = true;
  u64 leaves = 0, converted = 0;
  btree::upgrade_op upgrade;
  upgrade.prepare(t, leaves, converted);
  DOCTEST_CHECK(f.run(upgrade) == errc::tree_closed);
  btree::edit_all_op edit;
  edit.prepare(t, {nullptr, nullptr});
  DOCTEST_CHECK(f.run(edit) == errc::tree_closed);
  t.dropped = false;

  // In the middle.
  for (u32 i = 0; i < 600; ++i)
    DOCTEST_REQUIRE(f.put(t, numbered(i), std::string(200, 'v')) == errc::ok);
  btree::upgrade_op later;
  later.prepare(t, leaves, converted);
  f.store->loop.start(later);
  DOCTEST_REQUIRE(
      f.store->loop.run_while([](void* p) { return *static_cast<u64*>(p) < 2; }, &converted));
  t.dropped = true;
  DOCTEST_REQUIRE(f.store->loop.run_until(later));
  DOCTEST_CHECK(later.out.code == errc::tree_closed);
  t.dropped = false;
  for (bool while_it_edits : {false, true}) {
    struct state {
      btree::tree& t;
      bool drop;
    } s{t, while_it_edits};
    btree::edit_all_op all;
    all.prepare(t, {[](void* p, cbytes, std::string& v) {
                      v += "w";
                      static_cast<state*>(p)->t.dropped = static_cast<state*>(p)->drop;
                      return btree::verdict::STORE;
                    },
                    &s});
    f.store->loop.start(all);
    if (!while_it_edits)
      DOCTEST_REQUIRE(f.store->loop.run_while(
          [](void* p) { return static_cast<btree::edit_all_op*>(p)->so_far().changed < 2; }, &all));
    t.dropped = true;
    DOCTEST_REQUIRE(f.store->loop.run_until(all));
    DOCTEST_CHECK(all.out.code == errc::tree_closed);
    t.dropped = false;
  }
}

/// The leaf of the tree "t" that holds `key`. All pages stay at home.
page_addr leaf_of(io::sim_image& image, const std::string& key) {
  io::sim_environment env;
  auto dev = std::make_unique<io::sim_device>(env, image);
  dev->on_event = [&](io::sim_device& d) { image = d.durable(); };
  auto opened = core::open(env, std::move(dev), {.cache_bytes = 4 << 20}, "test");
  DOCTEST_REQUIRE(opened);
  fixture f(std::move(*opened));
  std::byte bytes[block_bytes];
  btree::leaf_copy copy;
  copy.bytes = bytes;
  std::string found;
  btree::read_op find;
  find.prepare(f.open("t"), seek::EXACT, as_bytes(key), {&found, nullptr, &copy});
  DOCTEST_REQUIRE(f.run(find) == errc::ok);
  return copy.addr;
}

/// A multi-get of some of the tree's keys, and who it gives its answers to.
struct many final : btree::lookup_list {
  explicit many(btree::tree& t, u32 count) : values(count), codes(count, errc::busy) {
    for (u32 i = 0; i < count; ++i) keys.push_back(numbered(i * 37 % 150));
    op.prepare(t, *this);
  }
  u32 count() const override { return static_cast<u32>(keys.size()); }
  wish at(u32 i) override { return {as_bytes(keys[i]), &values[i]}; }
  void settle(u32 i, errc code, lsn_t, page_addr bad) override {
    DOCTEST_CHECK(codes[i] == errc::busy);  // once
    codes[i] = code;
    if (bad) bad_page = bad;
  }
  std::vector<std::string> keys, values;
  std::vector<errc> codes;
  page_addr bad_page;
  btree::multi_get_op op;
};

DOCTEST_TEST_CASE("a multi-get, cancelled: each lookup is settled once") {
  io::sim_image image = filled(150);
  cancel_in_all_ways(
      image,
      [](fixture& f) {
        auto m = std::make_shared<many>(f.open("t"), 60);
        m->op.on_done(
            [](sm::op& op, void* datum) {
              auto& all = *static_cast<many*>(datum);
              for (u32 i = 0; i < all.count(); ++i) {
                if (all.codes[i] == errc::ok)
                  DOCTEST_CHECK(all.values[i].size() == (i * 37 % 150 % 50 == 7 ? 9000 : 200));
                else
                  DOCTEST_CHECK(all.codes[i] == op.out.code);
              }
            },
            m.get());
        return std::shared_ptr<sm::op>(m, &m->op);
      },
      ways_of_reads);
}

/// A bulk load of the empty tree "u": leaves on several levels, extents, a value with a map.
struct bulk_load final : btree::bulk_source {
  explicit bulk_load(fixture& f) {
    for (u32 i = 0; i < 120; ++i) {
      keys.push_back(std::string(60, static_cast<char>('a' + i / 7)) + numbered(i));
      values.push_back(std::string(i == 50 ? 9000 : i % 40 == 7 ? 3000 : 300, 'b'));
    }
    draft.begin(f.create("u", 1));
  }
  ~bulk_load() { draft.give_back(); }
  u64 count() const override { return keys.size(); }
  item at(u64 i) override { return {as_bytes(keys[i]), as_bytes(values[i])}; }
  std::vector<std::string> keys, values;
  btree::bulk_draft draft;
  btree::bulk_build_op build;
  btree::bulk_commit_op commit;
};

DOCTEST_TEST_CASE("a bulk load, cancelled while it is built, and while it is committed") {
  io::sim_image image = filled(20);
  cancel_in_all_ways(
      image,
      [](fixture& f) {
        auto l = std::make_shared<bulk_load>(f);
        l->build.prepare(l->draft, *l);
        return std::shared_ptr<sm::op>(l, &l->build);
      },
      ways_of_reads, 1);
  cancel_in_all_ways(
      image,
      [](fixture& f) {
        auto l = std::make_shared<bulk_load>(f);
        l->build.prepare(l->draft, *l);
        DOCTEST_REQUIRE(f.run(l->build) == errc::ok);
        l->commit.prepare(l->draft, true);
        return std::shared_ptr<sm::op>(l, &l->commit);
      },
      all_ways, 1);
}

DOCTEST_TEST_CASE("the commit of a bulk load waits for its turn; that of a broken one is none") {
  io::sim_environment env;
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, filled(20)),
                           {.cache_bytes = 4 << 20, .max_run_blocks = 1}, "test");
  DOCTEST_REQUIRE(opened);
  fixture f(*opened);
  bulk_load l(f);
  l.build.prepare(l.draft, l);
  DOCTEST_REQUIRE(f.run(l.build) == errc::ok);
  store_layer::wait_op alone;
  sm::gate_hold hold;
  DOCTEST_REQUIRE(f.store->ctx->gate.try_exclusive(alone, hold));
  l.commit.prepare(l.draft, true);
  l.commit.deadline(env.now() + 1'000'000'000);  // until then it waits at the gate
  f.store->loop.start(l.commit);
  DOCTEST_REQUIRE(f.store->loop.run_until(l.commit));
  DOCTEST_CHECK(l.commit.out.code == errc::timed_out);
  hold.release();
  l.commit.reset();
  l.commit.prepare(l.draft, true);
  DOCTEST_CHECK(f.run(l.commit) == errc::invalid);  // it has given everything back
  check_sound(*f.store);
}

DOCTEST_TEST_CASE("a bulk load over a device that goes away") {
  io::sim_image image = filled(20);
  for (u32 at = 1; at < 60; ++at) {
    DOCTEST_CAPTURE(at);
    io::sim_environment env;
    auto dev = std::make_unique<io::sim_device>(env, image);
    io::sim_device* device = dev.get();
    auto opened =
        core::open(env, std::move(dev), {.cache_bytes = 4 << 20, .max_run_blocks = 1}, "test");
    DOCTEST_REQUIRE(opened);
    std::shared_ptr<core> store = *opened;
    {
      fixture f(store, false);
      bulk_load l(f);
      f.home();
      device->on_event = [at = at + device->events()](io::sim_device& d) {
        if (d.events() >= at) d.remove();
      };
      l.build.prepare(l.draft, l);
      errc code = f.run(l.build);
      if (is_ok(code)) {
        l.commit.prepare(l.draft, true);
        code = f.run(l.commit);
      }
      device->on_event = nullptr;
      DOCTEST_CHECK_MESSAGE((is_ok(code) || class_of(code) == error_class::io ||
                             class_of(code) == error_class::failed),
                            name_of(code));
    }
    store->abandon();
  }
}

DOCTEST_TEST_CASE("a count, cancelled, meeting damage, and of a dropped tree") {
  io::sim_image image = filled(150);
  cancel_in_all_ways(
      image,
      [](fixture& f) {
        auto op = std::make_shared<btree::count_op>();
        op->prepare(f.open("t"), {}, nullptr);
        return op;
      },
      ways_of_reads);
  page_addr leaf = leaf_of(image, numbered(111));
  std::byte sector[512];
  image.read(leaf.block() * block_bytes + 1024, sector);
  sector[7] ^= std::byte{1};
  image.write(leaf.block() * block_bytes + 1024, sector);
  io::sim_environment env;
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, image),
                           {.cache_bytes = 4 << 20}, "test");
  DOCTEST_REQUIRE(opened);
  fixture f(std::move(*opened));
  btree::tree& t = f.open("t");
  btree::count_op op;
  op.prepare(t, {}, nullptr);
  DOCTEST_CHECK(f.run(op) == errc::corrupt);
  DOCTEST_CHECK(op.bad_page() == leaf);
  DOCTEST_CHECK((op.counted() > 0 && op.counted() <= 111));
  t.dropped = true;
  op.reset();
  op.prepare(t, {}, nullptr);
  DOCTEST_CHECK(f.run(op) == errc::tree_closed);
  t.dropped = false;
}

constexpr u16 with_digests = btree::TREE_COUNTED | btree::TREE_DIGEST;

/// What needs three pages of a tree may well find frames for them.
constexpr std::span<const held> ways_of_few_pages{by_others, 2};

DOCTEST_TEST_CASE("sums, selects and writes of a tree with digests, cancelled") {
  io::sim_image image = filled(150, btree::node_format_slotted_2, with_digests);
  struct asked {
    btree::aggregate_op op;
    std::string from = numbered(20), to = numbered(120), key, value;
    cbytes upper = as_bytes(to);
  };
  cancel_in_all_ways(
      image,
      [](fixture& f) {
        auto a = std::make_shared<asked>();
        a->op.prepare_sum(f.open("t"), as_bytes(a->from), &a->upper, true);
        return std::shared_ptr<sm::op>(a, &a->op);
      },
      ways_of_few_pages);
  cancel_in_all_ways(
      image,
      [](fixture& f) {
        auto a = std::make_shared<asked>();
        a->op.prepare_select(f.open("t"), 57, a->key, &a->value);
        return std::shared_ptr<sm::op>(a, &a->op);
      },
      ways_of_few_pages);
  std::string key = numbered(57), value(700, 'w'), old;
  cancel_in_all_ways(image, [&](fixture& f) {
    auto op = std::make_shared<btree::write_op>();
    op->prepare(f.open("t"), change::UPSERT, as_bytes(key), as_bytes(value), &old, true);
    return op;
  });
}

DOCTEST_TEST_CASE("sums and selects that meet damage, and of a dropped tree") {
  io::sim_image image = filled(150, btree::node_format_slotted_2, with_digests);
  page_addr leaf = leaf_of(image, numbered(111));
  std::byte sector[512];
  image.read(leaf.block() * block_bytes + 1024, sector);
  sector[7] ^= std::byte{1};
  image.write(leaf.block() * block_bytes + 1024, sector);
  io::sim_environment env;
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, image),
                           {.cache_bytes = 4 << 20}, "test");
  DOCTEST_REQUIRE(opened);
  fixture f(std::move(*opened));
  btree::tree& t = f.open("t");
  btree::aggregate_op op;
  // All of it is known above the damage; a bound within the leaf is not.
  op.prepare_sum(t, {}, nullptr, true);
  DOCTEST_CHECK(f.run(op) == errc::ok);
  DOCTEST_CHECK(op.sum().count == 150);
  const std::string bound = numbered(111);
  const cbytes to = as_bytes(bound);
  op.reset();
  op.prepare_sum(t, {}, &to, false);
  DOCTEST_CHECK(f.run(op) == errc::corrupt);
  DOCTEST_CHECK(op.bad_page() == leaf);
  std::string key, value;
  op.reset();
  op.prepare_select(t, 111, key, &value);
  DOCTEST_CHECK(f.run(op) == errc::corrupt);
  DOCTEST_CHECK(op.bad_page() == leaf);
  op.reset();
  op.prepare_select(t, 150, key, &value);
  DOCTEST_CHECK(f.run(op) == errc::not_found);
  t.dropped = true;
  op.reset();
  op.prepare_sum(t, {}, nullptr, true);
  DOCTEST_CHECK(f.run(op) == errc::tree_closed);
  t.dropped = false;
}

DOCTEST_TEST_CASE("a select of a damaged large value looks twice, then says so") {
  io::sim_image image;
  page_addr run;
  {
    fixture f(1, 64, 4 << 20);
    btree::tree& t = f.create("t", 1, btree::node_format_slotted_2, with_digests);
    DOCTEST_REQUIRE(f.put(t, "key", std::string(9000, 'v')) == errc::ok);
    f.home();
    btree::node_view root(f.store->pages->find_resident(t.root)->reader());
    btree::value_reference ref;
    std::memcpy(&ref, root.at(0).value.data(), sizeof ref);
    run = page_addr(ref.run);
    image = f.device->current();
  }
  std::byte sector[512];
  image.read(run.block() * block_bytes, sector);
  sector[7] ^= std::byte{1};
  image.write(run.block() * block_bytes, sector);
  io::sim_environment env;
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, image),
                           {.cache_bytes = 4 << 20}, "test");
  DOCTEST_REQUIRE(opened);
  fixture f(std::move(*opened));
  btree::aggregate_op op;
  std::string key, value;
  op.prepare_select(f.open("t"), 0, key, &value);
  DOCTEST_CHECK(f.run(op) == errc::corrupt);
  DOCTEST_CHECK(op.bad_page() == run);
}

DOCTEST_TEST_CASE("a multi-get of a dropped tree, and one that meets damage") {
  io::sim_image image = filled(150);
  page_addr leaf = leaf_of(image, numbered(111));
  std::byte sector[512];
  image.read(leaf.block() * block_bytes + 1024, sector);
  sector[7] ^= std::byte{1};
  image.write(leaf.block() * block_bytes + 1024, sector);
  io::sim_environment env;
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, image),
                           {.cache_bytes = 4 << 20}, "test");
  DOCTEST_REQUIRE(opened);
  fixture f(std::move(*opened));
  btree::tree& t = f.open("t");
  many m(t, 150);
  DOCTEST_CHECK(f.run(m.op) == errc::corrupt);
  DOCTEST_CHECK(m.op.bad_page() == leaf);
  DOCTEST_CHECK(m.bad_page == leaf);
  u32 damaged = 0;
  for (u32 i = 0; i < m.count(); ++i) {
    if (m.codes[i] == errc::ok) continue;
    ++damaged;
    DOCTEST_CHECK(m.codes[i] == errc::corrupt);
  }
  DOCTEST_CHECK((damaged > 0 && damaged < 40));
  t.dropped = true;
  many gone(t, 20);
  DOCTEST_CHECK(f.run(gone.op) == errc::tree_closed);
  for (errc code : gone.codes) DOCTEST_CHECK(code == errc::tree_closed);
  t.dropped = false;
}

/// The same with long keys that differ at their end: a tree of three levels.
io::sim_image filled_high(u32 records) {
  fixture f(1, 64, 4 << 20);
  btree::tree& t = f.create("t", 1);
  for (u32 i = 0; i < records; ++i)
    DOCTEST_REQUIRE(f.put(t, std::string(500, 'k') + numbered(i * 7919 % records),
                          std::string(i % 50 == 7 ? 9000 : 100, 'v')) == errc::ok);
  f.home();
  return f.device->current();
}

/// The tree "t" without most of its records.
struct range {
  explicit range(fixture& f, bool hold = true)
      : from(std::string(500, 'k') + numbered(7)), op(*f.store->ctx) {
    op.prepare(f.open("t"), *f.store->catalogue, as_bytes(from), nullptr, removed, {.hold = hold});
  }
  std::string from;
  u64 removed = 0;
  btree::cut_op op;
};

DOCTEST_TEST_CASE("a range that is deleted, cancelled: each moment leaves a sound store") {
  io::sim_image image = filled_high(170);
  for (bool hold : {true, false})
    cancel_in_all_ways(image, [&](fixture& f) {
      auto r = std::make_shared<range>(f, hold);
      return std::shared_ptr<sm::op>(r, &r->op);
    });
  io::sim_environment env;
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, image),
                           {.cache_bytes = 4 << 20}, "test");
  DOCTEST_REQUIRE(opened);
  fixture f(std::move(*opened));
  range r(f);
  DOCTEST_CHECK(f.run(r.op) == errc::ok);
  DOCTEST_CHECK(r.removed == 163);
  DOCTEST_CHECK(f.store->ctx->stats.cuts > 0);
}

/// The tree "t", marked as dropped: what is left to do is to give its pages back.
struct dropped {
  explicit dropped(fixture& f) : tree(*f.store->ctx) {
    std::string value;
    btree::read_op find;
    find.prepare(*f.store->catalogue, seek::EXACT, as_bytes(name), {nullptr, &value, nullptr});
    DOCTEST_REQUIRE(f.run(find) == errc::ok);
    DOCTEST_REQUIRE(btree::parse_tree_record(as_bytes(value), record));
    tree.id = record.id;
    tree.root = {page_addr(record.root_addr), record.root_gen};
    tree.name = name;
    tree.dropped = true;
    record.state = btree::TREE_DROPPING;
    btree::write_op mark;
    mark.prepare(*f.store->catalogue, change::UPDATE, as_bytes(name),
                 {reinterpret_cast<const std::byte*>(&record), sizeof record}, nullptr, true);
    DOCTEST_REQUIRE(f.run(mark) == errc::ok);
    reclaim.prepare(tree, *f.store->catalogue, as_bytes(name), record);
  }
  std::string name = "t";
  btree::tree_record record{};
  btree::tree tree;
  btree::reclaim_op reclaim;
};

DOCTEST_TEST_CASE(
    "giving back a dropped tree's pages, cancelled: the rest goes at the next opening") {
  io::sim_image image = filled(150);
  cancel_in_all_ways(image, [](fixture& f) {
    auto d = std::make_shared<dropped>(f);
    return std::shared_ptr<sm::op>(d, &d->reclaim);
  });
}

DOCTEST_TEST_CASE("a value with a map: written, read, and given back with its tree, cancelled") {
  io::sim_image image = filled(20);
  const std::string key = numbered(7), value(9000, 'w');  // three runs of one block, and the map
  struct get {
    btree::read_op op;
    std::string value;
  };
  cancel_in_all_ways(
      image,
      [&](fixture& f) {
        auto op = std::make_shared<btree::write_op>();
        op->prepare(f.open("t"), change::UPSERT, as_bytes(key), as_bytes(value), nullptr, true);
        return op;
      },
      all_ways, 1);
  cancel_in_all_ways(
      image,
      [&](fixture& f) {
        DOCTEST_REQUIRE(f.put(f.open("t"), key, value) == errc::ok);
        auto g = std::make_shared<get>();
        g->op.prepare(f.open("t"), seek::EXACT, as_bytes(key), {nullptr, &g->value, nullptr});
        return std::shared_ptr<sm::op>(g, &g->op);
      },
      ways_of_reads, 1);
  cancel_in_all_ways(
      image,
      [&](fixture& f) {
        DOCTEST_REQUIRE(f.put(f.open("t"), key, value) == errc::ok);
        auto d = std::make_shared<dropped>(f);
        return std::shared_ptr<sm::op>(d, &d->reclaim);
      },
      all_ways, 1);
}

DOCTEST_TEST_CASE("a range of a value, cancelled: read, copied, written, sealed, committed") {
  io::sim_image image = filled(20);
  const std::string key = numbered(7), bytes(70'000, 'p');
  struct patched {
    btree::value_patch patch;
    btree::patch_op op;
    ~patched() { patch.draft.give_back(); }
  };
  // Of a value of three chunks with a map, its second and the beginning of the third; then the
  // commit alone, which copies what is behind; of a value in its leaf the commit.
  auto sweep = [&](u64 length, bool commits, std::span<const held> ways) {
    cancel_in_all_ways(
        image,
        [&](fixture& f) {
          btree::tree& t = f.open("t");
          DOCTEST_REQUIRE(f.put(t, key, std::string(length, 'w')) == errc::ok);
          auto p = std::make_shared<patched>();
          p->patch.t = &t;
          p->patch.key = as_bytes(key);
          p->patch.at = length / 2;
          p->patch.draft.begin(*t.ctx, t.id, p->patch.key, 0);
          p->op.prepare(p->patch, as_bytes(bytes).first(length == 300 ? 50 : bytes.size()));
          if (commits) {
            DOCTEST_REQUIRE(f.run(p->op) == errc::ok);
            p->op.reset();
            p->op.prepare_commit(p->patch, true);
          }
          return std::shared_ptr<sm::op>(p, &p->op);
        },
        ways, 1);
  };
  sweep(180'000, false, all_ways);
  sweep(180'000, true, all_ways);
  sweep(300, true, all_ways.first(2));
}

DOCTEST_TEST_CASE("a damaged leaf in a dropped tree keeps its pages, and nothing else") {
  io::sim_image image = filled(150);
  page_addr leaf = leaf_of(image, numbered(149));
  std::byte sector[512];
  image.read(leaf.block() * block_bytes + 1024, sector);
  sector[7] ^= std::byte{1};
  image.write(leaf.block() * block_bytes + 1024, sector);

  io::sim_environment env;
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, image),
                           {.cache_bytes = 4 << 20}, "test");
  DOCTEST_REQUIRE(opened);
  fixture g(std::move(*opened));
  {
    dropped d(g);
    DOCTEST_CHECK(g.run(d.reclaim) == errc::corrupt);
    DOCTEST_CHECK(d.reclaim.bad_page() == leaf);
  }
  DOCTEST_CHECK(g.put(g.create("u", 1), "key", "value") == errc::ok);
}

/// The device goes away at one of its events; meanwhile growth waits for what is held.
DOCTEST_TEST_CASE("growth of a store that fails ends with the failure") {
  io::sim_image image = filled(20);
  std::set<std::string> codes;
  for (held what : {held::NOTHING, held::GRANTS, held::CREDIT})
    for (u64 at = 1; at < 120; ++at) {
      DOCTEST_CAPTURE(at);
      io::sim_environment env(
          {.seed = at, .chaos_per_mille = 100, .look_ns = at % 2 ? 1'000'000u : 20u});
      auto dev = std::make_unique<io::sim_device>(env, image);
      io::sim_device* device = dev.get();
      auto opened = core::open(env, std::move(dev), {.cache_bytes = 4 << 20}, "test");
      DOCTEST_REQUIRE(opened);
      std::shared_ptr<core> store = *opened;
      {
        btree::write_op write;
        std::string key = "another";
        auto t = fixture::tree_of(store, "t");
        write.prepare(t->t, change::UPSERT, as_bytes(key), as_bytes(key), nullptr, false);
        store->loop.start(write);
        DOCTEST_REQUIRE(store->loop.run_until(write));
        auto h = std::make_unique<hog>(*store, what);
        spinner crowd[4];
        if (at % 2)
          for (spinner& other : crowd) {
            other.left = 100;
            store->loop.start(other);
          }
        env.on_stuck = [](void* p) { static_cast<std::unique_ptr<hog>*>(p)->reset(); };
        env.on_stuck_datum = &h;
        device->on_event = [at = at + device->events()](io::sim_device& d) {
          if (d.events() >= at) d.remove();
        };
        auto grown = store->grow(u64{9} << 20);
        codes.insert(std::string(name_of(grown ? errc::ok : grown.error().code)));
        device->on_event = nullptr;
        for (spinner& other : crowd)
          if (!other.idle() && !other.done()) DOCTEST_REQUIRE(store->loop.run_until(other));
        h.reset();
      }
      store->abandon();
    }
  DOCTEST_CHECK(codes.contains("ok"));
  DOCTEST_CHECK(codes.size() > 1);
  for (const std::string& code : codes) DOCTEST_MESSAGE(code);
}

}  // namespace
}  // namespace pleach
