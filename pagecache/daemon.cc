#include "pagecache/daemon.hh"

#include <algorithm>

namespace pleach::cache {

namespace {
constexpr u32 evict_steps = 512;      ///< frames visited in a round
constexpr u64 watch_ns = 10'000'000;  ///< longest that a waiter for a frame depends on a kick
constexpr u32 flush_from = 400;       ///< per mille of the log
}  // namespace

page_daemon::page_daemon(core& c, frame_pool& f, loader& l, images& i, recovery_marks& m)
    : core_(c), frames_(f), loader_(l), images_(i), marks_(m) {
  l.finished = i.finished = io_done;
  l.finished_datum = i.finished_datum = this;
  watch_.self = this;
  watch_.fire = watch_fired;
}

sm::step page_daemon::tick(phase p) noexcept {
  switch (p) {
    case SERVE:
      return serve();
    case EVICT:
      return evict();
    case CHOOSE:
      return choose();
    case WRITE:
      return write();
    case FLUSH:
      return flush();
    case REST:
      return rest();
    case STOP:
      return stop_tick();
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

void page_daemon::kick() {
  kicked_ = true;
  idle_.wake_all();
}

void page_daemon::io_done(void* self) {
  static_cast<page_daemon*>(self)->kick();
}

void page_daemon::watch_fired(sm::timer& t) {
  page_daemon& self = *static_cast<watch_timer&>(t).self;
  self.core_.frame_event();
  self.kick();
}

void page_daemon::pressure_moved() {
  if (core_.dirty_units * 2 > core_.frames.count() ||
      core_.frames.free_units() < 2u << core_.plan.max_order)
    kick();
}

// --- who waits for frames ---

bool page_daemon::somebody_waits() {
  return !frame_wait_.empty() || !spare_wait_.empty();
}

void page_daemon::wait_for_frame(descriptor& d) {
  d.content_version = core_.next_version();  // its place among those who wait
  frame_wait_.push_back(d);
  core_.frame_event();
  kick();
}

void page_daemon::wait_for_spare(sm::op& o) {
  if (spare_turn_) {
    spare_turn_ = false;
    spare_wait_.enter_front(o);  // its turn, and no frame after all: it stays the first
  } else {
    if (spare_wait_.empty()) spare_since_ = core_.next_version();
    spare_wait_.enter(o);
    core_.frame_event();
  }
  kick();
}

void page_daemon::spare_served() {
  if (!spare_turn_) return;
  spare_turn_ = false;
  spare_since_ = core_.next_version();
  core_.frame_event();
  kick();
}

void page_daemon::spare_left() {
  if (!somebody_waits()) return;
  core_.frame_event();
  kick();
}

sm::step page_daemon::serve() {
  kicked_ = false;
  if (core_.stopping) return go(EVICT);
  if (spare_wait_.empty()) spare_turn_ = false;
  if (somebody_waits() && seen_events_ != core_.frame_events) {
    seen_events_ = core_.frame_events;
    serve_loads(spare_wait_.empty() ? ~u64{0} : spare_since_);
    descriptor* first = frame_wait_.first();
    if (!spare_wait_.empty() && (first == nullptr || first->content_version > spare_since_)) {
      spare_turn_ = true;
      spare_wait_.wake_one();
    }
  }
  keep_watch();
  return go(EVICT);
}

/// Strictly in order: a large page is not overtaken for ever by small ones.
void page_daemon::serve_loads(u64 before) {
  while (descriptor* d = frame_wait_.first()) {
    if (d->content_version > before) break;
    d->dirty_link.unlink();
    if (loader_.try_start(*d, true)) continue;
    frame_wait_.push_front(*d);
    break;
  }
}

void page_daemon::keep_watch() {
  if (!somebody_waits() || watch_.armed()) return;
  watch_.at_ns = loop().now_ns() + watch_ns;
  loop().arm(watch_);
}

// --- frames ---

sm::step page_daemon::evict() {
  u32 largest = 1u << core_.plan.max_order;
  u32 low = std::max(2 * largest, core_.frames.count() / 64);
  u32 free = core_.frames.free_units();
  if (free >= low) {
    shortage_ = false;
    return go(CHOOSE);
  }
  u32 steps = evict_steps;
  u32 got = frames_.evict_some(2 * low - free, steps, somebody_waits());
  // A whole sweep round of nothing, in a cache of mostly dirty or pinned pages.
  if (got == 0)
    shortage_ = core_.dirty_count != 0;
  else if (core_.frames.free_units() >= low)
    shortage_ = false;
  if (got != 0 && core_.frames.free_units() < 2 * low) kicked_ = true;
  return go(CHOOSE);
}

// --- images ---

u32 page_daemon::pressure() {
  if (shortage_ || writers_[0].done != nullptr) return 1000;
  if (!frame_wait_.empty() || !spare_wait_.empty()) return 1000;
  u64 dirty = core_.dirty_units * 1000 / core_.frames.count();
  return std::min<u32>(1000, std::max(core_.log_use(), static_cast<u32>(dirty)));
}

sm::step page_daemon::choose() {
  if (core_.chaos("wanted")) chaos_wanted();
  bounce_full_ = false;
  u32 p = pressure();
  if (p <= 500 || core_.failed || core_.stopping || core_.options.read_only || core_.dirty.empty())
    return go(WRITE);
  u32 under_way = 4 + (p - 500) * images_.capacity() / 500;
  if (images_.live() >= under_way) return go(WRITE);
  u32 allowed = std::min(under_way - images_.live(), 64u);
  bool log_short = core_.log_use() > 500 || writers_[0].done != nullptr;
  if (log_short)
    choose_in_order(allowed, window_max);
  else
    choose_by_address(allowed, window_max);
  return go(WRITE);
}

/// RETURNS: whether an image was taken.
bool page_daemon::choose_one(descriptor& d, lsn_t& want) {
  if (images::ready(d)) {
    if (images_.take(d)) return true;
    bounce_full_ = true;
    return false;
  }
  if (d.image == 0 && !d.wanted) {
    d.wanted = true;
    want = std::max(want, d.member_lsn);
  }
  return false;
}

void page_daemon::choose_in_order(u32 allowed, u32 window) {
  lsn_t want = 0;
  for (descriptor* d = core_.dirty.first(); d != nullptr && allowed > 0 && window > 0; --window) {
    descriptor* next = core_.dirty.next(*d);
    if (choose_one(*d, want)) --allowed;
    if (bounce_full_) break;
    d = next;
  }
  if (want > core_.durable && core_.hooks != nullptr) core_.hooks->please_make_durable(want);
}

void page_daemon::choose_by_address(u32 allowed, u32 window) {
  u32 n = 0;
  for (descriptor* d = core_.dirty.first(); d != nullptr && n < window; d = core_.dirty.next(*d))
    if (d->image == 0) window_[n++] = d;
  if (n == 0) return;
  std::sort(window_, window_ + n,
            [](const descriptor* a, const descriptor* b) { return a->addr.raw < b->addr.raw; });
  u32 start = 0;
  while (start < n && window_[start]->addr.raw < address_hand_) ++start;
  lsn_t want = 0;
  for (u32 k = 0; k < n && allowed > 0 && !bounce_full_; ++k) {
    descriptor& d = *window_[(start + k) % n];
    address_hand_ = d.addr.raw + 1;
    if (choose_one(d, want)) --allowed;
  }
  if (want > core_.durable && core_.hooks != nullptr) core_.hooks->please_make_durable(want);
}

void page_daemon::chaos_wanted() {
  u32 skip = static_cast<u32>(mix64(++random_) % 16);
  descriptor* d = core_.dirty.first();
  while (d != nullptr && skip-- > 0) d = core_.dirty.next(*d);
  if (d == nullptr || core_.failed || core_.stopping || core_.options.read_only) return;
  lsn_t want = 0;
  choose_one(*d, want);
}

sm::step page_daemon::write() {
  if (images_.write()) kicked_ = true;
  lsn_t awaited = images_.awaited();
  if (awaited > asked_ && core_.hooks != nullptr && !core_.failed && !core_.stopping) {
    asked_ = awaited;
    core_.hooks->please_make_durable(awaited);
  }
  return go(FLUSH);
}

// --- flushing ---

sm::step page_daemon::flush() {
  finish_write_all();
  if (flushing_ || core_.failed || core_.stopping || !marks_.unflushed()) return go(REST);
  u32 log = core_.log_use();
  bool quiet = images_.writes_in_flight() == 0;
  bool wanted = writers_[0].done != nullptr ? quiet : log > flush_from && (quiet || log > 700);
  if (!wanted) return go(REST);
  flush_token_ = marks_.flush_submitted();
  if (flush_token_ == 0) return go(REST);
  flushing_ = true;
  ++core_.stats.flushes;
  flush_request_.kind = io::request_kind::FLUSH;
  flush_request_.done = flush_done;
  flush_request_.owner = this;
  core_.dev.queue(flush_request_);
  return go(REST);
}

void page_daemon::flush_done(io::request& r) {
  page_daemon& self = *static_cast<page_daemon*>(r.owner);
  self.flushing_ = false;
  if (r.code != errc::ok) {
    // The kernel may have dropped the dirty state: what it covered is unknown for good.
    self.core_.fail_store(r.code, {});
  } else if (self.marks_.flush_completed(self.flush_token_) && self.core_.hooks != nullptr) {
    self.core_.hooks->recovery_lsn_moved();
  }
  self.kick();
}

lsn_t page_daemon::min_recovery_lsn() {
  lsn_t m = recovery_marks::least(marks_.min(), images_.min_rec());
  if (!core_.dirty.empty()) m = recovery_marks::least(m, core_.dirty.front().rec_lsn);
  return m;
}

bool page_daemon::all_clean() {
  return min_recovery_lsn() == 0;
}

void page_daemon::write_all(sm::wait_queue& done) {
  for (writer& w : writers_) {
    // The same queue again: its waiters look for themselves, one entry serves them all.
    if (w.done == &done) w.upto = std::max(w.upto, core_.newest_dirty);
    if (w.done == &done) return kick();
    if (w.done != nullptr) continue;
    w = {&done, core_.newest_dirty};
    kick();
    return;
  }
  PLEACH_ASSERT(!"more than four callers of write_all");
}

void page_daemon::finish_write_all() {
  if (writers_[0].done == nullptr) return;
  lsn_t m = min_recovery_lsn();
  bool give_up = core_.failed || core_.stopping;
  u32 kept = 0;
  for (writer& w : writers_) {
    if (w.done == nullptr) continue;
    if (give_up || m == 0 || m > w.upto)
      w.done->wake_all();
    else
      writers_[kept++] = w;
  }
  while (kept < std::size(writers_)) writers_[kept++] = {};
}

// --- rest and end ---

sm::step page_daemon::rest() {
  if (core_.stopping) return go(STOP);
  if (kicked_) return yield(SERVE);
  return wait_in(idle_, SERVE);
}

void page_daemon::stop(errc code) {
  while (descriptor* d = frame_wait_.first()) {
    d->dirty_link.unlink();
    loader_.fail(*d, code);
  }
  while (sm::op* o = spare_wait_.first()) {
    o->cancel(code);
    if (spare_wait_.first() == o) spare_wait_.wake_one();  // it cannot be cancelled: it asks again
  }
  if (watch_.armed()) core_.loop.disarm(watch_);
  kick();
}

bool page_daemon::io_in_flight() const {
  return loader_.in_flight() != 0 || images_.writes_in_flight() != 0 || flushing_;
}

sm::step page_daemon::stop_tick() {
  finish_write_all();
  if (io_in_flight()) return wait_in(idle_, STOP);
  if (watch_.armed()) loop().disarm(watch_);
  return go(DONE);
}

}  // namespace pleach::cache
