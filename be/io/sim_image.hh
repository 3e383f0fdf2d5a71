// The bytes of a simulated device: copy-on-write, so that one workload yields thousands of crash
// images.
//
// Blocks of 4 KiB are immutable once shared; an absent block is zeros. Copying an image costs one
// reference per 256 KiB; writing a block copies at most its table and itself.
//
// I1 A block or table with more than one owner is never changed.
// I2 Equal bytes and equal size give equal `hash()`, however the image came about.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "be/base/error.hh"

namespace pleach::io {

inline constexpr u32 sector_bytes = 512;
inline constexpr u32 block_sectors = block_bytes / sector_bytes;

struct sim_block {
  std::array<std::byte, block_bytes> bytes;
};
using sim_block_ref = std::shared_ptr<const sim_block>;

class sim_image {
 public:
  sim_image() = default;
  explicit sim_image(u64 size);

  u64 size() const { return size_; }
  /// Growth is zeros; what a shrink cuts off is forgotten.
  void resize(u64 size);

  /// Bytes beyond the end are zeros.
  void read(u64 offset, bytes out) const;
  /// REQUIRES: within the size.
  void write(u64 offset, cbytes in);
  /// Puts the sectors of `mask` (bit i = sector i) of `block` at block number `index`.
  void put(u64 index, const sim_block_ref& block, u8 mask);
  /// RETURNS: the block, or null for zeros.
  const sim_block* block(u64 index) const;

  u64 hash() const;
  friend bool operator==(const sim_image& a, const sim_image& b);
  /// RETURNS: number of the first block in which they differ, or ~0.
  static u64 first_difference(const sim_image& a, const sim_image& b);

  /// For a look with the tools at what failed, and for golden images. Sparse.
  status save(const std::string& path) const;
  static result<sim_image> load(const std::string& path);

 private:
  static constexpr u32 table_blocks = 64;
  struct table {
    std::array<sim_block_ref, table_blocks> blocks;
  };
  table& own_table(u64 index);

  std::vector<std::shared_ptr<table>> tables_;
  u64 size_ = 0;
};

}  // namespace pleach::io
