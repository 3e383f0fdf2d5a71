// Proves: integers are ordered as numbers and come back as they went in; those of a wrong length
// are refused everywhere.
#include "tests/btree/ops/key_orders.hh"

using namespace store_test;

namespace {

std::string_view view(const std::int64_t& n) {
  return {reinterpret_cast<const char*>(&n), sizeof n};
}

DOCTEST_TEST_CASE("negative numbers come before zero, and come back as they went in") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t;
  require_ok(s.run(s.create_tree("t", {.key_bytes = 8, .order = key_order::signed_integers}, t)));
  const std::int64_t in_order[] = {INT64_MIN, INT64_MIN + 1, -256,  -255,          -1,       0, 1,
                                   255,       256,           65536, INT64_MAX - 1, INT64_MAX};
  for (std::int64_t n : in_order) require_ok(s.run(t.put(view(n), std::to_string(n))));
  pleach::cursor c(t);
  pleach::answer a = s.run(c.first());
  for (std::int64_t n : in_order) {
    require_ok(a);
    DOCTEST_CHECK(c.key() == view(n));
    DOCTEST_CHECK(c.value() == std::to_string(n));
    a = s.run(c.next());
  }
}

DOCTEST_TEST_CASE("large values of integer keys are streamed, read in ranges, and checked") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t;
  require_ok(s.run(s.create_tree("t", {.key_bytes = 8, .order = key_order::signed_integers}, t)));
  const std::int64_t key = -5;
  const std::string value = bytes_of(1, 3 * mib);
  {
    pleach::value_writer w(t, view(key), value.size());
    require_ok(s.run(w.write(value)));
    require_ok(s.run(w.commit()));
  }
  std::string piece(1000, '\0'), k, v;
  std::size_t got = 0;
  require_ok(s.run(t.read(view(key), mib, piece, got)));
  DOCTEST_CHECK(piece == value.substr(mib, 1000));
  pleach::value_reader r(t, view(key));
  require_ok(s.run(r.read(5, piece, got)));
  DOCTEST_CHECK(piece == value.substr(5, 1000));
  require_ok(s.run(t.next(view(-6), k, v)));
  DOCTEST_CHECK((k == view(key) && v == value));
  std::size_t seen = 0;
  require_ok(s.run(t.visit(
      view(key),
      [](void* to, std::string_view bytes) {
        *static_cast<std::size_t*>(to) = bytes.size();
        return true;
      },
      &seen)));
  DOCTEST_CHECK(seen == value.size());
  require_clean(s);
}

DOCTEST_TEST_CASE("an integer of another length is refused everywhere, but as no bound") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t;
  require_ok(s.run(s.create_tree("t", {.key_bytes = 8, .order = key_order::unsigned_integers}, t)));
  const std::int64_t one = 1;
  require_ok(s.run(t.put(view(one), "v")));
  std::string k, v;
  u64 n = 0;
  std::size_t got = 0;
  const auto refused = [](const pleach::answer& a, std::size_t given) {
    DOCTEST_CHECK_MESSAGE(a.what() == category::invalid, a.text());
    DOCTEST_CHECK((a.wanted_bytes == 8 && a.given_bytes == given));
  };
  pleach::cursor c(t);
  for (const std::string_view bad : {"", "1234567", "123456789"}) {
    for (const bool written : {true, false}) {
      pleach::batch b(s);
      b.upsert(t, view(one), "other");
      if (written)
        b.upsert(t, bad, "v");
      else
        b.del(t, bad);
      refused(s.run(b.commit()), bad.size());
    }
    refused(s.run(t.put(bad, "v")), bad.size());
    refused(s.run(t.update(bad, "v")), bad.size());
    refused(s.run(t.upsert(bad, "v")), bad.size());
    refused(s.run(t.del(bad)), bad.size());
    refused(s.run(t.get(bad, v)), bad.size());
    refused(s.run(t.exists(bad)), bad.size());
    refused(s.run(t.visit(
                bad, [](void*, std::string_view) { return true; }, nullptr)),
            bad.size());
    refused(s.run(t.modify(
                bad, v, [](void*, bool, std::string&) { return pleach::edit::store; }, nullptr)),
            bad.size());
    refused(s.run(t.read(bad, 0, std::span<char>(), got)), bad.size());
    pleach::value_writer w(t, bad);
    require_ok(s.run(w.write(std::string(10, 'x'))));
    refused(s.run(w.commit()), bad.size());
    pleach::lookup lookups[] = {{view(one), &v}, {bad, &v}};
    refused(s.run(t.multi_get(lookups)), bad.size());
    DOCTEST_CHECK(lookups[0].result.ok());
    refused(lookups[1].result, bad.size());
    if (bad.empty()) continue;
    refused(s.run(t.get_at_least(bad, k, v)), bad.size());
    refused(s.run(t.next_upto(view(one), bad, k, v)), bad.size());
    refused(s.run(t.count(bad, {}, n)), bad.size());
    refused(s.run(t.count({}, bad, n)), bad.size());
    refused(s.run(c.seek(bad)), bad.size());
    refused(s.run(c.seek_at_most(bad)), bad.size());
    c.range(bad, {});
    refused(s.run(c.first()), bad.size());
    c.range({}, {});
  }
  require_ok(s.run(t.get(view(one), v)));
  DOCTEST_CHECK(v == "v");
  require_ok(s.run(t.get_at_least({}, k, v)));
  DOCTEST_CHECK(k == view(one));
  require_ok(s.run(t.next({}, k, v)));
  require_ok(s.run(c.seek({})));
  require_ok(s.run(t.count({}, {}, n)));
  DOCTEST_CHECK(n == 1);
}

DOCTEST_TEST_CASE("lengths that no integer has") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t;
  for (const u32 bytes : {0u, 17u}) {
    const auto a =
        s.run(s.create_tree("t", {.key_bytes = bytes, .order = key_order::unsigned_integers}, t));
    DOCTEST_CHECK(a.what() == category::invalid);
  }
  DOCTEST_CHECK(s.run(s.create_tree("t", {.order = static_cast<key_order>(9)}, t)).what() ==
                category::invalid);
}

}  // namespace
