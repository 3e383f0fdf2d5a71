// A large value on its way into a store: what is written of it so far, and the op that writes more.
//
//     append(draft, data, seal):
//       await grant (one chunk buffer, one bitmap page)
//       while there are whole chunks (or, sealing, anything):
//         if the last run is full: await space for another one   # shorter if space is in pieces
//         await write of what the run takes; remember the chunks' checksums
//       keep the rest, less than a chunk, in memory
//       if seal: give the end of the last run back; await space for the map; await its write
//
// Nothing refers to a draft before a write_op takes it in ACT: its runs are reserved in memory
// only, so a crash leaks nothing, and an abandoned draft gives all of it back. Between two appends
// it holds neither frames nor pins.
//
// A draft may also patch a value that has a map: then it holds only the chunks that change, and
// sealing it makes a map of them and of the runs before and behind, which old and new value share.
// (Copy on write: nothing of a value that is there is ever written over.)
//
// I1 written() is a multiple of the chunk until the draft is sealed; every byte below it is on the
//    device (not flushed: the group that refers to it is).
// I2 A draft that failed or was cancelled half-way takes no more: `broken`.
#pragma once

#include <memory>

#include "be/base/checksum.hh"
#include "btree/tree.hh"
#include "btree/value_map.hh"
#include "txn/alloc_op.hh"
#include "txn/extent_op.hh"

namespace pleach::btree {

class value_draft {
 public:
  value_draft() = default;
  value_draft(const value_draft&) = delete;
  ~value_draft();  // REQUIRES: taken, abandoned or given back

  /// `expected`: bytes of the whole value, 0 if unknown; a wrong number costs only time.
  /// `content`: the hash of all of it will be asked for.
  void begin(context& c, tree_id_t tree, cbytes key, u64 expected, bool content = false);
  /// What is appended is to replace the bytes of the value `base` of the same key from `from` on;
  /// the value may become longer. After `begin` without `content`, once.
  /// REQUIRES: `from` is at a chunk of the value, or its end is. Before sealing, what was appended
  /// must end at a chunk of `map`, at its end, or behind it.
  void patch(const value_reference& base, const value_map& map, u64 from);
  /// RETURNS: bytes appended so far; sealed, of the whole value.
  u64 length() const { return map_.length; }
  /// True once anything of it is on the device or reserved there.
  bool outside() const { return !map_.runs.empty() || sealed_; }
  bool sealed() const { return sealed_; }
  errc broken() const { return broken_; }
  /// It takes no more: appends fail with `why`.
  void give_up(errc why) {
    if (is_ok(broken_)) broken_ = why;
  }
  /// RETURNS: all of a draft that is not `outside` yet; valid until the next append.
  cbytes small() const { return {tail_.get(), tail_bytes_}; }

  // --- sealed ---
  page_addr map_run() const { return kept_map_.front(); }
  const value_map& map() const { return map_; }
  /// Runs of the map that the draft itself has reserved and written: all, if it is no patch.
  const std::vector<page_addr>& own_runs() const { return spliced() ? base_->own : map_.runs; }
  value_reference reference(generation_t gen) const;
  /// RETURNS: XXH3-64 of the value.
  /// REQUIRES: it was begun with `content`.
  u64 content() const { return content_->value(); }
  bool patches() const { return base_ != nullptr; }
  /// Of a patch: the value that it changes, and those of its runs that the new one has not.
  const value_reference& base() const { return base_->reference; }
  const std::vector<page_addr>& replaced() const { return base_->replaced; }

  /// The store refers to it now.
  void taken();
  /// Gives the reservations back.
  /// REQUIRES: the engine lives.
  void give_back();
  /// The engine is gone, and its reservations with it.
  void abandon() { taken(); }

 private:
  friend class draft_op;

  struct patched {
    value_reference reference;
    value_map map;
    u64 from = 0;
    std::vector<page_addr> own, replaced;
    bool spliced = false;
  };
  bool spliced() const { return base_ && base_->spliced; }
  void splice();

  context* ctx_ = nullptr;
  std::unique_ptr<patched> base_;
  value_map map_;
  u64 expected_ = 0;
  u64 written_ = 0;
  u64 room_ = 0;  ///< blocks of all runs
  std::vector<page_addr> kept_map_;
  u64 map_checksum_ = 0;
  std::unique_ptr<hash64_stream> content_;  ///< of the first written_ bytes; null: not wanted
  std::unique_ptr<std::byte[]> tail_;  ///< what is appended beyond written_, less than a chunk
  u32 tail_bytes_ = 0;
  u32 run_blocks_ = 0;  ///< length of run to ask for; shorter once space turned out to be in pieces
  bool sealed_ = false;
  errc broken_ = errc::ok;
};

#define PLEACH_DRAFT_PHASES(X)               \
  X(INIT, NOWAIT, ADMIT, CLEANUP)            \
  X(ADMIT, WAIT, NEXT, CLEANUP)              \
  X(NEXT, NOWAIT, SPACE, WRITE, CLEANUP)     \
  X(SPACE, WAIT, SPACED, CLEANUP)            \
  X(SPACED, NOWAIT, NEXT, SPACE, CLEANUP)    \
  X(WRITE, WAIT, WRITTEN, CLEANUP)           \
  X(WRITTEN, NOWAIT, NEXT, CLEANUP)          \
  X(CLEANUP, NOWAIT, DONE)                   \
  X(DONE, NOWAIT)

class draft_op final : public sm::machine<draft_op> {
 public:
  PLEACH_PHASES("draft", PLEACH_DRAFT_PHASES)

  /// Appends `data` (the caller's until DONE); `seal`: the value, which is not empty, ends with it.
  void prepare(value_draft& d, cbytes data, bool seal);
  sm::step tick(phase p) noexcept;

 private:
  sm::step init();
  sm::step next();
  sm::step space();
  sm::step spaced();
  sm::step write();
  sm::step written();
  sm::step cleanup();
  u32 run_to_ask_for() const;
  void fill_tail();

  value_draft* draft_ = nullptr;
  cbytes data_;
  bool seal_ = false;
  cbytes piece_;
  bool from_tail_ = false;
  std::vector<std::byte> map_bytes_;
  txn::space_need need_{};
  txn::space_claim claim_;
  sm::claim grant_;
  txn::alloc_op alloc_op_;
  txn::extent_op extent_op_;
};

}  // namespace pleach::btree
