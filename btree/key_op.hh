// Reads the extent of a long key: to compare it with a key, or to have all of it.
//
//     read(extent):
//       for chunk of the extent: await its read; compare or copy; hash
//       the hash is not that of the reference: corrupt
//
// `corrupt` may mean that the key was deleted and its blocks used again: as for values, the caller
// looks again, and only the same reference twice is damage.
#pragma once

#include <memory>
#include <string>

#include "be/base/checksum.hh"
#include "btree/tree.hh"
#include "txn/extent_op.hh"

namespace pleach::btree {

#define PLEACH_KEY_PHASES(X)     \
  X(INIT, NOWAIT, READ, CLEANUP) \
  X(READ, WAIT, JUDGE, CLEANUP)  \
  X(JUDGE, NOWAIT, CLEANUP)      \
  X(CLEANUP, NOWAIT, DONE)       \
  X(DONE, NOWAIT)

class key_op final : public sm::machine<key_op> {
 public:
  PLEACH_PHASES("key", PLEACH_KEY_PHASES)

  /// Answers the question of the probe, which lives until DONE.
  /// REQUIRES: probe.asks(); the caller's grant covers txn::extent_chunk_blocks.
  void prepare_compare(context& c, key_probe& probe);
  /// `to`, the caller's until DONE, becomes the key. The same REQUIRES.
  void prepare_load(context& c, const value_reference& extent, std::string& to);
  const value_reference& extent() const { return extent_; }
  sm::step tick(phase p) noexcept;

 private:
  void prepare(context& c, const value_reference& extent);
  sm::step init();
  sm::step judge();
  static bool visit(void* self, u64 offset, cbytes blocks);

  context* ctx_ = nullptr;
  value_reference extent_{};
  key_probe* probe_ = nullptr;
  std::string* to_ = nullptr;
  int sign_ = 0;  ///< of what was read so far <=> the beginning of the probe's key
  std::unique_ptr<hash64_stream> hash_;
  txn::extent_op extent_op_;
};

/// What an op reads of long keys, one after the other, before it searches again; and the last key
/// that it has loaded.
class key_reader {
 public:
  /// RETURNS: whether `key` is the key of the extent; if not, it is what is loaded next.
  bool have(const value_reference& extent);
  /// The key that was loaded last.
  std::string& key() { return key_; }
  void forget() { wanted_ = loaded_ = {}; }
  void drop_wish() { wanted_ = {}; }
  bool wants() const { return wanted_.length != 0; }
  /// RETURNS: the op that answers the probe that asks, or loads what is wanted.
  /// REQUIRES: one of them; and those of key_op.
  sm::op& next(context& c, key_probe* first, key_probe* second = nullptr);
  /// After it: takes what it found.
  /// RETURNS: its code; if it is not ok, what was needed is forgotten.
  errc take();
  /// What was read last.
  page_ref extent() const { return {page_addr(op_.extent().run), op_.extent().gen}; }

 private:
  key_probe* asked_ = nullptr;
  value_reference wanted_{}, loaded_{};
  std::string key_;
  key_op op_;
};

/// What an op that walks through a tree needs only where long keys take part in it.
struct long_keys {
  key_probe probe, bound;  ///< of the key that it seeks, and of the end of its range
  key_reader reader;
  std::string fence;  ///< the key that it seeks, after a move to a long fence

  /// `key`, and the probe, become the key of a stub, such as a fence.
  /// RETURNS: false if it must be loaded first.
  bool follow(cbytes stub, cbytes& key);
};

}  // namespace pleach::btree
