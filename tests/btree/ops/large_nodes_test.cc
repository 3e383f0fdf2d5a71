// Proves: a store made for nodes of 1 MiB holds trees with nodes of every size side by side, grows
// leaves to 1 MiB, splits them, and recovers them after a kill; a budget too small for such nodes
// is refused with what it takes.
#include <csignal>
#include <map>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

struct shape {
  const char* name;
  u32 node_bytes, key_bytes, value_bytes;
  u64 records, length;  ///< length of values where they vary
};
constexpr shape shapes[] = {
    {"slotted", 1 << 20, 0, 0, 12000, 300},     {"fixed", 1 << 20, 16, 16, 90000, 16},
    {"tiny", 1 << 20, 8, 8, 150000, 8},  // too many for a fixed leaf: slotted
    {"fixed keys", 1 << 20, 16, 0, 3000, 1500}, {"small", 4096, 8, 8, 3000, 8},
};

std::string key_of(const shape& x, u64 i) {
  const u64 n = __builtin_bswap64(i * 0x9e3779b97f4a7c15u);
  std::string k(reinterpret_cast<const char*>(&n), 8);
  k.resize(x.key_bytes == 0 ? 8 + i % 20 : x.key_bytes, 'k');
  return k;
}

void format_for_large_nodes(const std::string& path) {
  pleach::format_options o;
  o.size_bytes = 512 * mib;
  o.log_bytes = 64 * mib;
  o.max_node_bytes = 1 << 20;
  auto made = pleach::store::format(path, o);
  DOCTEST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
}

/// Batches, as a loader makes them; the last of each tree one by one.
void fill(pleach::store& s, const shape& x) {
  pleach::tree t;
  require_ok(s.run(s.create_tree(x.name, {x.node_bytes, x.key_bytes, x.value_bytes}, t)));
  pleach::batch b(s);
  const u64 singles = 50;
  for (u64 i = 0; i + singles < x.records; ++i) {
    b.upsert(t, key_of(x, i), bytes_of(i, x.length));
    if (b.size() < 500) continue;
    require_ok(s.run(b.commit(pleach::durability::ordered)));
    b.clear();
  }
  if (b.size() != 0) require_ok(s.run(b.commit(pleach::durability::ordered)));
  for (u64 i = x.records - singles; i < x.records; ++i)
    require_ok(s.run(t.put(key_of(x, i), bytes_of(i, x.length))));
}

void compare(pleach::store& s, const shape& x) {
  pleach::tree t = open_tree(s, x.name);
  DOCTEST_CHECK(t.record_count() == x.records);
  for (u64 i = 0; i < x.records; i += 7) {
    std::string value;
    require_ok(s.run(t.get(key_of(x, i), value)));
    DOCTEST_REQUIRE(value == bytes_of(i, x.length));
  }
}

DOCTEST_TEST_CASE("nodes of 1 MiB through put, split, kill and recovery") {
  scratch_file f("large");
  format_for_large_nodes(f.path);
  const int ended = in_child([&] {
    pleach::store s = open(f.path, 128 * mib);
    for (const shape& x : shapes) fill(s, x);
    require_ok(s.run(s.flush()));
    if (counter_of(s, "tree.splits") == 0 || counter_of(s, "tree.growths") == 0) return 1;
    ::raise(SIGKILL);
    return 2;
  });
  DOCTEST_REQUIRE(ended == -1);
  for (bool read_only : {true, false}) {
    pleach::store s = open(f.path, 128 * mib, read_only);
    for (const shape& x : shapes) compare(s, x);
    auto listed = s.trees();
    DOCTEST_REQUIRE(listed);
    for (const pleach::tree_info& i : *listed) {
      DOCTEST_CHECK(i.height <= (i.node_bytes == 4096 ? 3u : 2u));  // few large leaves
      DOCTEST_CHECK(i.height >= 2);
    }
    require_clean(s);
    if (read_only) continue;
    for (const shape& x : shapes) {
      pleach::tree t = open_tree(s, x.name);
      for (u64 i = 0; i < x.records; i += x.records / 40)
        require_ok(s.run(t.del(key_of(x, i), nullptr, pleach::durability::ordered)));
    }
    require_clean(s);
    for (const shape& x : shapes) require_ok(s.run(s.drop_tree(x.name)));
    require_clean(s);
  }
}

/// Records of a few bytes, which occupy whole units of 2 to 16 bytes in such nodes: what a batch
/// plans must cover that.
DOCTEST_TEST_CASE("batches of the smallest records in every large node") {
  scratch_file f("large");
  format_for_large_nodes(f.path);
  pleach::store s = open(f.path, 128 * mib);
  std::mt19937_64 random(base_seed());
  for (u32 node_bytes = 128 << 10; node_bytes <= 1 << 20; node_bytes *= 2) {
    pleach::tree t;
    require_ok(s.run(s.create_tree(std::to_string(node_bytes), {node_bytes, 0, 0}, t)));
    std::map<std::string, std::string> model;
    pleach::batch b(s);
    for (u32 round = 0; round < 60; ++round) {
      const u64 size = random() % 4 == 0 ? 4000 : 1 + random() % 200;
      for (u64 i = 0; i < size; ++i) {
        const u64 n = random() % 300'000;
        const std::string key =
            n % 50 == 0 ? std::string(200, 'k') + std::to_string(n) : std::to_string(n);
        if (random() % 8 == 0) {
          b.del(t, key);
          model.erase(key);
        } else {
          model[key] = std::string(n % 4, 'v');
          b.upsert(t, key, model[key]);
        }
      }
      require_ok(s.run(b.commit(pleach::durability::ordered)));
      b.clear();
    }
    DOCTEST_CHECK(t.record_count() == model.size());
    for (const auto& [key, value] : model) {
      std::string got;
      require_ok(s.run(t.get(key, got)));
      DOCTEST_REQUIRE(got == value);
    }
  }
  require_clean(s);
}

DOCTEST_TEST_CASE("a budget too small for large nodes is refused with what it takes") {
  scratch_file f("large");
  format_for_large_nodes(f.path);
  pleach::open_options o;
  o.cache_bytes = 16 * mib;
  auto s = pleach::store::open(f.path, o);
  DOCTEST_REQUIRE(!s);
  DOCTEST_CHECK(s.error().what() == category::no_memory);
  DOCTEST_CHECK_MESSAGE(s.error().message.find("1048576") != std::string::npos, s.error().message);
  const std::size_t at = s.error().message.find("at least ");
  DOCTEST_REQUIRE(at != std::string::npos);
  o.cache_bytes = std::stoull(s.error().message.substr(at + 9)) * mib;
  DOCTEST_CHECK(pleach::store::open(f.path, o).has_value());
  o.cache_bytes -= mib;
  DOCTEST_CHECK(!pleach::store::open(f.path, o).has_value());
}

}  // namespace
