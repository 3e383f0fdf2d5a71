// A store on the simulated device, driven op by op.
#pragma once

#include <doctest/doctest.h>

#include "be/io/sim.hh"
#include "btree/read_op.hh"
#include "btree/verify.hh"
#include "btree/write_op.hh"
#include "store/core.hh"
#include "store/wait_op.hh"

namespace pleach {

using btree::change;
using btree::seek;
using store_layer::core;

inline std::string numbered(u32 i) {
  std::string n = std::to_string(i);
  return "key" + std::string(6 - n.size(), '0') + n;
}

/// RETURNS: what the check finds, a line each.
inline std::string problems_of(core& c) {
  std::string found;
  btree::verifier v(
      *c.ctx, [&](std::string where, std::string what) { found += where + ": " + what + "\n"; },
      [](u64, u64) { return true; });
  DOCTEST_REQUIRE(v.run());
  return found;
}
inline void check_sound(core& c) {
  DOCTEST_CHECK(problems_of(c) == "");
}

struct fixture {
  explicit fixture(u32 node_blocks, u64 log_blocks, u64 cache_bytes) {
    store_layer::format_spec spec;
    spec.log_bytes = log_blocks * block_bytes;
    spec.max_node_blocks = node_blocks;
    spec.uuid[0] = 1;
    auto dev = std::make_unique<io::sim_device>(env, io::sim_image(u64{8} << 20));
    device = dev.get();
    DOCTEST_REQUIRE(core::format(env, *dev, spec));
    auto opened = core::open(env, std::move(dev), {.cache_bytes = cache_bytes}, "test");
    DOCTEST_REQUIRE(opened);
    store = *opened;
  }
  /// Of what is on the device.
  explicit fixture(const io::sim_image& image) {
    auto dev = std::make_unique<io::sim_device>(env, image);
    device = dev.get();
    auto opened = core::open(env, std::move(dev), {.cache_bytes = 4 << 20}, "test");
    DOCTEST_REQUIRE(opened);
    store = *opened;
  }
  /// `close_it`: false: it is the caller's to close, or to abandon.
  explicit fixture(std::shared_ptr<core> opened, bool close_it = true)
      : store(std::move(opened)), closes(close_it) {}
  ~fixture() {
    trees.clear();
    if (closes) DOCTEST_CHECK(store->close());
  }
  errc run(sm::op& op) {
    store->loop.start(op);
    DOCTEST_REQUIRE(store->loop.run_until(op));
    return op.out.code;
  }
  /// `flags`: btree::tree_flag
  btree::tree& create(const std::string& name, u16 node_blocks,
                      u16 leaf_format = btree::node_format_slotted_2, u16 flags = 0) {
    btree::tree_record rec{};
    rec.flags = flags;
    rec.state = btree::TREE_LIVE;
    rec.order = 1;
    rec.node_blocks = node_blocks;
    btree::write_op op;
    op.prepare(*store->catalogue, change::CREATE_TREE, as_bytes(name),
               {reinterpret_cast<const std::byte*>(&rec), sizeof rec}, nullptr, true);
    op.leaf_format(leaf_format);
    DOCTEST_REQUIRE(run(op) == errc::ok);
    trees.push_back(store->tree_for(store, name, op.created()));
    return trees.back()->t;
  }
  btree::tree& open(const std::string& name) {
    trees.push_back(tree_of(store, name));
    return trees.back()->t;
  }
  static std::shared_ptr<store_layer::open_tree> tree_of(const std::shared_ptr<core>& c,
                                                         const std::string& name) {
    std::string value;
    btree::read_op op;
    op.prepare(*c->catalogue, seek::EXACT, as_bytes(name), {nullptr, &value, nullptr});
    c->loop.start(op);
    DOCTEST_REQUIRE(c->loop.run_until(op));
    DOCTEST_REQUIRE(op.out.code == errc::ok);
    btree::tree_record rec;
    DOCTEST_REQUIRE(btree::parse_tree_record(as_bytes(value), rec));
    return c->tree_for(c, name, rec);
  }
  errc put(btree::tree& t, const std::string& key, const std::string& value) {
    btree::write_op op;
    op.prepare(t, change::UPSERT, as_bytes(key), as_bytes(value), nullptr, false);
    return run(op);
  }
  /// Records 0, 1, ... with the same value.
  void fill(btree::tree& t, u32 records, const std::string& value) {
    for (u32 i = 0; i < records; ++i) DOCTEST_REQUIRE(put(t, numbered(i), value) == errc::ok);
  }
  /// All pages home.
  void home() {
    store_layer::wait_op op;
    op.prepare(*store->engine, 0, txn::watermark::PLACED);
    DOCTEST_REQUIRE(run(op) == errc::ok);
  }
  errc erase(btree::tree& t, const std::string& key) {
    btree::write_op op;
    op.prepare(t, change::DELETE, as_bytes(key), {}, nullptr, false);
    return run(op);
  }

  io::sim_environment env;
  io::sim_device* device = nullptr;
  std::shared_ptr<core> store;
  bool closes = true;
  std::vector<std::shared_ptr<store_layer::open_tree>> trees;
};

}  // namespace pleach
