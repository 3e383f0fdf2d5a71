#include "pagecache/arena.hh"

#include <sys/mman.h>

#include <new>

#include "be/base/assert.hh"
#include "pagecache/latch.hh"

namespace pleach::cache {

namespace {
constexpr u64 huge_bytes = 2u << 20;
}

status arena::make(u32 units) {
  // Map with room for alignment to a huge page and unmap what is too much: address space, no
  // memory.
  u64 length = u64{units} << block_shift;
  void* raw = mmap(nullptr, length + huge_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return fail(errc::no_memory);
  auto* start = static_cast<std::byte*>(raw);
  u64 skip = -reinterpret_cast<std::uintptr_t>(start) & (huge_bytes - 1);
  if (skip != 0) munmap(start, skip);
  if (skip != huge_bytes) munmap(start + skip + length, huge_bytes - skip);
  base_ = start + skip;
  units_ = units;
  if (length >= huge_bytes) madvise(base_, length, MADV_HUGEPAGE);
  maps_.reset(new (std::nothrow) u64[u64{units} * map_words_per_unit]());
  infos_.reset(new (std::nothrow) unit_info[units]);
  if (!maps_ || !infos_) return fail(errc::no_memory);
  if (latch_watch != nullptr) latch_watch->arena_made(base_, length);
  return {};
}

arena::~arena() {
  if (base_ == nullptr) return;
  u64 length = u64{units_} << block_shift;
  if (latch_watch != nullptr) latch_watch->arena_gone(base_, length);
  munmap(base_, length);
}

void frame_allocator::make(arena& memory, u32 first, u32 count, u32 max_order) {
  PLEACH_ASSERT(max_order < 9 && first % (1u << max_order) == 0 && count % (1u << max_order) == 0);
  memory_ = &memory;
  first_ = first;
  count_ = count;
  max_order_ = max_order;
  free_units_ = count;
  for (u32& h : heads_) h = no_unit;
  for (u32 u = end(); u > first; u -= 1u << max_order) push(u - (1u << max_order), max_order);
}

void frame_allocator::push(u32 unit, u32 order) {
  unit_info& i = memory_->info(unit);
  i.use = unit_use::FREE;
  i.order = static_cast<u8>(order);
  i.owner = 0;
  i.prev = no_unit;
  i.next = heads_[order];
  if (i.next != no_unit) memory_->info(i.next).prev = unit;
  heads_[order] = unit;
}

void frame_allocator::remove(u32 unit) {
  unit_info& i = memory_->info(unit);
  if (i.prev != no_unit)
    memory_->info(i.prev).next = i.next;
  else
    heads_[i.order] = i.next;
  if (i.next != no_unit) memory_->info(i.next).prev = i.prev;
  i.next = i.prev = no_unit;
}

u32 frame_allocator::take(u32 order) {
  u32 o = order;
  while (o <= max_order_ && heads_[o] == no_unit) ++o;
  if (o > max_order_) return no_unit;
  u32 unit = heads_[o];
  remove(unit);
  while (o > order) {
    --o;
    push(unit + (1u << o), o);
  }
  unit_info& i = memory_->info(unit);
  i.use = unit_use::USED;
  i.order = static_cast<u8>(order);
  i.owner = 0;
  free_units_ -= 1u << order;
  return unit;
}

void frame_allocator::give_back(u32 unit) {
  unit_info& i = memory_->info(unit);
  PLEACH_ASSERT(i.use == unit_use::USED || i.use == unit_use::HELD);
  u32 order = i.order;
  free_units_ += 1u << order;
  i.use = unit_use::INSIDE;
  while (order < max_order_) {
    u32 buddy = first_ + ((unit - first_) ^ (1u << order));
    unit_info& b = memory_->info(buddy);
    if (b.use != unit_use::FREE || b.order != order) break;
    remove(buddy);
    b.use = unit_use::INSIDE;
    if (buddy < unit) unit = buddy;
    ++order;
  }
  push(unit, order);
}

void frame_allocator::hold_free(u32 region, u32 order) {
  for (u32 u = region; u < region + (1u << order); u += 1u << memory_->info(u).order) {
    unit_info& i = memory_->info(u);
    if (i.use != unit_use::FREE) continue;
    remove(u);
    i.use = unit_use::HELD;
    free_units_ -= 1u << i.order;
  }
}

void frame_allocator::hold_used(u32 unit) {
  unit_info& i = memory_->info(unit);
  PLEACH_ASSERT(i.use == unit_use::USED);
  i.use = unit_use::HELD;
  i.owner = 0;
}

void frame_allocator::form(u32 region, u32 order) {
  for (u32 u = region; u < region + (1u << order);) {
    unit_info& i = memory_->info(u);
    PLEACH_ASSERT(i.use == unit_use::HELD);
    i.use = unit_use::INSIDE;
    u += 1u << i.order;
  }
  unit_info& i = memory_->info(region);
  i.use = unit_use::USED;
  i.order = static_cast<u8>(order);
  i.owner = 0;
}

void frame_allocator::release_held(u32 region, u32 order) {
  for (u32 u = region; u < region + (1u << order);) {
    unit_info& i = memory_->info(u);
    u32 step = 1u << i.order;  // read first: freeing merges
    if (i.use == unit_use::HELD) give_back(u);
    u += step;
  }
}

const char* frame_allocator::check() const {
  u32 free = 0;
  for (u32 u = first_; u < end();) {
    const unit_info& i = memory_->info(u);
    u32 size = 1u << i.order;
    if (i.use == unit_use::INSIDE) return "I1: a block starts inside another";
    if (i.use == unit_use::HELD) return "I3: a held block outside of a call";
    if ((u - first_) % size != 0) return "I1: a block is not aligned";
    for (u32 k = 1; k < size; ++k)
      if (memory_->info(u + k).use != unit_use::INSIDE) return "I1: a block inside a block";
    if (i.use == unit_use::FREE) {
      free += size;
      const unit_info& b = memory_->info(first_ + ((u - first_) ^ size));
      if (i.order < max_order_ && b.use == unit_use::FREE && b.order == i.order)
        return "I2: free buddies are not merged";
    }
    u += size;
  }
  return free == free_units_ ? nullptr : "I1: count of free units";
}

}  // namespace pleach::cache
