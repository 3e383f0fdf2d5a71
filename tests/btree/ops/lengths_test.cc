// Proves: a tree of fixed lengths refuses others, in every kind of write, and says both lengths;
// nothing of a batch with one such record is visible; reads and deletes may ask for any key;
// lengths that no node can hold are refused when the tree is made.
#include <cstring>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

pleach::tree make(pleach::store& s, std::string_view name, const pleach::tree_options& o) {
  pleach::tree t;
  require_ok(s.run(s.create_tree(name, o, t)));
  return t;
}

void refused(const pleach::answer& a, std::uint32_t wanted, std::uint32_t given) {
  DOCTEST_CHECK(a.what() == category::invalid);
  DOCTEST_CHECK(a.wanted_bytes == wanted);
  DOCTEST_CHECK(a.given_bytes == given);
  const std::string lengths = std::to_string(wanted) + " bytes, not " + std::to_string(given);
  DOCTEST_CHECK_MESSAGE(a.text().find(lengths) != std::string::npos, a.text());
}

DOCTEST_TEST_CASE("other lengths are refused in every write") {
  pleach::store s = open_memory(64 * mib);
  const std::uint32_t key_lengths[] = {8, 8, 0}, value_lengths[] = {5, 0, 5};
  for (int i = 0; i < 3; ++i) {
    const std::uint32_t k = key_lengths[i], v = value_lengths[i];
    pleach::tree t = make(s, std::to_string(i), {4096, k, v});
    require_ok(s.run(t.put("key00001", "12345")));
    if (k != 0) {
      for (const char* key : {"", "key0001", "key000001"}) {
        const auto given = static_cast<std::uint32_t>(std::strlen(key));
        refused(s.run(t.put(key, "12345")), k, given);
        refused(s.run(t.update(key, "12345")), k, given);
        refused(s.run(t.upsert(key, "12345")), k, given);
        DOCTEST_CHECK(s.run(t.del(key)).what() == category::not_found);
        DOCTEST_CHECK(s.run(t.exists(key)).what() == category::not_found);
      }
      pleach::batch b(s);
      b.upsert(t, "key00002", "12345");
      b.upsert(t, "key3", "12345");
      refused(s.run(b.commit()), k, 4);
      DOCTEST_CHECK(s.run(t.exists("key00002")).what() == category::not_found);
    }
    if (v != 0) {
      refused(s.run(t.put("key00002", "1234")), v, 4);
      refused(s.run(t.update("key00001", "123456")), v, 6);
      refused(s.run(t.upsert("key00001", "")), v, 0);
      pleach::batch b(s);
      b.upsert(t, "key00002", "12345");
      b.upsert(t, "key00003", "1");
      refused(s.run(b.commit()), v, 1);
    }
    std::string key, value;
    require_ok(s.run(t.get_at_least("k", key, value)));
    DOCTEST_CHECK(key == "key00001");
    require_ok(s.run(t.get_at_most("key000010", key, value)));
    DOCTEST_CHECK(key == "key00001");
    DOCTEST_CHECK(value == "12345");
    DOCTEST_CHECK(t.record_count() == 1);
  }
  require_clean(s);
}

DOCTEST_TEST_CASE("lengths that no node can hold") {
  pleach::store s = open_memory(64 * mib);
  const auto outcome = [&](const pleach::tree_options& o) {
    pleach::tree t;
    return s
        .run(s.create_tree("t" + std::to_string(o.key_bytes) + "+" + std::to_string(o.value_bytes) +
                               "+" + std::to_string(o.node_bytes),
                           o, t))
        .what();
  };
  DOCTEST_CHECK(outcome({4096, 256, 720}) == category::ok);
  DOCTEST_CHECK(outcome({4096, 256, 721}) == category::invalid);
  DOCTEST_CHECK(outcome({4096, 257, 8}) == category::invalid);
  DOCTEST_CHECK(outcome({4096, 0, 976}) == category::ok);
  DOCTEST_CHECK(outcome({4096, 0, 977}) == category::invalid);
  DOCTEST_CHECK(outcome({16384, 8, 4000}) == category::ok);
  DOCTEST_CHECK(outcome({65536, 8, 65536}) == category::invalid);
  require_clean(s);
}

DOCTEST_TEST_CASE("records of a quarter of a node") {
  pleach::store s = open_memory(64 * mib);
  for (const std::uint32_t node : {4096u, 16384u, 65536u}) {
    const std::uint32_t value = (node - 128 - 64) / 4 - 9;
    pleach::tree t = make(s, std::to_string(node), {node, 9, value});
    for (u64 i = 0; i < 200; ++i) {
      char key[16];
      std::snprintf(key, sizeof key, "%09llu", static_cast<unsigned long long>(i * 7919 % 200));
      require_ok(s.run(t.put(key, bytes_of(i, value), pleach::durability::ordered)));
    }
    require_clean(s);
    for (u64 i = 0; i < 200; ++i) {
      char key[16];
      std::snprintf(key, sizeof key, "%09llu", static_cast<unsigned long long>(i * 7919 % 200));
      std::string got;
      require_ok(s.run(t.get(key, got)));
      DOCTEST_REQUIRE(got == bytes_of(i, value));
      require_ok(s.run(t.del(key, nullptr, pleach::durability::ordered)));
    }
    DOCTEST_CHECK(t.record_count() == 0);
    require_clean(s);
  }
}

}  // namespace
