// What recovery would still need, beyond the pages that are dirty now: the recovery LSNs of freed
// pages, of images written and not flushed, and of flushes in flight. (Images not yet written carry
// their own.)
//
// I1 A recovery LSN given to `written` counts until a flush that was submitted later has completed.
// I2 A recovery LSN given to `freed` counts until the freeing group is durable.
// I3 A flush that finds no slot covers nothing: what waits stays unflushed until a later one.
#pragma once

#include <algorithm>

#include "be/base/assert.hh"
#include "be/base/types.hh"

namespace pleach::cache {

class recovery_marks {
 public:
  void written(lsn_t rec) { unflushed_ = least(unflushed_, rec); }
  bool unflushed() const { return unflushed_ != 0; }
  bool flushing() const {
    return std::any_of(std::begin(flushes_), std::end(flushes_), [](auto& f) { return f.token; });
  }

  u64 flush_submitted() {
    if (unflushed_ == 0) return 0;
    for (flush& f : flushes_) {
      if (f.token != 0) continue;
      f = {++last_token_, unflushed_};
      unflushed_ = 0;
      return f.token;
    }
    return 0;
  }
  /// RETURNS: whether anything was covered.
  bool flush_completed(u64 token) {
    if (token == 0) return false;
    for (flush& f : flushes_)
      if (f.token == token) {
        f = {};
        return true;
      }
    return false;
  }

  void freed(lsn_t by, lsn_t rec) {
    // Groups that are not durable are few; if they are not, the last slot stands for several.
    u32 i = 0;
    while (i + 1 < freed_slots && freed_[i].by != 0 && freed_[i].by != by) ++i;
    freed_[i] = {std::max(freed_[i].by, by), least(freed_[i].rec, rec)};
  }
  /// RETURNS: whether anything was released.
  bool durable(lsn_t upto) {
    bool any = false;
    for (freed_pages& f : freed_)
      if (f.by != 0 && f.by <= upto) {
        f = {};
        any = true;
      }
    return any;
  }
  bool any_freed() const {
    return std::any_of(std::begin(freed_), std::end(freed_), [](auto& f) { return f.by != 0; });
  }

  lsn_t min() const {
    lsn_t m = unflushed_;
    for (const flush& f : flushes_) m = least(m, f.rec);
    for (const freed_pages& f : freed_) m = least(m, f.rec);
    return m;
  }
  /// The smaller of two LSNs, where 0 is "none".
  static lsn_t least(lsn_t a, lsn_t b) { return a == 0 ? b : b == 0 ? a : std::min(a, b); }

 private:
  struct flush {
    u64 token = 0;
    lsn_t rec = 0;
  };
  struct freed_pages {
    lsn_t by = 0;
    lsn_t rec = 0;
  };
  static constexpr u32 freed_slots = 32;

  lsn_t unflushed_ = 0;
  u64 last_token_ = 0;
  flush flushes_[8];
  freed_pages freed_[freed_slots];
};

}  // namespace pleach::cache
