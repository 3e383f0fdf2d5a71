#include "btree/read_op.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "btree/record_extras.hh"
#include "btree/suspicion.hh"

namespace pleach::btree {

namespace {
constexpr u32 restart_limit = 64;
constexpr u32 move_limit = 1 << 16;  ///< empty leaves in a row, in a tree with a comparator
}  // namespace

void read_op::prepare(tree& t, seek mode, cbytes key, const sink& to, leaf_cookie* near) {
  PLEACH_ASSERT(idle());
  tree_ = &t;
  mode_ = mode;
  below_ = mode == seek::BEFORE;
  rightmost_ = mode == seek::LAST;
  key_ = key;
  bounded_ = false;
  bound_ = {};
  to_ = to;
  near_ = near;
  near_tried_ = passed_ = hinted_ = false;
  ahead_ = nullptr;
  page_ = held_ = nullptr;
  need_ = suspect_ = {};
  bad_ = {};
  restarts_ = moves_ = 0;
  long_.reset();
}

sm::step read_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return init();
    case DOWN:
      return down();
    case RESTART:
      return restart();
    case ADMIT:
      return admit();
    case LOAD:
      return load();
    case LOADED:
      return loaded();
    case KEY:
      return key();
    case KEY_READ:
      return key_read();
    case FOUND:
      return found();
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

sm::step read_op::init() {
  ++tree_->ctx->stats.reads;
  if (errc e = tree_->ctx->engine.health(); !is_ok(e)) return fail(e);
  if (tree_->dropped) return fail(errc::tree_closed);
  if (std::max(key_.size(), bound_.size()) > max_key_bytes_of(*tree_))
    return fail(errc::key_too_large);
  if (is_long(key_)) long_parts().probe.begin(key_);
  if (is_long(bound_)) long_parts().bound.begin(bound_);
  if (below_ && key_.empty()) return fail(errc::not_found);  // nothing is below the empty key
  return go(DOWN);
}

/// Does the page's range hold what is sought? `below_` seeks the greatest key < key_.
static bool in_range(const node_view& n, cbytes key, bool below, bool rightmost, key_probe* probe) {
  if (PLEACH_PLANTED("stale_page_trusted")) return true;
  if (rightmost) return !n.has_high_fence();
  return below ? n.covers_below(key, probe) : n.covers(key, probe);
}

long_keys& read_op::long_parts() {
  if (!long_) long_ = std::make_unique<long_keys>();
  return *long_;
}

/// RETURNS: the leaf that the caller's cookie names, if it holds what is sought; else null.
cache::descriptor* read_op::by_cookie() {
  near_tried_ = true;
  if (near_->empty()) return nullptr;
  cache::descriptor* leaf = near_->leaf(*tree_);
  const bool holds =
      leaf != nullptr && in_range(tree_->view(*leaf), key_, below_, rightmost_, probe());
  if (holds && probe() != nullptr) tree_->view(*leaf).find(key_, probe());
  if (asks(probe())) {  // again when that is known
    near_tried_ = false;
    return nullptr;
  }
  if (holds) {
    ++tree_->ctx->stats.cookie_hits;
    tree_->ctx->pages.count_hit(*leaf);
    return leaf;
  }
  ++tree_->ctx->stats.cookie_misses;
  near_->slot = leaf_cookie::no_slot;
  return nullptr;
}

sm::step read_op::down() {
  cache::page_cache& pages = tree_->ctx->pages;
  hinted_ = false;
  if (tree_->dropped) return fail(errc::tree_closed);  // its pages may be gone
  if (near_ != nullptr && !near_tried_) {
    page_ = by_cookie();
    if (page_ != nullptr) return go(FOUND);
    if (asks(probe())) return go(KEY);
  }
  if (held_ != nullptr && opening_ != tree_->ctx->opening) {
    // The page that was waited for may have been cut off meanwhile.
    pages.unpin(*held_);
    held_ = nullptr;
  }
  cache::descriptor* d = held_;
  if (d == nullptr) {
    opening_ = tree_->ctx->opening;
    d = pages.find_resident(tree_->root);
    if (d == nullptr) return absent(tree_->root);
  }
  // Within one tick nothing changes: below the page where this tick starts, a child that its parent
  // refers to is the right one.
  for (bool trusted = false;; trusted = true) {
    node_view n = tree_->view(*d);
    n.prefetch();
    if (!trusted &&
        (n.header().tree_id != tree_->id || !in_range(n, key_, below_, rightmost_, probe())))
      return asks(probe()) ? go(KEY) : give_up_or_restart();
    if (n.is_leaf()) {
      page_ = d;
      return go(FOUND);
    }
    u32 i;
    if (rightmost_) {
      i = n.count() - 1;
    } else if (below_) {
      u32 at = n.find(key_, probe()).index;
      i = at == 0 ? 0 : at - 1;
    } else {
      i = n.find_child(key_, probe());
    }
    if (asks(probe())) return go(KEY);
    if (ahead_ != nullptr) {
      passed_ = n.level() == 1;
      ahead_->at(*d, n.level(), i);
    }
    page_ref ref = n.child(i);
    cache::descriptor* child = pages.find_resident(ref);
    if (child == nullptr) return absent(ref);
    d = child;
  }
}

/// Frames for one page, or for the chunks of an extent.
u64 read_op::units() const {
  return std::max<u64>(tree_->ctx->max_node_blocks, txn::extent_chunk_blocks);
}

/// I1: the page is asked for in this tick, or its reference is forgotten.
sm::step read_op::absent(page_ref ref) {
  need_ = ref;
  const bool admitted = grant_.held || tree_->ctx->pages.grants().try_take(grant_, units());
  return go(admitted ? LOAD : ADMIT);
}

sm::step read_op::admit() {
  const bool admitted = tree_->ctx->pages.grants().take(grant_, *this, units());
  return admitted ? go(DOWN) : wait(DOWN, "page frames");
}

sm::step read_op::load() {
  cache::page_cache& pages = tree_->ctx->pages;
  if (held_) pages.unpin(*held_);
  held_ = pages.pin(need_);
  if (held_->state != cache::page_state::LOADING) return go(LOADED);
  if (passed_) {
    ahead_->missed(*tree_->ctx, need_.addr.blocks());
    load_ahead();
  }
  return wait_in(held_->waiters, LOADED);
}

/// Once for each leaf: after this the pages of the descent may be gone, but for the pinned one.
void read_op::load_ahead() {
  passed_ = false;
  ahead_->go(*tree_->ctx, !downward(), bounded_ && !is_long(bound_) ? &bound_ : nullptr,
             tree_->order);
}

sm::step read_op::loaded() {
  cache::page_cache& pages = tree_->ctx->pages;
  using cache::page_state;
  if (held_->state == page_state::RESIDENT && held_->gen == need_.gen) return go(DOWN);
  errc code = held_->state == page_state::FAILED ? held_->error : errc::ok;
  pages.unpin(*held_);
  held_ = nullptr;
  if (!is_ok(code) && failure_stands(code, need_, suspect_, bad_)) return fail(code);
  return give_up_or_restart();
}

/// Lets the others run before the descent starts again.
sm::step read_op::restart() {
  return yield(DOWN);
}

sm::step read_op::give_up_or_restart() {
  ++tree_->ctx->stats.restart_stale;
  if (held_) tree_->ctx->pages.unpin(*held_);
  held_ = nullptr;
  if (tree_->dropped) return fail(errc::tree_closed);
  if (++restarts_ > restart_limit) {
    // Only a structure that contradicts itself makes a descent fail this often without a change
    // between.
    bad_ = tree_->root.addr;
    return fail(errc::corrupt);
  }
  return go(RESTART);
}

sm::step read_op::move_to_fence(const node_view& leaf) {
  // The fences of a comparator that contradicts itself may lead in a circle.
  if (tree_->order != nullptr && ++moves_ > move_limit) {
    bad_ = tree_->root.addr;
    return fail(errc::corrupt);
  }
  if (downward() ? leaf.low_fence().empty() : !leaf.has_high_fence()) return fail(errc::not_found);
  const cbytes fence = downward() ? leaf.low_fence() : leaf.high_fence();
  const int c = bounded_ ? leaf.compare_fence(fence, bound_, bound_probe()) : downward() ? 1 : -1;
  if (asks(bound_probe())) return go(KEY);
  if (downward() ? c <= 0 : c >= 0) return fail(errc::not_found);
  if (cache::descriptor* next = downward() ? nullptr : by_hint(leaf)) {
    if (held_) tree_->ctx->pages.unpin(*held_);
    held_ = nullptr;
    page_ = next;
    hinted_ = true;
    return go(FOUND);
  }
  if (!follow_fence(fence)) return go(KEY);
  if (downward()) {
    below_ = true;
    rightmost_ = false;
    mode_ = seek::BEFORE;
  } else {
    mode_ = seek::AT_LEAST;
  }
  if (held_) tree_->ctx->pages.unpin(*held_);
  held_ = nullptr;
  restarts_ = 0;
  return go(DOWN);
}

/// The right link of a B-link tree (Lehman and Yao 1981), as a hint: trusted only where the leaf
/// that it names is there, and begins where this one ends. While leaves are read ahead a descent is
/// needed: it meets the parent, which names them. So it is while branches that were cut off are
/// there: a leaf left of one names one of its leaves, which looks as it did.
/// RETURNS: the leaf behind this one, or null.
cache::descriptor* read_op::by_hint(const node_view& leaf) {
  const page_ref hint = leaf.right_hint();
  if (!hint.addr || (ahead_ != nullptr && ahead_->window() != 0)) return nullptr;
  if (tree_->ctx->cut_branches != 0) return nullptr;
  cache::descriptor* d = tree_->ctx->pages.find_resident(hint);
  if (d == nullptr || d->header().tree_id != tree_->id) return nullptr;
  const node_view n = tree_->view(*d);
  const cbytes low = n.low_fence(), high = leaf.high_fence();
  if (!n.is_leaf() || !std::equal(low.begin(), low.end(), high.begin(), high.end())) return nullptr;
  ++tree_->ctx->stats.right_hints;
  return d;
}

/// The fence becomes the key that is sought.
/// RETURNS: false if it is a long one, which must be loaded first.
bool read_op::follow_fence(cbytes fence) {
  if (is_stub(fence)) return long_parts().follow(fence, key_);
  std::memcpy(fence_, fence.data(), fence.size());
  key_ = {fence_, fence.size()};
  return true;
}

/// What the search needs of long keys is read without a page in hand.
sm::step read_op::key() {
  cache::page_cache& pages = tree_->ctx->pages;
  if (held_) pages.unpin(*held_);
  held_ = nullptr;
  if (!grant_.held && !pages.grants().take(grant_, *this, units())) return wait(KEY, "page frames");
  return sub(long_->reader.next(*tree_->ctx, probe(), bound_probe()), KEY_READ);
}

sm::step read_op::key_read() {
  const errc code = long_->reader.take();
  if (tree_->dropped) return fail(errc::tree_closed);
  if (is_ok(code)) return go(DOWN);
  if (failure_stands(code, long_->reader.extent(), suspect_, bad_)) return fail(code);
  // It is deleted, and made anew, faster than it can be read.
  if (++restarts_ > restart_limit) return fail(errc::conflict);
  return go(DOWN);
}

sm::step read_op::found() {
  node_view leaf = tree_->view(*page_);
  u32 count = leaf.count();
  search_result r = hinted_            ? search_result{0, false}
                    : rightmost_       ? search_result{count, false}
                    : near_ == nullptr ? leaf.find(key_, probe())
                                       : find_near(leaf, near_->slot, key_, probe());
  if (asks(probe())) return go(KEY);
  u32 i = r.index;
  if (near_ != nullptr) near_->set(*tree_, *page_, i);
  switch (hinted_ ? seek::AT_LEAST : mode_) {
    case seek::EXACT:
      if (!r.found) return fail(errc::not_found);
      break;
    case seek::AT_LEAST:
      break;
    case seek::AFTER:
      if (r.found) ++i;
      break;
    case seek::AT_MOST:
      if (!r.found) {
        if (i == 0) return move_to_fence(leaf);
        --i;
      }
      break;
    case seek::BEFORE:
    case seek::LAST:
      if (i == 0) return move_to_fence(leaf);
      --i;
      break;
  }
  if (i >= count) return move_to_fence(leaf);
  if (bounded_) {
    const bool out_of = out_of_bound(leaf, i);
    if (asks(bound_probe())) return go(KEY);
    if (out_of) return fail(errc::not_found);
  }
  if (to_.key && leaf.has_stub(i) && !long_parts().reader.have(leaf.key_extent(i))) return go(KEY);
  out.lsn = page_->last_lsn;
  if (!record_sound(*tree_, leaf, i)) {
    ++tree_->ctx->stats.bad_sums;
    bad_ = page_->addr;
    return fail(errc::corrupt);
  }
  if (to_.user_flags) *to_.user_flags = user_flags_of(leaf.at(i));
  if (errc code = deliver(leaf, i); !is_ok(code)) return fail(code);
  record rec = leaf.at(i);
  if (to_.range)
    if (errc e = deliver_range(rec); !is_ok(e)) return fail(e);
  if ((to_.value || to_.range) && (rec.value_flags & VALUE_INDIRECT)) {
    std::memcpy(&reference_, rec.value.data(), sizeof reference_);
    // Should the extent change under the read, the search goes on from the found record in the same
    // direction: the record may be gone by then, others behind it are not.
    if (!leaf.has_stub(i)) {  // from there the same search finds it, or others behind it
      if (mode_ != seek::EXACT) mode_ = downward() ? seek::AT_MOST : seek::AT_LEAST;
      u32 length = leaf.copy_key(i, fence_);
      key_ = {fence_, length};
      below_ = rightmost_ = false;
    }
    if (passed_) load_ahead();
    return go(EXTENT);
  }
  if (to_.range) to_.range->pinned = true;
  if (passed_) load_ahead();
  return go(CLEANUP);
}

bool read_op::out_of_bound(const node_view& leaf, u32 i) const {
  int c = leaf.compare(i, bound_, bound_probe());
  return downward() ? c < 0 : c >= 0;
}

errc read_op::show(cbytes value) const {
  return to_.see == nullptr || to_.see(to_.datum, value) ? errc::ok : errc::callback_failed;
}

errc read_op::deliver(const node_view& leaf, u32 i) {
  if (to_.key && leaf.has_stub(i)) {
    *to_.key = long_->reader.key();
  } else if (to_.key) {
    to_.key->resize(leaf.key_length(i));
    leaf.copy_key(i, reinterpret_cast<std::byte*>(to_.key->data()));
  }
  if (to_.copy) {
    leaf_copy& c = *to_.copy;
    std::memcpy(c.bytes, leaf.base(), leaf.size());
    c.size = page_->size();
    c.index = i;
    c.source = page_;
    c.addr = page_->addr;
    c.version = page_->content_version;
    c.of = tree_->ctx;
    c.opening = tree_->ctx->opening;
  }
  if (to_.value) {
    record rec = leaf.at(i);
    if (rec.value_flags & VALUE_INDIRECT) return errc::ok;
    if (to_.see != nullptr) return show(rec.value);
    to_.value->assign(reinterpret_cast<const char*>(rec.value.data()), rec.value.size());
  }
  return errc::ok;
}

/// Takes the range of an inline value, or what the range is of an indirect one.
errc read_op::deliver_range(const record& rec) {
  value_range& r = *to_.range;
  bool indirect = (rec.value_flags & VALUE_INDIRECT) != 0;
  value_reference now = identify(rec);
  if (r.pinned && !same_value(now, r.value)) return errc::conflict;
  r.total = now.length;
  r.got = r.offset < now.length ? std::min<u64>(r.to.size(), now.length - r.offset) : 0;
  if (!indirect && r.got != 0) std::memcpy(r.to.data(), rec.value.data() + r.offset, r.got);
  r.value = now;
  return errc::ok;
}

sm::step read_op::extent() {
  cache::page_cache& pages = tree_->ctx->pages;
  if (held_) pages.unpin(*held_);
  held_ = nullptr;
  if (!grant_.held && !pages.grants().take(grant_, *this, units()))
    return wait(EXTENT, "page frames");
  if (!sound_reference(reference_, tree_->ctx->engine.vol().super.blocks)) {
    bad_ = page_addr(reference_.run);
    return fail(errc::corrupt);
  }
  value_op_.reset();
  if (to_.range) {
    value_op_.prepare(*tree_->ctx, reference_, std::min<u64>(to_.range->offset, reference_.length),
                      to_.range->got, to_.range->to.data());
  } else {
    to_.value->resize(reference_.length);
    value_op_.prepare(*tree_->ctx, reference_, 0, reference_.length,
                      reinterpret_cast<std::byte*>(to_.value->data()));
  }
  return sub(value_op_, EXTENT_READ);
}

sm::step read_op::extent_read() {
  errc code = value_op_.out.code;
  if (is_ok(code)) {
    if (to_.range) to_.range->pinned = true;
    if (to_.value) out.code = show(as_bytes(*to_.value));
    return go(CLEANUP);
  }
  page_ref ref{page_addr(reference_.run), reference_.gen};
  if (failure_stands(code, ref, suspect_, bad_)) return fail(code);
  // It is replaced faster than it can be read.
  if (++restarts_ > restart_limit) return fail(errc::conflict);
  return go(DOWN);
}

sm::step read_op::cleanup() {
  if (held_) tree_->ctx->pages.unpin(*held_);
  held_ = nullptr;
  tree_->ctx->pages.grants().give_back(grant_);
  return go(DONE);
}

}  // namespace pleach::btree
