// Every op, cancelled, or its store's device taken away, at every moment of its life: before each
// round of the reactor, and where it waits for what others hold. It ends with the reason, or as if
// nothing had happened; it gives everything back; the store is sound after that, and so is what is
// left on the device.
#include "tests/regress/cancel_sweep.hh"

#include <set>
#include <vector>

#include "btree/cut_op.hh"
#include "btree/edit_all_op.hh"
#include "btree/upgrade_op.hh"
#include "btree/value_patch.hh"
#include "store/drop_op.hh"

namespace pleach {
namespace {

using store_layer::drop_op;

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
  f.fill(t, 600, std::string(200, 'v'));
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
  f.fill(t, 600, std::string(200, 'v'));
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
  fixture f(image);
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
  damage(image, leaf);

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
