// A fair shared/exclusive gate for ops: many pass together, or one alone, in order of arrival.
//
// What it is not: a lock between threads. It stands at the top of the order of waits: whoever waits
// here holds nothing that somebody inside may need.
//
//     step ENTER() {
//       if (!gate.try_exclusive(*this, hold)) return wait(ENTER, gate.what());
//       ...
//     step CLEANUP() { hold.release(); ...
//
// I1 Handed over, not raced for: an op is woken by the gate only after its hold says `held()`, so
//    nobody who arrived later passes in between, in whatever order ready ops run.
// I2 `release()` is right in every state of a hold: held, waiting (the wait was cancelled), granted
//    while the cancelled op was on its way to CLEANUP, or empty. So no cancellation leaves the gate
//    locked.
// I3 If somebody waits, somebody holds; the first waiter cannot enter beside the present holders.
#pragma once

#include "be/sm/op.hh"

namespace pleach::sm {

class gate;

/// An op's place at a gate; a member of the op, empty when the op is destroyed.
class gate_hold {
 public:
  gate_hold() = default;
  gate_hold(const gate_hold&) = delete;
  gate_hold& operator=(const gate_hold&) = delete;
  ~gate_hold() { PLEACH_ASSERT(gate_ == nullptr); }

  bool held() const { return gate_ != nullptr && !link_.linked(); }
  bool exclusive() const { return held() && exclusive_; }
  /// Leaves the gate or its queue. No effect on an empty hold.
  void release();

 private:
  friend class gate;
  gate* gate_ = nullptr;
  wait_queue waiter_{"gate"};  ///< the op, while it waits for this; a cancellation takes it out
  list_link link_;             ///< linked: stands in the gate's queue
  bool exclusive_ = false;
};

class gate {
 public:
  explicit gate(const char* what) : what_(what) {}
  ~gate() { PLEACH_ASSERT(!in_use()); }

  /// RETURNS: true if `h` holds the gate now; else it stands in the queue and the running `o` must
  /// return `wait(p)` (`o` is entered in a wait queue already). When `o` resumes at `p`, `h` is
  /// held; to call this again then is allowed and returns true.
  /// REQUIRES: `h` is empty, or was given to the same call before.
  bool try_shared(op& o, gate_hold& h) { return enter(o, h, false); }
  bool try_exclusive(op& o, gate_hold& h) { return enter(o, h, true); }

  bool in_use() const { return exclusive_ || shared_ != 0 || !queue_.empty(); }
  u32 shared_holders() const { return shared_; }
  bool held_exclusive() const { return exclusive_; }
  const char* what() const { return what_; }

 private:
  friend class gate_hold;
  bool enter(op& o, gate_hold& h, bool exclusive);
  bool admits(bool exclusive) const { return !exclusive_ && (!exclusive || shared_ == 0); }
  void take(bool exclusive);
  void admit();

  list<gate_hold, &gate_hold::link_> queue_;
  const char* what_;
  u32 shared_ = 0;
  bool exclusive_ = false;
};

}  // namespace pleach::sm
