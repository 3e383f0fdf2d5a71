// Counts the records of a key range, leaf by leaf, without looking at values.
//
//     count(from, to):
//       key = from
//       until key >= to:
//         await the leaf that covers key        # as in read_op: no pins while pages are resident
//         n += its records from key up to min(to, its high fence)
//         key = its high fence                  # of the last leaf: the end
//       (a comparison with a stub that bytes do not decide, and a long high fence: await its
//       extent before the leaf is counted)
//
// The leaves of a tree divide its keys without gap or overlap at every moment. The op divides the
// range by the fences that it meets, and counts each part in one tick; so a key that lives
// throughout is counted exactly once whatever splits and merges happen between two parts. It is no
// snapshot: of keys that come and go meanwhile some are counted.
//
// Leaves of one parent follow each other without a new descent within a tick, and are read ahead.
#pragma once

#include "btree/key_op.hh"
#include "btree/read_ahead.hh"

namespace pleach::btree {

#define PLEACH_COUNT_PHASES(X)                      \
  X(INIT, NOWAIT, DOWN, CLEANUP)                    \
  X(DOWN, NOWAIT, AGAIN, ADMIT, LOAD, KEY, CLEANUP) \
  X(AGAIN, WAIT, DOWN)                              \
  X(ADMIT, WAIT, DOWN)                              \
  X(LOAD, WAIT, LOADED)                             \
  X(LOADED, NOWAIT, DOWN, AGAIN, CLEANUP)           \
  X(KEY, WAIT, KEY, KEY_READ)                       \
  X(KEY_READ, NOWAIT, DOWN, AGAIN, CLEANUP)         \
  X(CLEANUP, NOWAIT, DONE)                          \
  X(DONE, NOWAIT)

class count_op final : public sm::machine<count_op> {
 public:
  PLEACH_PHASES("count", PLEACH_COUNT_PHASES)

  /// Keys in [from, to); `to` null: no upper bound. Both are the caller's until DONE.
  void prepare(tree& t, cbytes from, const cbytes* to);
  /// Records counted so far; all of the range once DONE with ok.
  u64 counted() const { return counted_; }
  page_addr bad_page() const { return bad_; }
  sm::step tick(phase p) noexcept;

 private:
  /// After this many leaves without a wait the others get their turn.
  static constexpr u32 leaves_per_tick = 64;

  sm::step init();
  sm::step down();
  sm::step load();
  sm::step loaded();
  sm::step key();
  sm::step key_read();
  sm::step cleanup();

  u64 units() const;
  enum class outcome : u8 { LEAF, ALL, NOTHING };  ///< NOTHING: a long key must be read first
  outcome count_leaf(const cache::descriptor& d);
  sm::step start_again();
  void let_go();

  tree* tree_ = nullptr;
  cbytes key_, to_;
  bool bounded_ = false;
  u64 counted_ = 0;
  u64 leaves_ = 0;                     ///< in a tree with a comparator: leaves that were counted
  cache::descriptor* held_ = nullptr;  ///< pinned: the page that was waited for
  page_ref need_, suspect_;
  u64 opening_ = 0;  ///< the context's when the descent began
  page_addr bad_;
  u32 restarts_ = 0;
  sm::claim grant_;
  read_ahead ahead_;
  key_probe* probe() const { return is_long(key_) ? &long_->probe : nullptr; }
  key_probe* bound_probe() const { return is_long(to_) ? &long_->bound : nullptr; }
  long_keys& long_parts();
  std::unique_ptr<long_keys> long_;
  std::byte fence_[max_stored_key_bytes];
};

}  // namespace pleach::btree
