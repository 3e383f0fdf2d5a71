#include "btree/value_draft.hh"

#include <algorithm>

#include "be/base/planted.hh"

namespace pleach::btree {

// --- the draft ---

value_draft::~value_draft() {
  PLEACH_ASSERT(map_.runs.empty() && kept_map_.empty());
}

void value_draft::begin(context& c, tree_id_t tree, cbytes key, u64 expected, bool content) {
  PLEACH_ASSERT(map_.runs.empty() && kept_map_.empty());
  ctx_ = &c;
  map_ = {};
  map_.tree_id = tree;
  map_.key_hash = hash64(key);
  expected_ = expected;
  written_ = room_ = map_checksum_ = 0;
  content_ = content ? std::make_unique<hash64_stream>() : nullptr;
  tail_bytes_ = 0;
  run_blocks_ = std::max(c.max_run_blocks / value_chunk_blocks, 1u) * value_chunk_blocks;
  sealed_ = false;
  broken_ = errc::ok;
  base_.reset();
}

void value_draft::patch(const value_reference& base, const value_map& map, u64 from) {
  PLEACH_ASSERT(from % value_chunk_bytes == 0 && from <= map.length && map_.length == 0);
  base_ = std::make_unique<patched>();
  base_->reference = base;
  base_->map = map;
  base_->from = from;
}

/// From the map of what was appended, the map of the value as the patch leaves it.
void value_draft::splice() {
  patched& b = *base_;
  u64 first = b.from / block_bytes, last = std::min(first + map_.blocks(), b.map.blocks());
  u64 all = b.map.blocks();
  value_map whole;
  whole.tree_id = map_.tree_id;
  whole.key_hash = map_.key_hash;
  whole.length = std::max(b.map.length, b.from + map_.length);
  b.map.parts(0, first, whole.runs);
  whole.runs.insert(whole.runs.end(), map_.runs.begin(), map_.runs.end());
  b.map.parts(last, all, whole.runs);
  auto sums = [&b](u64 from, u64 to) {
    return std::pair{b.map.sums.begin() + static_cast<i64>(from),
                     b.map.sums.begin() + static_cast<i64>(to)};
  };
  auto before = sums(0, first / value_chunk_blocks);
  auto behind = sums(ceil_div<u64>(last, value_chunk_blocks), b.map.sums.size());
  whole.sums.assign(before.first, before.second);
  whole.sums.insert(whole.sums.end(), map_.sums.begin(), map_.sums.end());
  whole.sums.insert(whole.sums.end(), behind.first, behind.second);
  PLEACH_ASSERT(whole.sums.size() == ceil_div<u64>(whole.length, value_chunk_bytes));
  bool all_go = PLEACH_PLANTED("shared_runs_freed");
  b.map.parts(all_go ? 0 : first, last, b.replaced);
  b.own = std::move(map_.runs);
  map_ = std::move(whole);
  b.spliced = true;
}

value_reference value_draft::reference(generation_t gen) const {
  PLEACH_ASSERT(sealed_);
  value_reference r{};
  r.length = map_.length;
  r.run = map_run().raw;
  r.count = value_in_map | static_cast<u32>(map_.runs.size());
  r.gen = gen;
  r.checksum = map_checksum_;
  return r;
}

void value_draft::taken() {
  map_.runs.clear();
  if (base_) base_->own.clear();
  kept_map_.clear();
  tail_.reset();
  tail_bytes_ = 0;
}

void value_draft::give_back() {
  for (page_addr r : own_runs()) ctx_->engine.give_back_kept(r);
  for (page_addr r : kept_map_) ctx_->engine.give_back_kept(r);
  taken();
}

// --- writing it ---

void draft_op::prepare(value_draft& d, cbytes data, bool seal) {
  PLEACH_ASSERT(idle());
  draft_ = &d;
  data_ = data;
  seal_ = seal;
}

sm::step draft_op::tick(phase p) noexcept {
  cache::page_cache& pages = draft_->ctx_->pages;
  switch (p) {
    case INIT: return init();
    case ADMIT:
      return pages.grants().take(grant_, *this, txn::extent_chunk_blocks + 1)
                 ? go(NEXT)
                 : wait(NEXT, "page frames");
    case NEXT: return next();
    case SPACE: return space();
    case SPACED: return spaced();
    case WRITE: return write();
    case WRITTEN: return written();
    case CLEANUP: return cleanup();
    case DONE:
    case phase_count_: break;
  }
  return go(DONE);
}

sm::step draft_op::init() {
  value_draft& d = *draft_;
  if (!is_ok(d.broken_)) return fail(d.broken_);
  if (errc e = d.ctx_->engine.health(); !is_ok(e)) return fail(e);
  if (d.sealed_) return data_.empty() ? go(CLEANUP) : fail(errc::invalid);
  u64 before = d.base_ ? d.base_->from : 0;
  if (data_.size() > max_value_bytes - before - d.length()) return fail(errc::value_too_large);
  if (seal_ && d.length() + data_.size() == 0) return fail(errc::invalid);
  // Less than a chunk waits in memory for more.
  if (!seal_ && d.tail_bytes_ + data_.size() < value_chunk_bytes) {
    fill_tail();
    return go(CLEANUP);
  }
  return go(ADMIT);
}

void draft_op::fill_tail() {
  value_draft& d = *draft_;
  u64 n = std::min<u64>(data_.size(), value_chunk_bytes - d.tail_bytes_);
  if (n == 0) return;
  if (!d.tail_) d.tail_ = std::make_unique_for_overwrite<std::byte[]>(value_chunk_bytes);
  std::memcpy(d.tail_.get() + d.tail_bytes_, data_.data(), n);
  d.tail_bytes_ += static_cast<u32>(n);
  d.map_.length += n;
  data_ = data_.subspan(n);
}

/// What is to be written now, or to be reserved for it.
sm::step draft_op::next() {
  value_draft& d = *draft_;
  piece_ = {};
  if (d.tail_bytes_ != 0 && d.tail_bytes_ < value_chunk_bytes) fill_tail();
  from_tail_ = d.tail_bytes_ != 0;
  if (from_tail_) {
    if (d.tail_bytes_ == value_chunk_bytes || seal_) piece_ = {d.tail_.get(), d.tail_bytes_};
  } else if (seal_) {
    piece_ = data_;
  } else if (data_.size() >= value_chunk_bytes) {
    piece_ = data_.first(data_.size() / value_chunk_bytes * value_chunk_bytes);
  } else {
    fill_tail();
  }
  if (!piece_.empty()) {
    u64 room = d.room_ * block_bytes - d.written_;
    if (room == 0) return go(SPACE);
    piece_ = piece_.first(std::min<u64>(piece_.size(), room));
    return go(WRITE);
  }
  if (!seal_) return go(CLEANUP);
  if (d.kept_map_.empty()) {
    // The last run was as long as a run is: what the value does not need of it goes back.
    u64 over = d.room_ - d.map_.blocks();
    if (over != 0) {
      page_addr& last = d.map_.runs.back();
      last = d.ctx_->engine.shorten_kept(last, static_cast<u32>(last.blocks() - over));
      d.room_ -= over;
    }
    if (d.patches() && !d.spliced()) d.splice();
    map_bytes_ = d.map_.bytes_of(d.ctx_->pages.store_id());
    d.map_checksum_ = hash64(map_bytes_);
    return go(SPACE);
  }
  if (map_bytes_.empty()) {
    d.sealed_ = true;
    return go(CLEANUP);
  }
  return go(WRITE);
}

u32 draft_op::run_to_ask_for() const {
  const value_draft& d = *draft_;
  if (!map_bytes_.empty()) return d.map_.map_blocks();
  if (seal_)
    return static_cast<u32>(std::min<u64>(
        ceil_div<u64>(d.tail_bytes_ + data_.size(), block_bytes), d.run_blocks_));
  // Whole chunks: more may come than was said.
  u64 bytes = d.expected_ > d.written_ ? d.expected_ - d.written_ : u64{max_value_bytes};
  return static_cast<u32>(
      std::min<u64>(ceil_div<u64>(bytes, value_chunk_bytes) * value_chunk_blocks, d.run_blocks_));
}

sm::step draft_op::space() {
  value_draft& d = *draft_;
  u64 hint = 0;
  if (!d.map_.runs.empty()) hint = d.map_.runs.back().block() + d.map_.runs.back().blocks();
  need_ = {run_to_ask_for(), hint};
  alloc_op_.reset();
  alloc_op_.prepare(d.ctx_->engine, claim_, {&need_, 1}, {});
  return sub(alloc_op_, SPACED);
}

sm::step draft_op::spaced() {
  value_draft& d = *draft_;
  if (alloc_op_.out.code == errc::no_space && map_bytes_.empty() &&
      need_.blocks > value_chunk_blocks) {
    // There is no run of this length: what is free is in shorter pieces.
    d.run_blocks_ = round_up(need_.blocks / 2, value_chunk_blocks);
    if (d.run_blocks_ >= need_.blocks) d.run_blocks_ = value_chunk_blocks;
    return go(SPACE);
  }
  if (!is_ok(alloc_op_.out.code)) return fail(alloc_op_.out.code);
  d.ctx_->engine.keep(claim_, map_bytes_.empty() ? d.map_.runs : d.kept_map_);
  if (map_bytes_.empty()) d.room_ += need_.blocks;
  return go(NEXT);
}

sm::step draft_op::write() {
  value_draft& d = *draft_;
  extent_op_.reset();
  if (!map_bytes_.empty() && piece_.empty()) {
    extent_op_.prepare_write(d.ctx_->engine, d.kept_map_.front(), map_bytes_);
    return sub(extent_op_, WRITTEN);
  }
  // Only the last run has room: the ones before it are full.
  page_addr last = d.map_.runs.back();
  u64 at = last.blocks() - (d.room_ - d.written_ / block_bytes);
  page_addr part(last.block() + at, static_cast<u32>(ceil_div<u64>(piece_.size(), block_bytes)));
  for (cbytes rest = piece_; !rest.empty();) {
    cbytes chunk = rest.first(std::min<u64>(rest.size(), value_chunk_bytes));
    d.map_.sums.push_back(chunk_checksum(chunk));
    rest = rest.subspan(chunk.size());
  }
  extent_op_.prepare_write(d.ctx_->engine, part, piece_);
  return sub(extent_op_, WRITTEN);
}

sm::step draft_op::written() {
  value_draft& d = *draft_;
  if (!is_ok(extent_op_.out.code)) return fail(extent_op_.out.code);
  if (piece_.empty()) {
    map_bytes_.clear();
    return go(NEXT);
  }
  d.written_ += piece_.size();
  if (d.content_) d.content_->add(piece_);
  if (from_tail_) {
    d.tail_bytes_ = 0;
  } else {
    d.map_.length += piece_.size();
    data_ = data_.subspan(piece_.size());
  }
  return go(NEXT);
}

sm::step draft_op::cleanup() {
  value_draft& d = *draft_;
  if (!is_ok(out.code) && !d.sealed_) d.give_up(out.code);
  d.ctx_->engine.give_back(claim_);
  d.ctx_->pages.grants().give_back(grant_);
  map_bytes_ = {};
  return go(DONE);
}

}  // namespace pleach::btree
