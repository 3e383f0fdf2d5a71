// Proves, through the public API, that leaves of both versions live in one tree and are used alike;
// that a store made before there was a second version opens, works, and stays readable to the
// program that made it until something needs the new version; that an upgrade converts all leaves
// while others read and write, and changes no record; that a program's own records convert the same
// way; that flags of records are kept.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <vector>

#include "tests/store/support.hh"

namespace {

using namespace store_test;
using pleach::answer;
using u8 = std::uint8_t;
using records = std::map<std::string, std::string>;

void ok(const answer& a) {
  DOCTEST_REQUIRE_MESSAGE(a.ok(), a.text());
}

pleach::store memory(u64 bytes = 64 * mib) {
  auto s = pleach::store::open_memory(bytes, {.cache_bytes = 16 * mib});
  DOCTEST_REQUIRE(s);
  return std::move(*s);
}
pleach::tree create_tree(pleach::store& s, const char* name, const pleach::tree_options& o) {
  pleach::tree t;
  ok(s.run(s.create_tree(name, o, t)));
  return t;
}
pleach::tree get_tree(pleach::store& s, const char* name) {
  pleach::tree t;
  ok(s.run(s.open_tree(name, t)));
  return t;
}

records all_of(pleach::store& s, const pleach::tree& t) {
  records all;
  pleach::cursor c(t);
  for (answer a = s.run(c.first()); a.ok(); a = s.run(c.next())) all.emplace(c.key(), c.value());
  return all;
}

pleach::check_report sound(pleach::store& s) {
  auto r = s.check({});
  DOCTEST_REQUIRE(r);
  for (const pleach::problem& p : r->problems) DOCTEST_MESSAGE(p.where, ": ", p.what);
  DOCTEST_REQUIRE(r->clean);
  return *r;
}

u64 stat(pleach::store& s, const char* name) {
  for (const pleach::counter& c : s.stats())
    if (std::strcmp(c.name, name) == 0) return c.value;
  DOCTEST_FAIL(name);
  return 0;
}

std::string key_of(u32 i) {
  char k[16];
  std::snprintf(k, sizeof k, "key%07u", i * 7919 % 1000003);
  return k;
}

/// The packed image (tests/store/compat/pack.py) as a file.
void unpack(const std::string& to) {
  std::ifstream in(OLD_STORE_IMAGE, std::ios::binary);
  std::ofstream out(to, std::ios::binary);
  char head[8];
  DOCTEST_REQUIRE(in.read(head, 8));
  u64 size = 0;
  std::memcpy(&size, head, 8);
  while (in.read(head, 8)) {
    u32 at = 0, length = 0;
    std::memcpy(&at, head, 4);
    std::memcpy(&length, head + 4, 4);
    std::string piece(length, 0);
    DOCTEST_REQUIRE(in.read(piece.data(), length));
    out.seekp(at);
    out.write(piece.data(), length);
  }
  out.close();
  DOCTEST_REQUIRE(::truncate(to.c_str(), static_cast<off_t>(size)) == 0);
}

records old_records() {
  records r;
  for (u32 i = 0; i < 300; ++i) {
    char k[16];
    std::snprintf(k, sizeof k, "user/%04u", i);
    if (i != 7) r[k] = "value " + std::to_string(i) + " " + std::string(i % 40, 'x');
  }
  r["large"] = std::string(9000, 'L');
  return r;
}

DOCTEST_TEST_CASE("a store of the program before opens, works, and upgrades") {
  scratch_file f("old");
  unpack(f.path);
  records expected = old_records();
  u64 old_leaves = 0;
  auto open = [&] {
    auto s = pleach::store::open(f.path, {.cache_bytes = 8 * mib});
    DOCTEST_REQUIRE_MESSAGE(s, s.error().message);
    return std::move(*s);
  };
  {
    pleach::store s = open();
    pleach::tree t = get_tree(s, "var");
    DOCTEST_CHECK(all_of(s, t) == expected);
    DOCTEST_CHECK(s.run(get_tree(s, "fixed").exists("k0000123")).ok());
    // Inserts that split, deletes that merge: nothing of it needs the new version.
    for (u32 i = 0; i < 200; ++i) ok(s.run(t.put(key_of(i), std::string(50, 'n'))));
    for (u32 i = 0; i < 200; ++i) ok(s.run(t.del(key_of(i))));
    DOCTEST_CHECK(s.features() == "fixed lengths");
    pleach::check_report r = sound(s);
    old_leaves = r.old_leaves;
    DOCTEST_CHECK(r.old_leaves >= 3);        // the catalogue's, and those of "var"
    DOCTEST_CHECK(r.leaves > r.old_leaves);  // fixed leaves have one version
  }
  {
    pleach::store s = open();
    pleach::tree t = get_tree(s, "var");
    pleach::upgrade_report of_tree, of_catalogue, of_fixed;
    ok(s.run(t.upgrade(of_tree)));
    ok(s.run(s.upgrade_catalogue(of_catalogue)));
    ok(s.run(get_tree(s, "fixed").upgrade(of_fixed)));
    DOCTEST_CHECK(of_tree.converted == of_tree.leaves);
    DOCTEST_CHECK(of_tree.converted + of_catalogue.converted == old_leaves);
    DOCTEST_CHECK(of_fixed.converted == 0);
    DOCTEST_CHECK(of_fixed.leaves > 0);
    DOCTEST_CHECK(all_of(s, t) == expected);
    DOCTEST_CHECK(sound(s).old_leaves == 0);
    DOCTEST_CHECK(s.features() == "fixed lengths, leaf version 2");
  }
  {
    pleach::store s = open();
    pleach::tree t = get_tree(s, "var");
    DOCTEST_CHECK(all_of(s, t) == expected);
    pleach::upgrade_report again;
    ok(s.run(t.upgrade(again)));
    DOCTEST_CHECK(again.converted == 0);
    ok(s.run(t.upsert("new", "value")));
    DOCTEST_CHECK(sound(s).old_leaves == 0);
  }
}

DOCTEST_TEST_CASE("leaves of both versions live in one tree") {
  pleach::store s = memory();
  pleach::tree t = create_tree(s, "old", {.node_bytes = 4096, .leaf_version = 1});
  records expected;
  u32 n = 0;
  auto put = [&](u32 many) {
    for (u32 end = n + many; n < end; ++n) {
      const std::string k = key_of(n), v(20 + n % 100, static_cast<char>('a' + n % 26));
      ok(s.run(t.put(k, v, pleach::durability::ordered)));
      expected[k] = v;
    }
  };
  put(2000);
  DOCTEST_CHECK(s.features() == "");
  pleach::check_report r = sound(s);
  DOCTEST_CHECK(r.old_leaves == r.leaves);

  // The first tree of the new version: from now on leaves are converted as they are rewritten.
  create_tree(s, "new", {.node_bytes = 4096});
  ok(s.run(s.flush()));
  DOCTEST_CHECK(s.features() == "leaf version 2");
  put(700);
  r = sound(s);
  DOCTEST_CHECK(r.old_leaves > 20);
  DOCTEST_CHECK(r.leaves - r.old_leaves > 20);
  DOCTEST_CHECK(stat(s, "tree.conversions") > 10);
  DOCTEST_CHECK(all_of(s, t) == expected);

  // Merges of leaves of two versions.
  for (u32 i = 0; i < n; ++i)
    if (i % 8 != 0) {
      ok(s.run(t.del(key_of(i), nullptr, pleach::durability::ordered)));
      expected.erase(key_of(i));
    }
  DOCTEST_CHECK(stat(s, "tree.merges") > 20);
  DOCTEST_CHECK(all_of(s, t) == expected);
  sound(s);
  pleach::upgrade_report report;
  ok(s.run(t.upgrade(report)));
  DOCTEST_CHECK(all_of(s, t) == expected);
  r = sound(s);
  pleach::upgrade_report catalogue;
  ok(s.run(s.upgrade_catalogue(catalogue)));
  DOCTEST_CHECK(sound(s).old_leaves == 0);

  // A tree that is emptied and filled again has leaves of the new version.
  for (const auto& [k, v] : records(expected))
    ok(s.run(t.del(k, nullptr, pleach::durability::ordered)));
  expected.clear();
  n = 0;
  put(500);
  DOCTEST_CHECK(sound(s).old_leaves == 0);
  DOCTEST_CHECK(stat(s, "log.credit_overruns") == 0);
}

struct world {
  pleach::store& s;
  pleach::tree t;
  int running = 0;
  bool stop = false;
};

/// One of several users that write and read a tree meanwhile; each has keys of its own.
task use(world& w, u32 me, records& expected) {
  ++w.running;
  for (u32 i = 0; !w.stop || i < 600; ++i) {
    const std::string key = "u" + std::to_string(me) + key_of(i % 300);
    if (i % 3 == 2) {
      const answer a = co_await w.t.del(key, nullptr, pleach::durability::ordered);
      DOCTEST_REQUIRE((a.ok() == (expected.erase(key) != 0)));
    } else {
      expected[key] = std::string(10 + (i * 31) % 150, static_cast<char>('a' + i % 26));
      ok(co_await w.t.upsert(key, expected[key], pleach::durability::ordered));
    }
    const std::string sought = "u" + std::to_string(me) + key_of((i * 7) % 300);
    std::string value;
    const answer a = co_await w.t.get(sought, value);
    DOCTEST_REQUIRE((a.ok() == expected.contains(sought)));
    if (a.ok()) DOCTEST_REQUIRE((value == expected[sought]));
  }
  --w.running;
}

task upgrade(world& w, pleach::upgrade_report& report) {
  ++w.running;
  ok(co_await w.t.upgrade(report));
  w.stop = true;
  --w.running;
}

void poll_all(world& w) {
  while (w.running > 0) DOCTEST_REQUIRE(w.s.poll());
}

DOCTEST_TEST_CASE("an upgrade beside readers and writers leaves no old leaf and no other record") {
  pleach::store s = memory();
  world w{s, create_tree(s, "t", {.node_bytes = 4096, .leaf_version = 1})};
  records expected;
  for (u32 i = 0; i < 3000; ++i) {
    const std::string k = "a" + key_of(i);
    ok(s.run(w.t.put(k, std::string(60, 'x'), pleach::durability::ordered)));
    expected[k] = std::string(60, 'x');
  }
  records of_user[4];
  for (u32 u = 0; u < 4; ++u) use(w, u, of_user[u]);
  for (int i = 0; i < 50; ++i) DOCTEST_REQUIRE(s.poll());
  pleach::upgrade_report report;
  upgrade(w, report);
  poll_all(w);
  DOCTEST_CHECK(report.leaves > 50);
  DOCTEST_CHECK(report.converted > 20);
  for (const records& r : of_user) expected.insert(r.begin(), r.end());
  DOCTEST_CHECK(all_of(s, w.t) == expected);
  pleach::upgrade_report rest;
  ok(s.run(w.t.upgrade(rest)));
  DOCTEST_CHECK(rest.converted == 0);
  sound(s);
  DOCTEST_CHECK(stat(s, "log.credit_overruns") == 0);
}

struct converter {
  std::map<std::string, int> shown;
};
/// Values of the program's first version have no "2:" before them.
pleach::edit convert_record(void* datum, std::string_view key, std::string& value) {
  ++static_cast<converter*>(datum)->shown[std::string(key)];
  if (value.starts_with("erase")) return pleach::edit::erase;
  if (value.starts_with("2:")) return pleach::edit::keep;
  value = "2:" + value + std::string(value.size() % 50, '+');
  return pleach::edit::store;
}

task convert_all(world& w, converter& c, u64& changed) {
  ++w.running;
  ok(co_await w.t.edit_all(convert_record, &c, changed));
  w.stop = true;
  --w.running;
}

DOCTEST_TEST_CASE("a program converts its own records while others use the tree") {
  pleach::store s = memory();
  world w{s, create_tree(s, "t", {.node_bytes = 4096})};
  records expected;
  for (u32 i = 0; i < 1500; ++i) {
    const std::string k = "a" + key_of(i);
    const std::string v = i % 10 == 3   ? "erase"
                          : i % 10 == 4 ? "2:done"
                          : i == 777    ? std::string(20'000, 'L')
                                        : std::string(i % 70, 'x');
    ok(s.run(w.t.put(k, v, pleach::durability::ordered)));
    if (i % 10 == 4) expected[k] = v;
    if (i % 10 != 3 && i % 10 != 4) expected[k] = "2:" + v + std::string(v.size() % 50, '+');
  }
  converter c;
  u64 changed = 0;
  convert_all(w, c, changed);
  poll_all(w);
  DOCTEST_CHECK(changed == 1500 - 150);
  DOCTEST_CHECK(all_of(s, w.t) == expected);
  DOCTEST_CHECK(c.shown.size() == 1500);
  // A second run finds everything done.
  ok(s.run(w.t.edit_all(convert_record, &c, changed)));
  DOCTEST_CHECK(changed == 0);
  // An editor that fails ends the operation; the records behind it are as they were.
  auto fail_at_b = [](void*, std::string_view key, std::string& value) {
    if (key.starts_with("b")) return pleach::edit::fail;
    value = "3";
    return pleach::edit::store;
  };
  ok(s.run(w.t.put("b", "as it was")));
  DOCTEST_CHECK(s.run(w.t.edit_all(fail_at_b, nullptr, changed)).name() ==
                std::string("callback_failed"));
  DOCTEST_CHECK(changed == expected.size());
  std::string v;
  ok(s.run(w.t.get("b", v)));
  DOCTEST_CHECK(v == "as it was");
  sound(s);
}

DOCTEST_TEST_CASE("records are converted once each beside writers") {
  pleach::store s = memory();
  world w{s, create_tree(s, "t", {.node_bytes = 4096, .leaf_version = 1})};
  for (u32 i = 0; i < 1000; ++i)
    ok(s.run(w.t.put("a" + key_of(i), std::string(i % 70, 'x'), pleach::durability::ordered)));
  records of_user[3];
  for (u32 u = 0; u < 3; ++u) {
    // What users write is converted already.
    [](world& world_, u32 me, records& mine) -> task {
      ++world_.running;
      for (u32 i = 0; !world_.stop; ++i) {
        const std::string key = "a" + key_of(i % 900) + "u" + std::to_string(me);
        mine[key] = "2:" + std::to_string(i);
        ok(co_await world_.t.upsert(key, mine[key], pleach::durability::ordered));
      }
      --world_.running;
    }(w, u, of_user[u]);
  }
  converter c;
  u64 changed = 0;
  convert_all(w, c, changed);
  poll_all(w);
  DOCTEST_CHECK(changed == 1000);
  u32 converted = 0;
  for (const auto& [k, v] : all_of(s, w.t)) {
    DOCTEST_REQUIRE(v.starts_with("2:"));
    converted += k.find('u') == std::string::npos;
  }
  DOCTEST_CHECK(converted == 1000);
  sound(s);
}

DOCTEST_TEST_CASE("flags of records stay with their keys and their values") {
  for (u32 version : {0u, 1u})
    for (bool sums : {false, true}) {
      if (sums && version == 1) continue;
      pleach::store s = memory();
      pleach::tree t = create_tree(s, "t",
                                   {.node_bytes = 4096,
                                    .key_checksums = sums,
                                    .value_checksums = sums,
                                    .leaf_version = version});
      auto flags_of = [&](std::string_view key) {
        std::string v;
        pleach::record_flags f{9, 9};
        ok(s.run(t.get(key, v, f)));
        return f;
      };
      using F = pleach::record_flags;
      for (u32 i = 0; i < 500; ++i)
        ok(s.run(t.put(key_of(i), std::string(i % 200, 'v'), pleach::durability::ordered)));
      ok(s.run(s.flush()));
      if (version == 1) DOCTEST_CHECK(s.features() == "");
      DOCTEST_CHECK(flags_of(key_of(3)) == F{0, 0});
      for (u32 i = 0; i < 500; i += 5)
        ok(s.run(t.upsert(key_of(i), std::string(i % 200, 'f'),
                          F{static_cast<u8>(i % 16), static_cast<u8>(i / 5 % 16)},
                          pleach::durability::ordered)));
      // A new key with flags, and batches.
      pleach::batch b(s);
      b.upsert(t, "batch", "value", F{1, 2});
      b.upsert(t, key_of(1), "value", F{3, 4});
      b.upsert(t, key_of(10), "value");
      ok(s.run(b.commit()));
      ok(s.run(t.upsert("new", std::string(20'000, 'e'), F{15, 15})));
      DOCTEST_CHECK(s.features() == "leaf version 2, record extras");
      DOCTEST_CHECK(flags_of("batch") == F{1, 2});
      DOCTEST_CHECK(flags_of(key_of(1)) == F{3, 4});
      DOCTEST_CHECK(flags_of(key_of(10)) == F{10, 0});  // states none: the key's stay
      DOCTEST_CHECK(flags_of("new") == F{15, 15});
      ok(s.run(t.update(key_of(5), "longer than it was before, by far")));
      DOCTEST_CHECK(flags_of(key_of(5)) == F{5, 0});
      std::string v;
      auto shout = [](void*, bool, std::string& value) {
        value += "!";
        return pleach::edit::store;
      };
      ok(s.run(t.modify("batch", v, shout, nullptr)));
      DOCTEST_CHECK(flags_of("batch") == F{1, 2});
      ok(s.run(t.upsert("batch", "value", F{0, 0})));
      DOCTEST_CHECK(flags_of("batch") == F{0, 0});
      ok(s.run(t.del(key_of(15))));
      ok(s.run(t.put(key_of(15), "again")));
      DOCTEST_CHECK(flags_of(key_of(15)) == F{0, 0});
      // Splits, merges and an upgrade carry them.
      for (u32 i = 500; i < 3000; ++i)
        ok(s.run(t.put(key_of(i), std::string(100, 'v'), pleach::durability::ordered)));
      for (u32 i = 500; i < 3000; ++i)
        ok(s.run(t.del(key_of(i), nullptr, pleach::durability::ordered)));
      pleach::upgrade_report report;
      ok(s.run(t.upgrade(report)));
      pleach::cursor c(t);
      std::map<std::string, F> seen;
      for (answer a = s.run(c.first()); a.ok();) {
        seen[std::string(c.key())] = c.flags();
        if (!c.try_next()) a = s.run(c.next());
      }
      for (u32 i = 20; i < 500; i += 5)
        DOCTEST_REQUIRE(seen[key_of(i)] == F{static_cast<u8>(i % 16), static_cast<u8>(i / 5 % 16)});
      DOCTEST_CHECK(seen["new"] == F{15, 15});
      DOCTEST_CHECK(seen[key_of(2)] == F{0, 0});
      sound(s);
      DOCTEST_CHECK(stat(s, "log.credit_overruns") == 0);
      // Out of range.
      DOCTEST_CHECK(s.run(t.upsert("x", "y", F{16, 0})).what() == pleach::category::invalid);
      b.clear();
      b.upsert(t, "x", "y", F{0, 16});
      DOCTEST_CHECK(s.run(b.commit()).what() == pleach::category::invalid);
    }
}

DOCTEST_TEST_CASE("records of fixed leaves have no flags, and say so") {
  pleach::store s = memory();
  pleach::tree t = create_tree(s, "t", {.node_bytes = 4096, .key_bytes = 8, .value_bytes = 8});
  DOCTEST_CHECK(s.run(t.upsert("12345678", "12345678", pleach::record_flags{1, 0})).name() ==
                std::string("flags_impossible"));
  ok(s.run(t.upsert("12345678", "12345678", pleach::record_flags{0, 0})));
  // With checksums such a tree has slotted leaves.
  pleach::tree sums = create_tree(
      s, "sums", {.node_bytes = 4096, .key_bytes = 8, .value_bytes = 8, .key_checksums = true});
  ok(s.run(sums.upsert("12345678", "12345678", pleach::record_flags{1, 0})));
  sound(s);
}

DOCTEST_TEST_CASE("options that exclude each other") {
  pleach::store s = memory();
  pleach::tree t;
  DOCTEST_CHECK(s.run(s.create_tree("t", {.value_checksums = true, .leaf_version = 1}, t)).what() ==
                pleach::category::invalid);
  DOCTEST_CHECK(s.run(s.create_tree("t", {.leaf_version = 3}, t)).what() ==
                pleach::category::invalid);
}

}  // namespace
