// The page daemon: what it writes, when, and what min_recovery_lsn says meanwhile.
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

/// Changes one word of a resident or loadable page in the open group.
void change(world& w, model_page& m, u32 off, u64 value) {
  DOCTEST_REQUIRE(get(w, m.ref, [&](visit& v) {
                    w.log.touch(*v.pins[0]).put(off, &value, 8);
                    m.words[off] = value;
                  }) == errc::ok);
}

bool on_medium(const io::sim_image& image, const model_page& m) {
  std::vector<std::byte> raw(m.ref.addr.size());
  image.read(m.ref.addr.offset(), raw);
  auto u = unstamp(raw, m.ref.addr, test_store, &m.ref.gen);
  return u && same_content(raw, m);
}

struct waiter final : sm::machine<waiter> {
#define PLEACH_WAITER_PHASES(X) X(ASK, WAIT, CLEANUP) X(CLEANUP, NOWAIT, DONE) X(DONE, NOWAIT)
  PLEACH_PHASES("test-write-all", PLEACH_WAITER_PHASES)
  explicit waiter(world& in) : w(in) {}
  sm::step tick(phase p) noexcept {
    if (p == ASK) {
      w.cache->write_all(queue);
      return wait_in(queue, CLEANUP);
    }
    return go(DONE);
  }
  world& w;
  sm::wait_queue queue{"write all"};
};

}  // namespace

DOCTEST_TEST_CASE("write_all writes every page, flushes, and then nothing is needed of the log") {
  world w;
  std::vector<model_page> pages;
  for (u32 i = 0; i < 20; ++i) {
    pages.push_back(page_at(100 + i * 4, 4));
    w.plant_page(pages.back());
  }
  w.open();
  for (u32 i = 0; i < 20; ++i) change(w, pages[i], 64 + 512 * (i % 8), i + 1);
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 1);
  w.log.commit();
  waiter all(w);
  w.loop->start(all);
  for (u32 k = 0; k < 1000 && !all.done(); ++k) w.step();
  DOCTEST_REQUIRE(all.done());
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 0);
  DOCTEST_CHECK(w.cache->all_clean());
  DOCTEST_CHECK(w.log.moved > 0);
  for (auto& m : pages) DOCTEST_CHECK(on_medium(w.dev->durable(), m));
  // Neighbours went in few writes.
  DOCTEST_CHECK(w.cache->stats().page_writes <= 4);
  waiter again(w);
  w.loop->start(again);
  w.steps(20);
  DOCTEST_CHECK(again.done());
}

DOCTEST_TEST_CASE("no image is written before its group is durable") {
  world w;
  model_page m = page_at(100, 4);
  w.plant_page(m);
  w.open();
  w.log.use = 900;
  change(w, m, 128, 77);
  w.cache->kick_daemon();
  w.steps(50);
  DOCTEST_CHECK(w.cache->stats().images == 0);  // it is a member: no image inside a group
  DOCTEST_CHECK(w.log.asked == 1);
  w.log.close();
  w.steps(50);
  DOCTEST_CHECK(w.cache->stats().images == 1);
  DOCTEST_CHECK(w.cache->stats().page_writes == 0);
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 1);
  DOCTEST_CHECK(w.cache->io_pending(101, 1));
  w.log.settle(1);
  w.steps(200);
  DOCTEST_CHECK(w.cache->stats().page_writes == 1);
  DOCTEST_CHECK(w.cache->stats().flushes == 1);
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 0);
  DOCTEST_CHECK(!w.cache->io_pending(101, 1));
  DOCTEST_CHECK(on_medium(w.dev->durable(), m));
}

DOCTEST_TEST_CASE("a page that every group changes does not pin the log") {
  world w;
  model_page hot = page_at(100, 1);
  w.plant_page(hot);
  w.open();
  w.log.use = 600;
  lsn_t last = 0, moved = 0;
  for (u32 i = 0; i < 300; ++i) {
    change(w, hot, 64 + i % 32 * 8, i + 1);
    w.log.close();
    // The next group changes it before the image is even written.
    change(w, hot, 512, i);
    w.steps(5);
    if (w.log.open > 2) w.log.settle(w.log.open - 2);
    w.steps(5);
    lsn_t m = w.cache->min_recovery_lsn();
    DOCTEST_REQUIRE(m >= last);
    if (m > last) ++moved;
    last = m;
  }
  DOCTEST_CHECK(moved > 20);
  DOCTEST_CHECK(last > 250);
  DOCTEST_CHECK(w.log.failures == 0);
  DOCTEST_CHECK(w.cache->check() == nullptr);
}

DOCTEST_TEST_CASE("a freed page keeps its recovery LSN until the group that frees it is durable") {
  world w;
  model_page m = page_at(100, 4), n = page_at(200, 4);
  w.plant_page(m);
  w.plant_page(n);
  w.open();
  change(w, m, 64, 1);
  w.log.commit();       // group 1
  change(w, n, 64, 1);  // group 2
  DOCTEST_REQUIRE(get(w, m.ref, [&](visit& v) {
                    w.cache->discard(*v.pins[0], 2);
                    DOCTEST_CHECK(v.pins[0]->state == page_state::DEAD);
                  }) == errc::ok);
  DOCTEST_CHECK(w.cache->find_resident(m.ref) == nullptr);
  w.log.close();
  w.steps(50);
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 1);
  w.log.settle(2);
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 2);
  DOCTEST_CHECK(w.cache->stats().page_writes == 0);
}

DOCTEST_TEST_CASE("an image of a freed page that waits is dropped, one in flight is finished") {
  world w;
  model_page m = page_at(100, 4), n = page_at(200, 4);
  w.plant_page(m);
  w.plant_page(n);
  w.open();
  w.log.use = 900;
  change(w, m, 64, 1);
  w.log.close();
  w.cache->kick_daemon();
  w.steps(10);
  DOCTEST_REQUIRE(w.cache->stats().images == 1);
  DOCTEST_REQUIRE(get(w, m.ref, [&](visit& v) { w.cache->discard(*v.pins[0], 2); }) == errc::ok);
  DOCTEST_CHECK(!w.cache->io_pending(100, 4));
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 1);
  change(w, n, 64, 1);
  w.log.commit();
  w.cache->kick_daemon();
  for (u32 k = 0; k < 100 && w.cache->stats().page_writes == 0; ++k) (void)w.loop->poll();
  DOCTEST_REQUIRE(w.cache->stats().page_writes == 1);
  DOCTEST_CHECK(w.cache->io_pending(200, 1));
  DOCTEST_REQUIRE(get(w, n.ref, [&](visit& v) { w.cache->discard(*v.pins[0], 3); }) == errc::ok);
  w.log.commit();
  w.steps(200);
  DOCTEST_CHECK(!w.cache->io_pending(200, 1));
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 0);
  DOCTEST_CHECK(w.log.failures == 0);
}

DOCTEST_TEST_CASE("a write that fails is tried again; one that always fails stops the store") {
  for (bool always : {false, true}) {
    world w;
    model_page m = page_at(100, 4), n = page_at(104, 4);
    w.plant_page(m);
    w.plant_page(n);
    w.open();
    w.log.use = 900;
    io::fault_rule rule;
    rule.kinds = io::on(io::request_kind::WRITE);
    rule.sticky = always;
    rule.from = 100 * 4096;
    rule.to = 104 * 4096;
    rule.what = {io::fault::ERROR, 5, 0};
    w.dev->faults.rules.push_back(rule);
    change(w, m, 64, 1);
    change(w, n, 64, 2);
    w.log.commit();
    w.cache->kick_daemon();
    w.steps(500);
    DOCTEST_CHECK(w.dev->faults.rules[0].fired > 0);
    DOCTEST_CHECK(on_medium(w.dev->current(), n));
    if (always) {
      DOCTEST_CHECK(w.log.failures == 1);
      DOCTEST_CHECK(w.log.failure == errc::io);
      DOCTEST_CHECK(w.log.where == m.ref.addr);
      DOCTEST_CHECK(w.cache->min_recovery_lsn() == 1);
    } else {
      DOCTEST_CHECK(w.log.failures == 0);
      DOCTEST_CHECK(on_medium(w.dev->durable(), m));
      DOCTEST_CHECK(w.cache->min_recovery_lsn() == 0);
    }
  }
}

DOCTEST_TEST_CASE("a flush that fails stops the store and releases nothing") {
  world w;
  model_page m = page_at(100, 4);
  w.plant_page(m);
  w.open();
  w.log.use = 900;
  io::fault_rule rule;
  rule.kinds = io::on(io::request_kind::FLUSH);
  rule.what = {io::fault::ERROR, 5, 0};
  w.dev->faults.rules.push_back(rule);
  change(w, m, 64, 1);
  w.log.commit();
  w.cache->kick_daemon();
  w.steps(300);
  DOCTEST_CHECK(w.log.failures == 1);
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 1);
}

DOCTEST_TEST_CASE("a change that went round capture never reaches the medium") {
  world w;
  model_page m = page_at(100, 4);
  w.plant_page(m);
  w.open();
  w.log.use = 900;
  change(w, m, 64, 1);
  DOCTEST_REQUIRE(get(w, m.ref, [](visit& v) { v.pins[0]->data[5000] ^= std::byte{1}; }) ==
                  errc::ok);
  w.log.commit();
  w.cache->kick_daemon();
  w.steps(300);
  DOCTEST_CHECK(w.log.failures == 1);
  DOCTEST_CHECK(w.log.failure == errc::corrupt);
  DOCTEST_CHECK(w.log.where == m.ref.addr);
  DOCTEST_CHECK(w.cache->stats().page_writes == 0);
}

DOCTEST_TEST_CASE("a flush of the log covers what was written before it was submitted, no more") {
  world w;
  model_page m = page_at(100, 4), n = page_at(200, 4);
  w.plant_page(m);
  w.plant_page(n);
  w.open();
  w.log.use = 390;  // below what makes the daemon flush
  auto write = [&](model_page& p) {
    change(w, p, 64, 1);
    w.log.commit();
    w.log.use = 550;
    w.cache->kick_daemon();
    for (u32 k = 0; k < 1000 && w.cache->stats().images == 0; ++k) (void)w.loop->poll();
    w.log.use = 390;
    w.steps(100);
  };
  write(m);
  DOCTEST_REQUIRE(w.cache->stats().page_writes == 1);
  DOCTEST_CHECK(w.cache->stats().flushes == 0);
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 1);
  u64 first = w.cache->flush_submitted();
  u64 second = w.cache->flush_submitted();  // overlapping, covers nothing new
  change(w, n, 64, 1);
  w.log.commit();
  w.cache->flush_completed(second);
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 1);
  w.cache->flush_completed(first);
  DOCTEST_CHECK(w.cache->min_recovery_lsn() == 2);
}

DOCTEST_TEST_CASE("dirty pages beyond half of the cache are written without being asked") {
  world w;
  std::vector<model_page> pages;
  for (u32 i = 0; i < 28; ++i) {
    pages.push_back(page_at(112 + i * 16, 16));
    w.plant_page(pages.back());
  }
  w.open();
  for (auto& m : pages) {
    change(w, m, 64, 1);
    w.log.commit();
    w.steps(3);
  }
  w.steps(300);
  DOCTEST_CHECK(w.cache->stats().page_writes > 0);
  DOCTEST_CHECK(w.cache->stats().dirty_pages <= 18);
  DOCTEST_CHECK(w.cache->check() == nullptr);
}

DOCTEST_TEST_CASE("read-only: recovered pages stay clean and are recovered again at each load") {
  struct filter final : load_filter {
    u32 applied = 0;
    bool formats(page_addr a) override { return a.block() == 300; }
    answer apply(page_addr a, bytes page, u64& sum, lsn_t& lsn) override {
      if (a.block() == 200) return answer::UNTOUCHED;
      if (a.block() == 400) return answer::CORRUPT;
      ++applied;
      model_page m = page_at(a.block(), a.blocks());
      m.words[64] = 42;
      fill_page(page, m);
      sum = page_sum(page, page_seed(test_store, a, 5));
      lsn = 9;
      return answer::APPLIED;
    }
  } f;
  world w;
  for (u64 b : {100, 200, 400}) w.plant_page(page_at(b, 16));
  w.options.read_only = true;
  w.open();
  w.cache->set_load_filter(&f);
  model_page changed = page_at(100, 16), made = page_at(300, 16);
  changed.words[64] = made.words[64] = 42;
  for (u32 round = 1; round <= 2; ++round) {
    for (model_page* m : {&changed, &made})
      DOCTEST_CHECK(get(w, m->ref, [&](visit& v) {
                      descriptor& d = *v.pins[0];
                      DOCTEST_CHECK(same_content({d.data, d.size()}, *m));
                      DOCTEST_CHECK(d.last_lsn == 9);
                      w.cache->mark_recovered(d, 3);
                      DOCTEST_CHECK(d.rec_lsn == 0);
                    }) == errc::ok);
    DOCTEST_CHECK(get(w, page_at(200, 16).ref) == errc::ok);
    DOCTEST_CHECK(get(w, page_at(400, 16).ref) == errc::corrupt);
    DOCTEST_CHECK(f.applied == 2 * round);
    w.close();
    w.open();
    w.cache->set_load_filter(&f);
  }
  DOCTEST_CHECK(w.dev->stats().writes == 0);
}

DOCTEST_TEST_CASE("recovered pages are dirty since their LSN, in whatever order they come") {
  world w;
  std::vector<model_page> pages;
  for (u32 i = 0; i < 20; ++i) {
    pages.push_back(page_at(100 + i * 4, 4));
    w.plant_page(pages.back());
  }
  w.open();
  lsn_t least = ~0ull;
  for (auto& m : pages) {
    lsn_t lsn = 10 + w.random.below(1000);
    least = std::min(least, lsn);
    DOCTEST_CHECK(get(w, m.ref, [&](visit& v) { w.cache->mark_recovered(*v.pins[0], lsn); }) ==
                  errc::ok);
    DOCTEST_CHECK(w.cache->min_recovery_lsn() == least);
    DOCTEST_REQUIRE(w.cache->check() == nullptr);
  }
  w.log.settle(2000);
  waiter all(w);
  w.loop->start(all);
  for (u32 k = 0; k < 1000 && !all.done(); ++k) w.step();
  DOCTEST_CHECK(all.done());
  DOCTEST_CHECK(w.cache->all_clean());
}
