// Loads, pins, eviction, discarding: one thing at a time, on a simulated device.
#include <doctest/doctest.h>

#include "tests/pagecache/world.hh"

using namespace pleach;
using namespace pleach::cache;

namespace {
model_page page_at(u64 block, u32 blocks, u32 gen = 5) {
  model_page m;
  m.ref = {page_addr(block, blocks), gen};
  m.seed = block;
  return m;
}
}  // namespace

DOCTEST_TEST_CASE("a budget below 32 largest pages is refused, the minimum is enough") {
  world w;
  w.options.budget_bytes -= 4096;
  auto c = page_cache::make(*w.loop, *w.dev, w.options);
  DOCTEST_REQUIRE(!c);
  DOCTEST_CHECK(c.error() == errc::no_memory);
  w.options.budget_bytes += 4096;
  w.open();
  DOCTEST_CHECK(w.cache->stats().memory_bytes <= w.options.budget_bytes);
}

DOCTEST_TEST_CASE(
    "a page is loaded once, found afterwards, and evicted when others need its frame") {
  world w;
  std::vector<model_page> pages;
  for (u32 i = 0; i < 60; ++i) {
    pages.push_back(page_at(100 + i * 16, 16));
    w.plant_page(pages.back());
  }
  w.open();
  DOCTEST_CHECK(w.cache->find_resident(pages[0].ref) == nullptr);
  for (auto& m : pages)
    DOCTEST_CHECK(get(w, m.ref, [&](visit& v) {
                    DOCTEST_CHECK(same_content({v.pins[0]->data, v.pins[0]->size()}, m));
                  }) == errc::ok);
  DOCTEST_CHECK(w.cache->find_resident(pages.back().ref) != nullptr);
  DOCTEST_CHECK(w.cache->find_resident({pages.back().ref.addr, 6}) == nullptr);
  DOCTEST_CHECK(w.cache->stats().misses == 60);
  DOCTEST_CHECK(w.cache->stats().evictions >= 30);
  DOCTEST_CHECK(w.cache->check() == nullptr);
}

DOCTEST_TEST_CASE("a hot page survives a scan, a cold one does not") {
  world w;
  std::vector<model_page> pages;
  for (u32 i = 0; i < 100; ++i) {
    pages.push_back(page_at(100 + i * 16, 16));
    w.plant_page(pages.back());
  }
  model_page inner = page_at(5000, 16);
  w.plant_page(inner, page_kind::inner);
  w.open();
  DOCTEST_CHECK(get(w, inner.ref) == errc::ok);
  DOCTEST_CHECK(get(w, pages[0].ref) == errc::ok);
  for (u32 i = 1; i < 100; ++i) {
    DOCTEST_CHECK(get(w, pages[i].ref) == errc::ok);
    if (w.cache->find_resident(inner.ref) == nullptr)
      DOCTEST_REQUIRE_MESSAGE(false, "inner evicted at " << i);
  }
  DOCTEST_CHECK(w.cache->find_resident(pages[0].ref) == nullptr);
}

DOCTEST_TEST_CASE(
    "damage, a wrong generation and a failed check are `corrupt`, and a good copy loads later") {
  world w;
  model_page m = page_at(200, 4);
  w.plant_page(m);
  io::sim_image good = w.dev->current();
  io::sim_image bad = good;
  std::byte b{0x5a};
  bad.write(m.ref.addr.offset() + 9000, {&b, 1});
  w.replace(bad);
  w.open();
  DOCTEST_CHECK(get(w, m.ref) == errc::corrupt);
  DOCTEST_CHECK(w.cache->stats().load_failures == 1);
  DOCTEST_CHECK(w.cache->stats().resident_pages == 0);
  w.close();
  w.replace(good);
  w.open();
  DOCTEST_CHECK(get(w, {m.ref.addr, 6}) == errc::corrupt);
  DOCTEST_CHECK(get(w, m.ref) == errc::ok);
  // Resident, and asked for under another generation or size.
  DOCTEST_CHECK(get(w, {m.ref.addr, 6}) == errc::corrupt);
  DOCTEST_CHECK(get(w, {page_addr(200, 2), 5}) == errc::corrupt);
  DOCTEST_CHECK(get(w, m.ref) == errc::ok);
  w.close();
  w.open();
  w.cache->register_check(page_kind::leaf, [](cbytes) { return errc::corrupt; });
  DOCTEST_CHECK(get(w, m.ref) == errc::corrupt);
  w.cache->register_check(page_kind::leaf, [](cbytes) { return errc::ok; });
  DOCTEST_CHECK(get(w, m.ref) == errc::ok);
  w.close();
  w.open();
  w.log.lost_from = 1;  // the group that wrote it is not in the log
  DOCTEST_CHECK(get(w, m.ref) == errc::corrupt);
  w.log.lost_from = ~lsn_t{0};
  DOCTEST_CHECK(get(w, m.ref) == errc::ok);
}

DOCTEST_TEST_CASE("a read error fails the waiters, and a later pin reads again") {
  world w;
  model_page m = page_at(200, 4);
  w.plant_page(m);
  w.open();
  io::fault_rule rule;
  rule.kinds = io::on(io::request_kind::READ);
  rule.what = {io::fault::ERROR, 5, 0};
  for (u32 i = 0; i <= io::device::read_retries; ++i) w.dev->faults.rules.push_back(rule);
  visit a(w), b(w);
  a.refs = b.refs = {m.ref};
  w.loop->start(a);
  w.loop->start(b);
  w.steps(200);
  DOCTEST_CHECK(a.done());
  DOCTEST_CHECK(a.out.code == errc::io);
  DOCTEST_CHECK(b.out.code == errc::io);
  DOCTEST_CHECK(get(w, m.ref) == errc::ok);
  DOCTEST_CHECK(w.cache->check() == nullptr);
}

DOCTEST_TEST_CASE("versions of a reloaded page are new") {
  world w;
  std::vector<model_page> pages;
  for (u32 i = 0; i < 60; ++i) {
    pages.push_back(page_at(100 + i * 16, 16));
    w.plant_page(pages.back());
  }
  w.open();
  std::set<u64> versions;
  for (u32 round = 0; round < 3; ++round)
    for (auto& m : pages)
      DOCTEST_CHECK(get(w, m.ref, [&](visit& v) {
                      DOCTEST_CHECK(versions.insert(v.pins[0]->structure_version).second);
                    }) == errc::ok);
}

DOCTEST_TEST_CASE("a load whose op is cancelled goes on, and nothing is lost") {
  world w;
  model_page m = page_at(200, 4);
  w.plant_page(m);
  w.open();
  visit v(w);
  v.refs = {m.ref};
  w.loop->start(v);
  (void)w.loop->poll();
  DOCTEST_REQUIRE(v.waiting());
  v.cancel();
  (void)w.loop->poll();
  DOCTEST_CHECK(v.done());
  DOCTEST_CHECK(w.cache->io_pending(202, 1));
  DOCTEST_CHECK(!w.cache->io_pending(204, 1));
  w.steps(100);
  DOCTEST_CHECK(!w.cache->io_pending(202, 1));
  DOCTEST_CHECK(w.cache->find_resident(m.ref) != nullptr);
}

DOCTEST_TEST_CASE("loads that nobody waits for are bounded, and harmless when they fail") {
  world w;
  std::vector<model_page> pages;
  for (u32 i = 0; i < 60; ++i) {
    pages.push_back(page_at(100 + i * 4, 4));
    w.plant_page(pages.back());
  }
  model_page damaged = page_at(1000, 4);
  w.plant_page(damaged);
  io::sim_image image = w.dev->current();
  std::byte b{0x5a};
  image.write(damaged.ref.addr.offset() + 9000, {&b, 1});
  w.replace(std::move(image));
  w.open();
  u32 started = 0;
  for (auto& m : pages) started += w.cache->start_load(m.ref);
  DOCTEST_CHECK(started == 32);  // half of the loads that 512 units can have in flight
  DOCTEST_CHECK(!w.cache->start_load(pages[0].ref));
  DOCTEST_CHECK(w.cache->check() == nullptr);
  w.steps(50);
  for (u32 i = 0; i < 32; ++i) {
    descriptor* d = w.cache->find_resident(pages[i].ref);
    DOCTEST_REQUIRE(d != nullptr);
    DOCTEST_CHECK(d->pins == 0);
    DOCTEST_CHECK(same_content({d->data, d->size()}, pages[i]));
  }
  DOCTEST_CHECK(!w.cache->start_load(pages[0].ref));
  // One is waited for while it is under way.
  DOCTEST_CHECK(w.cache->start_load(pages[40].ref));
  DOCTEST_CHECK(get(w, pages[40].ref) == errc::ok);
  DOCTEST_CHECK(w.cache->start_load(damaged.ref));
  w.steps(50);
  DOCTEST_CHECK(w.cache->stats().load_failures == 1);
  DOCTEST_CHECK(w.cache->stats().misses == 34);
  DOCTEST_CHECK(w.cache->check() == nullptr);
  w.cache->stop(errc::closing);
  DOCTEST_CHECK(!w.cache->start_load(pages[41].ref));
}

DOCTEST_TEST_CASE("a large frame is made out of a cache full of small pinned pages") {
  world w;
  w.open();
  // Small pages, every third stays pinned.
  u32 held = w.cache->grantable_units() - 32;
  std::vector<std::unique_ptr<visit>> holders;
  std::map<u64, model_page> model;
  for (u32 i = 0; i < 480; ++i) {
    auto v = std::make_unique<visit>(w);
    v->spare_units = 1;
    model_page m = page_at(100 + i, 1);
    m.formatted = true;
    m.words[64] = i;
    v->act = [&w, &model, m](visit& x) {
      descriptor& d = w.cache->create(m.ref, x.spare);
      auto p = w.log.touch(d);
      format_header({p.writable(0, 64), d.size()}, page_kind::leaf, 1, m.ref.addr, test_store, 7,
                    m.ref.gen, 0);
      p.writable(64, d.size() - 64);
      fill_page({d.data, d.size()}, m);
      w.cache->unpin(d);
      model[m.ref.addr.block()] = m;
    };
    DOCTEST_REQUIRE(run(w, *v) == errc::ok);
    w.log.commit();
    holders.push_back(std::move(v));
  }
  holders.clear();
  for (u32 i = 0; i < 400 && i / 3 < held; i += 3) {
    auto v = std::make_unique<visit>(w);
    v->refs = {model[100 + i].ref};
    v->hold = true;
    w.loop->start(*v);
    w.steps(30);
    holders.push_back(std::move(v));
  }
  std::vector<std::unique_ptr<visit>> large;
  for (u32 i = 0; i < 2; ++i) {
    auto v = std::make_unique<visit>(w);
    v->spare_units = 16;
    v->hold = true;
    w.loop->start(*v);
    for (u32 k = 0; k < 2000 && v->spare.frame == 0; ++k) w.step();
    DOCTEST_CHECK(v->spare.frame != 0);
    large.push_back(std::move(v));
  }
  DOCTEST_CHECK(w.cache->check() == nullptr);
  for (auto& v : holders) {
    DOCTEST_REQUIRE(v->pins.size() == 1);
    DOCTEST_CHECK(
        same_content({v->pins[0]->data, v->pins[0]->size()}, model[v->refs[0].addr.block()]));
    v->hold = false;
    v->gate.wake_all();
  }
  for (auto& v : large) {
    v->hold = false;
    v->gate.wake_all();
  }
  w.steps(100);
  for (auto& v : holders) DOCTEST_CHECK(v->done());
  for (auto& v : large) DOCTEST_CHECK(v->done());
}

DOCTEST_TEST_CASE("stop fails those who wait") {
  world w;
  model_page m = page_at(200, 4);
  w.plant_page(m);
  w.open();
  visit a(w), b(w);
  a.spare_units = 16;
  a.hold = true;
  b.refs = {m.ref};
  std::vector<std::unique_ptr<visit>> more;
  w.loop->start(a);
  w.steps(10);
  while (w.cache->grants().available() >= 16) {
    auto v = std::make_unique<visit>(w);
    v->spare_units = 16;
    v->hold = true;
    w.loop->start(*v);
    w.steps(3);
    more.push_back(std::move(v));
  }
  visit c(w);
  c.spare_units = 16;
  w.loop->start(c);
  w.steps(10);
  DOCTEST_CHECK(c.waiting());
  w.cache->stop(errc::closing);
  w.steps(10);
  DOCTEST_CHECK(c.done());
  DOCTEST_CHECK(c.out.code == errc::closing);
  a.hold = false;
  a.gate.wake_all();
  for (auto& v : more) {
    v->hold = false;
    v->gate.wake_all();
  }
  w.steps(50);
  DOCTEST_CHECK(a.done());
  DOCTEST_CHECK(run(w, b) == errc::closing);
  DOCTEST_CHECK(w.cache->stopped());
}
