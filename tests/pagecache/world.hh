// A small world for tests of the page cache: simulated device and time, a log that is only its
// hooks, an op.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "be/base/planted.hh"
#include "be/io/sim.hh"
#include "pagecache/page_cache.hh"

namespace pleach::cache {

inline constexpr u64 test_store = 0x5107e;

/// What txn does for the cache, without a log: groups open, close (drain), become durable.
struct fake_log final : log_hooks {
  page_cache* cache = nullptr;
  list<descriptor, &descriptor::member_link> members;
  lsn_t open = 1, durable = 0, asked = 0;
  lsn_t lost_from = ~lsn_t{0};
  u32 use = 0, moved = 0, failures = 0;
  errc failure = errc::ok;
  page_addr where;

  void please_make_durable(lsn_t lsn) override { asked = std::max(asked, lsn); }
  void recovery_lsn_moved() override { ++moved; }
  void fail_store(errc code, page_addr at) override {
    ++failures;
    failure = code;
    where = at;
  }
  u32 log_use_per_mille() override { return use; }
  bool belongs(lsn_t lsn) override { return lsn < lost_from; }

  page_writer touch(descriptor& d) {
    cache->mark_dirty(d, open);
    if (!d.member_link.linked()) members.push_back(d);
    return {d.data, d.size(), d.capture};
  }
  void close() {
    while (!members.empty()) {
      descriptor& d = members.pop_front();
      for (u32 g = 0; g < d.size() / granule_bytes; ++g) {
        if (d.capture.map[g] == 0) continue;
        d.capture.map[g] = 0;
        d.capture.sum +=
            granule_term({d.data + u64{g} * granule_bytes, granule_bytes}, d.capture.seed, g);
      }
      cache->drained(d);
    }
    ++open;
  }
  void settle(lsn_t upto) {
    durable = upto;
    cache->set_durable(upto);
  }
  void commit() {
    close();
    settle(open - 1);
  }
};

/// Content of a page: words from byte 64 on.
struct model_page {
  page_ref ref;
  u64 seed = 0;
  std::map<u32, u64> words;  ///< byte offset -> value that differs from the base
  std::vector<lsn_t> changes;
  struct put {
    lsn_t lsn;
    u32 off;
    u64 value;
  };
  std::vector<put> puts;
  bool formatted = false;  ///< made by `create`, base content zero
  /// RETURNS: the page as group `lsn` left it.
  model_page as_of(lsn_t lsn) const {
    model_page m = *this;
    m.words.clear();
    for (const put& p : puts)
      if (p.lsn <= lsn) m.words[p.off] = p.value;
    return m;
  }
  u64 base(u32 off) const { return formatted ? 0 : mix64(seed + off); }
};

inline void fill_page(bytes page, const model_page& m, page_kind kind = page_kind::leaf) {
  format_header(page, kind, 1, m.ref.addr, test_store, 7, m.ref.gen, 0);
  for (u32 off = 64; off < page.size(); off += 8) {
    auto w = m.words.find(off);
    u64 v = w != m.words.end() ? w->second : m.base(off);
    std::memcpy(page.data() + off, &v, 8);
  }
}

inline bool same_content(cbytes page, const model_page& m) {
  for (u32 off = 64; off < page.size(); off += 8) {
    auto w = m.words.find(off);
    u64 v = w != m.words.end() ? w->second : m.base(off);
    if (std::memcmp(page.data() + off, &v, 8) != 0) return false;
  }
  return u64{header_of(page.data()).address} == m.ref.addr.raw;
}

struct world {
  explicit world(u64 seed = 1, u32 max_blocks = 16, u64 extra_budget = 0, u32 chaos = 0)
      : env({.seed = seed, .chaos_per_mille = chaos}), random(seed) {
#ifdef PLEACH_PLANTED_BUGS
    plant(std::getenv("PLEACH_PLANT"));
#endif
    if (chaos != 0) env.chaotic = true;
    dev = std::make_unique<io::sim_device>(env, io::sim_image(u64{64} << 20));
    loop = std::make_unique<sm::reactor>(env);
    loop->add_poller(*dev);
    options.max_page_blocks = max_blocks;
    options.store_id = test_store;
    options.budget_bytes = page_cache::minimum_budget(options) + extra_budget;
  }
  ~world() {
    if (cache != nullptr) close();
    loop->remove_poller(*dev);
  }
  void open() {
    cache = std::move(*page_cache::make(*loop, *dev, options));
    log.cache = cache.get();
    cache->set_hooks(&log);
    cache->start_daemon();
  }
  void close() {
    cache->stop(errc::closing);
    while (!cache->stopped()) step();
    while (!log.members.empty()) log.members.pop_front();
    cache.reset();
  }
  /// A round, and time to the next event if nothing was to do.
  void step() {
    (void)loop->poll();
    env.advance(20'000);
  }
  void steps(u32 n) {
    while (n-- > 0) step();
  }
  /// Puts a page on the medium.
  void plant_page(const model_page& m, page_kind kind = page_kind::leaf) {
    std::vector<std::byte> raw(m.ref.addr.size());
    fill_page(raw, m, kind);
    stamp(raw, page_sum(raw, page_seed(test_store, m.ref.addr, m.ref.gen)), 1);
    io::sim_image image = dev->current();
    image.write(m.ref.addr.offset(), raw);
    replace(std::move(image));
  }
  void replace(io::sim_image image) {
    loop->remove_poller(*dev);
    dev = std::make_unique<io::sim_device>(env, std::move(image));
    loop->add_poller(*dev);
  }

  io::sim_environment env;
  random_stream random;
  std::unique_ptr<io::sim_device> dev;
  std::unique_ptr<sm::reactor> loop;
  cache_options options;
  fake_log log;
  std::unique_ptr<page_cache> cache;
};

/// Takes a grant, pins pages, takes a spare, acts, gives all back.
struct visit final : sm::machine<visit> {
#define PLEACH_VISIT_PHASES(X)         \
  X(GRANT, WAIT, PIN, CLEANUP)         \
  X(PIN, WAIT, PIN, SPARE, CLEANUP)    \
  X(SPARE, WAIT, SPARE, HOLD, CLEANUP) \
  X(HOLD, WAIT, HOLD, CLEANUP)         \
  X(CLEANUP, NOWAIT, DONE)             \
  X(DONE, NOWAIT)
  PLEACH_PHASES("test-visit", PLEACH_VISIT_PHASES)

  explicit visit(world& in) : w(in) {}
  sm::step tick(phase p) noexcept {
    switch (p) {
      case GRANT: {
        u64 units = spare_units;
        for (page_ref r : refs) units += r.addr.blocks();
        if (!w.cache->grants().take(grant, *this, units)) return wait(PIN);
        return go(PIN);
      }
      case PIN:
        for (u32 i = 0; i < refs.size(); ++i) {
          if (pins.size() == i) pins.push_back(w.cache->pin(refs[i]));
          if (pins[i]->state == page_state::LOADING) return wait_in(pins[i]->waiters, PIN);
          if (pins[i]->state != page_state::RESIDENT)
            return fail(pins[i]->error == errc::ok ? errc::conflict : pins[i]->error);
        }
        return go(SPARE);
      case SPARE:
        if (spare_units != 0 && !w.cache->take_spare(*this, spare_units, spare)) return wait(SPARE);
        return go(HOLD);
      case HOLD:
        for (descriptor* d : pins)
          if (d->state != page_state::RESIDENT) return fail(errc::conflict);
        if (hold) return wait_in(gate, HOLD);
        if (act) act(*this);
        return go(CLEANUP);
      case CLEANUP:
        for (descriptor* d : pins) w.cache->unpin(*d);
        pins.clear();
        w.cache->give_back(spare);
        w.cache->grants().give_back(grant);
        return go(DONE);
      case DONE:
      case phase_count_:
        break;
    }
    return go(DONE);
  }

  world& w;
  std::vector<page_ref> refs;
  u32 spare_units = 0;
  bool hold = false;
  std::function<void(visit&)> act;
  std::vector<descriptor*> pins;
  spare_frame spare;
  sm::claim grant;
  sm::wait_queue gate{"test gate"};
};

inline errc run(world& w, visit& v, u32 limit = 20000) {
  w.loop->start(v);
  while (!v.done() && limit-- > 0) w.step();
  return v.done() ? v.out.code : errc::busy;
}

inline errc get(world& w, page_ref ref, std::function<void(visit&)> act = {}) {
  visit v(w);
  v.refs = {ref};
  v.act = std::move(act);
  return run(w, v);
}

}  // namespace pleach::cache
