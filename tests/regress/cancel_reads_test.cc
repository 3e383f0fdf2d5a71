// Ops that only read, cancelled at every moment of their lives, meeting damage, and of a tree that
// is dropped: as cancel_sweep_test does it for those that change something.
#include <vector>

#include "btree/aggregate_op.hh"
#include "btree/count_op.hh"
#include "btree/multi_get_op.hh"
#include "tests/regress/cancel_sweep.hh"

namespace pleach {
namespace {

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
  damage(image, leaf);
  fixture f(image);
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
  damage(image, leaf);
  fixture f(image);
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

DOCTEST_TEST_CASE("a select and a delete of a damaged large value look twice, then say so") {
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
  damage(image, run);
  fixture f(image);
  btree::aggregate_op op;
  std::string key, value;
  btree::tree& t = f.open("t");
  op.prepare_select(t, 0, key, &value);
  DOCTEST_CHECK(f.run(op) == errc::corrupt);
  DOCTEST_CHECK(op.bad_page() == run);
  btree::write_op del;
  key = "key";
  del.prepare(t, change::DELETE, as_bytes(key), {}, &value, false);
  DOCTEST_CHECK(f.run(del) == errc::corrupt);
  DOCTEST_CHECK(del.bad_page() == run);
}

DOCTEST_TEST_CASE("a multi-get of a dropped tree, and one that meets damage") {
  io::sim_image image = filled(150);
  page_addr leaf = leaf_of(image, numbered(111));
  damage(image, leaf);
  fixture f(image);
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

}  // namespace
}  // namespace pleach
