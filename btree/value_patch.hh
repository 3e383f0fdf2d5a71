// Changes a range of a value that is there, or appends to it.
//
//     write(patch, data, commit):
//       the first time:
//         await the value's reference, and its map if it has one
//         start = the beginning of the chunk where the range begins; of a value without a map, 0
//         await read of [start, where the range begins); append it to the draft
//       await append of data to the draft
//       if commit:
//         end = the end of the chunk where the range ends, or the value's end
//         await read of [where the range ends, end); append it to the draft
//         await the draft's seal                       # the other runs are shared (value_draft.hh)
//         await an upsert of it, only over the value that was read
//
// So what is written of a large value is the range and at most two chunks. Memory: the bytes before
// or behind the range that are copied, at most a chunk, or all of a value without a map (1 MiB).
//
// In a tree with digests all of the value is read and written anew, a piece at a time: its content
// hash takes all of its bytes.
//
// I1 All reads are of one value: the first pins it, and the upsert is `conflict` over another one.
// I2 A patch that failed takes no more: what it has reserved goes back when its draft does.
#pragma once

#include "btree/read_op.hh"
#include "btree/value_draft.hh"
#include "btree/write_op.hh"

namespace pleach::btree {

inline constexpr u64 value_end = ~u64{0};

/// A patch on its way. The caller's, like its draft.
struct value_patch {
  tree* t = nullptr;
  cbytes key;
  u64 at = 0;  ///< first byte that changes; value_end until the length is known: append
  value_draft draft;

  // the op's
  value_range value;  ///< pinned by the first read
  bool based = false;
  u64 start = 0;  ///< of the value, where the draft begins
  u64 given = 0;  ///< bytes of the caller
  std::vector<std::byte> copied;
  u64 copy_end = 0;  ///< copying goes on until there
  read_op reader;
  draft_op writer;
  write_item item;
  write_op commit;

  /// The value ends here if nothing more comes.
  u64 end() const { return std::max(at + given, value.total); }
  bool has_map() const { return draft.patches(); }
};

#define PLEACH_PATCH_PHASES(X)                         \
  X(INIT, NOWAIT, FIND, DATA, CLEANUP)                 \
  X(FIND, WAIT, FOUND, CLEANUP)                        \
  X(FOUND, NOWAIT, READ, DATA, CLEANUP)                \
  X(READ, WAIT, COPY, CLEANUP)                         \
  X(COPY, WAIT, COPIED, CLEANUP)                       \
  X(COPIED, NOWAIT, READ, DATA, SEAL, COMMIT, CLEANUP) \
  X(DATA, WAIT, WRITTEN, CLEANUP)                      \
  X(WRITTEN, NOWAIT, READ, SEAL, COMMIT, CLEANUP)      \
  X(SEAL, WAIT, COMMIT, CLEANUP)                       \
  X(COMMIT, WAIT, CLEANUP)                             \
  X(CLEANUP, NOWAIT, DONE)                             \
  X(DONE, NOWAIT)

class patch_op final : public sm::machine<patch_op> {
 public:
  PLEACH_PHASES("patch", PLEACH_PATCH_PHASES)

  /// `data` follows what was given before; the caller's until DONE.
  void prepare(value_patch& p, cbytes data);
  /// No more follows: makes the change visible.
  void prepare_commit(value_patch& p, bool durable);
  page_addr bad_page() const;
  length_fault wrong_length() const { return patch_->commit.wrong_length(); }
  sm::step tick(phase p) noexcept;

 private:
  sm::step init();
  sm::step find();
  sm::step found();
  sm::step read();
  sm::step copy();
  sm::step copied();
  sm::step data();
  sm::step written();
  sm::step seal();
  sm::step commit();
  sm::step cleanup();
  sm::step close();
  static constexpr u64 piece_bytes = 1 << 20;
  sm::step copy_range(u64 from, u64 to);
  void prepare_read();

  value_patch* patch_ = nullptr;
  cbytes data_;
  bool commit_ = false, durable_ = true;
  bool behind_ = false;  ///< what is copied is what follows the range
};

}  // namespace pleach::btree
