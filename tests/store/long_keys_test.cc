// Proves: a tree with keys above 1 KiB is the std::map of the same records: for keys of random
// lengths, keys that share more than their nodes hold of them, and keys that begin one another;
// put, changed and deleted in all orders, in nodes of all sizes. What they used comes back.
#include "tests/store/long_keys.hh"

using namespace store_test;

DOCTEST_TEST_CASE("random lengths around and above 1 KiB") {
  for (arrangement order : arrangements)
    for (u32 node_bytes : {4096u, 65536u}) {
      DOCTEST_CAPTURE(node_bytes);
      DOCTEST_CAPTURE(static_cast<int>(order));
      judged_tree w({.tree = {.node_bytes = node_bytes}});
      live(w, random_lengths(base_seed(), 240), order, 11);
    }
}

DOCTEST_TEST_CASE("leaves and inner nodes split among keys that share 1500 bytes: 4 KiB") {
  for (arrangement order : arrangements) {
    DOCTEST_CAPTURE(static_cast<int>(order));
    judged_tree w({});
    live(w, sharing(inline_bytes + 476, 300), order, 61);
  }
}

DOCTEST_TEST_CASE("leaves and inner nodes split among keys that share 1500 bytes: larger nodes") {
  for (u32 node_bytes : {16384u, 65536u}) {
    DOCTEST_CAPTURE(node_bytes);
    judged_tree w({.tree = {.node_bytes = node_bytes}});
    live(w, sharing(inline_bytes + 476, node_bytes / 64 + 300), arrangement::random, 211);
    DOCTEST_CHECK(counter_of(w.s(), "tree.splits") > 0);
  }
}

DOCTEST_TEST_CASE("separators are long: a tree of several levels within one group") {
  judged_tree w({});
  const key_list keys = sharing(inline_bytes + 476, 2000);
  for (const std::string& k : arranged(keys, arrangement::random)) w.put(k, {});
  DOCTEST_CHECK(w.height() >= 3);
  w.check();
  w.check_probes(keys, 299);
  // Most of it goes with whole branches, between separators that are long themselves.
  w.erase_range(keys[37], keys[1950]);
  w.check();
  for (const std::string& k : arranged(keys, arrangement::ascending)) w.upsert(k, "again");
  w.check();
  // All but every 50th: leaves merge, and inner nodes with them.
  const u64 full = w.used() - w.empty_blocks();
  for (u32 i = 0; i < keys.size(); ++i)
    if (i % 50 != 0) w.del(keys[i]);
  w.check();
  DOCTEST_CHECK(w.used() - w.empty_blocks() < full / 4);
  w.erase_range({}, {});
  w.check_empty();
  DOCTEST_CHECK(w.height() == 1);
}

DOCTEST_TEST_CASE("short and long keys, at the edge, and such that begin one another") {
  for (arrangement order : arrangements)
    for (u32 node_bytes : {4096u, 16384u}) {
      DOCTEST_CAPTURE(node_bytes);
      DOCTEST_CAPTURE(static_cast<int>(order));
      judged_tree w({.tree = {.node_bytes = node_bytes}});
      live(w, mixed(400), order, 13);
    }
}
