// Pure policy over the allocation bits of one group: no I/O, no capture, no memory of its own.
//
// A bitmap page covers `group_blocks` blocks; bit i of its payload is 1 when block i of the group
// is in use. Bits beyond the end of the volume are 1. The caller passes blocks that look free but
// are not (reserved by an op, freed but not yet reusable) as `busy` runs, sorted by start, relative
// to the group.
#pragma once

#include "be/page_format.hh"

namespace pleach {

inline constexpr u32 bitmap_payload_offset = page_header_bytes;
/// Blocks covered by one bitmap page: 126 MiB of a volume.
inline constexpr u32 group_blocks_max = (block_bytes - page_header_bytes) * 8;

struct block_run {
  u32 start;
  u32 count;
};

/// First block of a group's bitmap page, relative to the volume. Group 0 has the superblock and the
/// root block first.
constexpr u64 bitmap_block(u64 group, u64 group_blocks) {
  return group * group_blocks + (group == 0 ? 2 : 0);
}

/// RETURNS: start of the first free run of `count` blocks at or after `hint`, then from the start;
/// -1: none.
i64 find_free_run(cbytes bitmap_page, u32 group_blocks, u32 count, u32 hint,
                  std::span<const block_run> busy);
u32 count_free(cbytes bitmap_page, u32 group_blocks);
/// Length of the longest free run (ignores busy).
u32 longest_free_run(cbytes bitmap_page, u32 group_blocks);
bool all_used(cbytes bitmap_page, u32 start, u32 count);
bool all_free(cbytes bitmap_page, u32 start, u32 count);

/// Byte range of the page that setting/clearing [start, start + count) changes, for capture.
struct byte_range {
  u32 offset, length;
};
constexpr byte_range bits_range(u32 start, u32 count) {
  u32 first = start / 8, last = (start + count - 1) / 8;
  return {bitmap_payload_offset + first, last - first + 1};
}
/// Sets or clears the bits in `span`, which is `bits_range(start, count)` of the page.
void set_bits(std::byte* span, u32 start, u32 count, bool used);

}  // namespace pleach
