#include "pagecache/core.hh"

#include <algorithm>
#include <new>

#include "pagecache/images.hh"
#include "pagecache/loader.hh"

namespace pleach::cache {

layout layout::of_units(u32 units, u32 max_page_blocks) {
  layout l;
  l.max_order = order_of(max_page_blocks);
  u32 largest = 1u << l.max_order;
  l.units = units;
  l.bounce_units = round_up(std::max(4 * largest, std::min(units / 32, 8192u)), largest);
  // Half of the arena, but enough for the largest transaction of a small one.
  l.grantable = std::max(units / 2, std::min(units / 4 * 3, 24 * largest));
  // A descriptor for every frame, and for every granted page that waits for one.
  l.descriptors = units + l.grantable + 1;
  l.loads = std::clamp(units / 8, 8u, 256u);
  l.writes = std::clamp(units / 64, 4u, 32u);
  l.bytes = u64{units} * arena::bytes_per_unit +
            u64{l.descriptors} * (sizeof(descriptor) + sizeof(u32)) +
            page_table::bytes_for(l.descriptors) + u64{l.loads} * sizeof(load) +
            images::bytes_for(l) + 16384;  // the objects themselves
  return l;
}

layout layout::of_budget(const cache_options& options) {
  u32 largest = 1u << order_of(options.max_page_blocks);
  u64 limit = u64{1} << 27;  // 512 GiB of units: table tags have 32 bits
  u64 guess = std::min(options.budget_bytes / arena::bytes_per_unit, limit) / largest;
  u64 low = 0, high = guess;
  while (low < high) {
    u64 middle = (low + high + 1) / 2;
    if (of_units(static_cast<u32>(middle * largest), options.max_page_blocks).bytes <=
        options.budget_bytes)
      low = middle;
    else
      high = middle - 1;
  }
  return of_units(static_cast<u32>(low * largest), options.max_page_blocks);
}

core::core(sm::reactor& reactor, io::device& device, const cache_options& o, const layout& l,
           page_table& pages, u64& versions)
    : loop(reactor), dev(device), options(o), plan(l), table(pages), version(versions) {}

status core::make() {
  if (auto s = memory.make(plan.units); !s) return s;
  descriptors.reset(new (std::nothrow) descriptor[plan.descriptors]);
  free_stack.reset(new (std::nothrow) u32[plan.descriptors]);
  if (!descriptors || !free_stack) return fail(errc::no_memory);
  if (auto s = table.make(descriptors.get(), plan.descriptors); !s) return s;
  for (u32 i = plan.descriptors - 1; i > 0; --i) free_stack[free_count++] = i;
  bounce.make(memory, 0, plan.bounce_units, plan.max_order);
  frames.make(memory, plan.bounce_units, plan.units - plan.bounce_units, plan.max_order);
  return {};
}

descriptor& core::new_descriptor(page_ref ref) {
  PLEACH_ASSERT(free_count > 0);
  descriptor& d = descriptors[free_stack[--free_count]];
  PLEACH_ASSERT(d.state == page_state::FREE && d.pins == 0);
  d.addr = ref.addr;
  d.gen = ref.gen;
  d.error = errc::ok;
  d.heat = d.heat_cap = 0;
  d.wanted = d.recovered = d.framed = d.io = d.spare = d.format = false;
  d.run = {};
  d.hole_hint = 0;
  d.image = 0;
  d.order = static_cast<u8>(order_of(ref.addr.blocks()));
  d.last_lsn = d.rec_lsn = d.member_lsn = 0;
  d.capture = {};
  d.data = nullptr;
  return d;
}

void core::free_descriptor(descriptor& d) {
  PLEACH_ASSERT(d.pins == 0 && d.rec_lsn == 0 && d.image == 0 && d.member_lsn == 0 && !d.io);
  PLEACH_ASSERT(!d.framed && !d.dirty_link.linked() && !d.member_link.linked());
  PLEACH_ASSERT(d.waiters.empty());
  d.state = page_state::FREE;
  d.content_version =
      0;  // the page may come back elsewhere and change: no copy of it is current any more
  free_stack[free_count++] = index_of(d);
}

void core::add_dirty(descriptor& d, lsn_t lsn) {
  PLEACH_ASSERT(d.rec_lsn == 0 && lsn != 0);
  descriptor* after = dirty.empty() ? nullptr : &dirty.back();
  // Groups come in order; only recovery does not. Its pages go to the front with an LSN that is old
  // enough rather than to a place that takes long to find: too old an LSN only keeps more log.
  for (u32 steps = 0; after != nullptr && after->rec_lsn > lsn; after = dirty.prev(*after))
    if (++steps == 32) {
      lsn = std::min(lsn, dirty.front().rec_lsn);
      after = nullptr;
      break;
    }
  d.rec_lsn = lsn;
  if (after != nullptr)
    dirty.insert_after(*after, d);
  else
    dirty.push_front(d);
  dirty_units += u64{1} << d.order;
  ++dirty_count;
}

void core::remove_dirty(descriptor& d) {
  PLEACH_ASSERT(d.rec_lsn != 0);
  d.dirty_link.unlink();
  d.rec_lsn = 0;
  dirty_units -= u64{1} << d.order;
  --dirty_count;
}

void core::fail_store(errc code, page_addr where) {
  if (failed) return;
  failed = true;
  if (hooks != nullptr) hooks->fail_store(code, where);
}

}  // namespace pleach::cache
