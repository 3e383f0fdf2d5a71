// Long keys: those over max_inline_key_bytes. A node stores a *stub* of one: its first
// max_inline_key_bytes bytes, the stem, and the reference to an immutable extent that holds the
// whole key. What a node stores of other keys are their bytes. The length tells the two apart.
//
// Bytes decide every comparison but that of a long key with a stub of the same stem. For these a
// search asks the key's `key_probe`, which knows some answers; at the first one that it does not
// know the search has no result, and the op has the extent compared (key_op.hh) and searches again.
// Each search of a write that has a result tells the probe how all stubs of the node compare with
// the key. So within one tick of a transaction, in which nothing can be read, what was in the nodes
// on the way of the key is known, wherever splits put it; what the transaction itself brings there,
// `new_extents` knows.
//
// I1 An answer belongs to the reference as it is: extents are immutable, and no two references are
//    alike (each names the group that wrote it). It never becomes wrong.
// I2 The extent of a stub belongs to the leaf that has it in a record, or as its low fence, which
//    was the stub of a record of the leaf when it was split off. A leaf that has it as both frees
//    it with the last of the two. High fences and inner nodes only refer to it: there it is the low
//    fence of the leaf where that range begins, and goes when that does.
#pragma once

#include <unordered_map>

#include "btree/node_format.hh"

namespace pleach::btree {

/// Of a key as a node stores it.
inline bool is_stub(cbytes stored) {
  return stored.size() > max_inline_key_bytes;
}
inline bool is_long(cbytes key) {
  return key.size() > max_inline_key_bytes;
}
/// Bytes that a node stores of a key of this length, before it cuts the prefix off.
inline u32 stored_key_bytes(u64 key_bytes) {
  return static_cast<u32>(key_bytes > max_inline_key_bytes ? max_stored_key_bytes : key_bytes);
}
/// REQUIRES: is_stub(stored).
value_reference reference_of(cbytes stub);
inline bool same_extent(const value_reference& a, const value_reference& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}
/// Writes the stub of `key` to `out`, which has max_stored_key_bytes.
/// REQUIRES: is_long(key).
cbytes make_stub(cbytes key, const value_reference& extent, std::byte* out);
/// RETURNS: false for a reference that no stub has.
bool sound_key_reference(const value_reference& r);

/// May `a` stand before `b` in a node? (Of two stubs with one stem the bytes say nothing.)
bool may_precede(cbytes a, cbytes b);

/// Extents that a transaction brings in the way of the keys that are still to come in it. Its keys
/// have ranks: those that come first have the smaller ones, equal ones the same.
class new_extents {
 public:
  /// The key of this rank.
  void add_key(const value_reference& r, u32 rank) { extents_[r.run] = {r, rank, false}; }
  /// Less than the keys of this rank and of all behind it.
  void add_below(const value_reference& r, u32 rank) {
    extents_.try_emplace(r.run, entry{r, rank, true});
  }
  /// RETURNS: whether it tells how the extent compares with a key of this rank.
  bool compare(const value_reference& r, u32 rank, int& sign) const;

 private:
  struct entry {
    value_reference extent;
    u32 rank;
    bool below;
  };
  std::unordered_map<u64, entry> extents_;
};

/// What is known of how stubs compare with one key. Empty and unused for keys that are not long.
class key_probe {
 public:
  /// Forgets what it knew; `key`: the caller's while the probe is used. `others`: if it is the key
  /// of a write; they live as long.
  void begin(cbytes key, const new_extents* others = nullptr, u32 rank = 0);
  cbytes key() const { return key_; }

  /// Did the last searches ask what is not known? Then they have no results.
  bool asks() const { return question_.length != 0; }
  const value_reference& question() const { return question_; }
  /// The extent of the question <=> the key.
  void answer(int sign);
  /// The question is given up.
  void drop_question() { question_ = {}; }
  /// What is known already stays.
  void learn(const value_reference& r, int sign);

  /// For searches: the extent <=> the key. REQUIRES: they share the stem.
  int against(const value_reference& r);
  /// For searches: does it want to be told of all stubs of a node?
  bool is_of_write() const { return others_ != nullptr; }

 private:
  struct known {
    value_reference extent;
    int sign;
  };

  cbytes key_;
  const new_extents* others_ = nullptr;
  u32 rank_ = 0;
  std::unordered_map<u64, known> known_;  ///< by the run
  value_reference question_{};
};

inline bool asks(const key_probe* p) {
  return p != nullptr && p->asks();
}

/// A key as a node stores it <=> a key.
int compare_stored(cbytes stored, cbytes key, key_probe* probe);

}  // namespace pleach::btree
