// Reservation only: nothing on a page changes before ACT, so a cancelled or failed op leaves no
// trace.
//
// A group whose bitmap is not pinned yet is pinned while it is looked at; the claim keeps those
// pins whose group gave a run.
#include "txn/alloc_op.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "txn/engine_state.hh"

namespace pleach::txn {

void alloc_op::prepare(engine& e, space_claim& claim, std::span<const space_need> needs,
                       std::span<const page_addr> frees) {
  PLEACH_ASSERT(claim.empty() && loading_ == nullptr);
  engine_ = &e;
  claim_ = &claim;
  needs_ = needs;
  frees_ = frees;
  next_ = group_ = tried_ = 0;
}

namespace {

cache::descriptor* bitmap_in(space_claim& c, page_addr addr) {
  for (cache::descriptor* d : c.bitmaps)
    if (d->addr == addr) return d;
  return nullptr;
}

}  // namespace

/// The bitmap that was waited for may be another group's: others have moved the cursor, or found
/// that the group is full, meanwhile.
void alloc_op::load(page_ref bitmap) {
  cache::page_cache& pages = engine_->impl_->pages;
  if (loading_ != nullptr && loading_->addr == bitmap.addr) return;
  if (loading_ != nullptr) pages.unpin(*loading_);
  loading_ = pages.pin(bitmap);
}

sm::step alloc_op::tick(phase p) noexcept {
  engine_state& e = *engine_->impl_;
  space_table& space = e.space;
  switch (p) {
    case INIT:
      if (e.health != errc::ok) return fail(e.health);
      return go(FREES);

    case FREES: {
      // Pins the bitmap of everything that will be freed.
      while (next_ < frees_.size()) {
        page_addr a = frees_[next_];
        if (a.block() / space.group_blocks() >= space.groups()) return fail(errc::corrupt);
        u64 g = space.group_of(a.block());
        if (loading_ == nullptr) {
          if (bitmap_in(*claim_, space.bitmap(g).addr) != nullptr) {
            ++next_;
            continue;
          }
          loading_ = e.pages.pin(space.bitmap(g));
        }
        if (loading_->state == cache::page_state::LOADING) return wait_in(loading_->waiters, FREES);
        if (loading_->state != cache::page_state::RESIDENT)
          return fail(loading_->error == errc::ok ? errc::failed : loading_->error);
        space.learn(g, loading_->reader().page());
        claim_->bitmaps.push_back(loading_);
        loading_ = nullptr;
        ++next_;
      }
      next_ = tried_ = 0;
      return go(PICK);
    }

    case PICK: {
      if (e.health != errc::ok) return fail(e.health);
      for (; next_ < needs_.size(); ++next_, tried_ = 0) {
        const space_need& need = needs_[next_];
        if (need.blocks == 0 || need.blocks > max_page_blocks) return fail(errc::too_large);
        if (tried_ == 0) {
          from_ = need.hint != 0 && need.hint / space.group_blocks() < space.groups()
                      ? need.hint
                      : space.cursor;
          first_ = std::min(space.group_of(from_), space.groups() - 1);
        }
        bool found = false;
        for (; !found && tried_ < space.groups(); ++tried_) {
          group_ = (first_ + tried_) % space.groups();
          space.purge(group_, e.durable, e.pages);
          if (!space.may_hold(group_, need.blocks)) continue;
          cache::descriptor* d = bitmap_in(*claim_, space.bitmap(group_).addr);
          if (d == nullptr) {
            load(space.bitmap(group_));
            if (loading_->state != cache::page_state::RESIDENT) return go(LOAD);
            d = loading_;
          }
          space.learn(group_, d->reader().page());
          u32 hint = tried_ == 0 ? space.bit_of(from_) : 0;
          u64 block = space.reserve(group_, need.blocks, hint, d->reader().page());
          found = block != 0;
          if (found) {
            claim_->runs.push_back({page_addr(block, need.blocks), false});
            if (need.hint == 0) space.cursor = block + need.blocks;
            if (PLEACH_PLANTED("bit_set_in_alloc")) {
              byte_range r = bits_range(space.bit_of(block), need.blocks);
              set_bits(e.write(*d).writable(r.offset, r.length), space.bit_of(block), need.blocks,
                       true);
            }
          }
          if (d != loading_) continue;
          if (found)
            claim_->bitmaps.push_back(d);
          else
            e.pages.unpin(*d);
          loading_ = nullptr;
        }
        if (found) continue;
        tried_ = 0;
        if (!space.deferred()) return fail(errc::no_space);
        // Freed blocks become reusable when their group is durable and no I/O to them is in flight.
        if (lsn_t l = space.newest_deferred(); l > e.durable) e.want_durable(l);
        e.arm_space_retry();
        return wait_in(e.queues[static_cast<u32>(watermark::DURABLE)], PICK);
      }
      return go(CLEANUP);
    }

    case LOAD:
      if (loading_->state == cache::page_state::LOADING) return wait_in(loading_->waiters, LOAD);
      if (loading_->state != cache::page_state::RESIDENT)
        return fail(loading_->error == errc::ok ? errc::failed : loading_->error);
      return go(PICK);

    case CLEANUP:
      if (loading_ != nullptr) e.pages.unpin(*loading_);
      loading_ = nullptr;
      if (out.code != errc::ok) engine_->give_back(*claim_);
      return go(DONE);

    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

}  // namespace pleach::txn
