// The memory of the cache: one mapping cut into units of 4 KiB, and a buddy allocator of frames
// over it.
//
// What it is not: it knows no page. A frame is an aligned power-of-two run of units; its first unit
// carries the index of the descriptor that owns it. The dirty map of a frame needs no pointer of
// its own: 64 bytes per unit stand in a parallel array, so the map of a frame is contiguous too.
//
// I1 A unit belongs to exactly one FREE, USED or HELD block of its allocator.
// I2 A FREE block of an order below the largest has a buddy that is not FREE with the same order.
// I3 HELD blocks exist only inside one call that empties a region (frames.cc).
#pragma once

#include <memory>

#include "be/base/error.hh"

namespace pleach::cache {

inline constexpr u32 no_unit = ~0u;
inline constexpr u32 map_words_per_unit = block_bytes / 512;

/// RETURNS: log2 of `units` rounded up to a power of two.
constexpr u32 order_of(u32 units) {
  u32 order = 0;
  while ((1u << order) < units) ++order;
  return order;
}

enum class unit_use : u8 { INSIDE, FREE, USED, HELD };

struct unit_info {
  u32 next = no_unit, prev = no_unit;  ///< of the free list
  u32 owner = 0;                       ///< USED: descriptor index, 0 = the daemon
  u8 order = 0;
  unit_use use = unit_use::INSIDE;
};

class arena {
 public:
  arena() = default;
  ~arena();
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;

  /// ERRORS: no_memory.
  status make(u32 units);
  u32 units() const { return units_; }
  std::byte* at(u32 unit) const { return base_ + (u64{unit} << block_shift); }
  u64* map_of(u32 unit) const { return maps_.get() + u64{unit} * map_words_per_unit; }
  unit_info& info(u32 unit) { return infos_[unit]; }
  const unit_info& info(u32 unit) const { return infos_[unit]; }
  static constexpr u64 bytes_per_unit = block_bytes + 8 * map_words_per_unit + sizeof(unit_info);

 private:
  std::byte* base_ = nullptr;
  u32 units_ = 0;
  std::unique_ptr<u64[]> maps_;
  std::unique_ptr<unit_info[]> infos_;
};

/// Buddy allocator of the units [first, first + count).
class frame_allocator {
 public:
  /// REQUIRES: first and count are multiples of 1 << max_order.
  void make(arena& memory, u32 first, u32 count, u32 max_order);

  /// RETURNS: first unit of a frame, or no_unit.
  u32 take(u32 order);
  void give_back(u32 unit);

  u32 first() const { return first_; }
  u32 count() const { return count_; }
  u32 end() const { return first_ + count_; }
  u32 free_units() const { return free_units_; }

  // --- emptying a region ---
  /// Takes every FREE block inside the region out of the free lists (HELD).
  void hold_free(u32 region, u32 order);
  /// A USED frame inside a region that is being emptied becomes HELD.
  void hold_used(u32 unit);
  /// The region, all HELD, becomes one USED frame.
  void form(u32 region, u32 order);
  /// Gives up: all HELD blocks of the region are FREE again.
  void release_held(u32 region, u32 order);

  /// Walks all blocks.
  /// RETURNS: null, or the invariant that fails.
  const char* check() const;

 private:
  void push(u32 unit, u32 order);
  void remove(u32 unit);

  arena* memory_ = nullptr;
  u32 first_ = 0, count_ = 0, max_order_ = 0, free_units_ = 0;
  u32 heads_[9] = {};
};

}  // namespace pleach::cache
