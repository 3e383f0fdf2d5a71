#include "pagecache/page_cache.hh"

#include <cstring>
#include <new>

#include "be/base/planted.hh"
#include "be/volume.hh"
#include "pagecache/daemon.hh"

namespace pleach::cache {

struct page_cache::impl {
  impl(sm::reactor& loop, io::device& dev, const cache_options& o, const layout& l,
       page_cache& face)
      : parts(loop, dev, o, l, face.table_, face.version_),
        frames(parts),
        reads(parts, frames),
        writes(parts, marks),
        daemon(parts, frames, reads, writes, marks),
        grants(loop, "page frames", l.grantable) {}

  status make() {
    if (auto s = parts.make(); !s) return s;
    if (auto s = reads.make(); !s) return s;
    return writes.make();
  }
  descriptor& failed_answer(errc code);
  void try_release(descriptor& d);
  void drop_stale(descriptor& d);
  void become_dead(descriptor& d);
  void make_chaos();

  core parts;
  recovery_marks marks;
  frame_pool frames;
  loader reads;
  images writes;
  page_daemon daemon;
  sm::quota grants;
  descriptor stale, stopped;  ///< answers of `pin`, always FAILED; in no table
  dirty_list dead;            ///< DEAD, not releasable yet
  u64 random = 1;
  bool daemon_started = false;
};

page_cache::page_cache() = default;
page_cache::~page_cache() {
  if (impl_ == nullptr) return;
  core& c = impl_->parts;
  // Lists are intrusive: leave none with elements behind.
  while (!c.dirty.empty()) c.dirty.pop_front();
  while (!impl_->dead.empty()) impl_->dead.pop_front();
}

u64 page_cache::minimum_budget(const cache_options& options) {
  return layout::of_units(32u << order_of(options.max_page_blocks), options.max_page_blocks).bytes;
}

result<std::unique_ptr<page_cache>> page_cache::make(sm::reactor& loop, io::device& dev,
                                                     const cache_options& options) {
  PLEACH_ASSERT(options.max_page_blocks > 0 && options.max_page_blocks <= pleach::max_page_blocks);
  layout l = layout::of_budget(options);
  if (l.units < 32u << l.max_order) return fail(errc::no_memory);
  std::unique_ptr<page_cache> cache(new (std::nothrow) page_cache());
  if (!cache) return fail(errc::no_memory);
  cache->impl_.reset(new (std::nothrow) impl(loop, dev, options, l, *cache));
  if (!cache->impl_) return fail(errc::no_memory);
  if (auto s = cache->impl_->make(); !s) return fail(s.error());
  return cache;
}

sm::quota& page_cache::grants() {
  return impl_->grants;
}
sm::wait_queue& page_cache::any_load() {
  return impl_->parts.any_load;
}
u32 page_cache::grantable_units() const {
  return impl_->parts.plan.grantable;
}

// --- pins ---

descriptor& page_cache::impl::failed_answer(errc code) {
  descriptor& d = code == errc::corrupt ? stale : stopped;
  d.state = page_state::FAILED;
  d.error = code;
  ++d.pins;
  return d;
}

/// A page that was loaded by somebody with an old reference, found where a new one is made.
void page_cache::impl::drop_stale(descriptor& d) {
  PLEACH_ASSERT(d.rec_lsn == 0 && d.member_lsn == 0 && d.image == 0);
  if (d.dirty_link.linked()) d.dirty_link.unlink();  // waited for a frame
  become_dead(d);
}

void page_cache::impl::become_dead(descriptor& d) {
  parts.table.remove(d);
  d.state = page_state::DEAD;
  d.wanted = false;
  d.structure_version = d.content_version = parts.next_version();
  parts.load_over(d);
  dead.push_back(d);
  try_release(d);
}

void page_cache::impl::try_release(descriptor& d) {
  if (d.pins != 0 || d.member_lsn != 0 || d.member_link.linked() || d.io) return;
  PLEACH_ASSERT(d.rec_lsn == 0 && d.image == 0);
  if (d.framed) frames.free_frame(d);
  d.dirty_link.unlink();
  parts.free_descriptor(d);
  if (daemon.somebody_waits()) daemon.kick();
}

void page_cache::impl::make_chaos() {
  if (parts.chaos("evict")) frames.evict_one(mix64(++random));
  if (parts.chaos("move")) frames.move_one(mix64(++random));
}

/// Was `d` loaded by somebody with an old reference, where a page that `ref` names was written
/// without the cache since (bulk_draft.hh)? What changed is nobody's past.
static bool outlived(const descriptor& d, page_ref ref) {
  const bool newer = static_cast<i32>(ref.gen - d.gen) > 0 && d.gen != format_generation;
  return newer && d.rec_lsn == 0 && d.member_lsn == 0 && d.image == 0;
}

descriptor* page_cache::pin(page_ref ref) {
  impl& i = *impl_;
  core& c = i.parts;
  if (c.loop.env().chaotic) i.make_chaos();
  if (descriptor* d = table_.find(ref.addr.block())) {
    if (d->addr != ref.addr || d->gen != ref.gen) {
      if (!outlived(*d, ref)) return &i.failed_answer(errc::corrupt);
      i.drop_stale(*d);
      return pin(ref);
    }
    if (d->resident()) {
      ++hits_;
      if (d->heat < d->heat_cap) ++d->heat;
    }
    ++d->pins;
    return d;
  }
  if (c.stopping) return &i.failed_answer(c.stop_code);
  PLEACH_ASSERT(!c.is_gone(ref));
  PLEACH_ASSERT(ref.addr.blocks() <= c.options.max_page_blocks);
  ++c.stats.misses;
  descriptor& d = c.new_descriptor(ref);
  d.state = page_state::LOADING;
  d.pins = 1;
  table_.insert(d);
  if (i.daemon.must_queue() || !i.reads.try_start(d, false)) i.daemon.wait_for_frame(d);
  return &d;
}

bool page_cache::start_load(page_ref ref) {
  impl& i = *impl_;
  core& c = i.parts;
  if (table_.find(ref.addr.block()) != nullptr || c.stopping || c.free_count == 0) return false;
  if (i.daemon.must_queue() || i.reads.in_flight() >= c.plan.loads / 2) return false;
  PLEACH_ASSERT(!c.is_gone(ref));
  PLEACH_ASSERT(ref.addr.blocks() <= c.options.max_page_blocks);
  descriptor& d = c.new_descriptor(ref);
  d.state = page_state::LOADING;
  d.pins = 1;
  table_.insert(d);
  if (i.reads.try_start(d, false)) {
    ++c.stats.misses;
    unpin(d);
    return true;
  }
  d.pins = 0;
  table_.remove(d);
  c.free_descriptor(d);
  return false;
}

void page_cache::unpin(descriptor& d) {
  PLEACH_ASSERT(d.pins > 0);
  if (--d.pins != 0) return;
  impl& i = *impl_;
  switch (d.state) {
    case page_state::RESIDENT:
      if (i.daemon.somebody_waits()) {
        i.parts.frame_event();
        i.daemon.kick();
      }
      break;
    case page_state::FAILED:
      if (&d != &i.stale && &d != &i.stopped) i.parts.free_descriptor(d);
      break;
    case page_state::DEAD:
      i.try_release(d);
      break;
    case page_state::LOADING:
      // Nobody wants it any more. A read in flight goes on; a page that waits for a frame need not.
      if (d.dirty_link.linked()) {
        d.dirty_link.unlink();
        table_.remove(d);
        i.parts.free_descriptor(d);
      }
      break;
    case page_state::FREE:
      PLEACH_ASSERT(!"unpin of a free descriptor");
  }
}

// --- new pages ---

bool page_cache::take_spare(sm::op& o, u32 units, spare_frame& out) {
  impl& i = *impl_;
  core& c = i.parts;
  PLEACH_ASSERT(out.frame == 0 && units > 0 && units <= c.options.max_page_blocks);
  if (c.loop.env().chaotic) i.make_chaos();
  if (!i.daemon.must_queue() || i.daemon.spare_turn()) {
    descriptor& d = c.new_descriptor({page_addr(0, units), 0});
    d.state = page_state::LOADING;
    if (i.frames.take(d, i.daemon.spare_turn())) {
      d.spare = true;
      d.pins = 1;
      out = {c.index_of(d), units};
      i.daemon.spare_served();
      return true;
    }
    d.state = page_state::LOADING;
    c.free_descriptor(d);
  }
  i.daemon.wait_for_spare(o);
  if (c.stopping) o.cancel(c.stop_code);
  return false;
}

void page_cache::give_back(spare_frame& s) {
  impl& i = *impl_;
  if (s.frame != 0) {
    descriptor& d = i.parts.descriptors[s.frame];
    PLEACH_ASSERT(d.spare && d.pins == 1);
    if (d.io && latch_watch != nullptr) [[unlikely]]
      latch_watch->used(d.data, u64{block_bytes} << d.order);
    d.io = false;
    d.spare = false;
    d.pins = 0;
    i.frames.free_frame(d);
    i.parts.free_descriptor(d);
    s = {};
  }
  i.daemon.spare_left();
}

std::byte* page_cache::spare_data(const spare_frame& s) {
  PLEACH_ASSERT(s.frame != 0);
  descriptor& d = impl_->parts.descriptors[s.frame];
  PLEACH_ASSERT(d.spare);
  if (!d.io && latch_watch != nullptr) [[unlikely]]
    latch_watch->use(d.data, u64{block_bytes} << d.order);
  d.io = true;
  return d.data;
}

descriptor& page_cache::create(page_ref ref, spare_frame& s) {
  impl& i = *impl_;
  core& c = i.parts;
  PLEACH_ASSERT(s.frame != 0 && ref.addr.blocks() <= s.units);
  descriptor& d = c.descriptors[s.frame];
  PLEACH_ASSERT(d.spare && order_of(ref.addr.blocks()) == d.order);
  s = {};
  if (descriptor* old = table_.find(ref.addr.block())) i.drop_stale(*old);
  d.spare = false;
  d.addr = ref.addr;
  d.gen = ref.gen;
  d.state = page_state::RESIDENT;
  d.structure_version = d.content_version = c.next_version();
  d.heat = 1;
  frame_use memory(d.data, d.size());
  std::memset(d.data, 0, d.size());
  std::memset(d.capture.map, 0, u64{ref.addr.blocks()} * map_words_per_unit * 8);
  d.capture.seed = page_seed(c.options.store_id, ref.addr, ref.gen);
  d.capture.sum = page_sum({d.data, d.size()}, d.capture.seed);
  table_.insert(d);
  return d;
}

// --- for txn ---

void page_cache::set_hooks(log_hooks* hooks) {
  impl_->parts.hooks = hooks;
}
void page_cache::set_load_filter(load_filter* filter) {
  impl_->parts.filter = filter;
}
void page_cache::register_check(page_kind kind, page_check fn) {
  u32 k = static_cast<u32>(kind);
  PLEACH_ASSERT(k < std::size(impl_->parts.checks));
  impl_->parts.checks[k] = fn;
}

void page_cache::mark_dirty(descriptor& d, lsn_t lsn) {
  core& c = impl_->parts;
  PLEACH_ASSERT(d.resident() && lsn >= d.last_lsn && !c.options.read_only);
  if (d.rec_lsn == 0) {
    c.add_dirty(d, lsn);
    impl_->daemon.pressure_moved();
  }
  d.last_lsn = d.member_lsn = lsn;
  if (lsn > c.newest_dirty) c.newest_dirty = lsn;
  d.content_version = next_version();
}

void page_cache::mark_recovered(descriptor& d, lsn_t lsn) {
  core& c = impl_->parts;
  PLEACH_ASSERT(d.resident());
  d.recovered = true;
  if (c.options.read_only || d.rec_lsn != 0) return;
  c.add_dirty(d, lsn);
  if (d.last_lsn > c.newest_dirty) c.newest_dirty = d.last_lsn;
  if (lsn > c.newest_dirty) c.newest_dirty = lsn;
  impl_->daemon.pressure_moved();
}

void page_cache::drained(descriptor& d) {
  impl& i = *impl_;
  d.member_lsn = 0;
  if (d.state == page_state::DEAD) {
    i.try_release(d);
    return;
  }
  if (d.heat_cap == 0) replacement::classify(d);
  if (d.wanted && images::ready(d) && !i.parts.failed && !i.parts.stopping) {
    if (i.writes.take(d)) i.daemon.kick();
  } else if (i.daemon.somebody_waits()) {
    i.daemon.kick();
  }
}

void page_cache::discard(descriptor& d, lsn_t lsn) {
  impl& i = *impl_;
  PLEACH_ASSERT(d.state == page_state::RESIDENT);
  i.parts.note_gone({d.addr, d.gen});
  i.writes.discard(d, lsn);
  if (d.rec_lsn != 0) {
    if (!PLEACH_PLANTED("freed_page_drops_rec")) i.marks.freed(lsn, d.rec_lsn);
    i.parts.remove_dirty(d);
  }
  d.content_version = ++version_;  // copies of the page are no longer current
  i.become_dead(d);
}

void page_cache::set_durable(lsn_t lsn) {
  impl& i = *impl_;
  if (lsn <= i.parts.durable) return;
  i.parts.durable = lsn;
  bool released = i.marks.durable(lsn);
  for (descriptor* d = i.dead.first(); d != nullptr;) {
    descriptor* next = i.dead.next(*d);
    i.try_release(*d);
    d = next;
  }
  if (i.writes.live() != 0) i.daemon.kick();
  if (released && i.parts.hooks != nullptr) i.parts.hooks->recovery_lsn_moved();
}

u64 page_cache::flush_submitted() {
  return impl_->marks.flush_submitted();
}
void page_cache::flush_completed(u64 token) {
  impl& i = *impl_;
  if (!i.marks.flush_completed(token)) return;
  if (i.parts.hooks != nullptr) i.parts.hooks->recovery_lsn_moved();
  i.daemon.kick();
}
lsn_t page_cache::min_recovery_lsn() const {
  return impl_->daemon.min_recovery_lsn();
}

// --- the daemon ---

void page_cache::start_daemon() {
  PLEACH_ASSERT(!impl_->daemon_started);
  impl_->daemon_started = true;
  impl_->parts.loop.start_background(impl_->daemon);
}
void page_cache::write_all(sm::wait_queue& done) {
  impl_->daemon.write_all(done);
}
bool page_cache::all_clean() const {
  return impl_->daemon.all_clean();
}
void page_cache::kick_daemon() {
  impl_->daemon.kick();
}

void page_cache::stop(errc code) {
  core& c = impl_->parts;
  if (c.stopping) return;
  c.stopping = true;
  c.stop_code = code == errc::corrupt ? errc::failed : code;
  impl_->grants.fail_all(c.stop_code);
  impl_->daemon.stop(c.stop_code);
}

bool page_cache::stopped() const {
  const impl& i = *impl_;
  return i.parts.stopping && (!i.daemon_started || i.daemon.done()) && !i.daemon.io_in_flight();
}

bool page_cache::io_pending(u64 block, u32 blocks) const {
  return impl_->reads.pending(block, blocks) || impl_->writes.pending(block, blocks);
}

// --- what it is ---

cache_statistics page_cache::stats() const {
  const core& c = impl_->parts;
  cache_statistics s = c.stats;
  s.hits = hits_;
  s.grant_waits = impl_->grants.wait_count();
  s.units_total = c.frames.count();
  s.units_free = c.frames.free_units();
  s.dirty_pages = c.dirty_count;
  s.resident_pages = table_.size();
  s.memory_bytes = c.plan.bytes;
  return s;
}

const char* page_cache::check() {
  core& c = impl_->parts;
  if (const char* e = c.frames.check()) return e;
  if (const char* e = c.bounce.check()) return e;
  if (const char* e = table_.check()) return e;
  u64 units = 0;
  lsn_t last = 0;
  for (descriptor* d = c.dirty.first(); d != nullptr; d = c.dirty.next(*d)) {
    if (d->rec_lsn < last) return "I4 of descriptor.hh: the dirty list is not in order";
    if (!d->resident()) return "a page in the dirty list is not resident";
    last = d->rec_lsn;
    units += u64{1} << d->order;
  }
  if (units != c.dirty_units) return "I2 of core.hh: count of dirty units";
  for (u32 u = c.frames.first(); u < c.frames.end(); u += 1u << c.memory.info(u).order) {
    const unit_info& f = c.memory.info(u);
    if (f.use != unit_use::USED) continue;
    const descriptor& d = c.descriptors[f.owner];
    if (f.owner == 0 || !d.framed || d.frame != u) return "a frame and its descriptor disagree";
    if (d.image > 1) return "I4: more than one image of a page";
  }
  return nullptr;
}

u64 page_cache::store_id() const {
  return impl_->parts.options.store_id;
}
io::device& page_cache::device() {
  return impl_->parts.dev;
}
sm::reactor& page_cache::loop() {
  return impl_->parts.loop;
}

}  // namespace pleach::cache
