#include "be/io/sim.hh"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "be/base/assert.hh"
#include "be/base/checksum.hh"
#include "be/io/transfer.hh"

namespace pleach::io {

namespace {

constexpr u64 in_flight_bit = u64{1}
                              << 63;  ///< sets ids of writes in flight apart from completed ones
constexpr u32 ring_size = 256;

bool stores(request_kind k) {
  return k == request_kind::WRITE || k == request_kind::DISCARD;
}

/// Exponential with the given mean, in integers, so that every compiler and libm gives the same
/// run.
u64 exponential(u64 mean, random_stream& random) {
  const u64 u = random.next() | 1;
  const u64 zeros = static_cast<u64>(std::countl_zero(u));
  const u64 mantissa = (u << zeros << 1) >> 48;
  const u64 log2_times_65536 = ((zeros + 1) << 16) - mantissa;
  return mean * log2_times_65536 / 94548 + 1;  // 65536 / ln 2
}

u64 hash_of(std::span<iovec> buffers) {
  u64 h = 0;
  for (const iovec& v : buffers) {
    h = hash64({static_cast<const std::byte*>(v.iov_base), v.iov_len}, h);
  }
  return h;
}

}  // namespace

sim_device::sim_device(sim_environment& env, sim_image image, sim_options options)
    : env_(env),
      options_(options),
      random_(env.stream(0xde71ce00 + options.stream)),
      current_(image),
      durable_(std::move(image)) {
  limits_.alignment = options.alignment;
  limits_.discard = true;
  limits_.resizable = options.resizable;
  limits_.read_only = options.read_only;
  ring_.reserve(ring_size);
  env_.add(*this);
}

sim_device::~sim_device() {
  while (!queued_.empty()) queued_.pop_front();
  env_.remove(*this);
}

status sim_device::attach(int) {
  return {};
}  // the environment's sleep knows the next event

void sim_device::submit() {
  while (!queued_.empty()) launch(queued_.pop_front());
}

void sim_device::launch(request& r) {
  auto f = std::make_unique<flight>();
  f->r = &r;
  f->kind = r.kind;
  f->durable = r.durable;
  f->id = starts_++;
  f->at = r.offset + r.progress;
  f->length =
      r.kind == request_kind::RESIZE || r.kind == request_kind::FLUSH ? 0 : r.length - r.progress;
  f->covers = completed_;
  f->what = faults.ask(r, f->id);
  f->due = env_.now() + (gone_ ? 1 : latency(*f));
  if (f->what.kind == fault::HANG && !gone_) f->due = std::max(f->due, f->what.amount);
  if (gone_) {
    f->what = {};
  } else if (stores(f->kind)) {
    check_overlap(*f);
    f->kind == request_kind::WRITE ? cut_into_pieces(*f) : draw_discard(*f);
  } else if (f->kind == request_kind::READ && random_.chance(500)) {
    sample(*f);
  }
  trace(*f, false, 0);
  flights_.push_back(std::move(f));
  if (on_event) on_event(*this);
}

u64 sim_device::latency(const flight& f) {
  switch (f.kind) {
    case request_kind::READ:
      return exponential(options_.read_ns, random_);
    case request_kind::WRITE:
      return exponential(f.durable ? options_.durable_ns : options_.write_ns, random_);
    default:
      return exponential(options_.flush_ns, random_);
  }
}

void sim_device::check_overlap(const flight& f) const {
  PLEACH_ASSERT(f.at + f.length <= current_.size() && "a write beyond the end of the device");
  for (const auto& o : flights_) {
    PLEACH_ASSERT(!(stores(o->kind) && f.at < o->at + o->length && o->at < f.at + f.length) &&
                  "overlapping writes in flight");
    PLEACH_ASSERT(!(options_.assert_read_race && o->kind == request_kind::READ &&
                    f.at < o->at + o->length && o->at < f.at + f.length) &&
                  "a write over a read in flight");
  }
}

/// Copies what is to be written: the caller's buffers may be gone when a crash image is taken.
void sim_device::cut_into_pieces(flight& f) {
  std::span<iovec> buffers = remaining(*f.r);
  f.data_hash = hash_of(buffers);
  const u64 to = f.what.kind == fault::MISDIRECT ? f.what.amount : f.at;
  const u64 keep = f.what.kind == fault::SHORT ? std::min(f.what.amount, f.length) : f.length;
  std::shared_ptr<sim_block> block;
  u64 done = 0;
  for (const iovec& v : buffers) {
    for (u64 i = 0; i < v.iov_len; i += sector_bytes, done += sector_bytes) {
      if (done + sector_bytes > keep) break;
      const u64 at = to + done;
      if (!block || at % block_bytes == 0) {
        block = std::make_shared<sim_block>();
        f.pieces.push_back({at / block_bytes, block, 0, true, f.id | in_flight_bit});
      }
      std::memcpy(block->bytes.data() + at % block_bytes, static_cast<std::byte*>(v.iov_base) + i,
                  sector_bytes);
      f.pieces.back().mask |= static_cast<u8>(1u << at % block_bytes / sector_bytes);
    }
  }
  if (f.what.kind == fault::LOSE) f.pieces.clear();
  if (f.what.kind == fault::FLIP && !f.pieces.empty()) {
    const u64 bit = f.what.amount % (f.length * 8);
    const u64 at = to + bit / 8;
    const sim_piece& p = f.pieces[at / block_bytes - to / block_bytes];
    auto& byte = const_cast<sim_block&>(*p.data).bytes[at % block_bytes];  // not shared yet
    byte ^= static_cast<std::byte>(1u << bit % 8);
  }
}

/// A discarded block keeps its bytes, reads as zeros, or as anything.
void sim_device::draw_discard(flight& f) {
  for (u64 at = f.at; at < f.at + f.length;) {
    const u64 end = std::min(round_up<u64>(at + 1, block_bytes), f.at + f.length);
    const u64 fate = random_.below(3);
    auto block = std::make_shared<sim_block>();
    block->bytes.fill(std::byte{});
    if (fate == 2) {
      for (auto& b : block->bytes) b = static_cast<std::byte>(random_.next());
    }
    u8 mask = 0;
    for (u64 s = at; s < end; s += sector_bytes)
      mask |= static_cast<u8>(1u << s % block_bytes / sector_bytes);
    if (fate != 0) f.pieces.push_back({at / block_bytes, block, mask, true, f.id | in_flight_bit});
    at = end;
  }
}

/// Fills the read's buffers with what the device holds now, torn by the writes in flight.
void sim_device::sample(flight& f) {
  f.sampled = true;
  const u64 from = f.what.kind == fault::MISDIRECT ? f.what.amount : f.at;
  scratch_.resize(f.length);
  current_.read(from, scratch_);
  for (const auto& o : flights_) {
    if (!stores(o->kind) || from >= o->at + o->length || o->at >= from + f.length) continue;
    PLEACH_ASSERT(!options_.assert_read_race && "a read over a write in flight");
    for (const sim_piece& p : o->pieces) {
      for (u32 s = 0; s < block_sectors; ++s) {
        const u64 at = p.block * block_bytes + s * sector_bytes;
        if (!(p.mask >> s & 1) || at < from || at >= from + f.length || !random_.chance(500))
          continue;
        std::memcpy(scratch_.data() + (at - from), p.data->bytes.data() + s * sector_bytes,
                    sector_bytes);
      }
    }
  }
  if (f.what.kind == fault::FLIP) {
    const u64 bit = f.what.amount % (f.length * 8);
    scratch_[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  const std::byte* p = scratch_.data();
  for (const iovec& v : remaining(*f.r)) {
    std::memcpy(v.iov_base, p, v.iov_len);
    p += v.iov_len;
  }
}

u64 sim_device::next_event_ns() const {
  u64 next = never;
  for (const auto& f : flights_) next = std::min(next, f->due);
  return next;
}

u32 sim_device::reap() {
  if (in_flight_ == 0) return 0;
  u32 n = 0;
  for (;;) {
    // Earliest first; ties in order of submission.
    auto first = flights_.end();
    for (auto i = flights_.begin(); i != flights_.end(); ++i) {
      if ((*i)->due <= env_.now() && (first == flights_.end() || (*i)->due < (*first)->due))
        first = i;
    }
    if (first == flights_.end()) return n;
    const std::unique_ptr<flight> f = std::move(*first);
    flights_.erase(first);
    const i64 raw = land(*f);
    ++n;
    trace(*f, true, raw);
    if (on_event) on_event(*this);
    complete(*f->r, raw);
  }
}

i64 sim_device::land(flight& f) {
  if (gone_) return -ENODEV;
  switch (f.kind) {
    case request_kind::READ:
      return land_read(f);
    case request_kind::WRITE:
    case request_kind::DISCARD:
      return land_write(f);
    case request_kind::FLUSH:
      return land_flush(f);
    case request_kind::RESIZE:
      return land_resize(f);
  }
  return -EINVAL;
}

i64 sim_device::land_read(flight& f) {
  if (f.what.kind == fault::ERROR) return -f.what.error_number;
  if (!f.sampled) sample(f);
  f.data_hash = hash_of(remaining(*f.r));
  u64 n = f.at >= current_.size() ? 0 : std::min(f.length, current_.size() - f.at);
  if (f.what.kind == fault::SHORT) n = std::min(n, f.what.amount);
  return static_cast<i64>(n);
}

i64 sim_device::land_write(flight& f) {
  const bool write = f.kind == request_kind::WRITE;
  if (write) {
    PLEACH_ASSERT(hash_of(remaining(*f.r)) == f.data_hash &&
                  "a buffer was changed while its write was in flight");
  }
  if (f.what.kind == fault::ERROR) {
    for (sim_piece& p : f.pieces) p.mask &= static_cast<u8>(random_.next());
    settle(f.pieces, false);
    return -f.what.error_number;
  }
  settle(f.pieces, f.durable && f.what.kind != fault::LIE);
  if (!write) return 0;
  return static_cast<i64>(f.what.kind == fault::SHORT ? std::min(f.what.amount, f.length)
                                                      : f.length);
}

void sim_device::settle(std::vector<sim_piece>& pieces, bool durable) {
  const u64 sequence = ++completed_;
  for (sim_piece& p : pieces) {
    p.in_flight = false;
    p.write = sequence;
    current_.put(p.block, p.data, p.mask);
    if (!durable) {
      cache_.push_back(std::move(p));
      continue;
    }
    if (p.block * block_bytes >= durable_.size()) durable_.resize(current_.size());
    durable_.put(p.block, p.data, p.mask);
    // Older versions of these sectors are superseded: they must not come back with a later flush.
    for (sim_piece& c : cache_) {
      if (c.block == p.block) c.mask &= static_cast<u8>(~p.mask);
    }
  }
}

i64 sim_device::land_flush(flight& f) {
  if (f.what.kind == fault::ERROR) {
    lose_cache();
    return -f.what.error_number;
  }
  if (f.what.kind == fault::LIE) return 0;
  u64 covers = f.covers;
  if (random_.chance(options_.flush_more_per_mille))
    covers += random_.below(completed_ - covers + 1);
  if (resized_ <= covers) durable_.resize(current_.size());
  size_t n = 0;
  for (; n < cache_.size() && cache_[n].write <= covers; ++n) {
    durable_.put(cache_[n].block, cache_[n].data, cache_[n].mask);
  }
  cache_.erase(cache_.begin(), cache_.begin() + static_cast<std::ptrdiff_t>(n));
  return 0;
}

/// After a failed flush the cache counts as clean: what was not written is forgotten.
void sim_device::lose_cache() {
  for (const sim_piece& p : cache_) {
    if (random_.chance(500)) durable_.put(p.block, p.data, p.mask);
  }
  cache_.clear();
  const u64 size = current_.size();
  current_ = durable_;
  current_.resize(size);
}

i64 sim_device::land_resize(flight& f) {
  if (f.what.kind == fault::ERROR) return -f.what.error_number;
  if (!options_.resizable) return -EOPNOTSUPP;
  if (f.at > options_.max_bytes) return -ENOSPC;
  current_.resize(f.at);
  if (f.at < durable_.size()) durable_.resize(f.at);
  resized_ = ++completed_;
  return 0;
}

std::vector<sim_piece> sim_device::unsettled() const {
  std::vector<sim_piece> all;
  all.reserve(cache_.size() + flights_.size());
  for (const sim_piece& p : cache_) {
    if (p.mask) all.push_back(p);
  }
  for (const auto& f : flights_) all.insert(all.end(), f->pieces.begin(), f->pieces.end());
  return all;
}

sim_image sim_device::crash_image(random_stream& random, const crash_policy& policy) const {
  sim_image image = durable_;
  const bool all = policy.what == crash_policy::ALL, none = policy.what == crash_policy::NONE;
  if (image.size() < current_.size() && (all || (!none && random.chance(500))))
    image.resize(current_.size());
  for (const auto& f : flights_) {
    if (f->kind != request_kind::RESIZE || none || gone_) continue;
    const bool fits = f->at <= options_.max_bytes && f->what.kind != fault::ERROR;
    if (fits && (all || random.chance(500))) image.resize(f->at);
  }
  apply_survivors(image, unsettled(), policy, random);
  return image;
}

sim_image sim_device::crash_image(u64 subset) const {
  sim_image image = durable_;
  const std::vector<sim_piece> pieces = unsettled();
  PLEACH_ASSERT(pieces.size() <= 64);
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (subset >> i & 1) image.put(pieces[i].block, pieces[i].data, pieces[i].mask);
  }
  return image;
}

void sim_device::remove() {
  gone_ = true;
  for (auto& f : flights_) f->due = env_.now();
}

void sim_device::release_hung() {
  for (auto& f : flights_) {
    if (f->due == never) f->due = env_.now();
  }
}

void sim_device::trace(const flight& f, bool completion, i64 raw) {
  const event e{env_.now(), f.id, f.at, f.length, f.data_hash, raw, f.kind, f.durable, completion};
  for (u64 v : {e.time, e.id, e.at, e.length, e.data, static_cast<u64>(raw),
                static_cast<u64>(e.kind) << 2 | u64{e.durable} << 1 | u64{completion}}) {
    trace_ = mix64(trace_ ^ v) + 0x9e3779b97f4a7c15u;
  }
  if (ring_.size() < ring_size) {
    ring_.push_back(e);
  } else {
    ring_[event_count_ % ring_size] = e;
  }
  ++event_count_;
}

std::string sim_device::last_events(u32 n) const {
  static constexpr const char* kinds[] = {"read", "write", "flush", "discard", "resize"};
  std::string text;
  const u64 count = std::min<u64>({n, event_count_, ring_size});
  for (u64 i = event_count_ - count; i < event_count_; ++i) {
    const event& e = ring_[i % ring_size];
    char line[160];
    std::snprintf(line, sizeof line,
                  "%12" PRIu64 " ns  #%-6" PRIu64 " %-6s %-7s%s at %-10" PRIu64 " length %-8" PRIu64
                  " data %016" PRIx64 " = %" PRId64 "\n",
                  e.time, e.id, e.completion ? "done" : "submit", kinds[static_cast<u8>(e.kind)],
                  e.durable ? " durable" : "", e.at, e.length, e.data, e.raw);
    text += line;
  }
  return text;
}

}  // namespace pleach::io
