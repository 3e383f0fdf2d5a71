// Latch hooks: where an access to a page's bytes begins and ends.
//
// An access is a bracket. It begins at `descriptor::reader()` (to read) or `txn::engine::write()`
// (to change) and ends with the step (be/sm/step_watch.hh); sooner if the page loses its frame, by
// `pin` or `take_spare`. Bytes are never touched outside of a bracket: no pointer into a page
// survives a step.
//
// With one reactor nothing runs beside a step, so a bracket has nothing to do: each hook is one
// predictable branch on a pointer that is null. Tests set the pointer: a checker
// (tests/support/latch_checker.hh) makes frames inaccessible outside of brackets, read-only inside
// those that read, and compares versions with bytes at the end of each.
//
// With several reactors on one store, optimistic latches (Leis et al., The ART of Practical
// Synchronization, 2016) would stand behind the same hooks, with `descriptor::latch` as the word:
//   read        notes descriptor and latch word in the step's read set; waits while it is locked
//   step_guard  locks the words of the pages that the step will change, in the order of addresses:
//               steps that guard cannot deadlock
//   try_more    one more page, out of order, so it is tried once: for steps that may be left out
//   end         of a step that guards: words count up and are unlocked; of a step that only read: a
//               word of the set that has changed means that the step is thrown away and run again
//               (RESTART), before its outcome leaves it
// What that would ask of the views: to stay inside the page whatever they read, as check_node does.
//
// I1 A page changes only in a bracket to change, and inside a step_guard only if that names the
//    page, try_more took it, or the step created it.
// I2 At the end of a bracket to change: bytes that differ have a new content_version; fences,
//    level or children that differ have a new structure_version.
#pragma once

#include "be/base/types.hh"
#include "be/sm/step_watch.hh"

namespace pleach::cache {

struct descriptor;

class latch_hooks : public sm::step_watch {
 public:
  virtual void read(const descriptor& d) = 0;
  /// Before the page's versions move and its bytes change.
  virtual void change(descriptor& d) = 0;
  /// The page loses the frame that it has now.
  virtual void left(const descriptor& d) = 0;

  /// The step will change this page; after the last of them `guarded`, which latches them in the
  /// order of their addresses.
  virtual void guard(descriptor& d) = 0;
  virtual void guarded() = 0;
  virtual void guard_ends() = 0;
  /// RETURNS: false if the page is not to be had without waiting.
  virtual bool try_more(descriptor& d) = 0;

  /// Memory that the cache itself or a device uses, not as a page: from `use` to `used`, which come
  /// in pairs.
  virtual void use(std::byte* at, u64 length) = 0;
  virtual void used(std::byte* at, u64 length) = 0;
  /// All frames of a cache, before the first use and after the last.
  virtual void arena_made(std::byte* base, u64 length) = 0;
  virtual void arena_gone(std::byte* base, u64 length) = 0;
};

/// Of this process, null in production. Set together with sm::watched_by, before a store is opened.
inline constinit latch_hooks* latch_watch = nullptr;

/// The cache's own use of a frame, within a function.
class frame_use {
 public:
  frame_use(std::byte* at, u64 length) : at_(at), length_(length) {
    if (latch_watch != nullptr) [[unlikely]]
      latch_watch->use(at_, length_);
  }
  ~frame_use() {
    if (latch_watch != nullptr) [[unlikely]]
      latch_watch->used(at_, length_);
  }
  frame_use(const frame_use&) = delete;
  frame_use& operator=(const frame_use&) = delete;

 private:
  std::byte* at_;
  u64 length_;
};

/// Opens ACT over the pages that it will change: `each(latch)` calls `latch(descriptor&)` for every
/// one of them, in any order, more than once if it likes. Pages that ACT creates need no latch.
class step_guard {
 public:
  template <class Each>
  explicit step_guard(Each&& each) {
    if (latch_watch != nullptr) [[unlikely]] {
      each([](descriptor& d) { latch_watch->guard(d); });
      latch_watch->guarded();
    }
  }
  ~step_guard() {
    if (latch_watch != nullptr) [[unlikely]]
      latch_watch->guard_ends();
  }
  step_guard(const step_guard&) = delete;
  step_guard& operator=(const step_guard&) = delete;
};

/// One more page inside a step_guard, for a change that may be left out.
/// RETURNS: false: leave it out.
inline bool try_latch(descriptor& d) {
  return latch_watch == nullptr || latch_watch->try_more(d);
}

}  // namespace pleach::cache
