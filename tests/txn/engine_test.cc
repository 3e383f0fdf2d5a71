// The engine over the simulated device, without crashes: durability, space, credit, close, growth,
// failure.
#include <doctest/doctest.h>

#include "tests/txn/world.hh"

using namespace pleach;
using namespace pleach::txn;

DOCTEST_TEST_CASE("transactions, close, reopen") {
  for (u64 seed = 1; seed <= 12; ++seed) {
    DOCTEST_CAPTURE(seed);
    world_options o;
    o.seed = seed;
    o.log_buffer_bytes = seed % 2 ? 16 << 10 : 256 << 10;
    o.chaos = seed % 3 == 0 ? 60 : 0;
    oracle all;
    io::sim_image image = world::formatted(o);
    for (u32 life = 0; life < 3; ++life) {
      world w(o);
      DOCTEST_REQUIRE(w.mount(image, all) == errc::ok);
      DOCTEST_REQUIRE(compare(w, all.now) == "");
      {
        workload load(w, all, seed * 100 + life);
        DOCTEST_REQUIRE(load.run(120));
        DOCTEST_CHECK(load.failed == 0);
      }
      DOCTEST_CHECK(w.eng->stats().credit_overruns == 0);
      DOCTEST_CHECK(w.eng->stats().log_blocks_used <= 32);
      DOCTEST_REQUIRE(compare(w, all.now) == "");
      DOCTEST_REQUIRE(w.eng->close());
      DOCTEST_CHECK(w.pages->all_clean());
      DOCTEST_CHECK(w.vol->super.clean_seq != 0);
      w.close_parts();
      image = w.dev->durable();
    }
  }
}

DOCTEST_TEST_CASE("a log of 32 blocks is gone round many times and never stops") {
  world_options o;
  oracle all;
  world w(o);
  DOCTEST_REQUIRE(w.mount(world::formatted(o), all) == errc::ok);
  workload load(w, all, 3);
  load.width = 16;
  DOCTEST_REQUIRE(load.run(3000));
  DOCTEST_CHECK(w.eng->stats().log_blocks_written > 10 * 32);
  DOCTEST_CHECK(w.eng->stats().credit_waits > 0);
  DOCTEST_CHECK(compare(w, all.now) == "");
}

DOCTEST_TEST_CASE("an ordered commit becomes durable by itself, a durable one at once") {
  world_options o;
  oracle all;
  world w(o);
  DOCTEST_REQUIRE(w.mount(world::formatted(o), all) == errc::ok);
  tx_op::plan p;
  p.creates = {1};
  p.durable = false;
  tx_op t(w, all, p, 1);
  DOCTEST_REQUIRE(w.run(t) == errc::ok);
  DOCTEST_CHECK(w.eng->reached(watermark::VISIBLE) == t.lsn);
  DOCTEST_CHECK(w.eng->reached(watermark::DURABLE) < t.lsn);
  DOCTEST_CHECK(w.step_until([&] { return w.eng->reached(watermark::DURABLE) >= t.lsn; }));
  // Nothing to do: nothing is written for ever.
  u64 blocks = w.eng->stats().log_blocks_written;
  for (u32 i = 0; i < 5000; ++i) w.step();
  DOCTEST_CHECK(w.eng->stats().log_blocks_written == blocks);
}

DOCTEST_TEST_CASE("a full volume: no_space, then freeing makes room again, without reopening") {
  world_options o;
  o.extra_cache = 1 << 20;
  oracle all;
  world w(o);
  DOCTEST_REQUIRE(w.mount(world::formatted(o), all) == errc::ok);
  u64 made = 0;
  for (;; ++made) {
    tx_op::plan p;
    p.creates = {4};
    p.ranges = 1;
    tx_op t(w, all, p, made);
    errc c = w.run(t);
    if (c == errc::no_space) break;
    DOCTEST_REQUIRE(c == errc::ok);
    DOCTEST_REQUIRE(made < 2000);
  }
  DOCTEST_CHECK(made > 200);
  DOCTEST_CHECK(compare(w, all.now) == "");
  for (u32 round = 0; round < 20; ++round) {
    tx_op::plan p;
    for (auto& [a, page] : all.now.pages) {
      p.frees.push_back(a);
      break;
    }
    p.durable =
        false;  // the block is reusable only once this is durable: the next one waits for that
    tx_op f(w, all, p, round);
    DOCTEST_REQUIRE(w.run(f) == errc::ok);
    tx_op::plan q;
    q.creates = {4};
    tx_op t(w, all, q, round);
    DOCTEST_REQUIRE(w.run(t) == errc::ok);
    DOCTEST_CHECK(t.lsn > f.lsn);
  }
  DOCTEST_CHECK(compare(w, all.now) == "");
}

DOCTEST_TEST_CASE("a cancelled reservation leaves no trace") {
  world_options o;
  oracle all;
  world w(o);
  DOCTEST_REQUIRE(w.mount(world::formatted(o)) == errc::ok);
  u64 before = *w.eng->count_free_blocks();
  for (u32 i = 0; i < 10; ++i) {
    space_claim claim;
    space_need needs[] = {{4, 0}, {1, 1000}, {2, 0}};
    alloc_op a;
    a.prepare(*w.eng, claim, needs, {});
    sm::claim grant;
    DOCTEST_REQUIRE(w.run(a) == errc::ok);
    DOCTEST_REQUIRE(claim.runs.size() == 3);
    for (std::size_t x = 0; x < 3; ++x)
      for (std::size_t y = 0; y < x; ++y) {
        auto p = claim.runs[x].addr, q = claim.runs[y].addr;
        DOCTEST_CHECK((p.block() >= q.block() + q.blocks() || q.block() >= p.block() + p.blocks()));
      }
    w.eng->give_back(claim);
  }
  DOCTEST_CHECK(*w.eng->count_free_blocks() == before);
  space_claim claim;
  space_need needs[] = {{4, 0}, {200, 0}, {200, 0}, {200, 0}, {200, 0}, {200, 0}};
  alloc_op a;
  a.prepare(*w.eng, claim, needs, {});
  DOCTEST_CHECK(w.run(a) == errc::no_space);
  DOCTEST_CHECK(claim.empty());
}

DOCTEST_TEST_CASE("others move the cursor while a bitmap is awaited: no group is left out") {
  world_options o;
  o.volume_bytes = 200ull << 20;  // two groups
  const io::sim_image image = world::formatted(o);
  // Reserved around a place, which leaves the cursor alone.
  auto fill = [](world& w, space_claim& claim, std::size_t blocks) {
    const std::vector<space_need> needs(blocks, space_need{1, 100});
    alloc_op a;
    a.prepare(*w.eng, claim, needs, {});
    DOCTEST_REQUIRE(w.run(a) == errc::ok);
  };
  std::size_t first_group = 0;
  {
    world w(o);
    DOCTEST_REQUIRE(w.mount(image) == errc::ok);
    space_claim claim;
    const u64 group_blocks = w.vol->super.group_blocks;
    fill(w, claim, group_blocks);
    for (const auto& run : claim.runs) first_group += run.addr.block() < group_blocks;
    w.eng->give_back(claim);
  }
  world w(o);
  DOCTEST_REQUIRE(w.mount(image) == errc::ok);
  space_claim full;
  fill(w, full, first_group);
  const space_need one{1, 0};
  space_claim claims[4];
  alloc_op ops[4];
  for (u32 i = 0; i < 4; ++i) {
    ops[i].prepare(*w.eng, claims[i], {&one, 1}, {});
    w.loop->start(ops[i]);
  }
  for (alloc_op& a : ops) {
    DOCTEST_REQUIRE(w.step_until([&] { return a.done(); }));
    DOCTEST_CHECK(a.out.code == errc::ok);
  }
  for (space_claim& c : claims) w.eng->give_back(c);
  w.eng->give_back(full);
}

DOCTEST_TEST_CASE("growth: more room, and it survives") {
  world_options o;
  oracle all;
  io::sim_image image = world::formatted(o);
  {
    world w(o);
    DOCTEST_REQUIRE(w.mount(image, all) == errc::ok);
    u64 before = *w.eng->count_free_blocks();
    DOCTEST_REQUIRE(w.eng->grow(8 << 20));
    DOCTEST_CHECK(*w.eng->count_free_blocks() == before + 1024);
    // Over the end of the first group.
    DOCTEST_REQUIRE(w.eng->grow(300ull << 20));
    DOCTEST_CHECK(compare(w, all.now) == "");
    DOCTEST_CHECK(w.eng->grow(4 << 20).error() == errc::too_small);
    workload load(w, all, 9);
    DOCTEST_REQUIRE(load.run(50));
    image = w.dev->durable();  // no close
  }
  world w(o);
  DOCTEST_REQUIRE(w.mount(image) == errc::ok);
  DOCTEST_CHECK(w.vol->super.blocks == (300u << 8));
  DOCTEST_CHECK(compare(w, all.at(w.eng->recovered())) == "");
}

DOCTEST_TEST_CASE("growth whose flush fails stops the store: it may have lost written pages") {
  world_options o;
  oracle all;
  io::sim_image image = world::formatted(o);
  {
    world w(o);
    DOCTEST_REQUIRE(w.mount(image, all) == errc::ok);
    {
      workload load(w, all, 9);
      DOCTEST_REQUIRE(load.run(150));
    }
    w.dev->faults.hook = [](const io::request& r, u64) {
      io::fault what;
      if (r.kind == io::request_kind::FLUSH) what = {io::fault::ERROR, 5};
      return what;
    };
    DOCTEST_CHECK(w.eng->grow(8 << 20).error() == errc::io);
    w.dev->faults.hook = nullptr;
    DOCTEST_CHECK(w.eng->health() == errc::failed);
    tx_op t(w, all, {}, 1);
    DOCTEST_CHECK(w.run(t) == errc::failed);
    image = w.dev->durable();
  }
  world w(o);
  DOCTEST_REQUIRE(w.mount(image) == errc::ok);
  DOCTEST_CHECK(w.eng->recovered() >= all.acked);
  DOCTEST_CHECK(compare(w, all.at(w.eng->recovered())) == "");
}

DOCTEST_TEST_CASE(
    "a failed write or flush stops the store; what was acknowledged is there after reopening") {
#ifdef PLEACH_PLANTED_BUGS
  plant(std::getenv("PLEACH_PLANT"));
#endif
  u64 stopped = 0;
  u64 most = std::getenv("PLEACH_TXN_FAULTS")
                 ? std::strtoull(std::getenv("PLEACH_TXN_FAULTS"), nullptr, 10)
                 : 80;
  for (u64 k = 1; k <= most; ++k) {
    DOCTEST_CAPTURE(k);
    world_options o;
    o.seed = k;
    oracle all;
    io::sim_image image = world::formatted(o);
    {
      world w(o);
      DOCTEST_REQUIRE(w.mount(image, all) == errc::ok);
      io::fault_rule rule;
      rule.kinds = k % 2 ? io::on(io::request_kind::WRITE) : io::on(io::request_kind::FLUSH);
      rule.at = k;
      rule.what.kind = io::fault::ERROR;
      rule.what.error_number = 5;
      w.dev->faults.rules.push_back(rule);
      {
        workload load(w, all, k);
        DOCTEST_REQUIRE(load.run(150));
      }
      if (w.eng->health() != errc::ok) {
        ++stopped;
        DOCTEST_CHECK(w.eng->health() == errc::failed);
        tx_op t(w, all, {}, 1);
        DOCTEST_CHECK(w.run(t) == errc::failed);
        DOCTEST_CHECK(!w.eng->close());  // it says that it had failed
      }
      random_stream r(k);
      image = w.dev->crash_image(r, {});
    }
    world w(o);
    DOCTEST_REQUIRE(w.mount(image) == errc::ok);
    lsn_t lsn = w.eng->recovered();
    DOCTEST_CHECK(lsn >= all.acked);
    DOCTEST_CHECK(compare(w, all.at(lsn)) == "");
  }
  DOCTEST_CHECK(stopped > 20);
}
