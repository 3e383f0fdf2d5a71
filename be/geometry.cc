// Where the fixed areas and the log stand: arithmetic only.
#include <algorithm>
#include <bit>

#include "be/space_policy.hh"
#include "be/volume.hh"

namespace pleach {

namespace {

/// RETURNS: true if `block` holds a superblock copy, the root block or a group's bitmap.
bool is_fixed(u64 block, u64 group_blocks) {
  if (block <= root_block_number) return true;
  for (u32 i = 0; i < superblock_copies; ++i)
    if (block == superblock_block(i)) return true;
  return block == bitmap_block(block / group_blocks, group_blocks);
}

/// RETURNS: the first fixed block at or after `from`, at most `end`.
u64 next_fixed(u64 from, u64 end, u64 group_blocks) {
  for (u64 b = from; b < end && b < log_home_block; ++b)
    if (is_fixed(b, group_blocks)) return b;
  if (from < log_home_block) from = log_home_block;
  return std::min(end, round_up(from, group_blocks));
}

/// Lays the log into the gaps from `from` on.
/// RETURNS: false if it needs more than `segments` or the volume ends.
bool lay_log(geometry& g, u64 from, u32 segments) {
  g.log = {};
  u64 left = g.log_blocks;
  u32 used = 0;
  for (u64 at = from; at < g.blocks && left > 0;) {
    u64 end = next_fixed(at, g.blocks, g.group_blocks);
    if (end > at) {
      if (used == segments) return false;
      u64 n = std::min(left, end - at);
      g.log[used++] = {at, n};
      left -= n;
    }
    at = end + 1;
  }
  return left == 0;
}

/// The first single gap that holds the log.
bool lay_log_in_one_gap(geometry& g) {
  for (u64 at = 0; at < g.blocks;) {
    if (lay_log(g, at, 1)) return true;
    at = next_fixed(at, g.blocks, g.group_blocks) + 1;
  }
  return false;
}

}  // namespace

result<geometry> plan_geometry(u64 volume_bytes, u64 log_bytes, u32 max_node_blocks) {
  if (!std::has_single_bit(max_node_blocks) || max_node_blocks > max_page_blocks)
    return fail(errc::bad_argument);
  geometry g;
  g.group_blocks = group_blocks_max;
  g.blocks = usable_blocks(volume_bytes >> block_shift, g.group_blocks);
  g.max_node_blocks = max_node_blocks;
  if (g.blocks < min_volume_blocks) return fail(errc::too_small);
  if (log_bytes == 0) log_bytes = std::min(default_log_bytes, volume_bytes / 4);
  g.log_blocks = log_bytes >> block_shift;
  if (g.log_blocks < min_log_blocks || g.log_blocks > g.blocks / 2) return fail(errc::too_small);
  bool laid = lay_log(g, log_home_block, log_segments) || lay_log_in_one_gap(g) ||
              lay_log(g, 0, log_segments);
  if (!laid) return fail(errc::bad_argument);
  return g;
}

u64 first_free_block(const geometry& g) {
  for (u64 b = 0; b < g.blocks; ++b) {
    bool taken = is_fixed(b, g.group_blocks);
    for (const block_range& l : g.log) {
      if (b < l.start || b >= l.start + l.blocks) continue;
      taken = true;
      b = l.start + l.blocks - 1;
    }
    if (!taken) return b;
  }
  return 0;
}

}  // namespace pleach
