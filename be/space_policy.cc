// Bits are scanned a 64-bit word at a time; the payload (4032 bytes) is a whole number of words.
#include "be/space_policy.hh"

#include <algorithm>

#include "be/base/assert.hh"

namespace pleach {

namespace {

/// The bits of one bitmap page; bit i = byte i / 8, value 1 << i % 8.
class bit_view {
 public:
  bit_view(cbytes page, u32 bits) : data_(page.data() + bitmap_payload_offset), bits_(bits) {
    PLEACH_ASSERT(page.size() == block_bytes && bits <= group_blocks_max);
  }
  /// RETURNS: first bit of value `used` in [from, end), or `end`.
  u32 next(u32 from, bool used, u32 end) const {
    if (from >= end) return end;
    u32 w = from / 64;
    u64 v = word(w, used) & ~u64{0} << from % 64;
    while (v == 0) {
      if (++w * 64 >= end) return end;
      v = word(w, used);
    }
    return std::min(end, w * 64 + static_cast<u32>(std::countr_zero(v)));
  }
  u32 next(u32 from, bool used) const { return next(from, used, bits_); }
  u32 size() const { return bits_; }

 private:
  u64 word(u32 w, bool used) const {
    u64 v = load_le<u64>(data_ + w * 8);
    return used ? v : ~v;
  }
  const std::byte* data_;
  u32 bits_;
};

/// RETURNS: end of a busy run that overlaps [start, start + count), or 0. `first` skips runs that
/// ended before
/// `start`, which only grows.
u32 busy_until(std::span<const block_run> busy, std::size_t& first, u32 start, u32 count) {
  while (first < busy.size() && busy[first].start + busy[first].count <= start) ++first;
  for (std::size_t i = first; i < busy.size() && busy[i].start < start + count; ++i)
    if (busy[i].start + busy[i].count > start) return busy[i].start + busy[i].count;
  return 0;
}

i64 find_from(const bit_view& bits, u32 count, u32 from, std::span<const block_run> busy) {
  std::size_t first = 0;
  for (u32 at = from;;) {
    at = bits.next(at, false);
    if (at >= bits.size() || bits.size() - at < count) return -1;
    // No further than the run that is sought: behind it the whole group may be free.
    u32 end = bits.next(at, true, at + count);
    if (end - at < count) {
      at = end;
      continue;
    }
    u32 blocked = busy_until(busy, first, at, count);
    if (blocked == 0) return at;
    at = blocked;
  }
}

}  // namespace

i64 find_free_run(cbytes bitmap_page, u32 group_blocks, u32 count, u32 hint,
                  std::span<const block_run> busy) {
  PLEACH_ASSERT(count > 0);
  bit_view bits(bitmap_page, group_blocks);
  if (hint >= group_blocks) hint = 0;
  i64 found = find_from(bits, count, hint, busy);
  return found < 0 && hint > 0 ? find_from(bits, count, 0, busy) : found;
}

u32 count_free(cbytes bitmap_page, u32 group_blocks) {
  bit_view bits(bitmap_page, group_blocks);
  u32 total = 0;
  for (u32 at = bits.next(0, false); at < group_blocks;) {
    u32 end = bits.next(at, true);
    total += end - at;
    at = bits.next(end, false);
  }
  return total;
}

u32 longest_free_run(cbytes bitmap_page, u32 group_blocks) {
  bit_view bits(bitmap_page, group_blocks);
  u32 longest = 0;
  for (u32 at = bits.next(0, false); at < group_blocks;) {
    u32 end = bits.next(at, true);
    longest = std::max(longest, end - at);
    at = bits.next(end, false);
  }
  return longest;
}

bool all_used(cbytes bitmap_page, u32 start, u32 count) {
  PLEACH_ASSERT(start + count <= group_blocks_max);
  return bit_view(bitmap_page, start + count).next(start, false) == start + count;
}

bool all_free(cbytes bitmap_page, u32 start, u32 count) {
  PLEACH_ASSERT(start + count <= group_blocks_max);
  return bit_view(bitmap_page, start + count).next(start, true) == start + count;
}

void set_bits(std::byte* span, u32 start, u32 count, bool used) {
  PLEACH_ASSERT(count > 0 && start + count <= group_blocks_max);
  u32 at = start % 8, end = at + count;
  while (at < end) {
    u32 in_byte = std::min(8 - at % 8, end - at);
    auto mask = static_cast<std::byte>(((1u << in_byte) - 1) << at % 8);
    std::byte& b = span[at / 8];
    b = used ? b | mask : b & ~mask;
    at += in_byte;
  }
}

}  // namespace pleach
