// Proves: every operation takes keys of up to 1 MiB and refuses longer ones, changing nothing;
// batches, multi-gets, editors, cookies and value streams do with long keys what they do with short
// ones; so do trees with checksums, flags, old leaves, whole keys and whole separators. Bulk loads
// refuse them by name, trees with a comparator take 1024 bytes as ever.
#include <array>
#include <deque>

#include "tests/store/long_keys.hh"

using namespace store_test;
using pleach::category;
using pleach::edit;

namespace {

constexpr auto ordered = pleach::durability::ordered;

edit never(void*, bool, std::string&) {
  DOCTEST_FAIL("an editor is asked about a key that cannot be");
  return edit::fail;
}
bool never_seen(void*, std::string_view) {
  DOCTEST_FAIL("a viewer is shown the value of a key that cannot be");
  return false;
}

/// An editor that stores what it is told to, or does something else.
struct script {
  edit answer = edit::store;
  std::string becomes{};
  std::optional<std::string> seen{};
  static edit run(void* self, bool present, std::string& value) {
    auto& s = *static_cast<script*>(self);
    s.seen.reset();
    if (present) s.seen = value;
    value = s.becomes;
    return s.answer;
  }
};

bool look(void* to, std::string_view value) {
  *static_cast<std::string*>(to) = value;
  return true;
}

/// Every way in for a key, as an operation that is about `key` alone.
std::vector<pleach::answer> all_operations(judged_tree& w, const std::string& key) {
  pleach::store& s = w.s();
  pleach::tree& t = w.t;
  std::vector<pleach::answer> out;
  const auto ask = [&](pleach::operation op) { out.push_back(s.run(op)); };
  std::string k, v;
  std::array<char, 10> some{};
  std::size_t got = 0;
  u64 n = 0;
  pleach::record_flags flags;
  pleach::range_digest sum;
  pleach::cookie near;
  ask(t.get(key, v));
  ask(t.get(key, v, &near));
  ask(t.get(key, v, flags));
  ask(t.exists(key));
  ask(t.visit(key, never_seen, nullptr));
  ask(t.read(key, 0, some, got));
  ask(t.get_at_least(key, k, v));
  ask(t.get_at_most(key, k, v));
  ask(t.next(key, k, v));
  ask(t.prev(key, k, v));
  ask(t.next_upto(key, {}, k, v));
  ask(t.next_upto("a", key, k, v));
  ask(t.prev_downto("zz", key, k, v));
  ask(t.count(key, {}, n));
  ask(t.count({}, key, n));
  ask(t.rank(key, n));
  ask(t.digest(key, {}, sum));
  ask(t.digest({}, key, sum));
  ask(t.put(key, "v", ordered));
  ask(t.update(key, "v", ordered));
  ask(t.upsert(key, "v", ordered));
  ask(t.upsert(key, std::string(100'000, 'v'), ordered));
  ask(t.upsert(key, "v", ordered, &near));
  ask(t.upsert(key, "v", pleach::record_flags{1, 1}, ordered));
  ask(t.modify(key, v, never, nullptr, ordered));
  ask(t.del(key, &v, ordered));
  ask(t.delete_range(key, {}, n, ordered));
  ask(t.delete_range({}, key, n, ordered));
  pleach::lookup one[] = {{"a", &v}, {key, &v}};
  ask(t.multi_get(one));
  out.push_back(one[1].result);
  DOCTEST_CHECK(one[0].result.ok());
  pleach::batch b(s);
  b.upsert(t, "in the batch", "v");
  b.upsert(t, key, "v");
  ask(b.commit(ordered));
  b.clear();
  b.del(t, "a");
  b.del(t, key);
  ask(b.commit(ordered));
  pleach::cursor c(t);
  ask(c.seek(key));
  ask(c.seek_at_most(key));
  c.range(key, {});
  ask(c.first());
  c.range({}, key);
  ask(c.first());
  pleach::value_reader reader(t, key);
  ask(reader.read(0, some, got));
  // A writer may say so at once, or when it commits.
  pleach::value_writer writer(t, key);
  pleach::answer a = s.run(writer.write(std::string(10, 'w')));
  if (a.ok()) a = s.run(writer.commit(ordered));
  out.push_back(a);
  pleach::value_writer longer(t, key, 3 * mib);
  a = s.run(longer.write(std::string(2 * mib, 'w')));
  if (a.ok()) a = s.run(longer.commit(ordered));
  out.push_back(a);
  pleach::value_writer patch(t, key, pleach::write_at::end);
  a = s.run(patch.write(std::string(10, 'w')));
  if (a.ok()) a = s.run(patch.commit(ordered));
  out.push_back(a);
  return out;
}

}  // namespace

DOCTEST_TEST_CASE("keys have 1 MiB, and one byte more is refused by all, and changes nothing") {
  judged_tree w({.tree = {.node_bytes = 4096, .digest = true}});
  DOCTEST_CHECK(w.s().limits().key_bytes == longest_bytes);
  w.put("a", "1");
  const std::string longest(longest_bytes, 'k');
  w.put(longest, "2");
  w.put(longest.substr(1), "3");
  w.check();
  w.check_around(longest);
  w.check_count(longest, {});
  w.check_count({}, longest);
  require_ok(w.s().run(w.s().flush()));
  const u64 used = w.used();
  for (const std::string& key : {longest + 'k', longest + '\0', std::string(3 * mib, 'k')}) {
    const std::vector<pleach::answer> answers = all_operations(w, key);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      DOCTEST_CAPTURE(i);
      DOCTEST_CHECK_MESSAGE((answers[i].name() == std::string("key_too_large")), answers[i].text());
    }
    pleach::bulk_loader l(w.t);
    const pleach::load_record one[] = {{key, "v"}};
    DOCTEST_CHECK(!w.s().run(l.add(one)).ok());
  }
  w.check();
  require_ok(w.s().run(w.s().flush()));
  DOCTEST_CHECK(w.used() == used);
  w.erase_range(longest.substr(0, inline_bytes), longest);
  w.del(longest);
  w.del("a");
  w.check_empty();
}

DOCTEST_TEST_CASE("trees with a comparator take 1024 bytes, as ever") {
  pleach::open_options o;
  o.cache_bytes = 16 * mib;
  o.comparators.push_back(
      {"turned", [](std::string_view a, std::string_view b, void*) { return b.compare(a); },
       nullptr});
  auto s = pleach::store::open_memory(64 * mib, o);
  DOCTEST_REQUIRE(s);
  pleach::tree t;
  require_ok(s->run(
      s->create_tree("t", {.order = pleach::key_order::registered, .comparator = "turned"}, t)));
  const std::string most(1024, 'k'), more(1025, 'k');
  std::string v, k;
  u64 n = 0;
  require_ok(s->run(t.put(most, "v")));
  require_ok(s->run(t.get(most, v)));
  const auto refused = [&](pleach::operation op) {
    DOCTEST_CHECK(s->run(op).name() == std::string("key_too_large"));
  };
  refused(t.put(more, "v"));
  refused(t.upsert(more, "v"));
  refused(t.get(more, v));
  refused(t.get_at_least(more, k, v));
  refused(t.del(more));
  refused(t.count(more, {}, n));
  refused(t.delete_range({}, more, n));
  DOCTEST_CHECK(t.record_count() == 1);
  require_clean(*s);
}

DOCTEST_TEST_CASE("batches and multi-gets") {
  judged_tree w({});
  key_list keys = mixed(60);
  for (const std::string& k : sharing(inline_bytes + 476, 300)) keys.push_back(k);
  for (const std::string& k : longest_group(4)) keys.push_back(k);
  std::mt19937_64 random(base_seed());
  for (u32 round = 0; round < 120; ++round) {
    pleach::batch b(w.s());
    for (u64 n = 1 + random() % 20; n != 0; --n) {
      const std::string& key = keys[random() % keys.size()];
      if (round % 4 == 3 || random() % 4 == 0) {
        b.del(w.t, key);
        w.m.erase(key);
        continue;
      }
      const std::string value = value_of(random());
      if (random() % 6 == 0) b.upsert(w.t, key, "at once replaced");
      b.upsert(w.t, key, value);
      w.m[key] = value;
    }
    require_ok(w.s().run(b.commit(ordered)));
    if (round % 20 == 10) w.check();
    std::vector<pleach::lookup> all;
    std::deque<std::string> values;
    for (u64 n = random() % 40; n != 0; --n) {
      values.push_back("untouched");
      all.push_back({keys[random() % keys.size()], random() % 5 == 0 ? nullptr : &values.back()});
    }
    require_ok(w.s().run(w.t.multi_get(all)));
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto at = w.m.find(std::string(all[i].key));
      DOCTEST_REQUIRE((all[i].result.ok() == (at != w.m.end())));
      if (all[i].value == nullptr) continue;
      DOCTEST_REQUIRE((values[i] == (at == w.m.end() ? "untouched" : at->second)));
    }
  }
  // Two trees in one batch.
  pleach::tree other = create(w.s(), "other");
  pleach::batch b(w.s());
  for (const std::string& k : sharing(inline_bytes + 1, 20)) {
    b.upsert(w.t, k, "both");
    b.upsert(other, k, "both");
    w.m[k] = "both";
  }
  require_ok(w.s().run(b.commit(ordered)));
  DOCTEST_CHECK(other.record_count() == 20);
  w.check();
  const u64 with_other = w.used();
  require_ok(w.s().run(w.s().drop_tree("other")));
  DOCTEST_CHECK(w.used() + 20 < with_other);
  other = {};
  b.clear();
  for (const auto& [key, value] : w.m) b.del(w.t, key);
  require_ok(w.s().run(b.commit(ordered)));
  w.m.clear();
  w.check_empty();
}

DOCTEST_TEST_CASE("editors and viewers") {
  judged_tree w({});
  const key_list keys = sharing(inline_bytes + 476, 200);
  const auto modify = [&](const std::string& key, script& s) {
    std::string value;
    return w.s().run(w.t.modify(key, value, script::run, &s, ordered));
  };
  for (u32 i = 0; i < keys.size(); ++i) {
    script insert{.becomes = value_of(i)};
    require_ok(modify(keys[i], insert));
    DOCTEST_CHECK(!insert.seen);
    w.m[keys[i]] = value_of(i);
  }
  w.check();
  for (u32 i = 0; i < keys.size(); ++i) {
    script s{.becomes = value_of(i + 7)};
    s.answer = i % 4 == 0   ? edit::erase
               : i % 4 == 1 ? edit::keep
               : i % 4 == 2 ? edit::fail
                            : edit::store;
    const pleach::answer a = modify(keys[i], s);
    DOCTEST_REQUIRE((a.ok() == (s.answer != edit::fail)));
    DOCTEST_REQUIRE((s.seen == w.m[keys[i]]));
    if (s.answer == edit::erase) w.m.erase(keys[i]);
    if (s.answer == edit::store) w.m[keys[i]] = s.becomes;
  }
  w.check();
  for (u32 i = 0; i < keys.size(); i += 7) {
    std::string seen = "untouched";
    const pleach::answer a = w.s().run(w.t.visit(keys[i], look, &seen));
    DOCTEST_REQUIRE((a.ok() == w.m.contains(keys[i])));
    if (a.ok()) DOCTEST_REQUIRE((seen == w.m[keys[i]]));
  }
  // What fails to insert leaves nothing behind, neither in the tree nor in the volume.
  const u64 used = w.used();
  for (edit answer : {edit::fail, edit::keep, edit::erase}) {
    script s{.answer = answer, .becomes = "x"};
    static_cast<void>(modify(keys[0] + "absent", s));
  }
  require_ok(w.s().run(w.s().flush()));
  DOCTEST_CHECK(w.used() == used);
  // Every record, by its whole key.
  u64 changed = 0;
  require_ok(w.s().run(w.t.edit_all(
      [](void* datum, std::string_view key, std::string& value) {
        auto& of = *static_cast<judged_tree*>(datum);
        const auto at = of.m.find(std::string(key));
        DOCTEST_REQUIRE((at != of.m.end()));
        DOCTEST_REQUIRE((value == at->second));
        if (value.size() % 3 == 0) return edit::erase;
        value += "+";
        return edit::store;
      },
      &w, changed)));
  DOCTEST_CHECK(changed == w.m.size());
  std::erase_if(w.m, [](const auto& r) { return r.second.size() % 3 == 0; });
  for (auto& [key, value] : w.m) value += "+";
  w.check();
  w.erase_range({}, {});
  w.check_empty();
}

DOCTEST_TEST_CASE("cookies: neighbours in a group hit, and nothing else does harm") {
  judged_tree w({.tree = {.node_bytes = 65536}});
  const key_list keys = arranged(sharing(inline_bytes + 476, 600), arrangement::ascending);
  pleach::cookie near;
  for (const std::string& k : keys) {
    require_ok(w.s().run(w.t.put(k, "v", ordered, &near)));
    w.m[k] = "v";
  }
  std::string v;
  const u64 hits = counter_of(w.s(), "tree.cookie_hits");
  for (const std::string& k : keys) require_ok(w.s().run(w.t.get(k, v, &near)));
  DOCTEST_CHECK(counter_of(w.s(), "tree.cookie_hits") - hits > keys.size() / 2);
  // A cookie of one place is used at another one, and after the leaf was cut off.
  std::mt19937_64 random(base_seed());
  for (u32 i = 0; i < 1500; ++i) {
    const std::string& k = keys[random() % keys.size()];
    const bool there = w.m.contains(k);
    switch (random() % 4) {
      case 0:
        require_ok(w.s().run(w.t.upsert(k, digits(i), ordered, &near)));
        w.m[k] = digits(i);
        break;
      case 1:
        DOCTEST_REQUIRE((w.s().run(w.t.del(k, nullptr, ordered, &near)).ok() == there));
        w.m.erase(k);
        break;
      default:
        DOCTEST_REQUIRE((w.s().run(w.t.get(k, v, &near)).ok() == there));
        if (there) DOCTEST_REQUIRE((v == w.m[k]));
    }
    if (i % 500 == 499) w.erase_range(keys[100], keys[500]);
  }
  w.check();
}

DOCTEST_TEST_CASE("values are streamed to long keys, read in ranges, and appended to") {
  judged_tree w({});
  u64 n = 0;
  for (const std::string& key :
       {bytes_of(1, inline_bytes), bytes_of(1, inline_bytes + 1), bytes_of(1, longest_bytes)}) {
    std::string value = bytes_of(++n, 3'000'000);
    for (u32 round = 0; round < 2; ++round) {
      pleach::value_writer writer(w.t, key, round == 0 ? 0 : value.size());
      for (std::size_t at = 0; at < value.size(); at += 700'000)
        require_ok(w.s().run(writer.write(
            std::span<const char>(value).subspan(at, std::min<u64>(700'000, value.size() - at)))));
      require_ok(w.s().run(writer.commit(ordered)));
      w.m[key] = value;
    }
    pleach::value_writer more(w.t, key, pleach::write_at::end);
    require_ok(w.s().run(more.write(std::string(5000, '+'))));
    require_ok(w.s().run(more.commit(ordered)));
    w.m[key] = value + std::string(5000, '+');
    std::string some(100'000, '#');
    std::size_t got = 0;
    require_ok(w.s().run(w.t.read(key, 2'950'000, some, got)));
    DOCTEST_CHECK(got == 55'000);
    DOCTEST_CHECK((some.substr(0, got) == w.m[key].substr(2'950'000)));
    pleach::value_reader reader(w.t, key);
    require_ok(w.s().run(reader.read(1'000'000, some, got)));
    DOCTEST_CHECK(reader.size() == w.m[key].size());
    DOCTEST_CHECK((some == w.m[key].substr(1'000'000, 100'000)));
    // A small one, streamed; and one that is given up.
    pleach::value_writer small(w.t, key + "2");
    if (key.size() < longest_bytes) {
      require_ok(w.s().run(small.write(std::string(7, 's'))));
      require_ok(w.s().run(small.commit(ordered)));
      w.m[key + "2"] = "sssssss";
    }
    pleach::value_writer given_up(w.t, key);
    require_ok(w.s().run(given_up.write(std::string(2'000'000, 'g'))));
  }
  w.check();
  for (const auto& [key, value] : model(w.m)) w.del(key);
  w.check_empty();
}

DOCTEST_TEST_CASE("options of trees: whole keys, whole separators, checksums, old leaves, counts") {
  const pleach::tree_options all[] = {
      {.node_bytes = 4096, .prefix_compression = false},
      {.node_bytes = 4096, .suffix_truncation = false},
      {.node_bytes = 16384, .prefix_compression = false, .suffix_truncation = false},
      {.node_bytes = 4096, .key_checksums = true},
      {.node_bytes = 4096, .key_checksums = true, .value_checksums = true},
      {.node_bytes = 4096, .leaf_version = 1},
      {.node_bytes = 4096, .counted = true},
      {.node_bytes = 4096, .key_checksums = true, .digest = true},
      {.node_bytes = 4096, .value_bytes = 20},
  };
  for (const pleach::tree_options& o : all) {
    DOCTEST_CAPTURE(static_cast<std::size_t>(&o - all));
    judged_tree w({.tree = o});
    key_list keys = mixed(60);
    for (const std::string& k : sharing(inline_bytes + 476, 200)) keys.push_back(k);
    const u64 fixed = o.value_bytes;
    const auto value = [&](u64 n) { return fixed != 0 ? bytes_of(n, fixed) : value_of(n); };
    const key_list order = arranged(keys, arrangement::random);
    for (u32 i = 0; i < order.size(); ++i) w.put(order[i], value(i));
    w.check();
    w.check_probes(order, 29);
    for (u32 i = 0; i < order.size(); i += 3) w.del(order[i]);
    for (u32 i = 1; i < order.size(); i += 3) w.upsert(order[i], value(i + 5));
    w.check();
    if (o.leaf_version == 1) {
      pleach::upgrade_report report;
      require_ok(w.s().run(w.t.upgrade(report)));
      DOCTEST_CHECK(report.leaves > 1);
      w.check();
      w.check_probes(order, 29);
    }
    w.erase_range(keys[keys.size() / 2], {});
    w.check();
    for (const std::string& k : order)
      if (w.m.contains(k)) w.del(k);
    w.check_empty();
  }
}

DOCTEST_TEST_CASE("flags of records stay with long keys") {
  judged_tree w({});
  const key_list keys = sharing(inline_bytes + 476, 120);
  for (u32 i = 0; i < keys.size(); ++i)
    require_ok(w.s().run(w.t.upsert(
        keys[i], digits(i),
        {static_cast<std::uint8_t>(i % 16), static_cast<std::uint8_t>(i / 16 % 16)}, ordered)));
  for (u32 i = 0; i < keys.size(); i += 2)
    require_ok(w.s().run(w.t.del(keys[i], nullptr, ordered)));
  std::string v;
  for (u32 i = 1; i < keys.size(); i += 2) {
    pleach::record_flags f;
    require_ok(w.s().run(w.t.get(keys[i], v, f)));
    DOCTEST_CHECK(f.key == i % 16);
    DOCTEST_CHECK(f.value == i / 16 % 16);
    // A write that states none: those of the key stay.
    require_ok(w.s().run(w.t.update(keys[i], "new", ordered)));
    require_ok(w.s().run(w.t.get(keys[i], v, f)));
    DOCTEST_CHECK(f.key == i % 16);
    DOCTEST_CHECK(f.value == 0);
  }
  require_clean(w.s());
}

DOCTEST_TEST_CASE("a bulk load refuses a long key by name, and gives all back") {
  judged_tree w({});
  const std::string edge(inline_bytes, 'k'), long_key(inline_bytes + 1, 'k');
  const auto add = [&](pleach::bulk_loader& l, std::vector<pleach::load_record> rs) {
    return std::string(w.s().run(l.add(rs)).name());
  };
  {
    pleach::bulk_loader l(w.t);
    DOCTEST_CHECK(add(l, {{long_key, "1"}}) == "not_in_bulk");
  }
  {
    pleach::bulk_loader l(w.t);
    DOCTEST_CHECK(add(l, {{"a", std::string(100'000, 'v')}, {"b", "2"}}) == "ok");
    DOCTEST_CHECK(add(l, {{"c", "3"}, {long_key, "4"}}) == "not_in_bulk");
  }
  w.check_empty();
  pleach::bulk_loader l(w.t);
  DOCTEST_CHECK(add(l, {{"a", "1"}, {edge, "2"}}) == "ok");
  require_ok(w.s().run(l.commit()));
  w.m = {{"a", "1"}, {edge, "2"}};
  w.put(long_key, "3");
  w.check();
}

DOCTEST_TEST_CASE("a full store: what finds no space leaves nothing, and deletes need none") {
  judged_tree w({.cache = 8 * mib, .volume = 10 * mib, .on_file = true});
  u32 there = 0, refused = 0;
  for (u32 i = 0; refused < 20; ++i) {
    const std::string key = i % 50 == 7 ? bytes_of(i, 300'000) : sharing_key(inline_bytes + 476, i);
    const pleach::answer a = w.s().run(w.t.put(key, value_of(i), ordered));
    if (a.ok()) {
      ++there;
      w.m[key] = value_of(i);
      continue;
    }
    DOCTEST_REQUIRE_MESSAGE((a.what() == category::no_space), a.text());
    ++refused;
  }
  DOCTEST_CHECK(there > 200);
  w.check();
  w.reopen();
  w.check();
  for (u32 i = 0; i < 100; ++i) w.del(sharing_key(inline_bytes + 476, i));
  for (u32 i = 0; i < 50; ++i) w.put(sharing_key(inline_bytes + 476, i), "it fits again");
  w.check();
  w.erase_range({}, {});
  w.check_empty();
}
