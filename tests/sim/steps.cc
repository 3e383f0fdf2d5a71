// A step of a run: operations start, the reactor runs, some are cancelled; then what must always
// hold is looked at.
#include <fmt/format.h>

#include <algorithm>

#include "be/base/checksum.hh"
#include "tests/sim/run.hh"

namespace pleach::sim {

namespace {
constexpr u64 patience_ns = 300'000'000'000;  ///< of virtual time
}  // namespace

u32 run::busy_slots() const {
  u32 n = 0;
  for (auto& s : slots_) n += s->busy();
  return n;
}

slot* run::free_slot() {
  for (auto& s : slots_)
    if (!s->busy()) return s.get();
  return nullptr;
}

/// Some starts, then rounds until something ended or a few rounds have passed.
void run::step() {
  u64 starts = 1 + random_.below(config_.in_flight);
  for (u64 i = 0; i < starts && free_slot() != nullptr; ++i) start_one();
  struct frame {
    run* r;
    u64 clock, rounds;
  } f{this, clock_, 1 + random_.below(8)};
  status s = core_->loop.run_while(
      [](void* p) {
        auto& x = *static_cast<frame*>(p);
        return x.r->clock_ == x.clock && x.rounds-- != 0 && x.r->busy_slots() != 0;
      },
      &f);
  if (!s) violation(fmt::format("the reactor refused: {}", name_of(s.error())));
  ++rounds_;
  cancel_some();
  if (config_.grow_per_mille != 0 && random_.chance(config_.grow_per_mille)) grow_volume();
  oracles();
  if (checker_.pending()) {
    refresh();
    dev_->on_event = nullptr;
    checker_.run_all();
    dev_->on_event = [this](io::sim_device& d) { capture_image(d); };
  }
  if (rounds_ % 64 == 0) {
    refresh();
    model_.settle(model_.acked);
  }
}

/// Cancels anything anywhere; and, more often than chance meets them, writes at their rare waits.
void run::cancel_some() {
  bool any = random_.chance(config_.cancel_per_mille);
  for (auto& sl : slots_) {
    if (!sl->busy() || sl->kind == job::RECLAIM) continue;
    bool reads = sl->reads();
    sm::op& op = sl->running();
    const sm::op& inner = op.innermost();
    std::string_view why = !reads && inner.waiting_for() != nullptr ? inner.waiting_for() : "";
    bool rare = why == "free frame" || why == "log credit";
    if (!(any && random_.chance(300)) && !(rare && random_.chance(config_.cancel_per_mille)))
      continue;
    sl->limited = true;
    op.cancel();
    any = false;
  }
}

/// While operations are in flight; a crash at each moment of it is drawn like any other.
void run::grow_volume() {
  if (dev_->size() > config_.volume_bytes + (u64{64} << 20)) return;
  auto grown = core_->grow(dev_->size() + (1 + random_.below(1000)) * block_bytes);
  if (grown) return void(++totals_.growths);
  errc code = grown.error().code;
  bool device = code == errc::failed || code == errc::outcome_unknown || code == errc::io ||
                code == errc::device_gone || code == errc::device_full;
  if (!(failing() && device))
    violation(fmt::format("growing: {} ({})", grown.error().message, name_of(code)));
}

void run::oracles() {
  if (core_->pages->stats().memory_bytes > core_->options.cache_bytes)
    violation("the cache is over its budget");
  if (u64 n = core_->engine->stats().credit_overruns; n != 0)
    violation("a transaction took more log than it had reserved");
  u64 now = env_.now();
  u64 oldest = clock_;
  for (auto& s : slots_) {
    if (s->copy.source != nullptr) check_copy(*s);
    if (!s->busy()) continue;
    oldest = std::min(oldest, s->started);
    if (now - s->started_ns > patience_ns) {
      const sm::op& op = s->running();
      violation(fmt::format("liveness: an operation ({}) does not end; it waits for {}",
                            op.machine().name, op.waiting_for() ? op.waiting_for() : "nothing"));
    }
  }
  history_.prune(oldest);
  if (rounds_ % 32 == 0)
    if (const char* what = core_->pages->check())
      violation(std::string("the page cache is unsound: ") + what);
}

/// A leaf copy says whether it is current: if it says so, the leaf has the same records.
void run::check_copy(slot& s) {
  constexpr u32 from = btree::node_header_offset;
  if (!s.copy.current()) return;
  sm::step_scope step;
  if (!s.copy.source->resident() || s.copy.source->size() != s.copy.size ||
      std::memcmp(s.copy.source->reader().base() + from, s.copy.bytes + from, s.copy.size - from) !=
          0)
    violation("a leaf copy says that it is current, but its page is another");
}

/// LSNs of transactions that are visible but not DONE.
void run::refresh() {
  for (auto& s : slots_)
    if (s->kind == job::RANGE) s->cut->tell_now();
  for (auto& s : slots_) {
    if (s->kind == job::BULK && s->loaded && s->bulk_commit.applied())
      model_.at(s->transaction).lsn = s->bulk_commit.out.lsn;
    if (s->busy() &&
        (s->kind == job::WRITE || s->kind == job::BATCH || s->kind == job::CREATE ||
         s->kind == job::DROP) &&
        !s->appending && s->last_write().applied())
      model_.at(s->transaction).lsn = s->last_write().out.lsn;
  }
}

}  // namespace pleach::sim
