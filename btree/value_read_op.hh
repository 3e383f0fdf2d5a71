// Reads a large value, or a range of it, from its extents: with its checksums, in bounded memory.
//
//     read(reference, range):
//       if it has a map and none is given: await the map; compare its checksum; parse
//       for piece in the chunks that the range touches, cut at runs:
//         await read of the piece; compare each chunk with its checksum; copy what is asked for
//
// A value that is one run has one checksum over all of it, so all of it is read even for a range.
//
// `corrupt` may mean that the value was replaced and its blocks used again: the caller looks at the
// reference again, and only the same one twice is damage.
#pragma once

#include <memory>

#include "be/base/checksum.hh"
#include "btree/tree.hh"
#include "btree/value_map.hh"
#include "txn/extent_op.hh"

namespace pleach::btree {

#define PLEACH_VALUE_READ_PHASES(X)            \
  X(INIT, NOWAIT, MAP, DATA, WHOLE, CLEANUP)   \
  X(MAP, WAIT, MAP_READ, CLEANUP)              \
  X(MAP_READ, NOWAIT, DATA, CLEANUP)           \
  X(DATA, WAIT, DATA_READ, CLEANUP)            \
  X(DATA_READ, NOWAIT, DATA, CLEANUP)          \
  X(WHOLE, WAIT, WHOLE_READ, CLEANUP)          \
  X(WHOLE_READ, NOWAIT, CLEANUP)               \
  X(CLEANUP, NOWAIT, DONE)                     \
  X(DONE, NOWAIT)

class value_read_op final : public sm::machine<value_read_op> {
 public:
  PLEACH_PHASES("value_read", PLEACH_VALUE_READ_PHASES)

  /// Reads bytes [from, from + length) to `to`; null: only checks them.
  /// REQUIRES: the range lies in the value; the caller's grant covers txn::extent_chunk_blocks.
  void prepare(context& c, const value_reference& ref, u64 from, u64 length, std::byte* to);
  /// Reads only the map of a value that has one.
  void prepare_map(context& c, const value_reference& ref);
  /// The map of the last value read; until the next `prepare` of another reference.
  const value_map& map() const { return *map_; }
  sm::step tick(phase p) noexcept;

 private:
  sm::step init();
  sm::step map_read();
  sm::step data();
  sm::step data_read();
  static bool visit(void* self, u64 offset, cbytes blocks);
  bool take(u64 at, cbytes blocks);
  void copy(u64 at, cbytes data);

  context* ctx_ = nullptr;
  value_reference ref_{};
  value_reference mapped_{};  ///< what map_ was read from
  u64 from_ = 0, length_ = 0;
  std::byte* to_ = nullptr;
  bool map_only_ = false;
  u64 next_ = 0, end_ = 0;  ///< blocks of the value: read next, read until
  u64 piece_ = 0;           ///< first block of the present piece
  u32 piece_blocks_ = 0;
  u64 sum_ = 0;  ///< of the present chunk so far
  std::unique_ptr<value_map> map_;
  std::unique_ptr<hash64_stream> hash_;
  std::vector<std::byte> map_bytes_;
  txn::extent_op extent_op_;
};

}  // namespace pleach::btree
