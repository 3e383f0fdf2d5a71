// Paths that the simulation takes by luck only, aimed at: what an op does when a store has failed
// before it starts, when a reference says nonsense, when its first guess of frames is too small,
// when its path changes while it waits for a page.
#include <vector>

#include "btree/cut_op.hh"
#include "btree/value_read_op.hh"
#include "tests/support/sim_store.hh"

namespace pleach {
namespace {

std::string long_key(u32 i) {
  return numbered(i) + std::string(900, 'k');
}

/// A device with the tree "t", all pages at home.
io::sim_image filled(u32 node_blocks, u16 tree_blocks, u32 records, bool long_keys) {
  fixture f(node_blocks, 256, 8 << 20);
  btree::tree& t = f.create("t", tree_blocks);
  for (u32 i = 0; i < records; ++i)
    DOCTEST_REQUIRE(f.put(t, long_keys ? long_key(i) : numbered(i), std::string(100, 'v')) ==
                    errc::ok);
  f.home();
  return f.device->current();
}

std::shared_ptr<core> opened(io::sim_environment& env, const io::sim_image& image,
                             io::sim_device** device = nullptr) {
  auto dev = std::make_unique<io::sim_device>(env, image);
  if (device != nullptr) *device = dev.get();
  auto store = core::open(env, std::move(dev), {.cache_bytes = 8 << 20}, "test");
  DOCTEST_REQUIRE(store);
  return *store;
}

u64 records_of(btree::tree& t) {
  return btree::node_view(t.ctx->pages.find_resident(t.root)->reader()).node().record_count;
}

}  // namespace

DOCTEST_TEST_CASE("an extent is neither read nor written in a store that has failed") {
  io::sim_image image = filled(1, 1, 20, false);
  io::sim_environment env;
  io::sim_device* device = nullptr;
  std::shared_ptr<core> store = opened(env, image, &device);
  {
    fixture f(store, false);
    btree::tree& t = f.open("t");
    const std::string key = "key", value = "value";
    DOCTEST_REQUIRE(f.put(t, key, "before") == errc::ok);
    device->remove();
    btree::write_op write;
    write.prepare(t, change::UPSERT, as_bytes(key), as_bytes(value), nullptr, true);
    DOCTEST_CHECK(f.run(write) != errc::ok);
    DOCTEST_REQUIRE(store->engine->health() != errc::ok);
    std::vector<std::byte> room(block_bytes);
    txn::extent_op op;
    op.prepare_read(*store->engine, page_addr(900, 1), room);
    DOCTEST_CHECK(f.run(op) == store->engine->health());
    op.reset();
    op.prepare_write(*store->engine, page_addr(900, 1), room);
    DOCTEST_CHECK(f.run(op) == store->engine->health());
  }
  store->abandon();
}

DOCTEST_TEST_CASE("a reference that no version writes is corrupt, and nothing is read") {
  fixture f(1, 64, 4 << 20);
  btree::value_reference beyond{};
  beyond.length = 5000;
  beyond.run = page_addr(u64{1} << 40, 2).raw;
  beyond.count = 1;
  btree::value_reference too_long = beyond;
  too_long.run = page_addr(700, 1).raw;
  const u64 events = f.device->events();
  for (const btree::value_reference& ref : {beyond, too_long}) {
    btree::value_read_op op;
    op.prepare(*f.store->ctx, ref, 0, ref.length, nullptr);
    DOCTEST_CHECK(f.run(op) == errc::corrupt);
  }
  DOCTEST_CHECK(f.device->events() == events);
}

DOCTEST_TEST_CASE("a range that needs more frames than its first guess") {
  // Nodes grow beyond the tree's size for keys this long: a guess by that size is too small.
  io::sim_image image = filled(4, 1, 300, true);
  io::sim_environment env;
  fixture f(opened(env, image));
  btree::tree& t = f.open("t");
  u64 removed = 0;
  btree::cut_op op(*f.store->ctx);
  const std::string from = long_key(5);
  op.prepare(t, *f.store->catalogue, as_bytes(from), nullptr, removed,
             {.durable = false, .hold = false, .leaves = btree::cut_op::max_leaves});
  DOCTEST_CHECK(f.run(op) == errc::ok);
  DOCTEST_CHECK(removed == 295);
  DOCTEST_CHECK(records_of(t) == 5);
  check_sound(*f.store);
}

DOCTEST_TEST_CASE("a range whose path is split while it waits for a page") {
  io::sim_image image = filled(1, 1, 300, false);
  io::sim_environment env;
  fixture f(opened(env, image));
  btree::tree& t = f.open("t");
  const std::string first = numbered(0);
  std::string value;
  btree::read_op warm;  // the first leaf and the way to it
  warm.prepare(t, seek::EXACT, as_bytes(first), {nullptr, &value, nullptr});
  DOCTEST_REQUIRE(f.run(warm) == errc::ok);
  u64 removed = 0;
  btree::cut_op op(*f.store->ctx);
  const std::string from = numbered(200);
  op.prepare(t, *f.store->catalogue, as_bytes(from), nullptr, removed, {.durable = false});
  f.store->loop.start(op);
  DOCTEST_REQUIRE(f.store->loop.run_while(
      [](void* o) { return !static_cast<sm::op*>(o)->innermost().waiting(); }, &op));
  const u64 splits = f.store->ctx->stats.splits;
  for (u32 i = 0; f.store->ctx->stats.splits == splits; ++i)
    DOCTEST_REQUIRE(f.put(t, first + std::to_string(i), std::string(300, 'x')) == errc::ok);
  DOCTEST_REQUIRE(!op.done());
  DOCTEST_REQUIRE(f.store->loop.run_until(op));
  DOCTEST_CHECK(op.out.code == errc::ok);
  DOCTEST_CHECK(removed == 100);
  check_sound(*f.store);
}

}  // namespace pleach
