// Proves: keys of up to 1 MiB that differ in their last byte, and what they begin with, are told
// apart by everything; trees of long keys live in a small cache and through reopening; each put and
// delete of one takes, and gives back, whole blocks.
#include "tests/store/long_keys.hh"

using namespace store_test;
using pleach::category;

DOCTEST_TEST_CASE("keys that share 1 MiB but for the last byte, and what they begin with") {
  for (arrangement order : arrangements) {
    DOCTEST_CAPTURE(static_cast<int>(order));
    judged_tree w({});
    live(w, longest_group(7), order, 7);
  }
}

DOCTEST_TEST_CASE("256 keys that share 1 MiB but for the last byte") {
  judged_tree w({.volume = 512 * mib});
  std::string key = bytes_of(78, longest_bytes);
  const auto keyed = [&](u32 last) -> const std::string& {
    key.back() = static_cast<char>(last);
    return key;
  };
  for (u32 round = 0; round < 2; ++round) {
    for (u32 i = 0; i < 256; ++i)
      require_ok(w.s().run(w.t.put(keyed(i * 37 % 256), digits(i), pleach::durability::ordered)));
    DOCTEST_CHECK(w.t.record_count() == 256);
    DOCTEST_CHECK(w.t.byte_count() == 256 * (longest_bytes + 6));
    pleach::cursor c(w.t);
    pleach::answer a = w.s().run(c.first());
    for (u32 i = 0; i < 256; ++i) {
      require_ok(a);
      require_key(c.key(), keyed(i));
      if (!c.try_next()) a = w.s().run(c.next());
    }
    DOCTEST_CHECK(a.what() == category::not_found);
    std::string found, value;
    for (u32 i : {0u, 1u, 127u, 128u, 254u}) {
      require_ok(w.s().run(w.t.next(keyed(i), found, value)));
      require_key(found, keyed(i + 1));
    }
    DOCTEST_CHECK(w.s().run(w.t.next(keyed(255), found, value)).what() == category::not_found);
    u64 n = 0;
    const std::string low = keyed(40), high = keyed(201);
    require_ok(w.s().run(w.t.count(low, high, n)));
    DOCTEST_CHECK(n == 161);
    require_clean(w.s());
    if (round == 0) {
      for (u32 i = 0; i < 256; ++i)
        require_ok(w.s().run(w.t.del(keyed(i * 101 % 256), nullptr, pleach::durability::ordered)));
    } else {
      require_ok(w.s().run(w.t.delete_range(low, high, n)));
      DOCTEST_CHECK(n == 161);
      require_clean(w.s());
      require_ok(w.s().run(w.t.delete_range({}, {}, n)));
      DOCTEST_CHECK(n == 95);
    }
    w.check_empty();
  }
}

DOCTEST_TEST_CASE("in a small cache, through reopening") {
  key_list keys = mixed(60);
  for (const std::string& k : sharing(inline_bytes + 476, 150)) keys.push_back(k);
  keys.push_back(bytes_of(7, longest_bytes));
  judged_tree w({.cache = 6 * mib, .on_file = true});
  live(w, keys, arrangement::random, 41, true);
}

DOCTEST_TEST_CASE("each put and delete of a long key leaks nothing") {
  judged_tree w({});
  const key_list keys = {bytes_of(1, inline_bytes + 1), bytes_of(1, 4096), bytes_of(1, 4097),
                         bytes_of(1, 100'000), bytes_of(1, longest_bytes)};
  for (u32 round = 0; round < 5; ++round)
    for (const std::string& k : keys) {
      const u64 before = w.used();
      w.put(k, "value");
      require_ok(w.s().run(w.s().flush()));
      // Whole blocks for the whole key.
      DOCTEST_CHECK(w.used() - before == (k.size() + 4095) / 4096);
      w.upsert(k, bytes_of(round, 10'000));
      w.upsert(k, "value");
      w.put(k, "refused");
      require_ok(w.s().run(w.s().flush()));
      DOCTEST_CHECK(w.used() - before == (k.size() + 4095) / 4096);
      w.del(k);
      w.del(k);
      w.check_empty();
    }
}
