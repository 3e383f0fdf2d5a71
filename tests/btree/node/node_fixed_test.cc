// Proves of leaves with dense arrays: chains of them hold what a std::map holds, for every key
// length, with either search; each step announces every byte it changes; each rule of check_node is
// checked; no bytes lead a read out of the page; ascending inserts leave full nodes. Prints what an
// insert announces, beside slotted leaves.
#include "btree/node_fixed.hh"

#include "tests/btree/node/chain.hh"

namespace pleach::btree::test {
namespace {

using fixed::search_path;

/// Keys of one length, by style: random; the last two bytes count behind a common beginning; few
/// distinct bytes; a big-endian number of eight bytes in front.
std::string fixed_key(random_stream& r, u32 length, u32 style) {
  std::string k(length, 'x');
  switch (style) {
    case 0:
      for (char& c : k) c = static_cast<char>(r.below(256));
      break;
    case 1:
      for (u32 i = 0; i < 2 && i < length; ++i) k[length - 1 - i] = static_cast<char>(r.below(256));
      break;
    case 2:
      for (char& c : k) c = static_cast<char>(r.below(2) ? 0xff : 0);
      break;
    default: {
      const u64 n = __builtin_bswap64(r.below(3000));
      std::string number(reinterpret_cast<const char*>(&n), 8);
      const u32 taken = std::min(length, 8u);
      k.replace(0, taken, number.substr(8 - taken));
    }
  }
  return k;
}

chain::value fixed_value(random_stream& r, u32 length) {
  chain::value v{0, std::string(length, '\0')};
  for (char& c : v.bytes) c = static_cast<char>(r.below(256));
  return v;
}

/// A key of any length beside those of the leaf: reads may seek any.
std::string any_key(random_stream& r, u32 length, u32 style) {
  std::string k = fixed_key(r, length, style);
  if (r.chance(300)) k.resize(r.below(length + 1));
  if (r.chance(300)) k.append(1 + r.below(9), static_cast<char>(r.below(2) ? 0 : 'z'));
  return k;
}

struct totals {
  u64 splits = 0, merges = 0, unlinks = 0;
};

void run(totals& all, u32 first_bytes, u32 max_bytes, record_shape shape, u32 style, u32 steps) {
  DOCTEST_CAPTURE(shape.key_bytes);
  DOCTEST_CAPTURE(shape.value_bytes);
  DOCTEST_CAPTURE(style);
  random_stream r(shape.key_bytes * 1000u + shape.value_bytes + style);
  chain c(first_bytes, max_bytes, 0, shape);
  for (u32 step = 0; step < steps; ++step) {
    const bool shrinking = step / (steps / 6 + 1) % 2 == 1;
    const u64 dice = r.below(100);
    const std::size_t at = r.below(c.nodes.size());
    const std::string key = fixed_key(r, shape.key_bytes, style);
    auto near = c.model.lower_bound(key);
    if (dice < (shrinking ? 20u : 70u)) {
      constexpr run_kind kinds[] = {run_kind::NONE, run_kind::UP, run_kind::DOWN};
      c.put_in(key, fixed_value(r, shape.value_bytes), kinds[step % 3]);
    } else if (dice < (shrinking ? 82u : 78u)) {
      if (near != c.model.end()) c.erase(std::string(near->first));
    } else if (dice < 86) {
      if (near != c.model.end()) c.put(std::string(near->first), fixed_value(r, shape.value_bytes));
    } else if (dice < (shrinking ? 96u : 88u)) {
      c.merge(at);
    } else if (dice < 97) {
      c.compact_at(at);
    } else if (dice < 98 && c.nodes[at]->size() < max_bytes) {
      c.grow(at);
    } else if (dice < 99 && c.nodes.size() > 1) {
      const std::size_t left = c.nodes.size();
      while (c.nodes.size() == left && c.nodes[at]->view().count() > 0)
        c.erase(full_key(c.nodes[at]->view(), 0));
    } else {
      c.probe(any_key(r, shape.key_bytes, style));
    }
    if (step % 64 == 0) c.verify();
  }
  c.verify();
  for (u32 i = 0; i < 100; ++i) c.probe(any_key(r, shape.key_bytes, style));
  all.splits += c.splits;
  all.merges += c.merges;
  all.unlinks += c.unlinks;
}

void run_all(search_path path) {
  if (!fixed::choose_search(path)) {
    DOCTEST_MESSAGE("this CPU has no vector search");
    return;
  }
  totals all;
  for (const u16 key : {1, 4, 8, 16, 24, 31, 256})
    for (const u16 value : {1, 8, 24, 700})
      for (u32 style = 0; style < 4; ++style) {
        run(all, 4096, 4096, {key, value}, style, 700);
        run(all, 4096, 16384, {key, value}, style, 500);
      }
  for (const u16 key : {8, 24})
    for (u32 style = 0; style < 4; ++style) run(all, 65536, 65536, {key, key}, style, 800);
  DOCTEST_MESSAGE("splits ", all.splits, ", merges ", all.merges, ", unlinked ", all.unlinks);
  DOCTEST_CHECK((all.splits > 100 && all.merges > 100 && all.unlinks > 20));
  fixed::choose_search(search_path::AUTOMATIC);
}

DOCTEST_TEST_CASE("chains of fixed leaves equal a map, portable search") {
  run_all(search_path::PORTABLE);
}
DOCTEST_TEST_CASE("chains of fixed leaves equal a map, vector search") {
  run_all(search_path::VECTOR);
}

DOCTEST_TEST_CASE("both searches agree on every position of every count") {
  for (const u16 length : {4, 8, 16}) {
    random_stream r(length);
    chain c(16384, 16384, 0, {length, 8});
    test_page& p = *c.nodes[0];
    for (u32 count = 0; count < 200; ++count) {
      for (u32 i = 0; i < 30; ++i) {
        const std::string key = any_key(r, length, r.below(2) ? 2 : 0);
        std::string at = count != 0 && r.chance(500)
                             ? full_key(p.view(), static_cast<u32>(r.below(count)))
                             : key;
        fixed::choose_search(search_path::PORTABLE);
        const search_result a = p.view().find(as_bytes(at));
        fixed::choose_search(search_path::AUTOMATIC);
        const search_result b = p.view().find(as_bytes(at));
        DOCTEST_REQUIRE(a.index == b.index);
        DOCTEST_REQUIRE(a.found == b.found);
      }
      c.put(fixed_key(r, length, 0), fixed_value(r, 8));
    }
  }
}

DOCTEST_TEST_CASE("ascending inserts leave full nodes and move few records") {
  constexpr u32 inserts = 20000;
  chain c(4096, 4096, 0, {8, 8});
  u64 before = 0;
  for (u64 i = 0; i < inserts; ++i) {
    const u64 n = __builtin_bswap64(i);
    c.put(std::string(reinterpret_cast<const char*>(&n), 8), {0, "01234567"}, true);
    if (i == inserts / 2) before = c.marked;
  }
  c.verify();
  const u32 places = fixed::row(c.nodes[0]->view()).places;
  DOCTEST_CHECK(places * 16 > node_capacity(4096) * 99 / 100);
  for (std::size_t i = 0; i + 1 < c.nodes.size(); ++i)
    DOCTEST_REQUIRE(c.nodes[i]->view().count() == places);
  const u64 each = (c.marked - before) / (inserts / 2);
  DOCTEST_MESSAGE("ascending 8+8 into 4 KiB: bytes announced per insert ", each);
  DOCTEST_CHECK(each < 40);
}

DOCTEST_TEST_CASE("descending inserts move few records") {
  chain c(4096, 4096, 0, {8, 8});
  for (u64 i = 5000; i > 0; --i) {
    const u64 n = __builtin_bswap64(i);
    c.put(std::string(reinterpret_cast<const char*>(&n), 8), {0, "01234567"});
  }
  c.verify();
  DOCTEST_MESSAGE("descending 8+8 into 4 KiB: bytes announced per insert ", c.marked / 5000);
  DOCTEST_CHECK(c.marked / 5000 < 600);
}

struct cost {
  u64 bytes;            ///< announced per insert, with 4 a run
  double record_bytes;  ///< of all nodes per record
};
cost random_inserts(u32 node_bytes, u16 key, u16 value, bool fixed_leaves) {
  random_stream r(11);
  chain c(node_bytes, node_bytes, 0, fixed_leaves ? record_shape{key, value} : record_shape{});
  const u32 inserts = node_bytes / (key + value) * 8;
  for (u32 i = 0; i < inserts; ++i) c.put(fixed_key(r, key, 0), fixed_value(r, value));
  const u64 marked = c.marked, runs = c.runs;
  for (u32 i = 0; i < inserts; ++i) c.put(fixed_key(r, key, 0), fixed_value(r, value));
  return {(c.marked - marked + 4 * (c.runs - runs)) / inserts,
          double(c.nodes.size()) * node_bytes / double(c.model.size())};
}

DOCTEST_TEST_CASE("what a random insert announces, beside slotted leaves") {
  struct line {
    u32 node_bytes;
    u16 key, value;
    u64 limit;
  };
  for (const line& l :
       {line{4096, 8, 8, 300}, line{16384, 8, 8, 700}, line{4096, 16, 32, 600},
        line{16384, 16, 100, 1400}, line{16384, 24, 24, 900}, line{65536, 24, 24, 2000}}) {
    const cost f = random_inserts(l.node_bytes, l.key, l.value, true);
    const cost s = random_inserts(l.node_bytes, l.key, l.value, false);
    DOCTEST_MESSAGE(l.node_bytes, " bytes, ", l.key, "+", l.value, ": bytes announced fixed ",
                    f.bytes, ", slotted ", s.bytes, "; bytes a record fixed ", f.record_bytes,
                    ", slotted ", s.record_bytes);
    DOCTEST_CHECK(f.bytes < l.limit);
    DOCTEST_CHECK(f.record_bytes < s.record_bytes);
  }
}

DOCTEST_TEST_CASE("an equal value announces nothing, a changed byte one granule") {
  chain c(4096, 4096, 0, {8, 200});
  std::string v(200, 'a');
  c.put("key00001", {0, v});
  test_page& p = *c.nodes[0];
  replace_value(p.writer(), 0, 0, as_bytes(v));
  DOCTEST_REQUIRE(p.settle() == "");
  DOCTEST_CHECK(p.marked == 0);
  v[77] = 'b';
  replace_value(p.writer(), 0, 0, as_bytes(v));
  DOCTEST_REQUIRE(p.settle() == "");
  DOCTEST_CHECK(p.marked == 8);
}

DOCTEST_TEST_CASE("an inner root becomes an empty leaf of its tree's layout") {
  for (const record_shape shape : {record_shape{}, record_shape{8, 8}}) {
    test_page p(4096);
    format_node(p.writer(), p.ref.addr, 1, 5, p.ref.gen, 1, {}, {}, false, {}, shape);
    insert_child(p.writer(), 0, {}, {page_addr(10, 4), 3});
    insert_child(p.writer(), 1, as_bytes("key00001"), {page_addr(20, 4), 3});
    DOCTEST_REQUIRE(p.settle() == "");
    make_empty_leaf(p.writer());
    DOCTEST_REQUIRE(p.settle() == "");
    DOCTEST_CHECK(p.view().fixed() == shape.fixed());
    DOCTEST_CHECK(p.view().count() == 0);
    insert_at(p.writer(), 0, as_bytes("key00001"), 0, 0, as_bytes("12345678"));
    DOCTEST_CHECK(p.settle() == "");
    DOCTEST_CHECK(p.view().find(as_bytes("key00001")).found);
  }
}

std::unique_ptr<test_page> sample(u32 size = 4096, record_shape shape = {6, 5}) {
  auto p = std::make_unique<test_page>(size);
  std::string low(shape.key_bytes, 'k'), high(shape.key_bytes, 'k');
  low[shape.key_bytes - 1u] = 'a';
  high[shape.key_bytes - 1u] = 'z';
  format_node(p->writer(), p->ref.addr, 1, 5, p->ref.gen, 0, as_bytes(low), as_bytes(high), true,
              {}, shape);
  for (u32 i = 0; i < 20; ++i) {
    std::string key = low;
    key[shape.key_bytes - 1u] = static_cast<char>('b' + i);
    insert_at(p->writer(), i, as_bytes(key), 0, 0, as_bytes(std::string(shape.value_bytes, 'v')));
  }
  erase_at(p->writer(), 7);
  DOCTEST_REQUIRE(p->settle() == "");
  return p;
}

node_header& head(test_page& p) {
  return *reinterpret_cast<node_header*>(p.data.data() + node_header_offset);
}

DOCTEST_TEST_CASE("each rule of check_node is checked in fixed leaves") {
  const auto expect = [](const char* reason, const std::function<void(test_page&)>& damage) {
    auto p = sample();
    damage(*p);
    const char* why = nullptr;
    DOCTEST_CHECK(check_node(p->data, &why) == errc::corrupt);
    DOCTEST_CHECK(std::string(why ? why : "") == reason);
  };
  const auto key_at = [](test_page& p, u32 i) {
    return p.data.data() + (fixed::row(p.view()).key(i) - p.data.data());
  };
  expect("record shape", [](test_page& p) { head(p).key_bytes = 0; });
  expect("record shape", [](test_page& p) { head(p).key_bytes = 257; });
  expect("record shape", [](test_page& p) { head(p).value_bytes = 0; });
  expect("heap begin", [](test_page& p) { head(p).heap_begin = 4096; });
  expect("heap begin", [](test_page& p) { head(p).key_bytes = 7; });
  expect("places", [](test_page& p) { head(p).garbage = 1; });
  expect("places", [](test_page& p) { head(p).prefix_offset = 5; });
  expect("turn", [](test_page& p) { p.data[slot_area_begin + 1] = std::byte{16}; });
  expect("places", [](test_page& p) { head(p).count = 2000; });
  expect("places", [](test_page& p) { head(p).slot_begin = 351; });
  expect("places", [](test_page& p) { head(p).value_bytes = 60000; });
  expect("node flags", [](test_page& p) { head(p).node_flags = 16; });
  expect("low fence", [](test_page& p) { head(p).low_offset = 4000; });
  expect("low fence", [](test_page& p) { head(p).low_length = 7; });
  expect("high fence", [](test_page& p) { head(p).high_length = 0; });
  expect("high fence", [](test_page& p) { head(p).node_flags = NO_HIGH_FENCE; });
  expect("fence order", [](test_page& p) { p.data[4096 - 12] = std::byte{'a'}; });
  expect("prefix", [](test_page& p) { head(p).prefix_length = 4; });
  expect("key order", [&](test_page& p) { key_at(p, 3)[5] = std::byte{'b'}; });
  expect("key order", [&](test_page& p) { std::memcpy(key_at(p, 3), key_at(p, 4), 6); });
  expect("key below the low fence", [&](test_page& p) { key_at(p, 0)[5] = std::byte{'A'}; });
  expect("key above the high fence", [&](test_page& p) { key_at(p, 18)[5] = std::byte{'z'}; });
}

DOCTEST_TEST_CASE("mutated and random fixed leaves never lead a read out of the page") {
  random_stream r(78);
  std::vector<std::unique_ptr<test_page>> seeds;
  for (const record_shape s :
       {record_shape{1, 1}, record_shape{6, 5}, record_shape{8, 8}, record_shape{24, 100},
        record_shape{256, 700}, record_shape{8, 8, NO_PREFIX | NO_TRUNCATION}})
    for (const u32 size : {4096u, 12288u}) {
      auto p = std::make_unique<test_page>(size);
      format_node(p->writer(), p->ref.addr, 1, 5, p->ref.gen, 0, {}, {}, false, {}, s);
      for (u32 i = 0; room_for_insert(p->view(), {}, 0) == room::NOW && i < 250; ++i) {
        const std::string key = fixed_key(r, s.key_bytes, 0);
        const search_result at = p->view().find(as_bytes(key));
        if (!at.found)
          insert_at(p->writer(), at.index, as_bytes(key), 0, 0,
                    as_bytes(std::string(s.value_bytes, 'v')));
      }
      DOCTEST_REQUIRE(p->settle() == "");
      seeds.push_back(std::move(p));
    }
  u64 passed = 0, sum = 0;
  for (u32 round = 0; round < 40000; ++round) {
    test_page& p = *seeds[r.below(seeds.size())];
    std::unique_ptr<std::byte[]> copy(new std::byte[p.size()]);
    std::memcpy(copy.get(), p.data.data(), p.size());
    for (u64 n = 1 + r.below(4); n > 0; --n) {
      const u32 at = static_cast<u32>(r.chance(600)   ? 64 + r.below(64)
                                      : r.chance(500) ? r.below(64)
                                                      : r.below(p.size()));
      copy[at] = r.chance(300)   ? static_cast<std::byte>(r.next())
                 : r.chance(500) ? copy[at] ^ static_cast<std::byte>(1u << r.below(8))
                                 : std::byte{r.chance(500) ? u8{0} : u8{255}};
    }
    if (r.chance(20))
      for (u32 i = 64; i < p.size(); ++i) copy[i] = static_cast<std::byte>(r.next());
    const cbytes page{copy.get(), p.size()};
    if (!is_ok(check_node(page))) continue;
    ++passed;
    const node_view n(page_reader(page.data(), p.size()));
    std::byte key[max_stored_key_bytes];
    sum += n.used_bytes() + n.free_bytes() + n.right_hint().gen + n.prefix().size();
    for (u32 i = 0; i < n.count(); ++i) {
      const u32 length = n.copy_key(i, key);
      DOCTEST_REQUIRE(n.find({key, length}).index == i);
      sum += hash64(n.at(i).value);
    }
    for (int i = 0; i < 3; ++i) sum += n.find(as_bytes(random_key(r, 6, 300))).index;
  }
  DOCTEST_CHECK(passed > 100);
  DOCTEST_CHECK(sum != 0);
}

}  // namespace
}  // namespace pleach::btree::test
