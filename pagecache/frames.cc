#include "pagecache/frames.hh"

#include <cstring>

namespace pleach::cache {

void frame_pool::attach(descriptor& d, u32 unit) {
  core_.memory.info(unit).owner = core_.index_of(d);
  d.frame = unit;
  d.framed = true;
  d.data = core_.memory.at(unit);
  d.capture.map = core_.memory.map_of(unit);
  core_.table.moved(d);
}

bool frame_pool::take(descriptor& d, bool hard) {
  hard_ = hard;
  u32 unit = take_units(d.order, hard ? 8 * core_.plan.units : short_sweep);
  if (unit == no_unit) return false;
  attach(d, unit);
  return true;
}

void frame_pool::free_frame(descriptor& d) {
  PLEACH_ASSERT(d.framed && !d.io);
  if (latch_watch != nullptr) [[unlikely]]
    latch_watch->left(d);
  d.framed = false;
  d.data = nullptr;
  d.capture.map = nullptr;
  core_.frames.give_back(d.frame);
  core_.frame_event();
}

void frame_pool::evict(descriptor& d) {
  PLEACH_ASSERT(replacement::evictable(d));
  if (d.rec_lsn != 0) core_.remove_dirty(d);  // only the planted bug gets here
  bool was_there = core_.table.remove(d);
  PLEACH_ASSERT(was_there);
  free_frame(d);
  core_.free_descriptor(d);
  ++core_.stats.evictions;
}

u32 frame_pool::evict_some(u32 count, u32& steps, bool urgent) {
  u32 done = 0;
  while (done < count) {
    descriptor* d = policy_.victim(steps, urgent);
    if (d == nullptr) break;
    done += 1u << d->order;
    evict(*d);
  }
  return done;
}

u32 frame_pool::take_units(u32 order, u32 steps) {
  for (;;) {
    u32 unit = core_.frames.take(order);
    if (unit != no_unit) return unit;
    // Sweeping on would empty the cache for one large frame: a region is cheaper once enough is
    // free.
    if (order > 0 && core_.frames.free_units() >= (2u << order)) break;
    descriptor* d = policy_.victim(steps, hard_);
    if (d == nullptr) break;
    evict(*d);
  }
  return order > 0 ? make_region(order) : no_unit;
}

u32 frame_pool::region_cost(u32 first, u32 order) const {
  for (u32 k = 0; k < depth_; ++k) {
    u32 lo = emptying_[k].first, hi = lo + (1u << emptying_[k].order);
    if (first < hi && lo < first + (1u << order)) return impossible;
  }
  u32 cost = 0;
  for (u32 u = first; u < first + (1u << order);) {
    const unit_info& i = core_.memory.info(u);
    u32 size = 1u << i.order;
    u += size;
    if (i.use == unit_use::FREE) continue;
    if (i.use != unit_use::USED || i.owner == 0 || i.order > order) return impossible;
    const descriptor& d = core_.descriptors[i.owner];
    if (d.io) return impossible;
    cost += replacement::evictable(d) ? size * (1u + d.heat) : size * 8;
  }
  return cost;
}

bool frame_pool::choose_region(u32 order, u32& first) {
  const frame_allocator& f = core_.frames;
  u32 regions = f.count() >> order;
  u32 tries = hard_ || regions < 64 ? regions : 64;
  u32 best = impossible;
  for (u32 k = 0; k < tries; ++k) {
    u32 r = (region_hand_ + k) % regions;
    u32 cost = region_cost(f.first() + (r << order), order);
    if (cost >= best) continue;
    best = cost;
    first = f.first() + (r << order);
  }
  region_hand_ = (region_hand_ + tries) % regions;
  return best != impossible;
}

void frame_pool::evict_region(region r) {
  for (u32 u = r.first; u < r.first + (1u << r.order);) {
    const unit_info& i = core_.memory.info(u);
    if (i.use == unit_use::INSIDE) {  // merged with what was freed before
      ++u;
      continue;
    }
    u32 size = 1u << i.order;
    if (i.use == unit_use::USED && i.owner != 0) {
      descriptor& d = core_.descriptors[i.owner];
      if (replacement::evictable(d)) evict(d);
    }
    u += size;
  }
}

u32 frame_pool::make_region(u32 order) {
  region r{0, order};
  if (depth_ == 9 || !choose_region(order, r.first)) return no_unit;
  evict_region(r);
  if (u32 unit = core_.frames.take(order); unit != no_unit) return unit;
  core_.frames.hold_free(r.first, order);
  emptying_[depth_++] = r;
  bool empty = move_out(r, hard_ ? 8 * core_.plan.units : short_sweep);
  --depth_;
  if (empty) {
    core_.frames.form(r.first, order);
    return r.first;
  }
  core_.frames.release_held(r.first, order);
  return no_unit;
}

bool frame_pool::move_out(region r, u32 steps) {
  for (u32 u = r.first; u < r.first + (1u << r.order);) {
    const unit_info& i = core_.memory.info(u);
    u32 size = 1u << i.order;
    if (i.use == unit_use::USED) {
      // Inside the region nothing is evictable any more, so what is freed here is outside of it.
      u32 to = take_units(i.order, steps);
      if (to == no_unit) return false;
      move(core_.descriptors[i.owner], to);
      core_.frames.hold_used(u);
    }
    u += size;
  }
  return true;
}

void frame_pool::move(descriptor& d, u32 to) {
  PLEACH_ASSERT(!d.io && d.framed);
  u64 units = u64{1} << d.order;
  if (latch_watch != nullptr) [[unlikely]]
    latch_watch->left(d);
  if (!d.spare) {
    frame_use from(d.data, units << block_shift), into(core_.memory.at(to), units << block_shift);
    std::memcpy(core_.memory.at(to), d.data, units << block_shift);
    std::memcpy(core_.memory.map_of(to), d.capture.map, units * map_words_per_unit * 8);
  }
  attach(d, to);
  ++core_.stats.moves;
}

bool frame_pool::move_one(u64 random) {
  const frame_allocator& f = core_.frames;
  u32 at = f.first() + static_cast<u32>(random % f.count());
  for (u32 k = 0; k < 64; ++k, at = at + 1 < f.end() ? at + 1 : f.first()) {
    const unit_info& i = core_.memory.info(at);
    if (i.use != unit_use::USED || i.owner == 0) continue;
    descriptor& d = core_.descriptors[i.owner];
    if (d.io) continue;
    u32 to = core_.frames.take(i.order);
    if (to == no_unit) return false;
    move(d, to);
    core_.frames.give_back(at);
    return true;
  }
  return false;
}

bool frame_pool::evict_one(u64 random) {
  const frame_allocator& f = core_.frames;
  u32 at = f.first() + static_cast<u32>(random % f.count());
  for (u32 k = 0; k < 64; ++k, at = at + 1 < f.end() ? at + 1 : f.first()) {
    const unit_info& i = core_.memory.info(at);
    if (i.use != unit_use::USED || i.owner == 0) continue;
    descriptor& d = core_.descriptors[i.owner];
    if (!replacement::evictable(d)) continue;
    evict(d);
    return true;
  }
  return false;
}

}  // namespace pleach::cache
