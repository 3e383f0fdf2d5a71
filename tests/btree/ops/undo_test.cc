// Proves: an editor that fails leaves the tree as it was, byte for byte, whatever it had written
// into the value: nothing reaches the device, and after reopening the records are the same.
#include "tests/support/sim_store.hh"

namespace pleach {
namespace {

/// What a modify would do, were it not to fail: each makes the tree change in another way.
struct wish {
  const char* what;
  std::string key;
  std::size_t length;
};

btree::verdict fill_and_fail(void* datum, bool, std::string& value) {
  value.assign(*static_cast<std::size_t*>(datum), 'X');
  return btree::verdict::FAIL;
}
btree::verdict fill(void* datum, bool, std::string& value) {
  value.assign(*static_cast<std::size_t*>(datum), 'X');
  return btree::verdict::STORE;
}

errc modify(fixture& f, btree::tree& t, const wish& w, bool fails) {
  std::size_t length = w.length;
  std::string value;
  btree::write_op op;
  op.prepare_modify(t, as_bytes(w.key), {fails ? fill_and_fail : fill, &length, &value}, true);
  return f.run(op);
}

std::string records_of(fixture& f, btree::tree& t) {
  std::string all, key, value, from;
  seek mode = seek::AT_LEAST;
  for (;;) {
    btree::read_op op;
    op.prepare(t, mode, as_bytes(from), {&key, &value, nullptr});
    if (f.run(op) == errc::not_found) return all;
    all += key + "=" + value + "\n";
    from = key;
    mode = seek::AFTER;
  }
}

/// Full to the brim: `records` of 200 bytes in leaves of 4 KiB; one more splits the last leaf.
void check(u32 records, const std::vector<wish>& wishes) {
  for (const wish& w : wishes) {
    DOCTEST_CAPTURE(w.what);
    io::sim_image before;
    std::string expected;
    {
      fixture f(1, 64, 4 << 20);
      btree::tree& t = f.create("t", 1);
      f.fill(t, records, std::string(200, 'v'));
      f.home();
      expected = records_of(f, t);
      before = f.device->current();
      u64 splits = f.store->ctx->stats.splits + f.store->ctx->stats.push_downs;
      DOCTEST_CHECK(modify(f, t, w, true) == errc::callback_failed);
      f.home();
      DOCTEST_CHECK(f.device->current() == before);
      DOCTEST_CHECK(records_of(f, t) == expected);
      DOCTEST_CHECK(f.store->ctx->stats.splits + f.store->ctx->stats.push_downs == splits);
    }
    io::sim_environment env;
    auto opened = core::open(env, std::make_unique<io::sim_device>(env, before),
                             {.cache_bytes = 4 << 20}, "test");
    DOCTEST_REQUIRE(opened);
    fixture f(std::move(*opened));
    btree::tree& t = f.open("t");
    DOCTEST_CHECK(records_of(f, t) == expected);
    // The same, not failing, does change it: the case is the one that it says.
    DOCTEST_CHECK(modify(f, t, w, false) == errc::ok);
    DOCTEST_CHECK(records_of(f, t) != expected);
  }
}

}  // namespace

DOCTEST_TEST_CASE("a failing editor leaves no trace") {
  check(60, {{"insert into the middle", numbered(30) + "x", 10},
             {"insert behind the last", numbered(99), 10},
             {"growing", numbered(31), 500},
             {"shrinking", numbered(32), 3},
             {"to nothing", numbered(33), 0},
             {"splitting a leaf", numbered(34), 900},
             {"to an extent", numbered(35), 20'000}});
}

DOCTEST_TEST_CASE("a failing editor splits no root") {
  // As many records as the root holds: one more pushes its content down.
  fixture f(1, 64, 4 << 20);
  btree::tree& t = f.create("t", 1);
  u32 room = 0;
  while (f.store->ctx->stats.push_downs == 0)
    DOCTEST_REQUIRE(f.put(t, numbered(room++), std::string(200, 'v')) == errc::ok);
  check(room - 1, {{"pushing the root down", numbered(room), 200},
                   {"growing in a full root", numbered(0), 900}});
}

}  // namespace pleach
