#include "txn/engine_state.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "txn/record_codec.hh"

namespace pleach::txn {

namespace {

constexpr u64 space_retry_ns = 1'000'000;
constexpr u64 most_half_blocks = 64;

u32 half_blocks_for(const engine_options& o, const io::device& dev) {
  u64 most = std::max<u64>(8 * (dev.limit().max_transfer >> block_shift), 2);
  return static_cast<u32>(
      std::clamp<u64>(o.log_buffer_bytes / 2 / block_bytes, 2, std::min(most_half_blocks, most)));
}

}  // namespace

// --- how the log is divided ---

log_shares log_shares::of(u64 log_blocks) {
  PLEACH_ASSERT(log_blocks >= min_log_blocks);
  // A claim may be a third of the log: a small log must take a split of every level of a tree, and
  // a useful batch.
  u64 largest = std::max<u64>(log_blocks / 3, 13);
  // The last two blocks hold the empty group that publishes a new log_start; one largest claim is
  // headroom for overruns.
  return {largest * log_payload_bytes, (log_blocks - 2 - largest) * log_payload_bytes};
}

// --- state ---

engine_state::engine_state(sm::reactor& l, io::device& d, cache::page_cache& p, volume& vo,
                           const engine_options& o)
    : loop(l),
      dev(d),
      pages(p),
      vol(vo),
      options(o),
      area(vo.super),
      shares(log_shares::of(area.blocks())),
      credit(l, "log credit", shares.total),
      first_seq(area.blocks(), 0),
      writer(*this, half_blocks_for(o, d),
             max_page_body(u64{vo.super.max_node_blocks} * block_bytes) + block_bytes) {
  age.e = space_retry.e = this;
  age.fire = [](sm::timer& t) {
    engine_state& e = *static_cast<state_timer&>(t).e;
    e.open->aged = true;
    e.writer.wake();
  };
  space_retry.fire = [](sm::timer& t) { static_cast<state_timer&>(t).e->wake_space_waiters(); };
}

engine_state::~engine_state() {
  if (age.armed()) loop.disarm(age);
  if (space_retry.armed()) loop.disarm(space_retry);
  // After a failure pages may still be members; they live in the cache.
  for (group& g : groups)
    while (!g.members.empty()) group::drop(g.members.front());
}

void engine_state::start_at(u64 seq, lsn_t last, lsn_t next) {
  next_seq = durable_start = seq;
  recovered = durable = last;
  first_lsn = next;
  open->reset(next);
}

u64 engine_state::log_start_for(lsn_t g, u64 first) const {
  lsn_t least = pages.min_recovery_lsn();
  if (PLEACH_PLANTED("discard_before_flush")) least = lsn_none;
  if (least == lsn_none || least >= g) return std::max(first, durable_start);
  least = std::max(least, first_lsn);
  if (least >= g) return std::max(first, durable_start);
  return std::max(first_seq[least % first_seq.size()], durable_start);
}

/// Newest group that holds anything. Before the first of this opening comes the last recovered one:
/// between them numbers are left out.
lsn_t engine_state::visible() const {
  if (!open->empty()) return open->lsn;
  return open->lsn == first_lsn ? recovered : open->lsn - 1;
}

void engine_state::want_durable(lsn_t lsn) {
  lsn = std::min(lsn, visible());
  if (lsn <= wanted) return;
  wanted = lsn;
  if (lsn >= open->lsn) writer.wake();
}

void engine_state::recovery_lsn_moved() {
  writer.wake();
  queues[static_cast<u32>(watermark::PLACED)].wake_all();
}

bool engine_state::belongs(lsn_t lsn) {
  bool left_out = recovered < lsn && lsn < first_lsn;
  return lsn <= durable && !left_out && !is_lost(vol.super, lsn);
}

void engine_state::begin_incarnation(superblock& s) const {
  if (first_lsn > recovered + 1) add_lost(s, recovered + 1, first_lsn - 2);
  s.base_lsn = open->lsn - 1;
}

u32 engine_state::log_use_per_mille() {
  if (credit.contended()) return 1000;
  i64 used = static_cast<i64>(credit.total()) - credit.available();
  return static_cast<u32>(std::clamp<i64>(used * 1000 / static_cast<i64>(credit.total()), 0, 1000));
}

void engine_state::fail_store(errc code, page_addr where) {
  (void)where;
  fail(code);
}

void engine_state::fail(errc) {
  if (health != errc::ok) return;
  health = errc::failed;
  credit.fail_all(errc::failed);
  // What groups used never comes back now: an op that asks from here on must not wait. Its commit
  // ends as outcome_unknown.
  credit.put(i64{1} << 40);
  for (sm::wait_queue& q : queues) q.wake_all();
  writer.wake();
  pages.stop(errc::failed);
}

void engine_state::wake_space_waiters() {
  queues[static_cast<u32>(watermark::DURABLE)].wake_all();
}

void engine_state::arm_space_retry() {
  if (space_retry.armed()) return;
  space_retry.at_ns = loop.now_ns() + space_retry_ns;
  loop.arm(space_retry);
}

page_writer engine_state::write(cache::descriptor& d) {
  PLEACH_ASSERT(writes());
  if (cache::latch_watch != nullptr) [[unlikely]]
    cache::latch_watch->change(d);
  if (d.member_lsn != open->lsn) [[unlikely]] {
    if (d.member_lsn != lsn_none) writer.drain(d);
    open->join(d);
    pages.mark_dirty(d, open->lsn);
  }
  d.content_version = pages.next_version();
  return {d.data, d.size(), d.capture};
}

u64 engine_state::root_blocks() const {
  sm::step_scope step;
  return reinterpret_cast<const root_record*>(root.page->reader().base())->volume_blocks;
}

status engine_state::write_grown_superblocks(u64 blocks) {
  // The log writer's own update of the superblocks must not be under way, nor begin.
  superblocks_busy = true;
  status s = loop.run_while(
      [](void* p) {
        auto& x = *static_cast<engine_state*>(p);
        return x.health == errc::ok && x.writer.salting();
      },
      this);
  if (s && health != errc::ok) s = pleach::fail(health);
  if (s) {
    vol.super.blocks = blocks;
    s = write_superblocks(loop, dev, vol);
    if (!s) fail(s.error());
  }
  superblocks_busy = false;
  writer.wake();
  return s;
}

}  // namespace pleach::txn
