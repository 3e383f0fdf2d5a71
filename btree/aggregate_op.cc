#include "btree/aggregate_op.hh"

#include <algorithm>

#include "btree/record_extras.hh"
#include "btree/suspicion.hh"

namespace pleach::btree {

namespace {
constexpr u32 restart_limit = 64;
}

void aggregate_op::prepare(tree& t, question q, cbytes from, const cbytes* to) {
  PLEACH_ASSERT(idle());
  tree_ = &t;
  question_ = q;
  from_ = from;
  bounded_ = to != nullptr;
  to_ = bounded_ ? *to : cbytes{};
  digest_ = false;
  key_ = value_ = nullptr;
  sum_ = {};
  met_count_ = pin_count_ = 0;
  need_ = suspect_ = {};
  bad_ = {};
  ask_ = 0;
  restarts_ = 0;
  indirect_ = false;
  long_.reset();
}

void aggregate_op::prepare_sum(tree& t, cbytes from, const cbytes* to, bool digest) {
  prepare(t, question::SUM, from, to);
  digest_ = digest;
}

void aggregate_op::prepare_select(tree& t, u64 index, std::string& key, std::string* value) {
  prepare(t, question::SELECT, {}, nullptr);
  index_ = index;
  key_ = &key;
  value_ = value;
}

void aggregate_op::prepare_middle(tree& t, cbytes from, const cbytes* to, std::string& key) {
  prepare(t, question::MIDDLE, from, to);
  key_ = &key;
}

sm::step aggregate_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return init();
    case DOWN:
      return down();
    case ADMIT:
      return tree_->ctx->pages.grants().take(grant_, *this, ask_) ? go(DOWN)
                                                                  : wait(DOWN, "page frames");
    case LOAD:
      return load();
    case LOADED:
      return loaded();
    case AGAIN:
      return yield(DOWN);
    case KEY:
      return key();
    case KEY_READ:
      return key_read();
    case EXTENT:
      return extent();
    case EXTENT_READ:
      return extent_read();
    case CLEANUP:
      return cleanup();
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

sm::step aggregate_op::init() {
  ++tree_->ctx->stats.sums;
  if (errc e = tree_->ctx->engine.health(); !is_ok(e)) return fail(e);
  if (tree_->dropped) return fail(errc::tree_closed);
  if (!tree_->counted || (digest_ && !tree_->digest)) return fail(errc::not_counted);
  if (std::max(from_.size(), to_.size()) > max_key_bytes_of(*tree_))
    return fail(errc::key_too_large);
  if (is_long(from_)) long_parts().probe.begin(from_);
  if (is_long(to_)) long_parts().bound.begin(to_);
  if (bounded_ && tree_->compare(from_, to_) >= 0)
    return question_ == question::SUM ? go(CLEANUP) : fail(errc::not_found);
  return go(DOWN);
}

sm::step aggregate_op::down() {
  if (tree_->dropped) return fail(errc::tree_closed);
  met_count_ = 0;
  met_units_ = 0;
  sum_ = {};
  found f = found::NO;
  switch (question_) {
    case question::SUM: {
      const cbytes* from = from_.empty() ? nullptr : &from_;
      f = add(tree_->root, from, bounded_ ? &to_ : nullptr);
      break;
    }
    case question::SELECT:
      f = select();
      break;
    case question::MIDDLE:
      f = middle();
      break;
  }
  if (must_read()) return go(KEY);
  switch (f) {
    case found::UNREAD:
    case found::YES:
      if (!digest_) sum_.digest_low = sum_.digest_high = 0;
      return indirect_ ? go(EXTENT) : go(CLEANUP);
    case found::NO:
      return fail(errc::not_found);
    case found::UNSOUND:
      return fail(errc::corrupt);
    case found::MISSING:
      break;
  }
  // The descent needs this page: for it, and what it has met, frames are granted.
  cache::page_cache& pages = tree_->ctx->pages;
  const u64 units = met_units_ + need_.addr.blocks();
  if (grant_.held && units <= grant_.amount) return go(LOAD);
  const u64 limit = pages.grantable_units() / 4 * 3;
  if (units > limit) return fail(errc::too_large);
  unpin_all();
  pages.grants().give_back(grant_);
  const u64 first = (2ull * tree_->height_hint + 1) * tree_->node_blocks;
  ask_ = std::min(std::max({first, units, 2 * ask_}), limit);
  return go(ADMIT);
}

/// RETURNS: the page, if it is resident; noted as met. Null: it is what the descent needs.
cache::descriptor* aggregate_op::visit(page_ref ref) {
  cache::descriptor* d = tree_->ctx->pages.find_resident(ref);
  if (d == nullptr) {
    need_ = ref;
    return nullptr;
  }
  PLEACH_ASSERT(met_count_ < std::size(met_));
  met_[met_count_++] = d;
  met_units_ += d->addr.blocks();
  out.lsn = std::max(out.lsn, d->last_lsn);
  return d;
}

/// Adds the records below `ref` from `from` on and below `to`; a null bound does not cut it.
aggregate_op::found aggregate_op::add(page_ref ref, const cbytes* from, const cbytes* to) {
  cache::descriptor* d = visit(ref);
  if (d == nullptr) return found::MISSING;
  const node_view n = tree_->view(*d);
  if (n.is_leaf()) {
    const u32 begin = from ? n.find(*from, from_probe()).index : 0;
    const u32 end = to ? n.find(*to, to_probe()).index : n.count();
    if (must_read()) return found::UNREAD;
    sum_ += sum_of(n, begin, std::max(begin, end), digest_);
    return found::YES;
  }
  // Children [first, last) lie in the range as a whole; `from` cuts the one before them, `to` the
  // one behind.
  const u32 first_cut = from ? n.find_child(*from, from_probe()) : 0;
  const u32 last = to ? n.find_child(*to, to_probe()) : n.count();
  if (must_read()) return found::UNREAD;
  if (from && to && first_cut == last) return add(n.child(last), from, to);
  u32 first = first_cut;
  const bool cuts_first = from && n.compare(first_cut, *from, from_probe()) != 0;
  const bool cuts_last = to && n.compare(last, *to, to_probe()) != 0;
  if (must_read()) return found::UNREAD;
  if (cuts_first) {
    ++first;
    if (found f = add(n.child(first_cut), from, nullptr); f != found::YES) return f;
  }
  sum_ += sum_of(n, first, last, true);
  if (cuts_last) return add(n.child(last), nullptr, to);
  return found::YES;
}

aggregate_op::found aggregate_op::select() {
  u64 left = index_;
  for (page_ref ref = tree_->root;;) {
    cache::descriptor* d = visit(ref);
    if (d == nullptr) return found::MISSING;
    const node_view n = tree_->view(*d);
    if (!n.is_leaf()) {
      u32 i = 0;
      for (u64 below; i < n.count() && left >= (below = n.child_sum(i).count); ++i) left -= below;
      if (i == n.count()) return found::NO;
      ref = n.child(i);
      continue;
    }
    if (left >= n.count()) {
      if (met_count_ == 1) return found::NO;
      bad_ = d->addr;  // its parent has counted more
      return found::UNSOUND;
    }
    const u32 i = static_cast<u32>(left);
    const record r = n.at(i);
    if (value_ != nullptr && !record_sound(*tree_, n, i)) {
      bad_ = d->addr;
      return found::UNSOUND;
    }
    if (!take_key(n, i)) return found::UNREAD;
    indirect_ = value_ != nullptr && (r.value_flags & VALUE_INDIRECT);
    if (indirect_)
      std::memcpy(&reference_, r.value.data(), sizeof reference_);
    else if (value_ != nullptr)
      value_->assign(reinterpret_cast<const char*>(r.value.data()), r.value.size());
    return found::YES;
  }
}

aggregate_op::found aggregate_op::middle() {
  for (page_ref ref = tree_->root;;) {
    cache::descriptor* d = visit(ref);
    if (d == nullptr) return found::MISSING;
    const node_view n = tree_->view(*d);
    if (n.is_leaf()) return found::NO;
    const u32 first = n.find_child(from_, from_probe());
    u32 last = bounded_ ? n.find_child(to_, to_probe()) : n.count() - 1;
    if (bounded_ && last > first && n.compare(last, to_, to_probe()) == 0) --last;
    if (must_read()) return found::UNREAD;
    if (first >= last) {  // above: a comparator contradicts itself
      ref = n.child(first);
      continue;
    }
    const u64 half = sum_of(n, first, last + 1, false).count / 2;
    u32 at = first + 1;
    for (u64 below = n.child_sum(first).count; at < last; ++at) {
      const u64 more = n.child_sum(at).count;
      if (below + more / 2 >= half) break;
      below += more;
    }
    return take_key(n, at) ? found::YES : found::UNREAD;
  }
}

/// The key of the answer.
/// RETURNS: false if it is a long one that must be read first.
bool aggregate_op::take_key(const node_view& n, u32 index) {
  if (n.has_stub(index)) {
    if (!long_parts().reader.have(n.key_extent(index))) return false;
    *key_ = long_->reader.key();
    return true;
  }
  key_->resize(n.key_length(index));
  n.copy_key(index, reinterpret_cast<std::byte*>(key_->data()));
  return true;
}

long_keys& aggregate_op::long_parts() {
  if (!long_) long_ = std::make_unique<long_keys>();
  return *long_;
}

bool aggregate_op::must_read() {
  return asks(from_probe()) || asks(to_probe()) || (long_ && long_->reader.wants());
}

/// Without a page in hand: what was pinned for the descent is let go.
/// RETURNS: whether the op holds frames for so many units.
bool aggregate_op::keep_grant(u64 units) {
  cache::page_cache& pages = tree_->ctx->pages;
  if (pin_count_ != 0 || (grant_.held && grant_.amount < units)) {
    unpin_all();
    pages.grants().give_back(grant_);
  }
  return grant_.held || pages.grants().take(grant_, *this, units);
}

sm::step aggregate_op::key() {
  if (!keep_grant(txn::extent_chunk_blocks)) return wait(KEY, "page frames");
  return sub(long_->reader.next(*tree_->ctx, from_probe(), to_probe()), KEY_READ);
}

sm::step aggregate_op::key_read() {
  const errc code = long_->reader.take();
  if (is_ok(code)) return go(DOWN);
  if (failure_stands(code, long_->reader.extent(), suspect_, bad_)) return fail(code);
  // It is deleted, and made anew, faster than it can be read.
  if (++restarts_ > restart_limit) return fail(errc::conflict);
  return go(DOWN);
}

/// I1: what the last descent met is pinned instead of what an earlier one did.
sm::step aggregate_op::load() {
  cache::page_cache& pages = tree_->ctx->pages;
  for (u32 i = 0; i < met_count_; ++i) pages.pin(*met_[i]);
  unpin_all();
  pin_count_ = met_count_;
  std::copy_n(met_, met_count_, pins_);
  cache::descriptor* d = pins_[pin_count_++] = pages.pin(need_);
  if (d->state != cache::page_state::LOADING) return go(LOADED);
  return wait_in(d->waiters, LOADED);
}

sm::step aggregate_op::loaded() {
  using cache::page_state;
  cache::descriptor* d = pins_[pin_count_ - 1];
  if (d->state == page_state::RESIDENT && d->gen == need_.gen) return go(DOWN);
  const errc code = d->state == page_state::FAILED ? d->error : errc::ok;
  unpin_all();
  if (!is_ok(code) && failure_stands(code, need_, suspect_, bad_)) return fail(code);
  ++tree_->ctx->stats.restart_stale;
  if (++restarts_ <= restart_limit) return go(AGAIN);
  // Only a structure that contradicts itself makes descents fail this often.
  bad_ = tree_->root.addr;
  return fail(errc::corrupt);
}

sm::step aggregate_op::extent() {
  if (!keep_grant(txn::extent_chunk_blocks)) return wait(EXTENT, "page frames");
  if (!sound_reference(reference_, tree_->ctx->engine.vol().super.blocks)) {
    bad_ = page_addr(reference_.run);
    return fail(errc::corrupt);
  }
  value_->resize(reference_.length);
  value_op_.reset();
  value_op_.prepare(*tree_->ctx, reference_, 0, reference_.length,
                    reinterpret_cast<std::byte*>(value_->data()));
  return sub(value_op_, EXTENT_READ);
}

sm::step aggregate_op::extent_read() {
  indirect_ = false;
  const errc code = value_op_.out.code;
  if (is_ok(code)) return go(CLEANUP);
  if (failure_stands(code, {page_addr(reference_.run), reference_.gen}, suspect_, bad_))
    return fail(code);
  // It is replaced faster than it can be read.
  if (++restarts_ > restart_limit) return fail(errc::conflict);
  return go(DOWN);
}

void aggregate_op::unpin_all() {
  for (u32 i = 0; i < pin_count_; ++i) tree_->ctx->pages.unpin(*pins_[i]);
  pin_count_ = 0;
}

sm::step aggregate_op::cleanup() {
  unpin_all();
  tree_->ctx->pages.grants().give_back(grant_);
  return go(DONE);
}

}  // namespace pleach::btree
