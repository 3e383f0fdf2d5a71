// Proves: the check finds an aggregate that is not what its child adds up to, names the child, and
// reports nothing else; the feature is named when the first counted tree is made, and by nothing
// before.
#include <vector>

#include "btree/aggregate.hh"
#include "tests/support/sim_store.hh"

namespace pleach {
namespace {

using problems = std::vector<std::pair<std::string, std::string>>;

problems check(core& c) {
  problems found;
  btree::verifier v(
      *c.ctx,
      [&](std::string where, std::string what) {
        found.emplace_back(std::move(where), std::move(what));
      },
      [](u64, u64) { return true; });
  DOCTEST_CHECK(v.run());
  return found;
}

/// Changes the sum of a child in the resident root, behind the back of everything.
void spoil(fixture& f, btree::tree& t, u32 child, const btree::aggregate& by) {
  cache::descriptor* d = f.store->pages->find_resident(t.root);
  DOCTEST_REQUIRE(d != nullptr);
  const btree::node_view n(d->reader());
  DOCTEST_REQUIRE(n.aggregated());
  btree::aggregate sum = n.child_sum(child);
  sum += by;
  const btree::child_aggregate raw{sum.count, sum.digest_low, sum.digest_high};
  const std::byte* at = n.at(child).value.data() + sizeof(btree::child_reference);
  std::memcpy(d->data + (at - n.base()), &raw, sizeof raw);
}

constexpr u16 with_digests = btree::TREE_COUNTED | btree::TREE_DIGEST;

DOCTEST_TEST_CASE("a wrong count and a wrong digest are found") {
  fixture f(1, 64, 4 << 20);
  btree::tree& t = f.create("t", 1, btree::node_format_slotted_2, with_digests);
  f.fill(t, 400, "value");
  f.home();
  DOCTEST_CHECK(check(*f.store).empty());
  for (const btree::aggregate& by : {btree::aggregate{1, 0, 0}, btree::aggregate{0, 0, 1}}) {
    spoil(f, t, 1, by);
    const problems found = check(*f.store);
    DOCTEST_REQUIRE(found.size() == 1);
    DOCTEST_CHECK(found[0].second.find("its parent") != std::string::npos);
    btree::aggregate back;
    back -= by;
    spoil(f, t, 1, back);
  }
  DOCTEST_CHECK(check(*f.store).empty());
}

DOCTEST_TEST_CASE("inner nodes have format 4 in counted trees, and the feature is named then") {
  fixture f(1, 64, 4 << 20);
  const auto named = [&] { return u64{f.store->engine->vol().super.incompat}; };
  btree::tree& plain = f.create("plain", 1);
  for (u32 i = 0; i < 400; ++i) DOCTEST_REQUIRE(f.put(plain, numbered(i), "value") == errc::ok);
  DOCTEST_CHECK((named() & feature_aggregates) == 0);
  btree::tree& counted = f.create("counted", 1, btree::node_format_slotted_2, btree::TREE_COUNTED);
  DOCTEST_CHECK((named() & feature_aggregates) != 0);
  for (u32 i = 0; i < 400; ++i) DOCTEST_REQUIRE(f.put(counted, numbered(i), "value") == errc::ok);
  const auto root = [&](btree::tree& t) {
    return btree::node_view(f.store->pages->find_resident(t.root)->reader());
  };
  DOCTEST_CHECK(u32{root(plain).header().format} == btree::node_format_slotted);
  DOCTEST_CHECK(u32{root(counted).header().format} == btree::node_format_aggregated);
  // A root that becomes a leaf again has the format of one.
  for (u32 i = 0; i < 400; ++i) DOCTEST_REQUIRE(f.erase(counted, numbered(i)) == errc::ok);
  DOCTEST_CHECK(root(counted).is_leaf());
  DOCTEST_CHECK(u32{root(counted).header().format} == btree::node_format_slotted_2);
  DOCTEST_CHECK(check(*f.store).empty());
}

DOCTEST_TEST_CASE("a tree record with digests and no counts is refused") {
  btree::tree_record rec{};
  rec.id = 5;
  rec.root_addr = page_addr(100, 1).raw;
  rec.state = btree::TREE_LIVE;
  rec.order = 1;
  rec.node_blocks = 4;
  btree::tree_record out;
  const auto parses = [&](u16 flags) {
    rec.flags = flags;
    return btree::parse_tree_record({reinterpret_cast<const std::byte*>(&rec), sizeof rec}, out);
  };
  DOCTEST_CHECK(parses(0));
  DOCTEST_CHECK(parses(btree::TREE_COUNTED));
  DOCTEST_CHECK(parses(with_digests));
  DOCTEST_CHECK(!parses(btree::TREE_DIGEST));
}

}  // namespace
}  // namespace pleach
