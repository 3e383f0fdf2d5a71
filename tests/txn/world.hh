// A small store without trees for tests of txn: simulated device, cache, engine; transactions over
// plain pages and extents; an oracle that knows the content after each group.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "be/base/planted.hh"
#include "be/io/sim.hh"
#include "be/page.hh"
#include "be/space_policy.hh"
#include "txn/alloc_op.hh"
#include "txn/engine.hh"
#include "txn/extent_op.hh"
#include "txn/log_block.hh"
#include "txn/page_op.hh"

namespace pleach::txn {

using blob = std::shared_ptr<const std::vector<std::byte>>;

struct model_page {
  generation_t gen = 0;
  bool extent = false;
  blob content;
};

/// What a crash must leave: everything up to some group, that and no less than what was
/// acknowledged.
struct model_state {
  std::map<u64, model_page> pages;  ///< by raw address
  u64 counter = 2;  ///< next_tree_id of the root block, changed by every transaction
};

struct oracle {
  model_state now;
  std::map<lsn_t, model_state> after;  ///< by group; its last transaction
  lsn_t acked = 0;

  void begin(lsn_t base) {
    after.clear();
    after[base] = now;
    acked = base;
  }
  const model_state& at(lsn_t lsn) const { return std::prev(after.upper_bound(lsn))->second; }
};

struct world_options {
  u64 seed = 1;
  u64 volume_bytes = 4 << 20;
  u64 log_bytes = 32 * 4096;
  u64 log_buffer_bytes = 64 << 10;
  u64 index_bytes = 1 << 20;
  u32 max_page_blocks = 4;
  u32 chaos = 0;
  u64 extra_cache = 0;
};

/// One mounted store on an image.
class world {
 public:
  explicit world(const world_options& o)
      : options(o), env({.seed = o.seed, .chaos_per_mille = o.chaos}), random(o.seed * 7919 + 1) {
    if (o.chaos != 0) env.chaotic = true;
  }
  ~world() { unmount(); }

  static io::sim_image formatted(const world_options& o) {
    world w(o);
    w.attach(io::sim_image(o.volume_bytes));
    geometry g = *plan_geometry(o.volume_bytes, o.log_bytes, o.max_page_blocks);
    u8 uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    PLEACH_ASSERT(format_volume(*w.loop, *w.dev, g, uuid, {}, nullptr));
    return w.dev->current();
  }
  void attach(io::sim_image image) {
    dev = std::make_unique<io::sim_device>(env, std::move(image));
    loop = std::make_unique<sm::reactor>(env);
    loop->add_poller(*dev);
  }
  /// RETURNS: ok, or why the store does not open; `report` says more.
  errc mount(io::sim_image image, bool read_only = false) {
    attach(std::move(image));
    return open(read_only);
  }
  /// The same; `all` begins with what was recovered.
  errc mount(io::sim_image image, oracle& all) {
    const errc code = mount(std::move(image));
    if (code == errc::ok) all.begin(eng->recovered());
    return code;
  }
  errc open(bool read_only = false) {
    result<volume> v = read_volume(*loop, *dev);
    if (!v) return v.error();
    vol = std::make_unique<volume>(*v);
    cache::cache_options c;
    c.max_page_blocks = options.max_page_blocks;
    c.store_id = vol->store_id();
    c.read_only = read_only;
    c.budget_bytes = cache::page_cache::minimum_budget(c) + options.extra_cache;
    pages = std::move(*cache::page_cache::make(*loop, *dev, c));
    pages->start_daemon();
    engine_options e;
    e.read_only = read_only;
    e.log_buffer_bytes = options.log_buffer_bytes;
    e.index_bytes = options.index_bytes;
    auto r = engine::open(*loop, *dev, *pages, *vol, e, &report);
    if (!r) return r.error();
    eng = std::move(*r);
    return errc::ok;
  }
  void close_parts() {
    eng.reset();
    if (pages) {
      pages->stop(errc::closing);
      while (!pages->stopped()) step();
      pages.reset();
    }
  }
  void unmount() {
    close_parts();
    if (loop && dev) {
      while (dev->in_flight() != 0) step();
      loop->remove_poller(*dev);
    }
    loop.reset();
    dev.reset();
  }
  void step() {
    auto n = loop->poll();
    PLEACH_ASSERT(n);
    if (*n == 0) env.advance(10'000);
  }
  template <class F>
  bool step_until(F&& f, u64 rounds = 400'000) {
    for (; rounds > 0; --rounds) {
      if (f()) return true;
      step();
    }
    return false;
  }
  errc run(sm::op& o) {
    loop->start(o);
    return step_until([&] { return o.done(); }) ? o.out.code : errc::timed_out;
  }

  world_options options;
  io::sim_environment env;
  random_stream random;
  std::unique_ptr<io::sim_device> dev;
  std::unique_ptr<sm::reactor> loop;
  std::unique_ptr<volume> vol;
  std::unique_ptr<cache::page_cache> pages;
  std::unique_ptr<engine> eng;
  std::string report;
};

#define PLEACH_TEST_TX_PHASES(X)         \
  X(GRANT, WAIT, PIN, CLEANUP)           \
  X(PIN, WAIT, PIN, ALLOC, CLEANUP)      \
  X(ALLOC, WAIT, EXTENT, CLEANUP)        \
  X(EXTENT, WAIT, SPARE, CLEANUP)        \
  X(SPARE, WAIT, SPARE, CREDIT, CLEANUP) \
  X(CREDIT, WAIT, ACT, CLEANUP)          \
  X(ACT, NOWAIT, DURABLE)                \
  X(DURABLE, WAIT, DURABLE, CLEANUP)     \
  X(CLEANUP, NOWAIT, DONE)               \
  X(DONE, NOWAIT)

/// A transaction: creates pages, changes pages, frees pages, perhaps writes or frees an extent.
/// Everything random.
class tx_op final : public sm::machine<tx_op> {
 public:
  PLEACH_PHASES("test_tx", PLEACH_TEST_TX_PHASES)

  struct plan {
    std::vector<u32> creates;
    std::vector<u64> writes;
    std::vector<u64> frees;
    u32 extent_blocks = 0;
    u64 free_extent = 0;
    bool durable = true;
    u32 ranges = 3;
    u32 range_bytes = 200;
  };

  tx_op(world& w, oracle& o, plan p, u64 seed) : w_(w), o_(o), p_(std::move(p)), random_(seed) {}

  lsn_t lsn = 0;
  const plan& what() const { return p_; }

  sm::step tick(phase p) noexcept {
    engine& e = *w_.eng;
    switch (p) {
      case GRANT: {
        if (e.health() != errc::ok) return fail(e.health());
        u64 units = 4;
        for (u32 b : p_.creates) units += b;
        for (u64 a : p_.writes) units += page_addr(a).blocks();
        for (u64 a : p_.frees) units += page_addr(a).blocks();
        if (p_.extent_blocks) units += 4;
        return w_.pages->grants().take(grant_, *this, units) ? go(PIN) : wait(PIN, "grant");
      }
      case PIN: {
        for (; pinned_ < p_.writes.size() + p_.frees.size(); ++pinned_) {
          u64 a = pinned_ < p_.writes.size() ? p_.writes[pinned_]
                                             : p_.frees[pinned_ - p_.writes.size()];
          if (loading_ == nullptr) loading_ = w_.pages->pin({page_addr(a), o_.now.pages.at(a).gen});
          if (loading_->state == cache::page_state::LOADING) return wait_in(loading_->waiters, PIN);
          if (loading_->state != cache::page_state::RESIDENT) return fail(loading_->error);
          pins_.push_back(loading_);
          loading_ = nullptr;
        }
        return go(ALLOC);
      }
      case ALLOC: {
        for (u32 b : p_.creates) needs_.push_back({b, 0});
        if (p_.extent_blocks) needs_.push_back({p_.extent_blocks, 0});
        for (u64 a : p_.frees) frees_.push_back(page_addr(a));
        if (p_.free_extent) frees_.push_back(page_addr(p_.free_extent));
        alloc_.prepare(e, claim_, needs_, frees_);
        return sub(alloc_, EXTENT);
      }
      case EXTENT: {
        if (alloc_.out.code != errc::ok) return fail(alloc_.out.code);
        if (!p_.extent_blocks) return go(SPARE);
        u64 length = (u64{p_.extent_blocks} << block_shift) - random_.below(block_bytes);
        data_ = std::make_shared<std::vector<std::byte>>(length);
        for (auto& b : *data_) b = static_cast<std::byte>(random_.next());
        extent_.prepare_write(e, claim_.runs.back().addr, *data_);
        return sub(extent_, SPARE);
      }
      case SPARE:
        if (p_.extent_blocks && extent_.out.code != errc::ok) return fail(extent_.out.code);
        spares_.resize(p_.creates.size());
        for (; spared_ < p_.creates.size(); ++spared_)
          if (!w_.pages->take_spare(*this, p_.creates[spared_], spares_[spared_]))
            return wait(SPARE, "spare");
        return go(CREDIT);
      case CREDIT: {
        u64 changed = p_.writes.size() + p_.creates.size();
        u64 bytes = changed * (64 + p_.ranges * (p_.range_bytes + 16));
        u64 amount =
            std::min(engine::credit_bytes(bytes + 200, changed + 2) + 32 * (p_.frees.size() + 1),
                     e.largest_credit());
        return e.take_credit(credit_, *this, amount) ? go(ACT) : wait(ACT, "credit");
      }
      case ACT:
        act();
        return go(DURABLE);
      case DURABLE:
        if (!p_.durable) return go(CLEANUP);
        if (e.reached(watermark::DURABLE) >= lsn) {
          o_.acked = std::max(o_.acked, lsn);
          return go(CLEANUP);
        }
        if (e.health() != errc::ok) return fail(errc::outcome_unknown);
        e.want_durable(lsn);
        return wait_in(e.waiters(watermark::DURABLE), DURABLE);
      case CLEANUP:
        if (loading_ != nullptr) w_.pages->unpin(*loading_);
        for (cache::descriptor* d : pins_) w_.pages->unpin(*d);
        pins_.clear();
        loading_ = nullptr;
        e.give_back(claim_);
        for (auto& s : spares_) w_.pages->give_back(s);
        if (spares_.empty()) {
          cache::spare_frame none;
          w_.pages->give_back(none);
        }
        w_.pages->grants().give_back(grant_);
        e.give_back(credit_);
        return go(DONE);
      case DONE:
      case phase_count_:
        break;
    }
    return go(DONE);
  }

 private:
  void act() {
    engine& e = *w_.eng;
    lsn = e.lsn();
    model_state& m = o_.now;
    for (std::size_t i = 0; i < p_.creates.size(); ++i) {
      cache::descriptor& d = e.create(claim_, p_.creates[i], spares_[i]);
      page_writer w = e.write(d);
      format_header({w.writable(0, page_header_bytes), d.size()}, page_kind::leaf, 1, d.addr,
                    w_.vol->store_id(), 7, d.gen, 0);
      scribble(d, w);
      m.pages[d.addr.raw] = {d.gen, false, copy(d)};
      pins_.push_back(&d);
    }
    for (std::size_t i = 0; i < p_.writes.size(); ++i) {
      cache::descriptor& d = *pins_[i];
      PLEACH_ASSERT(d.resident());
      page_writer w = e.write(d);
      scribble(d, w);
      m.pages[d.addr.raw] = {d.gen, false, copy(d)};
    }
    for (std::size_t i = 0; i < p_.frees.size(); ++i) {
      e.free_page(claim_, *pins_[p_.writes.size() + i]);
      m.pages.erase(p_.frees[i]);
    }
    if (p_.extent_blocks) {
      page_ref r = e.take_run(claim_, p_.extent_blocks);
      e.require_flush();
      m.pages[r.addr.raw] = {r.gen, true, data_};
    }
    if (p_.free_extent) {
      e.free_run(claim_, {page_addr(p_.free_extent), m.pages.at(p_.free_extent).gen});
      m.pages.erase(p_.free_extent);
    }
    ++m.counter;
    e.write(e.root_block()).put_le<u64>(offsetof(root_record, next_tree_id), m.counter);
    e.end(credit_);
    o_.after[lsn] = m;
  }
  void scribble(cache::descriptor& d, page_writer& w) {
    for (u32 i = 0; i < p_.ranges; ++i) {
      u32 length = 1 + static_cast<u32>(random_.below(p_.range_bytes));
      u32 off = page_header_bytes +
                static_cast<u32>(random_.below(d.size() - page_header_bytes - length));
      std::byte* at = w.writable(off, length);
      for (u32 k = 0; k < length; ++k) at[k] = static_cast<std::byte>(random_.next());
    }
  }
  static blob copy(const cache::descriptor& d) {
    return std::make_shared<std::vector<std::byte>>(d.data, d.data + d.size());
  }

  world& w_;
  oracle& o_;
  plan p_;
  random_stream random_;
  sm::claim grant_, credit_;
  space_claim claim_;
  alloc_op alloc_;
  extent_op extent_;
  std::vector<space_need> needs_;
  std::vector<page_addr> frees_;
  std::vector<cache::descriptor*> pins_;
  std::vector<cache::spare_frame> spares_;
  std::shared_ptr<std::vector<std::byte>> data_;
  cache::descriptor* loading_ = nullptr;
  u64 pinned_ = 0, spared_ = 0;
};

/// Keeps up to `width` transactions in flight. No page is in two of them.
class workload {
 public:
  workload(world& w, oracle& o, u64 seed) : w_(w), o_(o), random_(seed) {}
  ~workload() { PLEACH_ASSERT(ops_.empty()); }

  u32 width = 4;
  u32 target_pages = 14;
  u32 ordered_per_mille = 200;
  u32 extents_per_mille = 120;
  u32 large_per_mille = 100;
  u64 no_space = 0, done = 0, failed = 0;

  /// RETURNS: false if nothing moved on for long: stuck.
  bool run(u64 count) {
    u64 started = 0;
    u64 idle = 0;
    while (started < count || !ops_.empty()) {
      while (started < count && ops_.size() < width) {
        start_one();
        ++started;
      }
      w_.step();
      if (reap()) idle = 0;
      if (++idle > 300'000) return stuck();
      if (w_.eng->health() != errc::ok) started = count;
    }
    return true;
  }
  /// Forgets the ops of a store that is taken away under them.
  bool drain() {
    for (u64 i = 0; i < 300'000 && !ops_.empty(); ++i) {
      w_.step();
      reap();
    }
    return ops_.empty();
  }

 private:
  /// Says who waits for what, and ends the program: ops that never end cannot be destroyed.
  bool stuck() {
    std::fprintf(stderr, "stuck, health %s:\n", name_of(w_.eng->health()));
    w_.loop->for_each_waiting(
        [](sm::op& o, void*) {
          std::fprintf(stderr, "  %s in %s waits for %s\n", o.machine().name,
                       o.machine().rows[o.phase_index()].name, o.waiting_for());
        },
        nullptr);
    return false;
  }
  bool reap() {
    bool any = false;
    for (std::size_t i = 0; i < ops_.size();) {
      tx_op& t = *ops_[i];
      if (!t.done()) {
        ++i;
        continue;
      }
      any = true;
      ++done;
      if (t.out.code == errc::no_space)
        ++no_space;
      else if (t.out.code != errc::ok)
        ++failed;
      for (u64 a : t.what().writes) busy_.erase(a);
      for (u64 a : t.what().frees) busy_.erase(a);
      if (t.what().free_extent) busy_.erase(t.what().free_extent);
      ops_.erase(ops_.begin() + static_cast<i64>(i));
    }
    return any;
  }
  u64 pick(bool extent) {
    std::vector<u64> free;
    for (auto& [a, p] : o_.now.pages)
      if (p.extent == extent && !busy_.count(a)) free.push_back(a);
    if (free.empty()) return 0;
    u64 a = free[random_.below(free.size())];
    busy_.insert(a);
    return a;
  }
  void start_one() {
    tx_op::plan p;
    u64 have = o_.now.pages.size();
    if (have < target_pages || random_.chance(200))
      for (u64 n = 1 + random_.below(2); n > 0; --n) p.creates.push_back(1u << random_.below(3));
    for (u64 n = random_.below(4); n > 0; --n)
      if (u64 a = pick(false)) p.writes.push_back(a);
    if (have > target_pages || random_.chance(250))
      if (u64 a = pick(false)) p.frees.push_back(a);
    if (random_.chance(extents_per_mille)) p.extent_blocks = 1 + static_cast<u32>(random_.below(6));
    if (random_.chance(extents_per_mille)) p.free_extent = pick(true);
    p.durable = !random_.chance(ordered_per_mille);
    if (random_.chance(large_per_mille)) p.range_bytes = 1500;
    ops_.push_back(std::make_unique<tx_op>(w_, o_, std::move(p), random_.next()));
    w_.loop->start(*ops_.back());
  }

  world& w_;
  oracle& o_;
  random_stream random_;
  std::vector<std::unique_ptr<tx_op>> ops_;
  std::set<u64> busy_;
};

/// Compares everything in the mounted store with the state;
/// RETURNS: empty, or what differs.
inline std::string compare(world& w, const model_state& m) {
  engine& e = *w.eng;
  const auto& root = *reinterpret_cast<const root_record*>(e.root_block().data);
  if (root.next_tree_id != m.counter)
    return "counter " + std::to_string(u64{root.next_tree_id}) + ", expected " +
           std::to_string(m.counter);
  u64 used = 0;
  for (const auto& [a, p] : m.pages) {
    page_addr addr(a);
    used += addr.blocks();
    std::string name = "page " + std::to_string(addr.block()) + "+" + std::to_string(addr.blocks());
    if (p.extent) {
      std::vector<std::byte> data(p.content->size());
      sm::claim grant;
      extent_op x;
      x.prepare_read(e, addr, data);
      if (errc c = w.run(x); c != errc::ok) return name + ": extent read " + name_of(c);
      if (data != *p.content) return name + ": extent differs";
      continue;
    }
    page_load_op load;
    load.prepare(*w.pages, {addr, p.gen});
    if (errc c = w.run(load); c != errc::ok) return name + ": " + name_of(c);
    bool same = std::memcmp(load.page->data, p.content->data(), addr.size()) == 0;
    load.release();
    if (!same) return name + " differs";
  }
  result<u64> free = e.count_free_blocks();
  if (!free) return std::string("count_free_blocks: ") + name_of(free.error());
  std::vector<std::byte> fresh(block_bytes);
  u64 expected = 0;
  for (u64 g = 0; g < group_count(e.vol().super.blocks, e.vol().super.group_blocks); ++g) {
    format_bitmap(fresh, e.vol().super, g, 1);
    expected += count_free(fresh, static_cast<u32>(e.vol().super.group_blocks));
  }
  if (*free + used != expected)
    return "free blocks " + std::to_string(*free) + " + used " + std::to_string(used) +
           " != " + std::to_string(expected);
  return {};
}

}  // namespace pleach::txn
