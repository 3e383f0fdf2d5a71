// Proves that chains of nodes hold exactly what a std::map holds under random inserts,
// replacements, deletions, compactions, splits, merges, growth and widened fences; that each step
// passes check_node, announces every byte it changes, and leaves the incremental page sum right
// (chain.hh).
#include <cstdlib>

#include "be/base/planted.hh"
#include "tests/btree/node/chain.hh"

namespace pleach::btree::test {
namespace {

#ifdef PLEACH_PLANTED_BUGS
const bool planted_by_environment = (plant(std::getenv("PLEACH_PLANTED")), true);
#endif

struct setting {
  u32 first_bytes, max_bytes;
  u32 steps;
};

chain::value random_value(random_stream& r, u32 limit) {
  chain::value v{0, {}};
  const u32 most = r.chance(30) ? limit : std::min<u32>(limit, r.chance(200) ? 400 : 40);
  v.bytes.resize(r.below(most + 1));
  for (char& c : v.bytes) c = static_cast<char>(r.below(256));
  if (r.chance(50) && limit >= 32) {
    v.flags = VALUE_INDIRECT;
    v.bytes.resize(32, 'r');
  } else if (r.chance(50)) {
    v.flags = VALUE_COMPRESSED;
  }
  return v;
}

/// What the chains went through; a run that never merges proves nothing about merges.
struct totals {
  u64 splits = 0, merges = 0, compactions = 0, unlinks = 0;
};

/// Which versions of slotted leaves a chain has: the first, the second, or leaves that begin as the
/// first and are converted by some of their rewrites.
enum class versions { FIRST, SECOND, MIXED };

/// Flags and attachments that only a leaf of the second version can hold.
void attach(random_stream& r, chain::value& v) {
  if (r.chance(300)) v.key_flags |= KEY_USER_FLAGS;
  if (r.chance(300)) v.key_flags |= KEY_CHECKSUM;
  if (r.chance(300)) v.flags |= VALUE_CHECKSUM;
  const u32 n = (v.key_flags & KEY_USER_FLAGS ? 1 : 0) + (v.key_flags & KEY_CHECKSUM ? 4 : 0) +
                (v.flags & VALUE_CHECKSUM ? 4 : 0);
  v.attached.resize(n);
  for (char& c : v.attached) c = static_cast<char>(r.below(256));
}

totals run(const setting& s, u8 level, u32 style, u64 seed, record_shape shape = {},
           versions which = versions::FIRST) {
  DOCTEST_CAPTURE(s.max_bytes);
  DOCTEST_CAPTURE(style);
  DOCTEST_CAPTURE(seed);
  random_stream r(seed);
  chain c(s.first_bytes, s.max_bytes, level, shape,
          which == versions::SECOND ? node_format_slotted_2 : node_format_slotted);
  random_stream extras(seed + 100);
  if (which == versions::MIXED)
    c.conversion = [&] { return extras.chance(12) ? convert::YES : convert::NO; };
  random_stream guesses(seed + 200);  // splits where runs are guessed, rightly or wrongly
  const auto guess = [&] {
    return guesses.chance(500)   ? run_kind::NONE
           : guesses.chance(500) ? run_kind::UP
                                 : run_kind::DOWN;
  };
  const u32 quarter = (s.max_bytes - 128) / 4 - 16;
  const u32 max_key = s.max_bytes < 16384 ? 300 : max_inline_key_bytes;
  const auto put = [&](const std::string& key) {
    if (level != 0)
      c.put_in(key, {0, chain::child_bytes(1 + r.below(1u << 30))}, guess());
    else {
      chain::value v = random_value(r, quarter - 16 - static_cast<u32>(key.size()));
      // Rarely in a mixed chain: what is attached converts the leaf that it comes to.
      if (which == versions::SECOND || (which == versions::MIXED && extras.chance(1)))
        attach(extras, v);
      c.put_in(key, v, guess());
    }
  };
  for (u32 step = 0; step < s.steps; ++step) {
    const bool shrinking = step / (s.steps / 6 + 1) % 2 == 1;
    const u64 dice = r.below(100);
    const std::size_t at = r.below(c.nodes.size());
    const std::string key = random_key(r, style, max_key);
    if (dice < (shrinking ? 20u : 65u)) {
      put(key);
    } else if (dice < (shrinking ? 80u : 75u)) {
      auto m = c.model.lower_bound(key);
      if (m != c.model.end()) c.erase(std::string(m->first));
    } else if (dice < 85) {
      auto m = c.model.lower_bound(key);
      if (m != c.model.end()) put(std::string(m->first));
    } else if (dice < (shrinking ? 96u : 87u)) {
      c.merge(at);
    } else if (dice < 97) {
      c.compact_at(at);
    } else if (dice < 98 && c.nodes[at]->size() < s.max_bytes) {
      c.grow(at);
    } else if (dice < 99 && c.nodes.size() > 1) {
      // Drain a node: its neighbour takes the range, often with a fence that its prefix does not
      // share.
      const std::size_t left = c.nodes.size();
      while (c.nodes.size() == left && at < left && c.nodes[at]->view().count() > 0) {
        const std::string first = full_key(c.nodes[at]->view(), 0);
        const std::size_t records = c.model.size();
        c.erase(first);
        if (c.model.size() == records)
          break;  // the last child, and no neighbour has room for its fence
      }
    } else {
      c.probe(key);
    }
    if (step % 64 == 0) c.verify();
  }
  c.verify();
  return {c.splits, c.merges, c.compactions, c.unlinks};
}

void check_variety(const totals& t) {
  DOCTEST_MESSAGE("splits ", t.splits, ", merges ", t.merges, ", forced compactions ",
                  t.compactions, ", empty nodes unlinked ", t.unlinks);
  DOCTEST_CHECK((t.splits > 50 && t.merges > 50 && t.unlinks > 10));
}

DOCTEST_TEST_CASE("leaf chains equal a map") {
  totals all;
  const auto add = [&](const totals& t) {
    all.splits += t.splits;
    all.merges += t.merges;
    all.compactions += t.compactions;
    all.unlinks += t.unlinks;
  };
  for (u32 style = 0; style < 7; ++style)
    for (u64 seed = 1; seed <= 2; ++seed) {
      add(run({4096, 4096, 2500}, 0, style, seed));
      add(run({4096, 16384, 3000}, 0, style, seed));
    }
  for (u32 style = 0; style < 7; ++style) add(run({65536, 65536, 1500}, 0, style, 3));
  check_variety(all);
  DOCTEST_CHECK(all.compactions > 50);
}

DOCTEST_TEST_CASE("chains that store keys or separators whole equal a map") {
  totals all;
  for (const u16 flags : {u16{NO_PREFIX}, u16{NO_TRUNCATION}, u16{NO_PREFIX | NO_TRUNCATION}}) {
    DOCTEST_CAPTURE(flags);
    for (u32 style = 0; style < 7; ++style)
      for (const u8 level : {0, 1}) {
        const totals t = run({4096, 16384, 3000}, level, style, 5, {0, 0, flags});
        all.splits += t.splits;
        all.merges += t.merges;
        all.unlinks += t.unlinks;
      }
  }
  check_variety(all);
}

DOCTEST_TEST_CASE("leaf chains of the second version, and of both, equal a map") {
  totals all;
  for (versions which : {versions::SECOND, versions::MIXED})
    for (u32 style = 0; style < 7; ++style)
      for (const setting& s :
           {setting{4096, 4096, 2500}, setting{4096, 16384, 3000}, setting{131072, 131072, 400}}) {
        const totals t = run(s, 0, style, 4, {}, which);
        all.splits += t.splits;
        all.merges += t.merges;
        all.unlinks += t.unlinks;
      }
  check_variety(all);
}

DOCTEST_TEST_CASE("leaves of two versions merge") {
  u64 merges = 0;
  for (u32 style = 0; style < 7; ++style) {
    random_stream r(style + 1);
    chain c(4096, 4096, 0);
    for (u32 i = 0; i < 600; ++i)
      c.put(random_key(r, style, 300), {0, std::string(r.below(200), 'v')});
    c.conversion = [] { return convert::YES; };
    for (std::size_t i = r.below(2); i < c.nodes.size(); i += 2) c.compact_at(i);
    c.conversion = [] { return convert::NO; };
    c.verify();
    while (c.model.size() > 100) {
      auto m = c.model.lower_bound(random_key(r, style, 300));
      if (m == c.model.end()) m = c.model.begin();
      c.erase(std::string(m->first));
      c.merge(r.below(c.nodes.size()));
    }
    c.verify();
    merges += c.mixed_merges;
  }
  DOCTEST_MESSAGE("merges of two versions ", merges);
  DOCTEST_CHECK(merges > 20);
}

DOCTEST_TEST_CASE("inner chains equal a map") {
  totals all;
  for (u32 style = 0; style < 7; ++style)
    for (u64 seed = 1; seed <= 2; ++seed)
      for (const setting& s : {setting{4096, 4096, 2500}, setting{4096, 16384, 3000}}) {
        const totals t = run(s, s.max_bytes == 4096 ? 1 : 3, style, seed);
        all.splits += t.splits;
        all.merges += t.merges;
        all.unlinks += t.unlinks;
      }
  check_variety(all);
}

DOCTEST_TEST_CASE("nodes of 128 KiB and 1 MiB count in larger units") {
  run({131072, 131072, 700}, 0, 6, 1);
  run({1u << 20, 1u << 20, 250}, 0, 6, 2);
  run({1u << 20, 1u << 20, 200}, 2, 5, 2);
}

DOCTEST_TEST_CASE("a megabyte node fills with small records and splits") {
  chain c(1u << 20, 1u << 20, 0);
  test_page& p = *c.nodes[0];
  u32 i = 0;
  std::byte key[4];
  for (;; ++i) {
    store_le<u32>(key, __builtin_bswap32(i));
    if (room_for_insert(p.view(), key, 8) != room::NOW) break;
    insert_at(p.writer(), i, key, 0, 0, as_bytes("01234567"));
    c.model[text(key)] = {0, "01234567"};
  }
  DOCTEST_CHECK(p.settle() == "");
  DOCTEST_CHECK(i > 30000);
  c.put(text(key), {0, "last"});
  DOCTEST_CHECK(c.nodes.size() == 2);
  c.verify();
}

DOCTEST_TEST_CASE("ascending inserts leave full nodes and move no slots") {
  chain c(16384, 16384, 0);
  for (u32 i = 0; i < 3000; ++i) {
    char key[16];
    std::snprintf(key, sizeof key, "%010u", i);
    c.put(key, {0, std::string(100, 'v')}, true);
  }
  c.verify();
  u32 least = ~0u;
  for (std::size_t i = 0; i + 1 < c.nodes.size(); ++i)
    least = std::min(least, c.nodes[i]->view().used_bytes());
  // Closing a leaf cuts its prefix, which shortens its records: some room comes back.
  DOCTEST_CHECK(least > node_capacity(16384) * 93 / 100);
  DOCTEST_MESSAGE("ascending: bytes announced per insert ", c.marked / 3000);
  DOCTEST_CHECK(c.marked / 3000 < 200);
}

/// RETURNS: bytes announced per insert, with 4 a run.
u64 announced(u16 format) {
  random_stream r(11);
  chain c(16384, 16384, 0, {}, format);
  for (u32 i = 0; i < 4000; ++i) c.put(random_key(r, 5, 1024), {0, std::string(100, 'v')});
  const u64 marked = c.marked, runs = c.runs;
  constexpr u32 inserts = 8000;
  for (u32 i = 0; i < inserts; ++i) c.put(random_key(r, 5, 1024), {0, std::string(100, 'v')});
  c.verify();
  const u64 bytes = (c.marked - marked) / inserts,
            with_runs = bytes + 4 * (c.runs - runs) / inserts;
  DOCTEST_MESSAGE("random 16+100 into 16 KiB, format ", format, ": bytes announced per insert ",
                  bytes, ", with 4 a run ", with_runs, ", splits ", c.splits, ", compactions ",
                  c.compactions);
  return with_runs;
}

DOCTEST_TEST_CASE("random inserts of 16 + 100 bytes announce little, in version 2 no more") {
  const u64 first = announced(node_format_slotted), second = announced(node_format_slotted_2);
  DOCTEST_CHECK(first < 450);
  // But for chance: a few splits more or less fall into the inserts that are counted.
  DOCTEST_CHECK(second <= first + first / 50);
}

DOCTEST_TEST_CASE("the shortest separator is chosen near the middle") {
  chain c(16384, 16384, 0);
  for (u32 i = 0; i < 400; ++i) {
    char key[64];
    // Only between 199 and 200 one byte tells the keys apart.
    std::snprintf(key, sizeof key, "%c-a-long-common-beginning-%05u", i < 200 ? 'a' : 'b', i);
    c.put(key, {0, "1234"});
    if (c.nodes.size() > 1) break;
  }
  c.put("b-a-long-common-beginning-x", {0, std::string(3000, 'v')});
  c.put("a-a-long-common-beginning-x", {0, std::string(3000, 'v')});
  DOCTEST_REQUIRE(c.nodes.size() == 2);
  DOCTEST_CHECK(text(c.nodes[1]->view().low_fence()) == "b");
  DOCTEST_CHECK(text(c.nodes[0]->view().prefix()) == "");
  c.verify();
}

DOCTEST_TEST_CASE("a key outside the prefix after a widened fence") {
  test_page p(16384);
  format_node(p.writer(), p.ref.addr, 1, 5, p.ref.gen, 0, as_bytes("user/1"), as_bytes("user/9"),
              true, as_bytes("user/"));
  for (const char* k : {"user/2", "user/3", "user/4"})
    insert_at(p.writer(), p.view().count(), as_bytes(k), 0, 0, as_bytes("v"));
  DOCTEST_REQUIRE(p.settle() == "");
  std::vector<std::byte> scratch(p.size());
  set_high_fence(p.writer(), as_bytes("zebra"), true, scratch);
  DOCTEST_REQUIRE(p.settle() == "");
  DOCTEST_CHECK(text(p.view().prefix()) == "user/");
  const std::string key = "vast";
  DOCTEST_CHECK(p.view().find(as_bytes(key)).index == 3);
  DOCTEST_CHECK(p.view().find(as_bytes("use")).index == 0);
  DOCTEST_CHECK(room_for_insert(p.view(), as_bytes(key), 1) == room::AFTER_COMPACTION);
  const cbytes extra = as_bytes(key);
  compact(p.writer(), scratch, &extra);
  DOCTEST_REQUIRE(p.settle() == "");
  DOCTEST_CHECK(room_for_insert(p.view(), as_bytes(key), 1) == room::NOW);
  insert_at(p.writer(), 3, as_bytes(key), 0, 0, as_bytes("v"));
  DOCTEST_REQUIRE(p.settle() == "");
  DOCTEST_CHECK(full_key(p.view(), 0) == "user/2");
  DOCTEST_CHECK(full_key(p.view(), 3) == "vast");
  make_empty_leaf(p.writer());
  DOCTEST_CHECK(p.settle() == "");
  DOCTEST_CHECK(p.view().count() == 0);
  DOCTEST_CHECK(text(p.view().high_fence()) == "zebra");
}

DOCTEST_TEST_CASE("a huge stored prefix does not block splits") {
  // 2000 short suffixes under a 1000-byte prefix: cutting it anew cannot fit, yet keys beside it
  // must go in.
  for (const bool below : {false, true}) {
    test_page p(65536);
    std::vector<std::byte> scratch(p.size());
    const std::string prefix(1000, 'm');
    const std::string low = prefix + "a", high = prefix + "z";
    format_node(p.writer(), p.ref.addr, 1, 5, p.ref.gen, 0, as_bytes(low), as_bytes(high), true,
                as_bytes(prefix));
    for (u32 i = 0; i < 2000; ++i) {
      char tail[8];
      std::snprintf(tail, sizeof tail, "b%04u", i);
      insert_at(p.writer(), i, as_bytes(prefix + tail), 0, 0, as_bytes("v"));
    }
    set_high_fence(p.writer(), as_bytes("z"), true, scratch);
    set_low_fence(p.writer(), as_bytes("a"), scratch);
    DOCTEST_REQUIRE(p.settle() == "");
    const std::string key = below ? "c" : "x";
    const u32 index = p.view().find(as_bytes(key)).index;
    DOCTEST_CHECK(index == (below ? 0u : 2000u));
    DOCTEST_CHECK(room_for_insert(p.view(), as_bytes(key), 5) == room::NONE);
    const split_point s = choose_split(p.view(), as_bytes(key), index, 5, run_kind::NONE);
    DOCTEST_REQUIRE(s.index != 0);
    test_page q(65536, 5000);
    split_node(p.writer(), q.writer(), s, p.ref, q.ref, 1, scratch);
    DOCTEST_CHECK(p.settle() == "");
    DOCTEST_CHECK(q.settle() == "");
    test_page& t = s.insert_right ? q : p;
    DOCTEST_CHECK(t.view().covers(as_bytes(key)));
    DOCTEST_CHECK(room_for_insert(t.view(), as_bytes(key), 5) != room::NONE);
    DOCTEST_CHECK(p.view().count() + q.view().count() == 2000);
  }
}

DOCTEST_TEST_CASE("an equal value announces nothing, a changed byte one granule") {
  test_page p(4096);
  format_node(p.writer(), p.ref.addr, 1, 5, p.ref.gen, 0, {}, {}, false, {});
  std::string v(200, 'a');
  insert_at(p.writer(), 0, as_bytes("key"), 0, 0, as_bytes(v));
  DOCTEST_REQUIRE(p.settle() == "");
  replace_value(p.writer(), 0, 0, as_bytes(v));
  DOCTEST_REQUIRE(p.settle() == "");
  DOCTEST_CHECK(p.marked == 0);
  v[77] = 'b';
  replace_value(p.writer(), 0, 0, as_bytes(v));
  DOCTEST_REQUIRE(p.settle() == "");
  DOCTEST_CHECK(p.marked == 8);
  DOCTEST_CHECK(text(p.view().at(0).value) == v);
}

DOCTEST_TEST_CASE("separators") {
  const auto sep = [](std::string_view a, std::string_view b) {
    return text(shortest_separator(as_bytes(a), as_bytes(b)));
  };
  DOCTEST_CHECK(sep("", "abc") == "a");
  DOCTEST_CHECK(sep("abc", "abd") == "abd");
  DOCTEST_CHECK(sep("abc", "abcdef") == "abcd");
  DOCTEST_CHECK(sep("a", std::string_view("a\0", 2)) == std::string("a\0", 2));
  DOCTEST_CHECK(compare_keys(as_bytes("a"), as_bytes(std::string_view("a\0", 2))) < 0);
}

DOCTEST_TEST_CASE("keys of all lengths compare like strings") {
  const auto sign = [](int c) { return (c > 0) - (c < 0); };
  for (u32 length = 0; length <= 80; ++length) {
    const std::string a(length, '\x80');
    for (u32 at = 0; at < length; ++at)
      for (const char c : {'\0', '\x7f', '\x81', '\xff'}) {
        std::string b = a;
        b[at] = c;
        // A difference further back says nothing.
        if (at + 1 < length) b.back() = static_cast<char>(~c);
        DOCTEST_REQUIRE(sign(compare_keys(as_bytes(a), as_bytes(b))) == sign(a.compare(b)));
        DOCTEST_REQUIRE(sign(compare_keys(as_bytes(b), as_bytes(a))) == sign(b.compare(a)));
      }
    DOCTEST_REQUIRE(compare_keys(as_bytes(a), as_bytes(a)) == 0);
    DOCTEST_REQUIRE(compare_keys(as_bytes(a), as_bytes(a + '\0')) < 0);
    DOCTEST_REQUIRE(compare_keys(as_bytes(a + '\0'), as_bytes(a)) > 0);
  }
}

}  // namespace
}  // namespace pleach::btree::test
