// Bugs with branches that are cut off, dropped or emptied, each by itself: what broke, in one small
// case.
#include <list>
#include <vector>

#include "btree/count_op.hh"
#include "btree/cut_op.hh"
#include "store/drop_op.hh"
#include "tests/support/sim_store.hh"

namespace pleach {
namespace {

constexpr u32 records = 700;
std::string key(u32 i) {
  return numbered(i) + std::string(900, 'k');
}

/// A device with the tree "t" of `records` keys: five levels, so that there are branches to cut.
io::sim_image high_tree() {
  fixture f(1, 256, 8 << 20);
  btree::tree& t = f.create("t", 1, btree::node_format_slotted_2,
                            btree::TREE_NO_PREFIX | btree::TREE_NO_TRUNCATION);
  for (u32 i = 0; i < records; ++i) DOCTEST_REQUIRE(f.put(t, key(i), "v") == errc::ok);
  DOCTEST_REQUIRE(t.height_hint >= 5);
  f.home();
  return f.device->current();
}

/// What a cut has told; and with each transaction of it, a read that goes on from `last`.
struct cut_watch {
  struct step {
    btree::read_op read;
    std::string found;
    std::size_t gone;  ///< ranges when it began
  };
  static void tell(void* datum, lsn_t, cbytes low, const cbytes* high) {
    auto& w = *static_cast<cut_watch*>(datum);
    w.gone.emplace_back(as_text(low), high == nullptr ? std::string(1, '\xff') : as_text(*high));
    step& s = w.steps.emplace_back();
    s.gone = w.gone.size();
    s.read.prepare(w.t, seek::AFTER, as_bytes(w.last), {&s.found, nullptr, nullptr});
    w.t.ctx->loop.start(s.read);
  }
  void check(step& s) {
    DOCTEST_REQUIRE(t.ctx->loop.run_until(s.read));
    DOCTEST_REQUIRE(s.read.out.code == errc::ok);
    for (std::size_t i = 0; i < s.gone; ++i)
      DOCTEST_REQUIRE(!(gone[i].first <= s.found && s.found < gone[i].second));
  }
  btree::tree& t;
  std::string last;
  std::vector<std::pair<std::string, std::string>> gone = {};
  std::list<step> steps = {};
};

DOCTEST_TEST_CASE(
    "a branch is cut off right of a leaf in another one; scans went on into it by the leaf's right "
    "link") {
  const io::sim_image image = high_tree();
  u64 cuts = 0, hints = 0;
  for (u32 i = 0; i + 1 < records; i += 3) {
    DOCTEST_CAPTURE(i);
    fixture f(image);
    btree::tree& t = f.open("t");
    btree::count_op all;  // everything is in memory then
    all.prepare(t, {}, nullptr);
    DOCTEST_REQUIRE(f.run(all) == errc::ok);
    const std::string last = key(i), from = last + "+", to = key(std::min(i + 90, records - 1));
    const cbytes bound = as_bytes(to);
    u64 removed = 0;
    cut_watch watch{t, last};
    btree::cut_op cut(*f.store->ctx);
    cut.prepare(t, *f.store->catalogue, as_bytes(from), &bound, removed, {.durable = false});
    cut.tell({&cut_watch::tell, &watch});
    f.store->loop.start(cut);
    DOCTEST_REQUIRE(f.store->loop.run_until(cut));
    for (cut_watch::step& s : watch.steps) watch.check(s);
    DOCTEST_CHECK(cut.out.code == errc::ok);
    cuts += f.store->ctx->stats.cuts;
    hints += f.store->ctx->stats.right_hints;
  }
  DOCTEST_CHECK(cuts > records / 3);
  DOCTEST_CHECK(hints > 0);
}

DOCTEST_TEST_CASE(
    "two drops that wait for their turn with the same tree; both gave its pages back") {
  for (u32 count : {0u, 5u, 3000u}) {
    DOCTEST_CAPTURE(count);
    io::sim_image image;
    {
      fixture f(1, 64, 4 << 20);
      f.fill(f.create("t", 1), count, std::string(100, 'v'));
      f.home();
      image = f.device->current();
    }
    fixture f(image);
    store_layer::wait_op alone;
    sm::gate_hold hold;
    DOCTEST_REQUIRE(f.store->ctx->gate.try_exclusive(alone, hold));
    store_layer::drop_op one(f.store, "t"), two(f.store, "t");
    f.store->loop.start(one);
    f.store->loop.start(two);
    DOCTEST_REQUIRE(f.store->loop.poll());
    hold.release();
    DOCTEST_REQUIRE(f.store->loop.run_until(one));
    DOCTEST_REQUIRE(f.store->loop.run_until(two));
    DOCTEST_CHECK(one.out.code == errc::ok);
    DOCTEST_CHECK(two.out.code == errc::unknown_tree);
    check_sound(*f.store);
  }
}

DOCTEST_TEST_CASE(
    "a reader opens a store in which a branch was cut off and not given back; once a check had "
    "loaded it, scans could go on into it") {
  const io::sim_image image = high_tree();
  u32 left = 0;
  for (u32 i = 0; i + 1 < records; i += 7) {
    DOCTEST_CAPTURE(i);
    const std::string last = key(i), from = last + "+", to = key(std::min(i + 90, records - 1));
    io::sim_image cut_off;
    {
      fixture f(image);
      btree::tree& t = f.open("t");
      const cbytes bound = as_bytes(to);
      u64 removed = 0;
      btree::cut_op cut(*f.store->ctx);
      cut.prepare(t, *f.store->catalogue, as_bytes(from), &bound, removed, {.durable = false});
      struct {
        btree::cut_op& op;
        bool acted = false;
      } seen{cut};
      cut.tell({[](void* datum, lsn_t, cbytes, const cbytes*) {
                  static_cast<decltype(seen)*>(datum)->acted = true;
                },
                &seen});
      f.store->loop.start(cut);
      DOCTEST_REQUIRE(f.store->loop.run_while(
          [](void* datum) {
            auto& of = *static_cast<decltype(seen)*>(datum);
            return !of.acted && !of.op.done();
          },
          &seen));
      cut.cancel();
      DOCTEST_REQUIRE(f.store->loop.run_until(cut));
      f.home();
      cut_off = f.device->current();
    }
    io::sim_environment env;
    auto opened = core::open(env, std::make_unique<io::sim_device>(env, cut_off),
                             {.cache_bytes = 8 << 20, .read_only = true}, "test");
    DOCTEST_REQUIRE(opened);
    fixture f(std::move(*opened), false);
    left += f.store->ctx->cut_branches;
    check_sound(*f.store);
    btree::tree& t = f.open("t");
    // As a cursor goes: each step by the cookie of the one before.
    std::string at = last, found;
    btree::leaf_cookie near{};
    u64 below = 0;
    for (u32 steps = 0; steps < 4; ++steps) {
      btree::read_op step;
      step.prepare(t, steps == 0 ? seek::EXACT : seek::AFTER, as_bytes(at),
                   {steps == 0 ? nullptr : &found, nullptr, nullptr}, &near);
      const errc code = f.run(step);
      if (code != errc::ok) break;
      if (steps != 0) at = found;
      below += steps != 0 && at < to && at > from;
    }
    // Without cookies and links.
    btree::count_op count;
    const cbytes bound = as_bytes(to);
    count.prepare(t, as_bytes(from), &bound);
    DOCTEST_REQUIRE(f.run(count) == errc::ok);
    DOCTEST_CHECK(below <= count.counted());
    f.trees.clear();
    f.store->abandon();
  }
  DOCTEST_CHECK(left > 10);
}

DOCTEST_TEST_CASE(
    "a batch empties the first leaf of a parent, and inserts into the heir, which takes over a "
    "longer fence; the room that was planned for the insert was gone") {
  u32 tried = 0;
  for (u32 step : {7u, 11u, 13u, 17u, 19u, 23u, 29u, 31u}) {
    // Half of the keys are long: fences of both kinds.
    auto mixed = [](u32 i) { return numbered(i) + std::string(mix64(i) % 2 * 300, 'k'); };
    io::sim_image image;
    {
      fixture f(4, 256, 8 << 20);
      btree::tree& t = f.create("t", 1, btree::node_format_slotted_2,
                                btree::TREE_NO_PREFIX | btree::TREE_NO_TRUNCATION);
      for (u32 i = 0; i < 2000; ++i)
        DOCTEST_REQUIRE(f.put(t, mixed(i * step % 2003), std::string(20, 'v')) == errc::ok);
      DOCTEST_REQUIRE(t.height_hint >= 3);
      f.home();
      image = f.device->current();
    }
    for (u32 place = 0; place < 20 * 11; ++place) {
      const u32 parent = 1 + place / 11, spare = place % 11 * 30;
      DOCTEST_CAPTURE(step);
      DOCTEST_CAPTURE(parent);
      DOCTEST_CAPTURE(spare);
      fixture f(image);
      btree::tree& t = f.open("t");
      btree::count_op all;  // everything is in memory then
      all.prepare(t, {}, nullptr);
      DOCTEST_REQUIRE(f.run(all) == errc::ok);
      auto at = [&](page_ref ref) {
        cache::descriptor* d = f.store->pages->find_resident(ref);
        DOCTEST_REQUIRE(d != nullptr);
        return btree::node_view(d->reader());
      };
      const btree::node_view root = at(t.root);
      if (root.level() != 2 || parent >= root.count()) break;
      const btree::node_view up = at(root.child(parent));
      if (up.count() < 2) break;
      const btree::node_view gone = at(up.child(0)), heir = at(up.child(1));
      if (gone.low_fence().size() < heir.low_fence().size() + 200) continue;
      std::vector<std::string> keys;
      for (u32 i = 0; i < gone.count(); ++i) {
        std::string k(gone.key_length(i), ' ');
        gone.copy_key(i, reinterpret_cast<std::byte*>(k.data()));
        keys.push_back(k);
      }
      std::string fresh(heir.key_length(0), ' ');
      heir.copy_key(0, reinterpret_cast<std::byte*>(fresh.data()));
      fresh += "+";
      if (heir.free_bytes() < fresh.size() + spare + 40) continue;
      const std::string value(heir.free_bytes() - fresh.size() - spare - 12, 'n');
      std::vector<btree::write_item> items;
      for (const std::string& k : keys) {
        btree::write_item item;
        item.t = &t;
        item.kind = change::DELETE;
        item.key = as_bytes(k);
        item.sequence = static_cast<u32>(items.size());
        items.push_back(item);
      }
      btree::write_item item;
      item.t = &t;
      item.kind = change::UPSERT;
      item.key = as_bytes(fresh);
      item.value = as_bytes(value);
      item.sequence = static_cast<u32>(items.size());
      items.push_back(item);
      btree::write_op op;
      op.prepare(*f.store->ctx, items, false);
      DOCTEST_CHECK(f.run(op) == errc::ok);
      ++tried;
      check_sound(*f.store);
    }
  }
  DOCTEST_CHECK(tried > 5);
}

DOCTEST_TEST_CASE(
    "the neighbour that takes over the first leaf of a parent is read; the leaf stayed, empty") {
  auto shorter = [](u32 i) { return numbered(i) + std::string(300, 'k'); };
  io::sim_image image;
  std::vector<u32> first;  // leaves that are first children: where their records begin, and end
  {
    fixture f(1, 256, 8 << 20);
    btree::tree& t = f.create("t", 1, btree::node_format_slotted_2,
                              btree::TREE_NO_PREFIX | btree::TREE_NO_TRUNCATION);
    for (u32 i = 0; i < 900; ++i) DOCTEST_REQUIRE(f.put(t, shorter(i), "v") == errc::ok);
    f.home();
    image = f.device->current();
    const btree::node_view root(f.store->pages->find_resident(t.root)->reader());
    DOCTEST_REQUIRE(root.level() >= 2);
    for (u32 c = 1; c < root.count(); ++c) {
      page_ref ref = root.child(c);
      for (;;) {
        const btree::node_view n(f.store->pages->find_resident(ref)->reader());
        if (n.is_leaf()) {
          first.push_back(
              static_cast<u32>(std::stoul(std::string(as_text(n.low_fence())).substr(3, 6))));
          break;
        }
        ref = n.child(0);
      }
    }
  }
  DOCTEST_REQUIRE(!first.empty());
  for (u32 begin : first) {
    DOCTEST_CAPTURE(begin);
    u64 unlinks = 0, empties = 0;
    io::sim_image at = image;
    for (u32 i = begin; i < begin + 12 && unlinks == 0; ++i) {
      fixture f(at);  // nothing of the tree is in memory
      btree::tree& t = f.open("t");
      DOCTEST_REQUIRE(f.erase(t, shorter(i)) == errc::ok);
      unlinks += f.store->ctx->stats.unlinks + f.store->ctx->stats.merges;
      empties += f.store->ctx->stats.empties_kept;
      f.home();
      at = f.device->current();
    }
    DOCTEST_CHECK(unlinks != 0);
    DOCTEST_CHECK(empties == 0);
  }
}

}  // namespace
}  // namespace pleach
