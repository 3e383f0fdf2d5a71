// Bulk loads, cancelled at every moment of their lives, held up, and over a device that goes away:
// all of their space comes back.
#include <vector>

#include "btree/bulk_commit_op.hh"
#include "tests/regress/cancel_sweep.hh"

namespace pleach {
namespace {

/// A bulk load of the empty tree "u": leaves on several levels, extents, a value with a map.
struct bulk_load final : btree::bulk_source {
  explicit bulk_load(fixture& f) {
    for (u32 i = 0; i < 120; ++i) {
      keys.push_back(std::string(60, static_cast<char>('a' + i / 7)) + numbered(i));
      values.push_back(std::string(i == 50 ? 9000 : i % 40 == 7 ? 3000 : 300, 'b'));
    }
    draft.begin(f.create("u", 1));
  }
  ~bulk_load() { draft.give_back(); }
  u64 count() const override { return keys.size(); }
  item at(u64 i) override { return {as_bytes(keys[i]), as_bytes(values[i])}; }
  std::vector<std::string> keys, values;
  btree::bulk_draft draft;
  btree::bulk_build_op build;
  btree::bulk_commit_op commit;
};

DOCTEST_TEST_CASE("a bulk load, cancelled while it is built, and while it is committed") {
  io::sim_image image = filled(20);
  cancel_in_all_ways(
      image,
      [](fixture& f) {
        auto l = std::make_shared<bulk_load>(f);
        l->build.prepare(l->draft, *l);
        return std::shared_ptr<sm::op>(l, &l->build);
      },
      ways_of_reads, 1);
  cancel_in_all_ways(
      image,
      [](fixture& f) {
        auto l = std::make_shared<bulk_load>(f);
        l->build.prepare(l->draft, *l);
        DOCTEST_REQUIRE(f.run(l->build) == errc::ok);
        l->commit.prepare(l->draft, true);
        return std::shared_ptr<sm::op>(l, &l->commit);
      },
      all_ways, 1);
}

DOCTEST_TEST_CASE("the commit of a bulk load waits for its turn; that of a broken one is none") {
  io::sim_environment env;
  auto opened = core::open(env, std::make_unique<io::sim_device>(env, filled(20)),
                           {.cache_bytes = 4 << 20, .max_run_blocks = 1}, "test");
  DOCTEST_REQUIRE(opened);
  fixture f(*opened);
  bulk_load l(f);
  l.build.prepare(l.draft, l);
  DOCTEST_REQUIRE(f.run(l.build) == errc::ok);
  store_layer::wait_op alone;
  sm::gate_hold hold;
  DOCTEST_REQUIRE(f.store->ctx->gate.try_exclusive(alone, hold));
  l.commit.prepare(l.draft, true);
  l.commit.deadline(env.now() + 1'000'000'000);  // until then it waits at the gate
  f.store->loop.start(l.commit);
  DOCTEST_REQUIRE(f.store->loop.run_until(l.commit));
  DOCTEST_CHECK(l.commit.out.code == errc::timed_out);
  hold.release();
  l.commit.reset();
  l.commit.prepare(l.draft, true);
  DOCTEST_CHECK(f.run(l.commit) == errc::invalid);  // it has given everything back
  check_sound(*f.store);
}

DOCTEST_TEST_CASE("a bulk load over a device that goes away") {
  io::sim_image image = filled(20);
  for (u32 at = 1; at < 60; ++at) {
    DOCTEST_CAPTURE(at);
    io::sim_environment env;
    auto dev = std::make_unique<io::sim_device>(env, image);
    io::sim_device* device = dev.get();
    auto opened =
        core::open(env, std::move(dev), {.cache_bytes = 4 << 20, .max_run_blocks = 1}, "test");
    DOCTEST_REQUIRE(opened);
    std::shared_ptr<core> store = *opened;
    {
      fixture f(store, false);
      bulk_load l(f);
      f.home();
      device->on_event = [at = at + device->events()](io::sim_device& d) {
        if (d.events() >= at) d.remove();
      };
      l.build.prepare(l.draft, l);
      errc code = f.run(l.build);
      if (is_ok(code)) {
        l.commit.prepare(l.draft, true);
        code = f.run(l.commit);
      }
      device->on_event = nullptr;
      DOCTEST_CHECK_MESSAGE((is_ok(code) || class_of(code) == error_class::io ||
                             class_of(code) == error_class::failed),
                            name_of(code));
    }
    store->abandon();
  }
}

}  // namespace
}  // namespace pleach
