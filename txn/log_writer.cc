#include "txn/log_writer.hh"

#include <algorithm>

#include "be/base/checksum.hh"
#include "be/base/planted.hh"
#include "txn/engine_state.hh"
#include "txn/record_codec.hh"

namespace pleach::txn {

namespace {
constexpr u64 large_group_bytes =
    64 << 10;  ///< ordered commits do not wait for their timer beyond this
constexpr u32 frees_per_step = 64;
}  // namespace

log_writer::log_writer(engine_state& e, u32 half_blocks, u64 spill_reserve)
    : stream(half_blocks, spill_reserve), e_(e) {}

sm::step log_writer::tick(phase p) noexcept {
  switch (p) {
    case IDLE:
      return IDLE_tick();
    case SALT:
      return SALT_tick();
    case CLOSE:
      return CLOSE_tick();
    case EXTENTS:
      return EXTENTS_tick();
    case DRAIN:
      return DRAIN_tick();
    case WRITE:
      return WRITE_tick();
    case FLUSH:
      return FLUSH_tick();
    case PUBLISH:
      return PUBLISH_tick();
    case STOP:
      return STOP_tick();
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

void log_writer::wake() {
  if (!asleep_) return;
  asleep_ = false;
  loop().make_ready(*this);
}

void log_writer::stop() {
  stopping_ = true;
  wake();
}

// --- when ---

bool log_writer::wants_close() const {
  const group& g = *e_.open;
  if (g.empty()) return false;
  return e_.wanted >= g.lsn || g.aged || g.claimed >= large_group_bytes || e_.credit.contended();
}

/// An empty group costs one block: it must free two at least, or publishing would go on for ever.
bool log_writer::wants_publish() const {
  u64 gain = e_.log_start_for(e_.open->lsn, e_.next_seq) - e_.durable_start;
  if (gain < 2) return false;
  return e_.credit.contended() || (e_.credit.available() < static_cast<i64>(e_.shares.total / 2) &&
                                   gain >= e_.area.blocks() / 8);
}

bool log_writer::wants_superblocks() const {
  return !e_.salted || (e_.open->features & ~e_.vol.super.incompat) != 0;
}

sm::step log_writer::IDLE_tick() {
  if (e_.health != errc::ok || stopping_) return go(STOP);
  if (e_.credit.contended()) e_.pages.kick_daemon();
  bool work = wants_close() || (e_.open->empty() && wants_publish());
  if (!work || (wants_superblocks() && e_.superblocks_busy)) {
    asleep_ = true;
    return wait(IDLE, "log work");
  }
  if (!wants_superblocks()) return go(CLOSE);
  salt_step_ = 0;
  return go(SALT);
}

// --- the superblocks of a new incarnation ---

sm::step log_writer::SALT_tick() {
  if (in_flight_ != 0) return wait(SALT, "superblock write");
  if (io_error_ != errc::ok) return broken();
  if (salt_step_ == 0) {
    next_super_ = e_.vol.super;
    next_super_.incompat = next_super_.incompat | e_.open->features;
    if (!e_.salted) {
      if (!PLEACH_PLANTED("no_salt_bump")) next_super_.salt = new_salt(loop().env(), next_super_);
      next_super_.first_seq = e_.next_seq;
      e_.begin_incarnation(next_super_);
      next_super_.clean_seq = 0;
      next_super_.incarnation = next_super_.incarnation + 1;
    }
    next_super_.generation = next_super_.generation + 1;
  }
  if (salt_step_ == 2 * superblock_copies) {
    e_.vol.super = next_super_;
    e_.vol.copy_good.fill(true);
    e_.vol.copy_states.fill(copy_state::GOOD);
    if (!e_.salted) e_.prev_checksum = next_super_.salt;
    e_.salted = true;
    if (!wants_superblocks()) return go(CLOSE);
    // The open group has come to need a feature meanwhile.
    salt_step_ = 0;
    return go(SALT);
  }
  u32 copy = salt_step_ / 2;
  if (salt_step_++ % 2 == 0) {
    seal(next_super_, copy);
    std::memcpy(aux_block_.data(), &next_super_, block_bytes);
    queue_aux(io::request_kind::WRITE, superblock_block(copy) << block_shift);
  } else {
    queue_flush();
  }
  return wait(SALT, "superblock write");
}

// --- closing and draining ---

sm::step log_writer::CLOSE_tick() {
  group_ = e_.closing = e_.open;
  e_.open = group_ == &e_.groups[0] ? &e_.groups[1] : &e_.groups[0];
  e_.open->reset(group_->lsn + 1);
  if (e_.age.armed()) loop().disarm(e_.age);

  log_start_ = e_.log_start_for(group_->lsn, e_.next_seq);
  e_.first_seq[group_->lsn % e_.first_seq.size()] = e_.next_seq;
  block_identity id;
  id.store_id = e_.vol.store_id();
  id.salt = e_.vol.super.salt;
  id.seq = e_.next_seq;
  id.group = group_->lsn;
  id.log_start = log_start_;
  id.durable_upto = e_.durable;
  id.prev_checksum = e_.prev_checksum;
  stream.begin(id);
  submitted_ = one_durable_write_ = flushed_ = false;
  return go(group_->flush_first && !PLEACH_PLANTED("fua_over_unflushed") ? EXTENTS : DRAIN);
}

sm::step log_writer::EXTENTS_tick() {
  if (in_flight_ != 0) return wait(EXTENTS, "flush of extents");
  if (io_error_ != errc::ok) return broken();
  if (flushed_) {
    flushed_ = false;
    return go(DRAIN);
  }
  flushed_ = true;
  queue_flush();
  return wait(EXTENTS, "flush of extents");
}

void log_writer::drain(cache::descriptor& d) {
  PLEACH_ASSERT(e_.closing != nullptr && stream.active() && d.member_lsn == e_.closing->lsn);
  group& g = *e_.closing;
  u32 words = d.size() / granule_bytes;
  const std::byte* page = d.reader().base();
  for (u32 w = 0; w < words; ++w)
    if (d.capture.map[w] != 0)
      d.capture.sum +=
          granule_term({page + u64{w} * granule_bytes, granule_bytes}, d.capture.seed, w);
  d.member_link.unlink();
  bool omit = PLEACH_PLANTED("drop_last_capture") && g.members.empty();
  g.captured += encode_page(stream.spill(), {d.addr, d.gen}, d.format ? RECORD_FORMAT : 0, page,
                            d.capture.map, words, d.capture.sum, omit);
  std::memset(d.capture.map, 0, words * sizeof(u64));
  d.format = false;
  d.member_lsn = lsn_none;
  ++e_.stats.page_records;
  e_.pages.drained(d);
}

/// RETURNS: true when nothing of the group is left to be appended.
bool log_writer::drain_some(u32& budget) {
  group& g = *group_;
  if (g.frees_logged < g.frees.size()) {
    u64 n = std::min<u64>(frees_per_step, g.frees.size() - g.frees_logged);
    for (; n > 0; --n) {
      const page_ref& ref = g.frees[g.frees_logged++];
      if (!PLEACH_PLANTED("free_not_logged")) encode_free(stream.spill(), ref);
    }
    return false;
  }
  if (g.members.empty()) return true;
  drain(g.members.front());
  --budget;
  return false;
}

sm::step log_writer::DRAIN_tick() {
  if (io_error_ != errc::ok || e_.health != errc::ok) return broken();
  u32 budget = pages_per_tick;
  for (;;) {
    if (!stream.pump()) {
      log_stream::half& full = stream.present();
      if (!full.sent) {  // it may have landed before the other one
        submitted_ = true;
        submit(full, false);
        if (e_.health != errc::ok) return broken();
      }
      if (!stream.turn()) return wait(DRAIN, "log buffer");
      continue;
    }
    if (budget == 0) return yield(DRAIN);
    if (drain_some(budget)) break;
  }
  stream.finish();
  one_durable_write_ =
      !submitted_ && e_.dev.limit().durable_write_is_cheap && !PLEACH_PLANTED("ack_before_flush");
  submit(stream.present(), one_durable_write_);
  if (e_.health != errc::ok) return broken();

  u64 used = stream.blocks() * log_payload_bytes;
  if (group_->claimed < used && group_->transactions != 0) ++e_.stats.credit_overruns;
  if (PLEACH_PLANTED("log_space_reused_early"))
    used = 0;  // taken for free although recovery needs it
  e_.credit.put(static_cast<i64>(group_->claimed) - static_cast<i64>(used));
  e_.next_seq = stream.next_seq();
  e_.prev_checksum = stream.last_checksum();
  ++e_.stats.groups;
  if (group_->transactions == 0) ++e_.stats.empty_groups;
  e_.stats.log_blocks_written += stream.blocks();
  e_.stats.log_bytes_payload += stream.payload();
  e_.stats.captured_bytes += group_->captured;
  e_.stats.frees += group_->frees.size();
  return go(WRITE);
}

// --- writing ---

void log_writer::submit(log_stream::half& h, bool durable) {
  PLEACH_ASSERT(h.blocks > 0 && !h.taken);
  u64 last = h.first_seq + h.blocks;
  if (last - e_.durable_start > e_.area.blocks() && !PLEACH_PLANTED("credit_not_reserved") &&
      !PLEACH_PLANTED("log_space_reused_early")) {
    e_.fail(errc::no_credit);  // I2 of engine_state: never overwrite what recovery needs
    return;
  }
  h.taken = h.sent = true;
  std::byte* memory = stream.memory(h);
  u32 which = &h == &stream.first_half() ? 0 : 1;
  u64 most = std::max<u64>(e_.dev.limit().max_transfer >> block_shift, 1);
  u32 n = 0;
  for (u64 at = 0; at < h.blocks; ++n) {
    PLEACH_ASSERT(n < max_requests);
    u64 seq = h.first_seq + at;
    u64 count = std::min({h.blocks - at, e_.area.contiguous(seq), most});
    io::request& r = requests_[which].r[n];
    r.kind = io::request_kind::WRITE;
    r.durable = durable;
    r.offset = e_.area.position(seq) << block_shift;
    r.length = count << block_shift;
    r.data = memory + (at << block_shift);
    r.vec = nullptr;
    r.vec_count = 0;
    r.owner = this;
    r.done = &half_written;
    ++h.in_flight;
    ++in_flight_;
    ++e_.stats.log_writes;
    e_.dev.queue(r);
    at += count;
  }
}

void log_writer::half_written(io::request& r) {
  auto& self = *static_cast<log_writer*>(r.owner);
  auto of = [&](half_requests& q) { return &r >= q.r.data() && &r < q.r.data() + q.r.size(); };
  log_stream::half& h =
      of(self.requests_[0]) ? self.stream.first_half() : self.stream.second_half();
  if (--h.in_flight == 0) h.taken = false;
  self.io_ended(r.code);
}

void log_writer::io_ended(errc code) {
  --in_flight_;
  if (code != errc::ok && io_error_ == errc::ok) io_error_ = code;
  if (!asleep_ && waiting()) loop().make_ready(*this);
}

void log_writer::queue_aux(io::request_kind kind, u64 offset) {
  aux_.kind = kind;
  aux_.offset = offset;
  if (kind == io::request_kind::WRITE) {
    aux_.data = aux_block_.data();
    aux_.length = block_bytes;
  }
  aux_.owner = this;
  aux_.done = &aux_done;
  ++in_flight_;
  e_.dev.queue(aux_);
}

void log_writer::queue_flush() {
  flush_token_ = e_.pages.flush_submitted();
  ++e_.stats.flushes;
  queue_aux(io::request_kind::FLUSH, 0);
}

void log_writer::aux_done(io::request& r) {
  auto& self = *static_cast<log_writer*>(r.owner);
  errc code = r.code;
  if (r.kind == io::request_kind::FLUSH) {
    if (PLEACH_PLANTED("flush_error_ignored")) code = errc::ok;
    if (code == errc::ok) self.e_.pages.flush_completed(self.flush_token_);
  }
  self.io_ended(code);
}

sm::step log_writer::WRITE_tick() {
  if (PLEACH_PLANTED("ack_before_flush")) acknowledge();
  if (PLEACH_PLANTED("ack_out_of_order") && submitted_ && !stream.present().taken) acknowledge();
  if (in_flight_ != 0) return wait(WRITE, "log write");
  if (io_error_ != errc::ok) return broken();
  return go(one_durable_write_ ? PUBLISH : FLUSH);
}

sm::step log_writer::FLUSH_tick() {
  if (in_flight_ != 0) return wait(FLUSH, "log flush");
  if (io_error_ != errc::ok) return broken();
  if (flushed_) return go(PUBLISH);
  flushed_ = true;
  queue_flush();
  return wait(FLUSH, "log flush");
}

void log_writer::acknowledge() {
  if (e_.durable == group_->lsn) return;
  e_.durable = group_->lsn;
  e_.pages.set_durable(e_.durable);
  e_.queues[static_cast<u32>(watermark::DURABLE)].wake_all();
}

sm::step log_writer::PUBLISH_tick() {
  e_.closing = nullptr;
  u64 freed = log_start_ - e_.durable_start;
  e_.durable_start = log_start_;
  if (!PLEACH_PLANTED("log_space_reused_early"))
    e_.credit.put(static_cast<i64>(freed * log_payload_bytes));
  acknowledge();
  return go(IDLE);
}

// --- the end ---

sm::step log_writer::broken() {
  e_.fail(errc::failed);
  return go(STOP);
}

sm::step log_writer::STOP_tick() {
  if (in_flight_ != 0) return wait(STOP, "log I/O");
  return go(DONE);
}

}  // namespace pleach::txn
