// Proves: a record that is damaged in memory, where no sum of the page sees it, is found by every
// way of reading it, which names the page; by the check too; and the sums follow every change of
// the record.
#include "btree/edit_all_op.hh"
#include "btree/multi_get_op.hh"
#include "btree/record_extras.hh"
#include "tests/support/sim_store.hh"

namespace pleach {
namespace {

btree::tree& create(fixture& f, const std::string& name, u16 flags) {
  btree::tree_record rec{};
  rec.state = btree::TREE_LIVE;
  rec.order = 1;
  rec.node_blocks = 1;
  rec.flags = flags;
  btree::write_op op;
  op.prepare(*f.store->catalogue, change::CREATE_TREE, as_bytes(name),
             {reinterpret_cast<const std::byte*>(&rec), sizeof rec}, nullptr, true);
  DOCTEST_REQUIRE(f.run(op) == errc::ok);
  f.trees.push_back(f.store->tree_for(f.store, name, op.created()));
  return f.trees.back()->t;
}

/// The leaf that holds `key`; all pages are resident.
cache::descriptor& leaf_of(fixture& f, btree::tree& t, const std::string& key) {
  cache::descriptor* d = f.store->pages->find_resident(t.root);
  while (d != nullptr && !btree::node_view(d->reader()).is_leaf()) {
    btree::node_view n(d->reader());
    d = f.store->pages->find_resident(n.child(n.find_child(as_bytes(key))));
  }
  DOCTEST_REQUIRE(d != nullptr);
  return *d;
}

/// Turns a bit of a record in memory, and back at the end: its page must not go home like that.
class damage {
 public:
  damage(cache::descriptor& leaf, const std::string& key, bool of_key) {
    btree::node_view n(leaf.reader());
    btree::search_result r = n.find(as_bytes(key));
    DOCTEST_REQUIRE(r.found);
    btree::record rec = n.at(r.index);
    cbytes where = of_key ? rec.key_suffix : rec.value;
    at_ = const_cast<std::byte*>(where.data() + where.size() - 1);
    *at_ ^= std::byte{1};
  }
  ~damage() { *at_ ^= std::byte{1}; }

 private:
  std::byte* at_;
};

struct one_lookup final : btree::lookup_list {
  std::string key, value;
  errc code = errc::ok;
  page_addr bad;
  u32 count() const override { return 1; }
  wish at(u32) override { return {as_bytes(key), &value}; }
  void settle(u32, errc c, lsn_t, page_addr b) override {
    code = c;
    bad = b;
  }
};

void every_read_finds(fixture& f, btree::tree& t, const std::string& key, page_addr leaf) {
  const u64 before = f.store->ctx->stats.bad_sums;
  std::string k, v;
  auto read = [&](seek mode, const std::string& from) {
    btree::read_op op;
    op.prepare(t, mode, as_bytes(from), {&k, &v, nullptr});
    DOCTEST_CHECK(f.run(op) == errc::corrupt);
    DOCTEST_CHECK(op.bad_page() == leaf);
  };
  read(seek::EXACT, key);
  read(seek::AT_LEAST, key);
  read(seek::AT_MOST, key);
  {
    one_lookup list;
    list.key = key;
    btree::multi_get_op op;
    op.prepare(t, list);
    DOCTEST_CHECK(f.run(op) == errc::corrupt);
    DOCTEST_CHECK(list.code == errc::corrupt);
    DOCTEST_CHECK(list.bad == leaf);
  }
  {
    btree::write_op op;
    op.prepare_modify(
        t, as_bytes(key),
        {[](void*, bool, std::string&) { return btree::verdict::STORE; }, nullptr, &v}, false);
    DOCTEST_CHECK(f.run(op) == errc::corrupt);
    DOCTEST_CHECK(op.bad_page() == leaf);
  }
  {
    btree::write_op op;
    op.prepare(t, change::DELETE, as_bytes(key), {}, &v, false);
    DOCTEST_CHECK(f.run(op) == errc::corrupt);
  }
  DOCTEST_CHECK(f.store->ctx->stats.bad_sums == before + 6);
  DOCTEST_CHECK(problems_of(*f.store).find("differs from its checksum") != std::string::npos);
}

DOCTEST_TEST_CASE("damage in memory is found by every read") {
  for (u16 flags : {btree::TREE_KEY_SUMS | btree::TREE_VALUE_SUMS, +btree::TREE_VALUE_SUMS}) {
    fixture f(1, 64, 4 << 20);
    btree::tree& t = create(f, "t", static_cast<u16>(flags));
    f.fill(t, 300, std::string(100, 'v'));
    DOCTEST_REQUIRE(f.put(t, numbered(150), std::string(9000, 'L')) == errc::ok);
    DOCTEST_CHECK(problems_of(*f.store) == "");
    for (u32 i : {30u, 150u}) {
      const std::string key = numbered(i);
      cache::descriptor& leaf = leaf_of(f, t, key);
      damage d(leaf, key, false);
      if (i == 30) {
        every_read_finds(f, t, key, leaf.addr);
      } else {
        // The reference of a large value: the extent is not even read.
        std::string v;
        btree::read_op op;
        op.prepare(t, seek::EXACT, as_bytes(key), {nullptr, &v, nullptr});
        DOCTEST_CHECK(f.run(op) == errc::corrupt);
        DOCTEST_CHECK(op.bad_page() == leaf.addr);
      }
    }
    DOCTEST_CHECK(problems_of(*f.store) == "");
  }
}

DOCTEST_TEST_CASE("a key that changed in memory is found") {
  fixture f(1, 64, 4 << 20);
  btree::tree& t = create(f, "t", btree::TREE_KEY_SUMS);
  for (u32 i = 0; i < 300; i += 2)
    DOCTEST_REQUIRE(f.put(t, numbered(i), std::string(100, 'v')) == errc::ok);
  const std::string key = numbered(30);
  cache::descriptor& leaf = leaf_of(f, t, key);
  damage d(leaf, key, true);  // now it is key 31, and in order
  std::string k, v;
  btree::read_op op;
  op.prepare(t, seek::AT_LEAST, as_bytes(key), {&k, &v, nullptr});
  errc code = f.run(op);
  DOCTEST_CHECK_MESSAGE(code == errc::corrupt, k);
  DOCTEST_CHECK(op.bad_page() == leaf.addr);
}

DOCTEST_TEST_CASE("the sums follow every change of a record") {
  fixture f(1, 256, 4 << 20);
  btree::tree& t = create(f, "t", btree::TREE_KEY_SUMS | btree::TREE_VALUE_SUMS);
  random_stream r(5);
  for (u32 i = 0; i < 4000; ++i) {
    const std::string key = numbered(static_cast<u32>(r.below(400)));
    if (r.chance(300))
      f.erase(t, key);
    else
      DOCTEST_REQUIRE(f.put(t, key, std::string(r.below(r.chance(20) ? 5000 : 300), 'v')) ==
                      errc::ok);
  }
  DOCTEST_CHECK(f.store->ctx->stats.splits > 20);
  DOCTEST_CHECK(problems_of(*f.store) == "");
  struct upper {
    static btree::verdict edit(void*, cbytes, std::string& value) {
      value += "W";
      return btree::verdict::STORE;
    }
  };
  btree::edit_all_op all;
  all.prepare(t, {&upper::edit, nullptr});
  DOCTEST_CHECK(f.run(all) == errc::ok);
  DOCTEST_CHECK(all.so_far().changed > 100);
  DOCTEST_CHECK(problems_of(*f.store) == "");
  DOCTEST_CHECK(f.store->ctx->stats.bad_sums == 0);
  DOCTEST_CHECK(f.store->engine->stats().credit_overruns == 0);
}

}  // namespace
}  // namespace pleach
