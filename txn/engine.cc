#include "txn/engine.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "txn/engine_state.hh"
#include "txn/grow_op.hh"
#include "txn/record_codec.hh"
#include "txn/recovery.hh"

namespace pleach::txn {

namespace {

constexpr u64 ordered_delay_ns = 1'000'000;  ///< longest that an ordered commit waits for company
/// Node header, slots, record, and one more. Changes that lie closer together than a run's header
/// costs are one run, so that a region full of holes costs no more than itself.
constexpr u32 regions_per_page = 4;
constexpr u32 region_overhead = 6 + 14;  ///< two varints; rounding to granules at both ends

errc check_bitmap(cbytes page) {
  return page.size() == block_bytes ? errc::ok : errc::corrupt;
}

errc check_root(cbytes page) {
  if (page.size() != block_bytes) return errc::corrupt;
  const auto& r = *reinterpret_cast<const root_record*>(page.data());
  bool sane = r.volume_blocks >= min_volume_blocks && r.groups_formatted > 0 &&
              r.next_tree_id > tree_catalogue;
  return sane ? errc::ok : errc::corrupt;
}

/// Nothing refers to the new size yet: a failure leaves all as it was.
status resize_device(sm::reactor& loop, io::device& dev, u64 bytes) {
  struct resize {
    io::request r;
    bool done = false;
  } one;
  one.r.kind = io::request_kind::RESIZE;
  one.r.offset = bytes;
  one.r.owner = &one;
  one.r.done = [](io::request& r) { static_cast<resize*>(r.owner)->done = true; };
  dev.queue(one.r);
  status s = loop.run_while([](void* p) { return !static_cast<resize*>(p)->done; }, &one);
  PLEACH_ASSERT(s);
  if (one.r.code != errc::ok) return fail(one.r.code);
  return {};
}

/// Runs an op to its end from blocking code.
errc run(sm::reactor& loop, sm::op& o) {
  loop.start(o);
  if (status s = loop.run_until(o); !s) return s.error();
  return o.out.code;
}

}  // namespace

// --- opening ---

engine::engine(std::unique_ptr<impl> i) : impl_(std::move(i)) {}

result<std::unique_ptr<engine>> engine::open(sm::reactor& loop, io::device& dev,
                                             cache::page_cache& pages, volume& v,
                                             const engine_options& options, std::string* report) {
  std::string words;
  auto failed = [&](errc code) {
    if (report != nullptr) *report = words;
    return fail(code);
  };
  auto i = std::make_unique<impl>(loop, dev, pages, v, options);
  engine_state& e = *i;
  pages.register_check(page_kind::bitmap, &check_bitmap);
  pages.register_check(page_kind::root_block, &check_root);
  if (options.read_only) {
    words = "closed cleanly";
    u64 seq = v.super.clean_seq;
    lsn_t last = v.super.base_lsn;
    if (seq == 0) {
      e.filter = std::make_unique<log_filter>(v.super, dev, options.index_bytes);
      reactor_source source(loop, dev);
      result<log_window> w = scan_log(e.area, v.super, source, e.filter->index, words);
      if (!w) return failed(w.error());
      e.filter->index.seal();
      e.filter->window = *w;
      pages.set_load_filter(e.filter.get());
      seq = w->end;
      last = w->last;
      words = describe(*w) + "; applied in memory";
    }
    e.start_at(seq, last, last + 1);
  } else {
    result<recovery_result> r =
        recover(loop, dev, v, options.index_bytes, options.log_buffer_bytes * 2, words);
    if (!r) return failed(r.error());
    e.start_at(r->next_seq, r->last, r->next_lsn);
    e.replayed = r->anything;
  }
  pages.set_hooks(&e);
  auto result = std::unique_ptr<engine>(new engine(std::move(i)));
  if (!options.read_only) {
    pages.set_durable(e.durable);
    loop.start_background(e.writer);
  }
  e.root.prepare(pages, {page_addr(u64{v.super.root_block}, 1), format_generation});
  if (errc code = run(loop, e.root); code != errc::ok) {
    words = "the root block at block " + std::to_string(u64{v.super.root_block}) +
            " cannot be read: " + sentence_of(code);
    return failed(code);
  }
  if (e.root_blocks() > v.super.blocks) {
    words = "the root block claims more blocks than the superblock";
    return failed(errc::corrupt);
  }
  e.space.resize(e.root_blocks(), v.super.group_blocks);
  if (report != nullptr) *report = words;
  return result;
}

engine::~engine() {
  engine_state& e = *impl_;
  e.writer.stop();
  if (e.writes() && !e.writer.idle()) {
    status s =
        e.loop.run_while([](void* w) { return !static_cast<log_writer*>(w)->done(); }, &e.writer);
    PLEACH_ASSERT(s);
  }
  e.root.release();
  e.pages.set_hooks(nullptr);
  e.pages.set_load_filter(nullptr);
}

// --- closing ---

status engine::close() {
  engine_state& e = *impl_;
  if (!e.writes()) return {};
  if (e.health != errc::ok) return pleach::fail(e.health);
  struct waiter {
    engine_state* e;
    lsn_t lsn;
  } w{&e, e.visible()};
  want_durable(w.lsn);
  status s = e.loop.run_while(
      [](void* p) {
        auto& x = *static_cast<waiter*>(p);
        return x.e->health == errc::ok && x.e->durable < x.lsn;
      },
      &w);
  if (!s) return s;
  sm::wait_queue nobody{"close"};
  while (e.health == errc::ok && !e.pages.all_clean() && !PLEACH_PLANTED("clean_before_home")) {
    e.pages.write_all(nobody);
    s = e.loop.run_while(
        [](void* p) {
          auto& x = *static_cast<engine_state*>(p);
          return x.health == errc::ok && !x.pages.all_clean();
        },
        &e);
    if (!s) return s;
  }
  if (e.health != errc::ok) return pleach::fail(e.health);
  e.writer.stop();
  s = e.loop.run_while([](void* p) { return !static_cast<log_writer*>(p)->done(); }, &e.writer);
  if (!s) return s;
  if (e.health != errc::ok) return pleach::fail(e.health);
  if (!e.salted && !e.replayed) return {};  // nothing was written: the superblocks say it already
  if (!e.salted) e.begin_incarnation(e.vol.super);
  e.vol.super.clean_seq = e.next_seq;
  e.vol.super.base_lsn = e.open->lsn - 1;
  e.salted = e.replayed = false;
  return write_superblocks(e.loop, e.dev, e.vol);
}

// --- before ACT ---

bool engine::take_credit(sm::claim& c, sm::op& op, u64 bytes) {
  engine_state& e = *impl_;
  bool taken = e.credit.take(c, op, bytes);
  // A large claim may have to wait while much is free: whoever waits depends on the log writer, so
  // it must know each time.
  if (!taken || e.credit.available() < static_cast<i64>(e.credit.total() / 2)) [[unlikely]]
    e.writer.wake();
  return taken;
}

u64 engine::credit_bytes(u64 bytes, u64 count) {
  u64 page = page_record_bytes + u64{regions_per_page} * region_overhead;
  return bytes + count * page + log_payload_bytes;
}

u64 engine::largest_credit() const {
  return impl_->shares.largest;
}
errc engine::health() const {
  return impl_->health;
}

// --- ACT ---

lsn_t engine::lsn() const {
  return impl_->open->lsn;
}
page_writer engine::write(cache::descriptor& d) {
  return impl_->write(d);
}

namespace {

cache::descriptor& bitmap_for(engine_state& e, space_claim& claim, u64 block) {
  page_addr addr = e.space.bitmap(e.space.group_of(block)).addr;
  for (cache::descriptor* d : claim.bitmaps)
    if (d->addr == addr) return *d;
  PLEACH_ASSERT(!"the claim pins the bitmap page of everything that is made or freed");
  __builtin_unreachable();
}

void set_range(engine_state& e, space_claim& claim, page_addr a, bool used) {
  cache::descriptor& d = bitmap_for(e, claim, a.block());
  u32 bit = e.space.bit_of(a.block());
  if (!used && PLEACH_PLANTED("free_bit_not_logged")) return;
  // Bits come from the device: what does not agree stops the store before it spreads.
  cbytes page = d.reader().page();
  bool agrees = used ? all_free(page, bit, a.blocks()) : all_used(page, bit, a.blocks());
  if (!agrees && !(used && PLEACH_PLANTED("bit_set_in_alloc"))) e.fail(errc::corrupt);
  byte_range r = bits_range(bit, a.blocks());
  set_bits(e.write(d).writable(r.offset, r.length), bit, a.blocks(), used);
}

space_claim::run& next_run(space_claim& claim, u32 blocks) {
  for (space_claim::run& r : claim.runs)
    if (!r.taken && r.addr.blocks() == blocks) return r;
  PLEACH_ASSERT(!"the claim holds a run of this length");
  __builtin_unreachable();
}

space_claim::run& run_at(space_claim& claim, page_addr addr) {
  for (space_claim::run& r : claim.runs)
    if (!r.taken && r.addr == addr) return r;
  PLEACH_ASSERT(!"the claim holds this run");
  __builtin_unreachable();
}

page_ref take(engine_state& e, space_claim& claim, space_claim::run& r) {
  r.taken = true;
  set_range(e, claim, r.addr, true);
  e.space.end_reservation(r.addr.block(), r.addr.blocks(), true);
  return {r.addr, static_cast<generation_t>(e.open->lsn)};
}

void release(engine_state& e, space_claim& claim, page_ref ref) {
  set_range(e, claim, ref.addr, false);
  e.open->frees.push_back(ref);
  e.space.freed(ref.addr.block(), ref.addr.blocks(), e.open->lsn);
}

}  // namespace

namespace {
cache::descriptor& make_page(engine_state& e, page_ref ref, cache::spare_frame& frame) {
  cache::descriptor& d = e.pages.create(ref, frame);
  d.format = true;
  e.open->join(d);
  e.pages.mark_dirty(d, e.open->lsn);
  return d;
}
}  // namespace

cache::descriptor& engine::create(space_claim& claim, u32 blocks, cache::spare_frame& frame) {
  return make_page(*impl_, take(*impl_, claim, next_run(claim, blocks)), frame);
}
cache::descriptor& engine::create_at(space_claim& claim, page_addr addr,
                                     cache::spare_frame& frame) {
  return make_page(*impl_, take(*impl_, claim, run_at(claim, addr)), frame);
}

page_ref engine::take_run(space_claim& claim, u32 blocks) {
  return take(*impl_, claim, next_run(claim, blocks));
}
page_ref engine::take_run_at(space_claim& claim, page_addr addr) {
  return take(*impl_, claim, run_at(claim, addr));
}

void engine::free_page(space_claim& claim, cache::descriptor& d) {
  engine_state& e = *impl_;
  // Captures of a group that is on its way belong to that group: it may be the last one that
  // survives.
  if (d.member_lsn != lsn_none && d.member_lsn != e.open->lsn) e.writer.drain(d);
  if (d.member_lsn == e.open->lsn) group::drop(d);
  release(e, claim, {d.addr, d.gen});
  e.pages.discard(d, e.open->lsn);
}

void engine::free_run(space_claim& claim, page_ref ref) {
  release(*impl_, claim, ref);
}
void engine::require_flush() {
  impl_->open->flush_first = true;
}

void engine::take_kept(space_claim& claim, page_addr run) {
  engine_state& e = *impl_;
  set_range(e, claim, run, true);
  e.space.end_reservation(run.block(), run.blocks(), true);
}
void engine::require_feature(u64 incompat) {
  impl_->open->features |= incompat;
  impl_->features |= incompat;
}
bool engine::uses_feature(u64 incompat) const {
  return (incompat & ~(impl_->features | impl_->vol.super.incompat)) == 0;
}

namespace {
/// The log writer sees only whether a group stays within the claims of all its transactions. In the
/// simulation each is held against its own.
void compare_with_claim(engine_state& e, u64 claimed) {
  group& g = *e.open;
  u64 logged = g.frees.size() * engine::free_record_bytes;
  for (cache::descriptor* d = g.members.first(); d != nullptr; d = g.members.next(*d))
    logged +=
        sizeof(record_header) + measure_map(d->capture.map, d->size() / granule_bytes).body_bytes;
  if (logged > g.logged + claimed) ++e.stats.credit_overruns;
  g.logged = logged;
}
}  // namespace

lsn_t engine::end(sm::claim& credit) {
  engine_state& e = *impl_;
  group& g = *e.open;
  u64 kept = credit.amount;
  if (e.loop.env().chaotic) [[unlikely]]
    compare_with_claim(e, kept - std::min<u64>(kept, log_payload_bytes));
  if (PLEACH_PLANTED("credit_not_reserved")) {
    e.credit.give_back(credit);
  } else {
    e.credit.consume(credit);
    // Each claim holds a block for the group's last one; a group has one last block.
    if (g.transactions != 0) {
      u64 surplus = std::min<u64>(kept, log_payload_bytes);
      kept -= surplus;
      e.credit.put(static_cast<i64>(surplus));
    }
    g.claimed += kept;
  }
  // Without the group's last block, which is nobody's.
  e.stats.claimed_bytes +=
      g.transactions != 0 ? kept : kept - std::min<u64>(kept, log_payload_bytes);
  ++g.transactions;
  ++e.stats.transactions;
  e.queues[static_cast<u32>(watermark::VISIBLE)].wake_all();
  if (e.wanted >= g.lsn || g.claimed >= (64u << 10)) {
    e.writer.wake();
  } else if (!e.age.armed()) {
    e.age.at_ns = e.loop.now_ns() + ordered_delay_ns;
    e.loop.arm(e.age);
  }
  return g.lsn;
}

// --- CLEANUP ---

void engine::give_back(sm::claim& credit) {
  impl_->credit.give_back(credit);
}

space_claim::~space_claim() {
  PLEACH_ASSERT(empty());
}

void engine::give_back(space_claim& claim) {
  engine_state& e = *impl_;
  bool freed = false;
  for (space_claim::run& r : claim.runs)
    if (!r.taken) {
      e.space.end_reservation(r.addr.block(), r.addr.blocks(), false);
      freed = true;
    }
  claim.runs.clear();
  for (cache::descriptor* d : claim.bitmaps) e.pages.unpin(*d);
  claim.bitmaps.clear();
  if (freed && !e.queues[static_cast<u32>(watermark::DURABLE)].empty()) e.wake_space_waiters();
}

void engine::keep(space_claim& claim, std::vector<page_addr>& to) {
  for (space_claim::run& r : claim.runs) {
    PLEACH_ASSERT(!r.taken);
    to.push_back(r.addr);
  }
  claim.runs.clear();
  for (cache::descriptor* d : claim.bitmaps) impl_->pages.unpin(*d);
  claim.bitmaps.clear();
}

void engine::give_back_kept(page_addr run) {
  impl_->space.end_reservation(run.block(), run.blocks(), false);
  if (!impl_->queues[static_cast<u32>(watermark::DURABLE)].empty()) impl_->wake_space_waiters();
}

page_addr engine::shorten_kept(page_addr run, u32 blocks) {
  if (blocks == run.blocks()) return run;
  impl_->space.shorten_reservation(run.block(), run.blocks(), blocks);
  return {run.block(), blocks};
}

u64 engine::group_of(page_addr run) const {
  return impl_->space.group_of(run.block());
}

// --- watermarks ---

lsn_t engine::reached(watermark w) const {
  const engine_state& e = *impl_;
  switch (w) {
    case watermark::VISIBLE:
      return e.visible();
    case watermark::DURABLE:
      return e.durable;
    case watermark::PLACED:
      break;
  }
  lsn_t least = e.pages.min_recovery_lsn();
  return least == lsn_none ? e.durable : std::min(e.durable, least - 1);
}

lsn_t engine::recovered() const {
  return impl_->recovered;
}
void engine::want_durable(lsn_t lsn) {
  impl_->want_durable(lsn);
}
sm::wait_queue& engine::waiters(watermark w) {
  return impl_->queues[static_cast<u32>(w)];
}
result<sm::wait_queue*> engine::await_durable(lsn_t lsn) {
  if (reached(watermark::DURABLE) >= lsn) return nullptr;
  if (!is_ok(health())) return fail(errc::outcome_unknown);
  want_durable(lsn);
  return &waiters(watermark::DURABLE);
}
cache::descriptor& engine::root_block() {
  return *impl_->root.page;
}

// --- growth and counting ---

status engine::grow(u64 new_bytes) {
  engine_state& e = *impl_;
  if (!e.writes()) return pleach::fail(errc::read_only);
  if (e.health != errc::ok) return pleach::fail(e.health);
  u64 group_blocks = e.vol.super.group_blocks;
  u64 blocks = usable_blocks(new_bytes >> block_shift, group_blocks);
  if (blocks < e.root_blocks()) return pleach::fail(errc::too_small);
  if (e.dev.size() < blocks << block_shift) {
    if (!e.dev.limit().resizable) return pleach::fail(errc::device_full);
    if (status s = resize_device(e.loop, e.dev, blocks << block_shift); !s) return s;
    if (status s = flush_device(e.loop, e.dev); !s) {
      e.fail(s.error());  // pages written before may be lost with it
      return s;
    }
  }
  if (e.vol.super.blocks < blocks)
    if (status s = e.write_grown_superblocks(blocks); !s) return s;
  for (;;) {
    u64 at = e.root_blocks();  // the root block's frame may move while an op runs: read it anew
    if (at >= blocks) return {};
    grow_op op;
    op.prepare(*this, e, at, std::min(blocks, (at / group_blocks + 1) * group_blocks));
    if (errc code = run(e.loop, op); code != errc::ok) return pleach::fail(code);
  }
}

result<u64> engine::count_free_blocks() {
  engine_state& e = *impl_;
  u64 total = 0;
  for (u64 g = 0; g < e.space.groups(); ++g) {
    if (e.space.at(g).free_bits == space_table::unknown) {
      page_load_op load;
      load.prepare(e.pages, e.space.bitmap(g));
      if (errc code = run(e.loop, load); code != errc::ok) return pleach::fail(code);
      sm::step_scope step;
      e.space.learn(g, load.page->reader().page());
      load.release();
    }
    total += e.space.at(g).free_bits;
  }
  return total;
}

engine_statistics engine::stats() const {
  const engine_state& e = *impl_;
  engine_statistics s = e.stats;
  s.credit_waits = e.credit.wait_count();
  s.log_blocks = e.area.blocks();
  s.log_blocks_used = e.used_blocks();
  s.durable_lsn = e.durable;
  s.visible_lsn = e.visible();
  s.placed_lsn = reached(watermark::PLACED);
  return s;
}

volume& engine::vol() {
  return impl_->vol;
}
cache::page_cache& engine::pages() {
  return impl_->pages;
}
sm::reactor& engine::loop() {
  return impl_->loop;
}

}  // namespace pleach::txn
