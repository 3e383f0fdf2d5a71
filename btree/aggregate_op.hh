// Questions to a counted tree that its aggregates answer on the way down: the sum of a range (so
// its count, the rank of a key, its digest), the record at an index, a key that divides a range.
//
//     ask:
//       descend over resident pages, from the root, in one tick:
//         a child that lies in the range as a whole: its aggregate
//         at most two that its bounds cut: go down
//       a page is not there: pin what the descent has met; await grant (once); await load;
//         descend again from the root
//       a comparison with a stub that bytes do not decide, or a long key that is to be the answer:
//         await its extent; descend again from the root
//       select: copy the record out; await the extent if the value is indirect
//
// The answer is that of one moment: the last descent meets resident pages only. What it needs stays
// pinned until then, so each load brings it a page nearer to its end.
//
// I1 Pins are pages of the last descent only, and the one that is loaded: at most two paths. They
//    and no others are what the grant is for; a grant that is too small is given back, with all
//    pins, before a larger one is asked for.
#pragma once

#include <string>

#include "btree/aggregate.hh"
#include "btree/key_op.hh"
#include "btree/value_read_op.hh"

namespace pleach::btree {

#define PLEACH_AGGREGATE_PHASES(X)                   \
  X(INIT, NOWAIT, DOWN, CLEANUP)                     \
  X(DOWN, NOWAIT, ADMIT, LOAD, KEY, EXTENT, CLEANUP) \
  X(ADMIT, WAIT, DOWN)                               \
  X(LOAD, WAIT, LOADED)                              \
  X(LOADED, NOWAIT, DOWN, AGAIN, CLEANUP)            \
  X(AGAIN, WAIT, DOWN)                               \
  X(KEY, WAIT, KEY, KEY_READ, CLEANUP)               \
  X(KEY_READ, NOWAIT, DOWN, CLEANUP)                 \
  X(EXTENT, WAIT, EXTENT, EXTENT_READ, CLEANUP)      \
  X(EXTENT_READ, NOWAIT, DOWN, CLEANUP)              \
  X(CLEANUP, NOWAIT, DONE)                           \
  X(DONE, NOWAIT)

class aggregate_op final : public sm::machine<aggregate_op> {
 public:
  PLEACH_PHASES("aggregate", PLEACH_AGGREGATE_PHASES)

  /// The sum of the keys in [from, to); `to` null: no upper bound. Both are the caller's until
  /// DONE.
  /// ERRORS: not_counted if the tree has no aggregates, or no digests and `digest` is asked for.
  void prepare_sum(tree& t, cbytes from, const cbytes* to, bool digest);
  /// The record with `index` others below it. `value` may be null.
  /// ERRORS: not_found, not_counted.
  void prepare_select(tree& t, u64 index, std::string& key, std::string* value);
  /// A separator of the tree strictly between `from` and `to` with about half of the range's
  /// records on either side.
  /// ERRORS: not_found: the range lies in one leaf.
  void prepare_middle(tree& t, cbytes from, const cbytes* to, std::string& key);

  /// RETURNS: the sum that was asked for; digest zero if it was not.
  const aggregate& sum() const { return sum_; }
  page_addr bad_page() const { return bad_; }
  sm::step tick(phase p) noexcept;

 private:
  enum class question : u8 { SUM, SELECT, MIDDLE };
  enum class found : u8 { YES, NO, MISSING, UNSOUND, UNREAD };
  // MISSING: `need_` is not resident. UNREAD: a long key must be read first.

  void prepare(tree& t, question q, cbytes from, const cbytes* to);
  sm::step init();
  sm::step down();
  sm::step load();
  sm::step loaded();
  sm::step key();
  sm::step key_read();
  sm::step extent();
  sm::step extent_read();
  sm::step cleanup();

  cache::descriptor* visit(page_ref ref);
  found add(page_ref ref, const cbytes* from, const cbytes* to);
  found select();
  found middle();
  void unpin_all();
  bool take_key(const node_view& n, u32 index);
  bool must_read();
  bool keep_grant(u64 units);
  key_probe* from_probe() const { return is_long(from_) ? &long_->probe : nullptr; }
  key_probe* to_probe() const { return is_long(to_) ? &long_->bound : nullptr; }
  long_keys& long_parts();

  tree* tree_ = nullptr;
  question question_ = question::SUM;
  bool bounded_ = false, digest_ = false;
  cbytes from_, to_;
  u64 index_ = 0;
  std::string* key_ = nullptr;
  std::string* value_ = nullptr;
  aggregate sum_;
  bool indirect_ = false;
  value_reference reference_;
  value_read_op value_op_;
  std::unique_ptr<long_keys> long_;

  cache::descriptor* met_[2 * max_height];  ///< pages of this tick's descent
  cache::descriptor* pins_[2 * max_height + 1];
  u32 met_count_ = 0, pin_count_ = 0;
  u64 met_units_ = 0;
  page_ref need_, suspect_;
  page_addr bad_;
  u64 ask_ = 0;
  u32 restarts_ = 0;
  sm::claim grant_;
};

}  // namespace pleach::btree
