// Proves: a tree that is loaded in bulk is the tree that puts would have made: every record is
// found, forwards and backwards, counts agree, the check is clean, and it takes changes of all
// kinds afterwards, through reopening and kills. What is refused is named and changes nothing; a
// loader that is destroyed, cancelled or refused at its commit gives all space back.
#include <algorithm>
#include <csignal>
#include <map>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;
using pleach::load_record;

namespace {

using content = std::map<std::string, std::string>;

/// Adds the records in spans of random length.
void add_all(pleach::store& s, pleach::bulk_loader& l, const content& c, u64 seed) {
  std::mt19937_64 r(seed);
  std::vector<load_record> some;
  for (auto at = c.begin(); at != c.end();) {
    some.clear();
    for (u64 n = 1 + r() % 3000; n != 0 && at != c.end(); --n, ++at)
      some.push_back({at->first, at->second});
    require_ok(s.run(l.add(some)));
  }
  DOCTEST_CHECK(l.records() == c.size());
}

void load(pleach::store& s, pleach::tree& t, const content& c, u64 seed = 1) {
  pleach::bulk_loader l(t);
  add_all(s, l, c, seed);
  DOCTEST_CHECK(t.record_count() == 0);
  require_ok(s.run(l.commit()));
  DOCTEST_CHECK(t.record_count() == c.size());
}

u64 bytes_in(const content& c) {
  u64 n = 0;
  for (auto& [k, v] : c) n += k.size() + v.size();
  return n;
}

void require_same(pleach::store& s, pleach::tree& t, const content& c) {
  DOCTEST_CHECK(t.record_count() == c.size());
  DOCTEST_CHECK(t.byte_count() == bytes_in(c));
  pleach::cursor at(t);
  pleach::answer a = s.run(at.first());
  for (auto& [k, v] : c) {
    require_ok(a);
    DOCTEST_REQUIRE(at.key() == k);
    DOCTEST_REQUIRE(at.value() == v);
    if (!at.try_next()) a = s.run(at.next());
  }
  DOCTEST_CHECK(a.what() == category::not_found);
  a = s.run(at.last());
  for (auto k = c.rbegin(); k != c.rend(); ++k) {
    require_ok(a);
    DOCTEST_REQUIRE(at.key() == k->first);
    if (!at.try_prev()) a = s.run(at.prev());
  }
  std::string value;
  u64 n = 0;
  for (auto& [k, v] : c) {
    if (n++ % 7 != 0) continue;
    require_ok(s.run(t.get(k, value)));
    DOCTEST_REQUIRE(value == v);
    DOCTEST_REQUIRE(s.run(t.get(k + '\x01', value)).what() == category::not_found);
  }
}

/// Puts and deletes everywhere.
void change(pleach::store& s, pleach::tree& t, content& c, u64 seed, u64 changes) {
  std::mt19937_64 r(seed);
  std::vector<std::string> keys;
  for (auto& [k, v] : c) keys.push_back(k);
  for (u64 i = 0; i < changes; ++i) {
    std::string k = keys.empty() ? std::to_string(r()) : keys[r() % keys.size()];
    if (t.key_bytes() == 0 && r() % 3 == 0) k += std::to_string(r() % 100);
    if (r() % 3 == 0) {
      pleach::answer a = s.run(t.del(k, nullptr, pleach::durability::ordered));
      DOCTEST_REQUIRE(a.ok() == (c.erase(k) == 1));
      continue;
    }
    std::string v = bytes_of(r(), t.value_bytes() ? t.value_bytes() : r() % 300);
    require_ok(s.run(t.upsert(k, v, pleach::durability::ordered)));
    c[k] = v;
  }
}

struct shape {
  const char* name;
  u32 node_bytes, key_bytes, value_bytes;
};
constexpr shape shapes[] = {
    {"slotted", 16 << 10, 0, 0}, {"small", 4 << 10, 0, 0},     {"large", 64 << 10, 0, 0},
    {"fixed", 4 << 10, 16, 16},  {"lengths", 4 << 10, 20, 90}, {"wide", 64 << 10, 8, 8},
};

std::string key_of(const shape& x, u64 i, u64 seed) {
  const u64 n = __builtin_bswap64(seed % 2 ? i * 1000 : i * 0x9e3779b97f4a7c15u);
  if (x.key_bytes != 0) {
    std::string k(reinterpret_cast<const char*>(&n), 8);
    k.resize(x.key_bytes, 'k');
    return k;
  }
  if (seed % 3 == 0) return "file" + std::to_string(i * 7919 % 1000003);
  std::string k(reinterpret_cast<const char*>(&n), 8);
  return k + std::string(n % 50, 'x');
}

content make(const shape& x, u64 records, u64 seed) {
  content c;
  for (u64 i = 0; i < records; ++i) {
    u64 length = x.value_bytes ? x.value_bytes : (i * 31 + seed) % 200;
    if (x.value_bytes == 0 && i % 501 == 7) length = 5000 + i % 20000;
    c[key_of(x, i, seed)] = bytes_of(i + seed, length);
  }
  return c;
}

u64 free_blocks(pleach::store& s) {
  return require_clean(s).blocks_free;
}

}  // namespace

DOCTEST_TEST_CASE("sizes and shapes") {
  for (const shape& x : shapes)
    for (u64 records : {0, 1, 2, 30, 500, 6000, 60000}) {
      if (records == 60000 && x.node_bytes == 64 << 10) continue;
      DOCTEST_CAPTURE(x.name);
      DOCTEST_CAPTURE(records);
      const u64 seed = records / 100 + x.node_bytes / 4096;
      pleach::store s = open_memory(128 * mib, 24 * mib);
      pleach::tree t;
      require_ok(s.run(s.create_tree("t", {x.node_bytes, x.key_bytes, x.value_bytes}, t)));
      content c = make(x, records, seed);
      load(s, t, c, seed);
      require_clean(s);
      require_same(s, t, c);
      if (records > 6000) continue;
      change(s, t, c, seed, std::min<u64>(1000, records));
      require_same(s, t, c);
      require_clean(s);
    }
}

DOCTEST_TEST_CASE("trees of four levels, and full nodes") {
  pleach::store s = open_memory(256 * mib, 24 * mib);
  pleach::tree t = create(s, "t", 4096);
  content c;
  // Long separators that share little: few children a node.
  for (u64 i = 0; i < 30000; ++i)
    c[bytes_of(i / 10, 150) + std::to_string(i % 10)] = bytes_of(i, 700 + i % 100);
  load(s, t, c);
  auto trees = s.trees();
  DOCTEST_REQUIRE(trees.has_value());
  DOCTEST_CHECK((*trees)[0].height >= 4);
  require_clean(s);
  require_same(s, t, c);
  change(s, t, c, 5, 500);
  require_same(s, t, c);
  require_clean(s);

  // 16 + 100 bytes in nodes of 16 KiB: 133 records fit a node, and stand in it.
  pleach::tree full = create(s, "full", 16 << 10);
  content d;
  for (u64 i = 0; i < 50000; ++i) d[bytes_of(i, 16)] = bytes_of(i, 100);
  const u64 before = free_blocks(s);
  load(s, full, d);
  const u64 used = before - free_blocks(s);
  DOCTEST_CHECK(used * 4096 < d.size() * 116 * 114 / 100);
}

DOCTEST_TEST_CASE("whole keys, and integers") {
  for (int how = 0; how < 4; ++how) {
    DOCTEST_CAPTURE(how);
    pleach::store s = open_memory(128 * mib, 24 * mib);
    pleach::tree t;
    pleach::tree_options o;
    o.node_bytes = how % 2 ? 4096 : 64 << 10;
    o.prefix_compression = how != 1 && how != 2;
    o.suffix_truncation = how == 1;
    require_ok(s.run(s.create_tree("t", o, t)));
    // Long keys beside short ones: the fence behind a record may be longer than its key.
    content c = make(shapes[1], 5000, 1);
    for (u64 i = 0; i < 600; ++i) c[bytes_of(i, i % 9 == 3 ? 1020 : 1 + i % 700)] = bytes_of(i, 30);
    load(s, t, c);
    require_clean(s);
    require_same(s, t, c);
    change(s, t, c, 4, 500);
    require_same(s, t, c);
    require_clean(s);
  }
  for (pleach::key_order order :
       {pleach::key_order::unsigned_integers, pleach::key_order::signed_integers}) {
    pleach::store s = open_memory(64 * mib, 24 * mib);
    pleach::tree t;
    pleach::tree_options o;
    o.node_bytes = 4096;
    o.key_bytes = 4;
    o.order = order;
    require_ok(s.run(s.create_tree("t", o, t)));
    const bool with_sign = order == pleach::key_order::signed_integers;
    std::vector<std::int32_t> numbers;
    for (std::int32_t n = with_sign ? -9000 : 0; n < 9000; n += 3) numbers.push_back(n);
    auto text = [](const std::int32_t& n) {
      return std::string_view(reinterpret_cast<const char*>(&n), 4);
    };
    pleach::bulk_loader l(t);
    std::vector<load_record> some;
    for (const std::int32_t& n : numbers) some.push_back({text(n), "value"});
    require_ok(s.run(l.add(std::span(some).first(100))));
    require_ok(s.run(l.add(std::span(some).subspan(100))));
    std::vector<load_record> short_one{{"abc", "value"}};
    DOCTEST_CHECK(std::string(s.run(l.add(short_one)).name()) == "wrong_key_length");
    require_ok(s.run(l.commit()));
    require_clean(s);
    pleach::cursor at(t);
    pleach::answer a = s.run(at.first());
    for (const std::int32_t& n : numbers) {
      require_ok(a);
      DOCTEST_REQUIRE(at.key() == text(n));
      if (!at.try_next()) a = s.run(at.next());
    }
    DOCTEST_CHECK(a.what() == category::not_found);
  }
}

DOCTEST_TEST_CASE("large values, with maps too") {
  pleach::store s = open_memory(200 * mib, 24 * mib);
  const u64 empty = free_blocks(s);
  pleach::tree t = create(s, "t", 4096);
  content c;
  std::mt19937_64 r(3);
  for (u64 i = 0; i < 600; ++i)
    c["v" + std::to_string(i * 7 % 600)] = bytes_of(i, i % 100 == 5 ? 3'000'000 + i
                                                       : i % 3      ? r() % 70000
                                                                    : r() % 100);
  load(s, t, c);
  require_clean(s);
  require_same(s, t, c);
  change(s, t, c, 9, 400);
  require_same(s, t, c);
  require_ok(s.run(s.drop_tree("t")));
  DOCTEST_CHECK(free_blocks(s) == empty);
}

DOCTEST_TEST_CASE("what is refused") {
  pleach::store s = open_memory(64 * mib, 16 * mib);
  pleach::tree t = create(s, "t");
  pleach::tree fixed;
  require_ok(s.run(s.create_tree("fixed", {4096, 4, 2}, fixed)));
  const std::string long_key(s.limits().key_bytes + 1, 'k');
  auto name_of = [&](pleach::bulk_loader& l, std::vector<load_record> rs) {
    return std::string(s.run(l.add(rs)).name());
  };
  {
    pleach::bulk_loader l(t);
    DOCTEST_CHECK(name_of(l, {{"b", "1"}, {"d", "2"}}) == "ok");
    DOCTEST_CHECK(name_of(l, {{"e", "1"}, {"c", "2"}}) == "not_ascending");
    DOCTEST_CHECK(name_of(l, {{"d", "1"}}) == "not_ascending");
    DOCTEST_CHECK(name_of(l, {{"a", "1"}}) == "not_ascending");
    DOCTEST_CHECK(name_of(l, {{"f", "1"}, {"f", "2"}}) == "not_ascending");
    DOCTEST_CHECK(name_of(l, {{"g", "1"}, {long_key, "2"}}) == "key_too_large");
    DOCTEST_CHECK(name_of(l, {}) == "ok");
    DOCTEST_CHECK(l.records() == 2);
    // Nothing of the refused ones was taken.
    DOCTEST_CHECK(name_of(l, {{"e", "3"}}) == "ok");
    require_ok(s.run(l.commit()));
    DOCTEST_CHECK(name_of(l, {{"z", "3"}}) == "invalid");
    DOCTEST_CHECK(std::string(s.run(l.commit()).name()) == "invalid");
    require_same(s, t, {{"b", "1"}, {"d", "2"}, {"e", "3"}});
  }
  {
    pleach::bulk_loader l(fixed);
    std::vector<load_record> one{{"abc", "12"}};
    pleach::answer a = s.run(l.add(one));
    DOCTEST_CHECK(std::string(a.name()) == "wrong_key_length");
    DOCTEST_CHECK(a.wanted_bytes == 4);
    DOCTEST_CHECK(a.given_bytes == 3);
    DOCTEST_CHECK(name_of(l, {{"abcd", "1"}}) == "wrong_value_length");
    DOCTEST_CHECK(name_of(l, {{"abcd", "12"}}) == "ok");
    require_ok(s.run(l.commit(pleach::durability::ordered)));
    require_same(s, fixed, {{"abcd", "12"}});
  }
  {
    pleach::bulk_loader l(t);  // it has records
    DOCTEST_CHECK(name_of(l, {{"x", "1"}}) == "not_empty");
    DOCTEST_CHECK(name_of(l, {{"y", "1"}}) == "not_empty");
    DOCTEST_CHECK(std::string(s.run(l.commit()).name()) == "not_empty");
  }
  {
    pleach::tree gone = create(s, "gone");
    pleach::bulk_loader l(gone);
    DOCTEST_CHECK(name_of(l, {{"x", "1"}}) == "ok");
    require_ok(s.run(s.drop_tree("gone")));
    DOCTEST_CHECK(name_of(l, {{"y", "1"}}) == "tree_closed");
    DOCTEST_CHECK(std::string(s.run(l.commit()).name()) == "tree_closed");
  }
  {
    pleach::bulk_loader l(pleach::tree{});
    DOCTEST_CHECK(l.records() == 0);
  }
  require_clean(s);
}

DOCTEST_TEST_CASE("space comes back") {
  pleach::store s = open_memory(64 * mib, 16 * mib);
  pleach::tree t = create(s, "t");
  const u64 empty = free_blocks(s);
  const content c = make(shapes[0], 20000, 1);
  // Destroyed at any point.
  for (u64 part : {1, 300, 5000, 20000}) {
    content some(c.begin(), std::next(c.begin(), static_cast<long>(part)));
    pleach::bulk_loader l(t);
    add_all(s, l, some, part);
  }
  DOCTEST_CHECK(free_blocks(s) == empty);
  // Somebody else was first; and is last.
  {
    pleach::bulk_loader l(t);
    add_all(s, l, c, 1);
    require_ok(s.run(t.put("early", "bird")));
    pleach::answer a = s.run(l.commit());
    DOCTEST_CHECK(a.what() == category::exists);
    DOCTEST_CHECK(std::string(a.name()) == "not_empty");
    require_same(s, t, {{"early", "bird"}});
    require_ok(s.run(t.del("early")));
  }
  DOCTEST_CHECK(free_blocks(s) == empty);
  // Two loaders of one tree: one of them wins.
  {
    pleach::bulk_loader l(t), m(t);
    add_all(s, l, c, 1);
    add_all(s, m, c, 2);
    auto first = l.commit(), second = m.commit();
    first.start(nullptr, nullptr);
    second.start(nullptr, nullptr);
    while (!first.done() || !second.done()) host_step(s);
    DOCTEST_CHECK(first.result().ok() + second.result().ok() == 1);
  }
  require_same(s, t, c);
  require_ok(s.run(s.drop_tree("t")));
  t = create(s, "t");
  DOCTEST_CHECK(free_blocks(s) == empty);
  // Cancelled, at every point that a poll reaches.
  for (int after = 0; after < 40; ++after) {
    pleach::bulk_loader l(t);
    std::vector<load_record> all;
    for (auto& [k, v] : c) all.push_back({k, v});
    auto op = l.add(all);
    op.start(nullptr, nullptr);
    for (int i = 0; i < after && !op.done(); ++i) host_step(s);
    op.cancel();
    while (!op.done()) host_step(s);
    if (op.result().ok()) break;
    DOCTEST_CHECK(op.result().what() == category::cancelled);
    // Taken in part it is no good; before the first was taken nothing has happened.
    DOCTEST_CHECK(s.run(l.commit()).ok() == (l.records() == 0));
    DOCTEST_CHECK(t.record_count() == 0);
  }
  for (int after = 0; after < 40; ++after) {
    pleach::bulk_loader l(t);
    content some(c.begin(), std::next(c.begin(), 3000));
    add_all(s, l, some, 1);
    auto op = l.commit();
    op.start(nullptr, nullptr);
    for (int i = 0; i < after && !op.done(); ++i) host_step(s);
    op.cancel();
    while (!op.done()) host_step(s);
    if (t.record_count() != 0) break;  // after its changes were made it only detaches
    DOCTEST_CHECK(op.result().what() == category::cancelled);
  }
  require_ok(s.run(s.drop_tree("t")));
  t = create(s, "t");
  DOCTEST_CHECK(free_blocks(s) == empty);
}

DOCTEST_TEST_CASE("no space") {
  pleach::store s = open_memory(8 * mib, 16 * mib);
  pleach::tree t = create(s, "t");
  const u64 empty = free_blocks(s);
  content c;
  for (u64 i = 0; i < 20000; ++i) c[std::to_string(100000 + i)] = bytes_of(i, 500);
  {
    pleach::bulk_loader l(t);
    std::vector<load_record> all;
    for (auto& [k, v] : c) all.push_back({k, v});
    DOCTEST_CHECK(s.run(l.add(all)).what() == category::no_space);
    DOCTEST_CHECK(s.run(l.commit()).what() == category::no_space);
  }
  DOCTEST_CHECK(free_blocks(s) == empty);
  // In pieces: every third record goes, and single blocks come free; the load takes those.
  pleach::tree other = create(s, "other");
  for (u64 i = 0; i < 700; ++i)
    require_ok(
        s.run(other.put(std::to_string(1000 + i), bytes_of(i, 4000), pleach::durability::ordered)));
  for (u64 i = 0; i < 700; i += 3)
    require_ok(s.run(other.del(std::to_string(1000 + i), nullptr, pleach::durability::ordered)));
  content d;
  const u64 room = free_blocks(s) * 4096;
  // Seven records a leaf of a block; all but a twentieth of what is free.
  for (u64 i = 0; i * 586 < room / 100 * 95; ++i) d[std::to_string(100000 + i)] = bytes_of(i, 500);
  load(s, t, d);
  require_same(s, t, d);
  require_clean(s);
}

DOCTEST_TEST_CASE("killed, and opened again") {
  scratch_file file("bulk");
  format(file.path, 128 * mib);
  content c = make(shapes[1], 20000, 1), other = make(shapes[3], 20000, 2);
  int code = in_child([&] {
    pleach::store s = open(file.path);
    pleach::tree t = create(s, "t"), half = create(s, "half");
    load(s, t, c);
    change(s, t, c, 7, 2000);  // captures over pages that no log has made
    pleach::bulk_loader l(half);
    add_all(s, l, other, 1);
    require_ok(s.run(s.flush()));
    ::raise(SIGKILL);
    return 0;
  });
  DOCTEST_CHECK(code == -1);
  for (int round = 0; round < 2; ++round) {
    pleach::store s = open(file.path);
    require_clean(s);
    pleach::tree t = open_tree(s, "t"), half = open_tree(s, "half");
    DOCTEST_CHECK(half.record_count() == 0);
    if (round == 1) continue;
    content there;
    pleach::cursor at(t);
    for (pleach::answer a = s.run(at.first()); a.ok(); a = s.run(at.next()))
      there[std::string(at.key())] = std::string(at.value());
    content expected = make(shapes[1], 20000, 1);
    {
      // The same changes again, on a model.
      pleach::store m = open_memory(128 * mib, 16 * mib);
      pleach::tree again = create(m, "t");
      load(m, again, expected);
      change(m, again, expected, 7, 2000);
    }
    DOCTEST_CHECK(there == expected);
    require_ok(s.run(s.drop_tree("half")));
    create(s, "half");
  }
}

// Its pages carry the last LSN there is, and that of an opening without changes was one of those
// that recovery gives to nobody: they were called corrupt.
DOCTEST_TEST_CASE("the first change after a kill and an opening without changes") {
  scratch_file file("bulk");
  format(file.path, 64 * mib);
  const content c = make(shapes[1], 5000, 1);
  const int code = in_child([&] {
    pleach::store s = open(file.path);
    create(s, "t");
    ::raise(SIGKILL);
    return 0;
  });
  DOCTEST_CHECK(code == -1);
  for (int round = 0; round < 3; ++round) {
    pleach::store s = open(file.path);
    pleach::tree t = open_tree(s, "t");
    if (round == 0) continue;
    if (round == 1) load(s, t, c);
    if (round == 2) require_same(s, t, c);
    require_clean(s);
  }
}
