#include "txn/space.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "be/volume.hh"

namespace pleach::txn {

void space_table::resize(u64 blocks, u64 group_blocks) {
  blocks_ = blocks;
  group_blocks_ = group_blocks;
  groups_.resize(group_count(blocks, group_blocks));
}

page_ref space_table::bitmap(u64 g) const {
  // Bitmap pages stand at fixed places for ever, so their generation is always mkfs's.
  return {page_addr(bitmap_block(g, group_blocks_), 1), format_generation};
}

void space_table::learn(u64 g, cbytes page) {
  group& s = groups_[g];
  if (s.free_bits == unknown) s.free_bits = count_free(page, static_cast<u32>(group_blocks_));
}

bool space_table::may_hold(u64 g, u32 blocks) const {
  const group& s = groups_[g];
  if (blocks >= s.failed_count) return false;
  return s.free_bits == unknown || s.free_bits >= s.busy_blocks + blocks;
}

u64 space_table::reserve(u64 g, u32 blocks, u32 hint, cbytes page) {
  group& s = groups_[g];
  i64 at = find_free_run(page, static_cast<u32>(group_blocks_), blocks, hint, s.busy);
  if (at < 0) {
    s.failed_count = std::min(s.failed_count, blocks);
    return 0;
  }
  insert(s, {static_cast<u32>(at), blocks}, lsn_none);
  return g * group_blocks_ + static_cast<u64>(at);
}

void space_table::insert(group& s, block_run r, lsn_t since) {
  auto i = std::lower_bound(s.busy.begin(), s.busy.end(), r.start,
                            [](const block_run& a, u32 start) { return a.start < start; });
  s.since.insert(s.since.begin() + (i - s.busy.begin()), since);
  s.busy.insert(i, r);
  s.busy_blocks += r.count;
  if (since != lsn_none) ++deferred_;
}

void space_table::end_reservation(u64 block, u32 blocks, bool taken) {
  group& s = groups_[group_of(block)];
  u32 bit = bit_of(block);
  auto i = std::lower_bound(s.busy.begin(), s.busy.end(), bit,
                            [](const block_run& a, u32 start) { return a.start < start; });
  PLEACH_ASSERT(i != s.busy.end() && i->start == bit && i->count == blocks);
  auto k = i - s.busy.begin();
  PLEACH_ASSERT(s.since[static_cast<std::size_t>(k)] == lsn_none);
  s.since.erase(s.since.begin() + k);
  s.busy.erase(i);
  s.busy_blocks -= blocks;
  if (taken) {
    if (s.free_bits != unknown) s.free_bits -= std::min(s.free_bits, blocks);
  } else {
    s.failed_count = ~0u;
  }
}

void space_table::shorten_reservation(u64 block, u32 blocks, u32 kept) {
  PLEACH_ASSERT(kept > 0 && kept < blocks);
  end_reservation(block, blocks, false);
  insert(groups_[group_of(block)], {bit_of(block), kept}, lsn_none);
}

void space_table::freed(u64 block, u32 blocks, lsn_t lsn) {
  group& s = groups_[group_of(block)];
  if (s.free_bits != unknown) s.free_bits += blocks;
  insert(s, {bit_of(block), blocks}, lsn);
}

u32 space_table::purge(u64 g, lsn_t durable, const cache::page_cache& pages) {
  group& s = groups_[g];
  u32 dropped = 0;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < s.busy.size(); ++i) {
    bool reusable = s.since[i] != lsn_none &&
                    (s.since[i] <= durable || PLEACH_PLANTED("free_reused_before_durable")) &&
                    !pages.io_pending(g * group_blocks_ + s.busy[i].start, s.busy[i].count);
    if (reusable) {
      s.busy_blocks -= s.busy[i].count;
      ++dropped;
      continue;
    }
    s.busy[kept] = s.busy[i];
    s.since[kept++] = s.since[i];
  }
  s.busy.resize(kept);
  s.since.resize(kept);
  deferred_ -= dropped;
  if (dropped != 0) s.failed_count = ~0u;
  return dropped;
}

lsn_t space_table::newest_deferred() const {
  lsn_t newest = lsn_none;
  for (const group& g : groups_)
    for (lsn_t l : g.since) newest = std::max(newest, l);
  return newest;
}

}  // namespace pleach::txn
