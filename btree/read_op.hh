// Reads of one record: get, slant up and down, next, prev, min, max, and the page copy of a cursor.
//
//     find(key, direction):
//       if the caller's cookie names a leaf that covers key: page = that leaf; goto leaf
//       restart: page = root
//       until page is a leaf:
//         if page does not cover key: goto restart            # a split or unlink went by
//         page = child of page that holds key
//         if page is not resident:
//           if there is no grant yet, nor at once: await grant; goto restart
//           await load
//         a comparison with a stub that bytes do not decide: await it; goto restart
//       leaf: if it has no record in the direction:
//         upwards, if its right hint is good: page = that leaf, from its first record; goto leaf
//         key = its fence in that direction; goto restart      # or not_found at the tree's edge,
//                                                              # or at the caller's bound
//       a long key that is wanted, or a fence that is one: await its load; goto restart
//       copy the record out; await the extent if the value is indirect
//
// A step of a sequence also starts the loads of the leaves that come next (read_ahead.hh): when it
// waits for a leaf, or has copied its record.
//
// A descent over resident pages pins nothing and waits for nothing. A leaf validates itself
// (generation, fences), so nothing above it is looked at again. A page that fails to load is
// reported only if a new descent finds the same reference again.
//
// I1 A load starts in the tick in which the descent met its reference (page_cache.hh, I6).
#pragma once

#include <string>

#include "btree/cookie.hh"
#include "btree/key_op.hh"
#include "btree/read_ahead.hh"
#include "btree/tree.hh"
#include "btree/value_read_op.hh"

namespace pleach::btree {

enum class seek : u8 {
  EXACT,
  AT_LEAST,  ///< >=
  AFTER,     ///< >
  AT_MOST,   ///< <=
  BEFORE,    ///< <
  LAST,      ///< the greatest key
};

/// A copy of the leaf that a cursor stands in. Valid while `source` has content version `version`.
struct leaf_copy {
  std::byte* bytes = nullptr;  ///< room for one largest page, the cursor's
  u32 size = 0;
  u32 index = 0;
  cache::descriptor* source = nullptr;
  page_addr addr;
  u64 version = 0;
  const context* of = nullptr;
  u64 opening = 0;  ///< of `of`, then
  /// A freed or evicted page keeps its versions until its descriptor is used again: only a resident
  /// one counts. One that was cut off its tree stays as it is for a while.
  /// REQUIRES: the store is open.
  bool current() const {
    return source && source->resident() && source->content_version == version &&
           source->addr == addr && of->opening == opening;
  }
};

/// A range of a value, instead of all of it.
struct value_range {
  u64 offset = 0;
  bytes to;       ///< the caller's
  u64 got = 0;    ///< bytes copied; less than asked for only at the value's end
  u64 total = 0;  ///< bytes of the value
  /// A reader of one value: set by its first read; a later one that meets another value is a
  /// `conflict`.
  bool pinned = false;
  value_reference value{};  ///< see identify()
};

#define PLEACH_READ_PHASES(X)                                \
  X(INIT, NOWAIT, DOWN, CLEANUP)                             \
  X(DOWN, NOWAIT, RESTART, ADMIT, LOAD, KEY, FOUND, CLEANUP) \
  X(RESTART, WAIT, DOWN, CLEANUP)                            \
  X(ADMIT, WAIT, DOWN)                                       \
  X(LOAD, WAIT, LOADED)                                      \
  X(LOADED, NOWAIT, DOWN, RESTART, CLEANUP)                  \
  X(KEY, WAIT, KEY, KEY_READ, CLEANUP)                       \
  X(KEY_READ, NOWAIT, DOWN, CLEANUP)                         \
  X(FOUND, NOWAIT, FOUND, DOWN, KEY, EXTENT, CLEANUP)        \
  X(EXTENT, WAIT, EXTENT, EXTENT_READ, CLEANUP)              \
  X(EXTENT_READ, NOWAIT, DOWN, CLEANUP)                      \
  X(CLEANUP, NOWAIT, DONE)                                   \
  X(DONE, NOWAIT)

class read_op final : public sm::machine<read_op> {
 public:
  PLEACH_PHASES("read", PLEACH_READ_PHASES)

  /// Where the result goes; null members are not wanted. `exists` alone: all null.
  struct sink {
    std::string* key = nullptr;
    std::string* value = nullptr;
    leaf_copy* copy = nullptr;
    value_range* range = nullptr;
    /// Sees the value where it lies, in the node, or in `value`, which must be there, if it is an
    /// extent; `value` is used for nothing else then. False: the read ends with `callback_failed`.
    bool (*see)(void* datum, cbytes value) = nullptr;
    void* datum = nullptr;
    u8* user_flags = nullptr;  ///< of the record (record_extras.hh)
  };
  /// `key` belongs to the caller until DONE, and so does `near` (may be null): a cookie of an
  /// earlier operation, which will remember the leaf where this one ends.
  void prepare(tree& t, seek mode, cbytes key, const sink& to, leaf_cookie* near = nullptr);
  /// Not every record counts: upwards only those below `limit`, downwards only those at or over it;
  /// not_found otherwise. No leaf behind the limit is read. After `prepare`; the caller's until
  /// DONE.
  void bound(cbytes limit) {
    bound_ = limit;
    bounded_ = true;
  }
  /// This step is one of a sequence: the leaves that follow are loaded ahead. After `prepare`; the
  /// caller's until DONE.
  void follow(read_ahead& sequence) { ahead_ = &sequence; }
  /// Page that a `corrupt` or `io` is about.
  page_addr bad_page() const { return bad_; }
  /// REQUIRES: done with ok; the value, or a range of it, was read, and has a map.
  const value_map& map() const { return value_op_.map(); }
  sm::step tick(phase p) noexcept;

 private:
  sm::step init();
  sm::step down();
  sm::step restart();
  u64 units() const;
  sm::step absent(page_ref ref);
  sm::step admit();
  sm::step load();
  sm::step loaded();
  sm::step key();
  sm::step key_read();
  sm::step found();
  sm::step extent();
  sm::step extent_read();
  sm::step cleanup();

  cache::descriptor* by_cookie();
  sm::step give_up_or_restart();
  sm::step move_to_fence(const node_view& leaf);
  cache::descriptor* by_hint(const node_view& leaf);
  bool follow_fence(cbytes fence);
  long_keys& long_parts();
  key_probe* probe() const { return is_long(key_) ? &long_->probe : nullptr; }
  key_probe* bound_probe() const { return is_long(bound_) ? &long_->bound : nullptr; }
  bool downward() const {
    return mode_ == seek::AT_MOST || mode_ == seek::BEFORE || mode_ == seek::LAST;
  }
  bool out_of_bound(const node_view& leaf, u32 index) const;
  errc deliver(const node_view& leaf, u32 index);
  errc deliver_range(const record& rec);
  errc show(cbytes value) const;
  void load_ahead();

  tree* tree_ = nullptr;
  seek mode_ = seek::EXACT;
  bool below_ = false;      ///< look for the page that holds the keys just below key_
  bool rightmost_ = false;  ///< key_ is +infinity
  bool bounded_ = false;
  cbytes key_, bound_;
  sink to_;
  leaf_cookie* near_ = nullptr;
  bool near_tried_ = false;
  bool hinted_ = false;  ///< `page_` is the leaf behind the one that the descent came to
  bool passed_ = false;  ///< the descent came to a leaf, or its reference, from its parent
  read_ahead* ahead_ = nullptr;
  cache::descriptor* page_ = nullptr;  ///< where the descent stands within this tick
  cache::descriptor* held_ = nullptr;  ///< pinned: the page that was waited for
  page_ref need_, suspect_;
  u64 opening_ = 0;  ///< the context's when the descent began
  page_addr bad_;
  sm::claim grant_;
  u32 restarts_ = 0;
  u32 moves_ = 0;  ///< to the next leaf, for want of a record, in a tree with a comparator
  value_read_op value_op_;
  value_reference reference_;
  std::unique_ptr<long_keys> long_;
  std::byte fence_[max_stored_key_bytes];
};

}  // namespace pleach::btree
