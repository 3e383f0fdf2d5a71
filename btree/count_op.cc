#include "btree/count_op.hh"

#include <algorithm>

#include "btree/suspicion.hh"

namespace pleach::btree {

namespace {
constexpr u32 restart_limit = 64;
}

void count_op::prepare(tree& t, cbytes from, const cbytes* to) {
  PLEACH_ASSERT(idle());
  tree_ = &t;
  key_ = from;
  bounded_ = to != nullptr;
  to_ = bounded_ ? *to : cbytes{};
  counted_ = leaves_ = 0;
  held_ = nullptr;
  need_ = suspect_ = {};
  bad_ = {};
  restarts_ = 0;
  ahead_.forget();
  long_.reset();
}

sm::step count_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return init();
    case DOWN:
      return down();
    case AGAIN:
      return yield(DOWN);
    case ADMIT:
      return tree_->ctx->pages.grants().take(grant_, *this, units()) ? go(DOWN)
                                                                     : wait(DOWN, "page frames");
    case LOAD:
      return load();
    case LOADED:
      return loaded();
    case KEY:
      return key();
    case KEY_READ:
      return key_read();
    case CLEANUP:
      return cleanup();
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

sm::step count_op::init() {
  ++tree_->ctx->stats.counts;
  if (errc e = tree_->ctx->engine.health(); !is_ok(e)) return fail(e);
  if (tree_->dropped) return fail(errc::tree_closed);
  if (std::max(key_.size(), to_.size()) > max_key_bytes_of(*tree_))
    return fail(errc::key_too_large);
  if (is_long(key_)) long_parts().probe.begin(key_);
  if (is_long(to_)) long_parts().bound.begin(to_);
  if (bounded_ && tree_->compare(key_, to_) >= 0) return go(CLEANUP);
  return go(DOWN);
}

sm::step count_op::down() {
  cache::page_cache& pages = tree_->ctx->pages;
  if (tree_->dropped) return fail(errc::tree_closed);
  if (opening_ != tree_->ctx->opening) let_go();  // it may have been cut off meanwhile
  opening_ = tree_->ctx->opening;
  cache::descriptor* parent = nullptr;  // of the leaf, within this tick
  u32 child = 0;
  for (u32 left = leaves_per_tick; left != 0; --left) {
    cache::descriptor* d = held_;
    if (parent != nullptr) {
      need_ = node_view(parent->reader()).child(child);
      ahead_.at(*parent, 1, child);
      d = pages.find_resident(need_);
    } else {
      if (d == nullptr) {
        need_ = tree_->root;
        d = pages.find_resident(need_);
      }
      // Within one tick nothing changes: only the page where the descent starts is in question.
      if (d != nullptr &&
          (d->header().tree_id != tree_->id || !tree_->view(*d).covers(key_, probe())))
        return asks(probe()) ? go(KEY) : start_again();
      while (d != nullptr && !node_view(d->reader()).is_leaf()) {
        node_view n = tree_->view(*d);
        child = n.find_child(key_, probe());
        if (asks(probe())) return go(KEY);
        if (n.level() == 1) parent = d;
        ahead_.at(*d, n.level(), child);
        need_ = n.child(child);
        d = pages.find_resident(need_);
      }
    }
    if (d == nullptr) {
      const bool admitted = grant_.held || pages.grants().try_take(grant_, units());
      return go(admitted ? LOAD : ADMIT);  // page_cache.hh, I6: in this tick, or anew
    }
    // The fences of a comparator that contradicts itself may lead in a circle.
    if (tree_->order != nullptr && ++leaves_ > 2 * tree_->ctx->engine.vol().super.blocks) {
      let_go();
      bad_ = tree_->root.addr;
      return fail(errc::corrupt);
    }
    const outcome o = count_leaf(*d);
    if (o == outcome::NOTHING) return go(KEY);
    let_go();
    if (o == outcome::ALL) return go(CLEANUP);
    if (parent != nullptr && ++child == node_view(parent->reader()).count()) parent = nullptr;
  }
  return go(AGAIN);
}

/// If the range goes on behind this leaf, then at `key_`.
count_op::outcome count_op::count_leaf(const cache::descriptor& d) {
  node_view n = tree_->view(d);
  u32 begin = n.compare_fence(n.low_fence(), key_, probe()) == 0 ? 0 : n.find(key_, probe()).index;
  bool last =
      !n.has_high_fence() || (bounded_ && n.compare_fence(n.high_fence(), to_, bound_probe()) >= 0);
  u32 end = last && bounded_ ? n.find(to_, bound_probe()).index : n.count();
  if (asks(probe()) || asks(bound_probe())) return outcome::NOTHING;
  const bool to_stub = !last && is_stub(n.high_fence());
  if (to_stub && !long_parts().reader.have(reference_of(n.high_fence()))) return outcome::NOTHING;
  if (begin < end) counted_ += end - begin;
  out.lsn = std::max(out.lsn, d.last_lsn);
  restarts_ = 0;
  if (last) return outcome::ALL;
  cbytes high = n.high_fence();
  if (to_stub) {
    long_->follow(high, key_);
  } else {
    std::memcpy(fence_, high.data(), high.size());
    key_ = {fence_, high.size()};
  }
  return outcome::LEAF;
}

long_keys& count_op::long_parts() {
  if (!long_) long_ = std::make_unique<long_keys>();
  return *long_;
}

/// Frames for one page, or for the chunks of a key.
u64 count_op::units() const {
  return std::max<u64>(tree_->ctx->max_node_blocks, txn::extent_chunk_blocks);
}

sm::step count_op::key() {
  let_go();
  if (!grant_.held && !tree_->ctx->pages.grants().take(grant_, *this, units()))
    return wait(KEY, "page frames");
  return sub(long_->reader.next(*tree_->ctx, probe(), bound_probe()), KEY_READ);
}

sm::step count_op::key_read() {
  const errc code = long_->reader.take();
  if (is_ok(code)) return go(DOWN);
  if (failure_stands(code, long_->reader.extent(), suspect_, bad_)) return fail(code);
  return start_again();
}

sm::step count_op::load() {
  context& c = *tree_->ctx;
  let_go();
  held_ = c.pages.pin(need_);
  if (held_->state != cache::page_state::LOADING) return go(LOADED);
  ahead_.missed(c, need_.addr.blocks());
  ahead_.go(c, true, bounded_ && !is_long(to_) ? &to_ : nullptr, tree_->order);
  return wait_in(held_->waiters, LOADED);
}

sm::step count_op::loaded() {
  using cache::page_state;
  if (held_->state == page_state::RESIDENT && held_->gen == need_.gen) return go(DOWN);
  errc code = held_->state == page_state::FAILED ? held_->error : errc::ok;
  if (!is_ok(code) && failure_stands(code, need_, suspect_, bad_)) return fail(code);
  return start_again();
}

sm::step count_op::start_again() {
  ++tree_->ctx->stats.restart_stale;
  let_go();
  if (++restarts_ > restart_limit) {
    // Only a structure that contradicts itself makes a descent fail this often without a change
    // between.
    bad_ = tree_->root.addr;
    return fail(errc::corrupt);
  }
  return go(AGAIN);
}

void count_op::let_go() {
  if (held_) tree_->ctx->pages.unpin(*held_);
  held_ = nullptr;
}

sm::step count_op::cleanup() {
  let_go();
  tree_->ctx->pages.grants().give_back(grant_);
  return go(DONE);
}

}  // namespace pleach::btree
