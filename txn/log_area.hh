// Where a log block stands: sequence number -> block of the volume, over the segments of the log.
//
// What it is not: it neither reads nor validates. Block `seq` stands at index seq mod (blocks of
// the log).
#pragma once

#include "be/volume.hh"

namespace pleach::txn {

class log_area {
 public:
  explicit log_area(const superblock& s) : super_(&s), blocks_(log_blocks(s)) {}
  u64 blocks() const { return blocks_; }
  u64 index(u64 seq) const { return seq % blocks_; }
  /// RETURNS: the block of the volume.
  u64 position(u64 seq) const { return log_position(*super_, index(seq)); }
  /// RETURNS: how many blocks from `seq` on stand one behind the other on the device.
  u64 contiguous(u64 seq) const { return log_contiguous(*super_, index(seq)); }
  const superblock& super() const { return *super_; }

 private:
  const superblock* super_;
  u64 blocks_;
};

}  // namespace pleach::txn
