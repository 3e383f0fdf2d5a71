// Bugs that the simulation found, each by itself: what broke, in one small case.
#include <vector>

#include "be/space_policy.hh"
#include "btree/count_op.hh"
#include "btree/multi_get_op.hh"
#include "tests/regress/cancel_sweep.hh"
#include "txn/log_area.hh"

namespace pleach {
namespace {

#define TAKER_PHASES(X)    \
  X(INIT, WAIT, CLEANUP)   \
  X(CLEANUP, NOWAIT, DONE) \
  X(DONE, NOWAIT)

/// Takes as much log credit as one transaction may, and gives it back.
class taker final : public sm::machine<taker> {
 public:
  PLEACH_PHASES("taker", TAKER_PHASES)
  explicit taker(txn::engine& e) : engine_(e) {}
  sm::step tick(phase p) noexcept {
    if (p == INIT)
      return engine_.take_credit(credit_, *this, engine_.largest_credit())
                 ? go(CLEANUP)
                 : wait(CLEANUP, "log credit");
    if (p == CLEANUP) engine_.give_back(credit_);
    return go(DONE);
  }

 private:
  txn::engine& engine_;
  sm::claim credit_;
};

DOCTEST_TEST_CASE("before the empty key there is nothing; it was called a corrupt page") {
  fixture f(1, 64, 4 << 20);
  btree::tree& t = f.create("t", 1);
  DOCTEST_REQUIRE(f.put(t, "", "empty") == errc::ok);
  DOCTEST_REQUIRE(f.put(t, "a", "1") == errc::ok);
  std::string key;
  btree::read_op read;
  read.prepare(t, seek::BEFORE, {}, {&key, nullptr, nullptr});
  DOCTEST_CHECK(f.run(read) == errc::not_found);
}

DOCTEST_TEST_CASE("a read without a bound forgets that of the one before; it was called too long") {
  fixture f(1, 64, 4 << 20);
  btree::tree& longest = f.create("longest", 1);
  btree::tree_record rec{};
  rec.state = btree::TREE_LIVE;
  rec.order = btree::ORDER_BYTES;
  rec.node_blocks = 1;
  rec.key_bytes = 1;
  btree::write_op create;
  create.prepare(*f.store->catalogue, change::CREATE_TREE, as_bytes("fixed"),
                 {reinterpret_cast<const std::byte*>(&rec), sizeof rec}, nullptr, true);
  DOCTEST_REQUIRE(f.run(create) == errc::ok);
  btree::tree& fixed = f.open("fixed");
  DOCTEST_REQUIRE(f.put(fixed, "a", "12345678") == errc::ok);
  const std::string bound(5000, 'z');
  std::string value;
  btree::read_op read;
  read.prepare(longest, seek::AT_LEAST, as_bytes("a"), {nullptr, &value, nullptr});
  read.bound(as_bytes(bound));
  DOCTEST_CHECK(f.run(read) == errc::not_found);
  read.reset();
  read.prepare(fixed, seek::EXACT, as_bytes("a"), {nullptr, &value, nullptr});
  DOCTEST_CHECK(f.run(read) == errc::ok);
}

DOCTEST_TEST_CASE(
    "the smallest log takes splits on every level of a tree; single puts were too large") {
  fixture f(1, 32, 4 << 20);
  btree::tree& t = f.create("t", 1);
  for (u32 i = 0; i < 1500; ++i)
    DOCTEST_REQUIRE(f.put(t, std::string(60, 'p') + numbered(i * 7919 % 100003),
                          std::string(100 + i % 300, 'v')) == errc::ok);
  DOCTEST_CHECK(f.store->ctx->stats.splits > 50);
}

DOCTEST_TEST_CASE(
    "a batch empties two leaves of two, or one, and puts between; a leaf that still got puts was "
    "unlinked, or pulled up into the root, where they had no room") {
  for (const u32 value_bytes : {100u, 700u, 900u}) {
    fixture f(4, 256, 4 << 20);
    btree::tree& t = f.create("t", 4);
    u32 records = 0;
    while (f.store->ctx->stats.splits == 0)
      DOCTEST_REQUIRE(f.put(t, numbered(records++), std::string(100, 'v')) == errc::ok);
    std::vector<std::string> keys;
    for (u32 i = 0; i < records; ++i) keys.push_back(numbered(i));
    // Wherever the two leaves meet, the puts of one of these batches go between them.
    for (u32 at = records - 6; at < records; ++at) {
      std::vector<std::string> between;
      for (u32 i = 0; i < 12; ++i) between.push_back(numbered(at) + numbered(i));
      const std::string value(value_bytes, 'w');
      std::vector<btree::write_item> items;
      auto add = [&](const std::string& key, change kind) {
        btree::write_item item;
        item.t = &t;
        item.kind = kind;
        item.key = as_bytes(key);
        if (kind == change::UPSERT) item.value = as_bytes(value);
        item.sequence = static_cast<u32>(items.size());
        items.push_back(item);
      };
      for (u32 i = 0; i < records; ++i) {
        add(keys[i], change::DELETE);
        if (i == at)
          for (const std::string& key : between) add(key, change::UPSERT);
      }
      btree::write_op batch;
      batch.prepare(*f.store->ctx, items, true);
      DOCTEST_REQUIRE(f.run(batch) == errc::ok);
      for (const std::string& key : between) {
        btree::write_op del;
        del.prepare(t, change::DELETE, as_bytes(key), {}, nullptr, false);
        DOCTEST_REQUIRE(f.run(del) == errc::ok);
      }
      for (const std::string& key : keys)
        DOCTEST_REQUIRE(f.put(t, key, std::string(100, 'v')) == errc::ok);
    }
  }
}

DOCTEST_TEST_CASE("a copy of a leaf that was merged away is not current; cursors went on with it") {
  fixture f(1, 128, 4 << 20);
  btree::tree& t = f.create("t", 1);
  f.fill(t, 400, std::string(100, 'v'));
  std::vector<std::byte> room(block_bytes);
  u32 stale = 0;
  for (u32 i = 0; i < 399; ++i) {
    std::string next = numbered(i + 1), key;
    btree::leaf_copy copy;
    copy.bytes = room.data();
    btree::read_op read;
    read.prepare(t, seek::EXACT, as_bytes(next), {&key, nullptr, &copy});
    DOCTEST_REQUIRE(f.run(read) == errc::ok);
    DOCTEST_CHECK(copy.current());
    // The neighbours go: the leaf changes, or goes too.
    DOCTEST_REQUIRE(f.erase(t, numbered(i)) == errc::ok);
    DOCTEST_REQUIRE(f.erase(t, next) == errc::ok);
    stale += copy.current();
    DOCTEST_REQUIRE(f.put(t, next, "again") == errc::ok);
  }
  DOCTEST_CHECK(stale == 0);
  DOCTEST_CHECK(f.store->ctx->stats.unlinks + f.store->ctx->stats.merges > 0);
}

DOCTEST_TEST_CASE(
    "a large claim that waits while half the log is free wakes the log writer; it waited for "
    "ever") {
  fixture f(1, 32, 4 << 20);
  btree::tree& t = f.create("t", 1);
  txn::engine& e = *f.store->engine;
  u32 waited = 0;
  for (u32 i = 0; i < 200; ++i) {
    btree::write_op op;
    std::string key = numbered(i * 7919 % 100003);
    op.prepare(t, change::UPSERT, as_bytes(key), as_bytes(key), nullptr, true);
    DOCTEST_REQUIRE(f.run(op) == errc::ok);
    u64 used = e.stats().log_blocks_used;
    if (used < 5 || used > 8) continue;
    u64 before = e.stats().credit_waits;
    taker large(e);
    DOCTEST_REQUIRE(f.run(large) == errc::ok);
    waited += e.stats().credit_waits != before;
  }
  DOCTEST_CHECK(waited > 10);
}

DOCTEST_TEST_CASE(
    "a page of a group that the log has lost is corrupt, not data, also after later openings") {
  io::sim_image image;
  u64 lost_block = 0;
  {
    fixture f(1, 64, 4 << 20);
    btree::tree &a = f.create("a", 1), &b = f.create("b", 1);
    DOCTEST_REQUIRE(f.put(a, "key", "old") == errc::ok);
    f.home();
    DOCTEST_REQUIRE(f.put(b, "key", "value") ==
                    errc::ok);  // the log from here on knows nothing of a
    f.home();
    DOCTEST_REQUIRE(f.put(a, "key", "new") == errc::ok);
    f.home();
    txn::engine_statistics s = f.store->engine->stats();
    image = f.device->current();
    // The last block of the log is all of the last group.
    superblock super = f.store->vol.super;
    lost_block = txn::log_area(super).position(s.log_blocks_written - 1 + super.first_seq);
  }
  std::byte one;
  image.read(lost_block * block_bytes + 100, {&one, 1});
  one ^= std::byte{4};
  image.write(lost_block * block_bytes + 100, {&one, 1});
  for (u32 opening = 0; opening < 3; ++opening) {
    io::sim_environment env;
    auto dev = std::make_unique<io::sim_device>(env, image);
    io::sim_device* device = dev.get();
    auto opened = core::open(env, std::move(dev),
                             {.cache_bytes = 4 << 20, .read_only = opening == 0}, "test");
    DOCTEST_REQUIRE(opened);
    fixture f(std::move(*opened));
    std::string value;
    btree::read_op read;
    read.prepare(f.open("a"), seek::EXACT, as_bytes("key"), {nullptr, &value, nullptr});
    DOCTEST_CHECK(f.run(read) == errc::corrupt);
    read.reset();
    read.prepare(f.open("b"), seek::EXACT, as_bytes("key"), {nullptr, &value, nullptr});
    DOCTEST_CHECK(f.run(read) == errc::ok);
    if (opening != 0) DOCTEST_CHECK(f.put(f.open("b"), "other", "value") == errc::ok);
    image = device->current();
  }
}

DOCTEST_TEST_CASE(
    "a read that waited for a leaf starts again if the leaf was split before it came to run") {
  io::sim_image image;
  auto key = [](u32 i) { return numbered(i) + std::string(40, 'k'); };
  {
    fixture f(1, 64, 4 << 20);
    btree::tree& a = f.create("a", 1);
    for (u32 i = 0; i < 40; ++i)
      DOCTEST_REQUIRE(f.put(a, key(i), std::string(100, 'v')) == errc::ok);
    f.home();
    image = f.device->current();
  }
  u64 stale = 0;
  for (u64 seed = 1; seed <= 20; ++seed) {
    io::sim_environment env({.seed = seed, .chaos_per_mille = 300});
    auto opened = core::open(env, std::make_unique<io::sim_device>(env, image),
                             {.cache_bytes = 4 << 20}, "test");
    DOCTEST_REQUIRE(opened);
    fixture f(std::move(*opened));
    f.create("another",
             1);  // from here on the page of the free space is resident: the split waits for no I/O
    btree::tree& a = f.open("a");
    std::string small[] = {numbered(0) + "x", numbered(0) + "y", numbered(0) + "z"},
                large(900, 'v'), sought[8], value;
    btree::write_item items[3];
    for (u32 i = 0; i < 3; ++i)
      items[i] = {.t = &a, .key = as_bytes(small[i]), .value = as_bytes(large), .sequence = i};
    btree::write_op write;
    write.prepare(*f.store->ctx, items, false);
    btree::read_op reads[8];
    f.store->loop.start(write);
    for (u32 i = 0; i < 8; ++i) {
      sought[i] = key(2 * i + 4);
      reads[i].prepare(a, seek::EXACT, as_bytes(sought[i]), {nullptr, &value, nullptr});
      f.store->loop.start(reads[i]);
    }
    DOCTEST_REQUIRE(f.store->loop.run_until(write));
    DOCTEST_CHECK(write.out.code == errc::ok);
    for (btree::read_op& read : reads) {
      DOCTEST_REQUIRE(f.store->loop.run_until(read));
      DOCTEST_CHECK(read.out.code == errc::ok);
      DOCTEST_CHECK(value == std::string(100, 'v'));
    }
    stale += f.store->ctx->stats.restart_stale;
  }
  DOCTEST_CHECK(stale > 0);
}

/// One lookup.
struct lookup final : btree::lookup_list {
  u32 count() const override { return 1; }
  wish at(u32) override { return {as_bytes(key), &value}; }
  void settle(u32, errc code, lsn_t, page_addr) override { outcome = code; }
  std::string key, value;
  errc outcome = errc::busy;
};

DOCTEST_TEST_CASE(
    "a leaf is freed while those who are on their way to it wait for frames; they loaded it all "
    "the same, and read what had been deleted") {
  constexpr u32 records = 60;
  io::sim_image image;
  {
    fixture f(1, 64, 4 << 20);
    btree::tree& t = f.create("t", 1);
    f.fill(t, records, std::string(100, 'v'));
    f.home();
    image = f.device->current();
  }
  fixture f(image);
  btree::tree& t = f.open("t");
  const std::string first = numbered(0), last = numbered(records - 1);
  std::string value;
  btree::read_op get;
  get.prepare(t, seek::EXACT, as_bytes(first), {nullptr, &value, nullptr});
  DOCTEST_REQUIRE(f.run(get) == errc::ok);  // the root is in memory now, the last leaf is not
  get.reset();
  std::vector<std::string> keys;
  std::vector<btree::write_item> items;
  for (u32 i = records / 3; i < records; ++i) keys.push_back(numbered(i));
  for (const std::string& key : keys) {
    btree::write_item& item = items.emplace_back();
    item.t = &t;
    item.kind = change::DELETE;
    item.key = as_bytes(key);
    item.sequence = static_cast<u32>(items.size());
  }
  btree::write_op batch;
  batch.prepare(*f.store->ctx, items, false);
  btree::count_op count;
  lookup wanted;
  wanted.key = last;
  btree::multi_get_op many;
  get.prepare(t, seek::EXACT, as_bytes(last), {nullptr, &value, nullptr});
  count.prepare(t, as_bytes(last), nullptr);
  many.prepare(t, wanted);
  f.store->loop.start(batch);
  DOCTEST_REQUIRE(f.store->loop.poll());  // it has its frames, and waits for the leaf
  {
    const hog all(*f.store, held::GRANTS);
    for (sm::op* o :
         {static_cast<sm::op*>(&get), static_cast<sm::op*>(&count), static_cast<sm::op*>(&many)})
      f.store->loop.start(*o);
    DOCTEST_REQUIRE(f.store->loop.poll());
    DOCTEST_REQUIRE((all.blocks(get) && all.blocks(count) && all.blocks(many)));
    DOCTEST_REQUIRE(f.store->loop.run_until(batch));
  }
  DOCTEST_CHECK(batch.out.code == errc::ok);
  DOCTEST_CHECK(f.store->ctx->stats.unlinks != 0);
  for (sm::op* o :
       {static_cast<sm::op*>(&get), static_cast<sm::op*>(&count), static_cast<sm::op*>(&many)})
    DOCTEST_REQUIRE(f.store->loop.run_until(*o));
  DOCTEST_CHECK(get.out.code == errc::not_found);
  DOCTEST_CHECK(count.counted() == 0);
  DOCTEST_CHECK(wanted.outcome == errc::not_found);
}

DOCTEST_TEST_CASE(
    "a delete that was to empty its leaf finds another record there; it merged the leaf instead, "
    "which it had no credit for") {
  fixture f(1, 64, 4 << 20);
  btree::tree& t = f.create("t", 1);
  const btree::tree_statistics& stats = f.store->ctx->stats;
  const std::string small(100, 'v'), large(700, 'v');
  // A leaf that is full to three fifths, and one with a record that would make it too full.
  f.fill(t, 21, small);
  u32 records = 21;
  while (stats.splits == 0) DOCTEST_REQUIRE(f.put(t, numbered(records++), large) == errc::ok);
  for (u32 i = 20; i + 1 < records; ++i) DOCTEST_REQUIRE(f.erase(t, numbered(i)) == errc::ok);
  DOCTEST_REQUIRE(stats.merges == 0);
  f.home();  // nothing gives credit back then
  btree::write_op put, del;
  const std::string lone = numbered(records - 1), new_key = numbered(records);
  put.prepare(t, change::PUT, as_bytes(new_key), as_bytes(small), nullptr, false);
  del.prepare(t, change::DELETE, as_bytes(lone), {}, nullptr, false);
  {
    // Both have their plans when there is credit for them.
    const hog all(*f.store, held::CREDIT);
    f.store->loop.start(put);
    f.store->loop.start(del);
    DOCTEST_REQUIRE(f.store->loop.poll());
    DOCTEST_REQUIRE(del.waiting_for() == std::string_view("log credit"));
  }
  DOCTEST_REQUIRE(f.store->loop.run_until(put));
  DOCTEST_REQUIRE(f.store->loop.run_until(del));
  DOCTEST_CHECK(del.out.code == errc::ok);
  DOCTEST_CHECK(stats.merges == 0);
}

/// Marks all blocks of group 0 as used.
void fill_first_group(io::sim_image& image, u64 group_blocks) {
  const page_addr at(bitmap_block(0, group_blocks), 1);
  alignas(16) std::byte room[block_bytes];
  const bytes page(room);
  image.read(at.block() * block_bytes, page);
  DOCTEST_REQUIRE(unstamp(page, at, header_of(room).store_id, nullptr));
  std::fill(room + bitmap_payload_offset, std::end(room), std::byte{0xff});
  const u64 seed = page_seed(header_of(room).store_id, at, header_of(room).generation);
  stamp(page, page_sum(page, seed), 1);
  image.write(at.block() * block_bytes, page);
}

DOCTEST_TEST_CASE(
    "two writes look for space in a full group, and one finds out first; the other one took its "
    "bitmap for that of the next group") {
  io::sim_image image;
  u64 group_blocks;
  {
    io::sim_environment env;
    auto dev = std::make_unique<io::sim_device>(env, io::sim_image(u64{300} << 20));
    io::sim_device* device = dev.get();
    store_layer::format_spec spec;
    spec.log_bytes = 64 * block_bytes;
    spec.uuid[0] = 1;
    DOCTEST_REQUIRE(core::format(env, *dev, spec));
    auto opened = core::open(env, std::move(dev), {.cache_bytes = 4 << 20}, "test");
    DOCTEST_REQUIRE(opened);
    fixture f(std::move(*opened), false);
    f.create("t", 1);
    f.trees.clear();
    group_blocks = f.store->engine->vol().super.group_blocks;
    device->on_event = [&](io::sim_device& d) { image = d.durable(); };
    DOCTEST_REQUIRE(f.store->close());
  }
  fill_first_group(image, group_blocks);
  fixture f(image);
  btree::tree& t = f.open("t");
  const std::string keys[] = {"a", "b"}, value(9000, 'v');
  btree::write_op puts[2];
  for (u32 i = 0; i < 2; ++i) {
    puts[i].prepare(t, change::PUT, as_bytes(keys[i]), as_bytes(value), nullptr, false);
    f.store->loop.start(puts[i]);
  }
  for (btree::write_op& put : puts) {
    DOCTEST_REQUIRE(f.store->loop.run_until(put));
    DOCTEST_CHECK(put.out.code == errc::ok);
  }
  for (const std::string& key : keys) {
    std::string found;
    btree::read_op get;
    get.prepare(t, seek::EXACT, as_bytes(key), {nullptr, &found, nullptr});
    DOCTEST_CHECK(f.run(get) == errc::ok);
    DOCTEST_CHECK(found == value);
  }
}

DOCTEST_TEST_CASE(
    "growth right after a recovery: the store opens after a crash at each moment of it") {
  io::sim_image image;
  {
    fixture f(1, 64, 4 << 20);
    DOCTEST_REQUIRE(f.put(f.create("t", 1), "key", "value") == errc::ok);
    f.home();
    image = f.device->current();
  }
  std::vector<io::sim_image> images;
  {
    io::sim_environment env;
    auto dev = std::make_unique<io::sim_device>(env, image);
    io::sim_device* device = dev.get();
    auto opened = core::open(env, std::move(dev), {.cache_bytes = 4 << 20}, "test");
    DOCTEST_REQUIRE(opened);
    fixture f(std::move(*opened));
    device->on_event = [&](io::sim_device& d) { images.push_back(d.current()); };
    DOCTEST_REQUIRE(f.store->engine->grow(u64{12} << 20));
    device->on_event = nullptr;
  }
  DOCTEST_CHECK(images.size() > 8);
  for (io::sim_image& i : images) {
    io::sim_environment env;
    auto opened =
        core::open(env, std::make_unique<io::sim_device>(env, i), {.cache_bytes = 4 << 20}, "test");
    DOCTEST_REQUIRE(opened);
    fixture f(std::move(*opened));
    std::string value;
    btree::read_op read;
    read.prepare(f.open("t"), seek::EXACT, as_bytes("key"), {nullptr, &value, nullptr});
    DOCTEST_CHECK(f.run(read) == errc::ok);
  }
}

}  // namespace
}  // namespace pleach
