// An operation: a state machine that runs until it would have to wait, stops, and goes on later.
//
// What it is not: it owns no I/O buffer (those belong to frames, the log and devices, so an I/O may
// outlive the op that asked for it), it allocates nothing, and it knows no coroutine, fiber or
// thread: those faces are completions.
//
// I1 An op is in at most one queue at a time: a run queue or one wait queue.
// I2 An op that is neither idle nor DONE is not destroyed (destroying it aborts).
// I3 The completion runs from the reactor's loop, once, and is the last thing the engine does with
//    the op.
// I4 A cancelled wait resumes at CLEANUP with the code of the cancellation. Only waiting ops can be
//    cancelled at once; for a running or ready op the request is taken at its next wait.
//
// Thread rule: every member is called on the thread that polls the reactor, unless said otherwise.
#pragma once

#include <type_traits>

#include "be/base/error.hh"
#include "be/base/list.hh"
#include "be/sm/machine.hh"

namespace pleach::sm {

class op;
class reactor;

/// What a phase function returns.
struct step {
  enum kind : u8 { GO, WAIT, YIELD };
  kind what;
  u8 next;
};

/// Outcome of an op, of reads too. `lsn` = the newest group whose effect the op has seen or made.
struct outcome {
  errc code = errc::ok;
  lsn_t lsn = lsn_none;
};

/// An entry of the reactor's timer heap. The callback runs from the reactor's loop.
struct timer {
  u64 at_ns = 0;         ///< absolute, monotonic
  u32 heap_index = ~0u;  ///< ~0 = not armed
  u64 sequence = 0;      ///< ties in order of arming
  void (*fire)(timer&) = nullptr;
  bool armed() const { return heap_index != ~0u; }
};

class op {
 public:
  using completion = void (*)(op&, void* datum);

  op(const op&) = delete;
  op& operator=(const op&) = delete;

  const machine_info& machine() const { return *machine_; }
  u8 phase_index() const { return phase_; }
  bool idle() const { return state_ == state::IDLE; }
  bool done() const { return state_ == state::DONE; }
  bool waiting() const { return state_ == state::WAITING; }
  /// RETURNS: the reason of the present wait ("page load", "log credit", ...), or null if it does
  /// not wait.
  const char* waiting_for() const {
    return !waiting() ? nullptr : wait_reason_ ? wait_reason_ : "an event";
  }

  /// The sub-op at the end of the chain that this op waits for; itself if it waits for none.
  const op& innermost() const { return child_ == nullptr ? *this : child_->innermost(); }

  outcome out;   ///< valid once DONE
  u64 tag = 0;   ///< the caller's own; the engine never reads it

  /// Called when the op is DONE. Set before the start.
  /// REQUIRES: idle().
  void on_done(completion fn, void* datum) {
    completion_ = fn;
    datum_ = datum;
  }
  /// Absolute monotonic deadline in ns, 0 = none; `timed_out` if it passes while the op waits.
  /// REQUIRES: idle().
  void deadline(u64 at_ns) { deadline_.at_ns = at_ns; }

  /// Asks the op to end at its present or next wait (or yield) with `code`. The first request
  /// counts. No effect on an op that is idle, DONE, has no CLEANUP or is in a phase of its table
  /// from CLEANUP on. A wait for a sub-op cancels the sub-op and ends when that is DONE.
  void cancel(errc code = errc::cancelled);

  /// Makes a DONE op idle again, for another start: outcome and deadline are cleared, completion
  /// and tag stay.
  /// REQUIRES: done() and its completion runs or has run, or idle().
  void reset();

 protected:
  explicit op(const machine_info& m) : machine_(&m) { deadline_.owner = this; }
  virtual ~op();

  reactor& loop() const { return *reactor_; }
  bool cancel_requested() const { return cancel_code_ != errc::ok; }

 private:
  friend class reactor;
  friend class wait_queue;
  template <class>
  friend class machine;

  enum class state : u8 { IDLE, READY, RUNNING, WAITING, DONE };

  struct deadline_timer : timer {
    op* owner = nullptr;
  };

  /// Sends the op to CLEANUP with the code of the cancellation.
  void take_cancel();

  /// Runs phases until the op waits or is DONE.
  virtual void run() noexcept = 0;

  const machine_info* machine_;
  reactor* reactor_ = nullptr;
  op* parent_ = nullptr;  ///< waits for this op (this op is its sub-op)
  op* child_ = nullptr;   ///< the sub-op that this op waits for
  completion completion_ = nullptr;
  void* datum_ = nullptr;
  const char* wait_reason_ = nullptr;
  list_link link_;       ///< run queue, wait queue or completions
  list_link alive_link_; ///< ops that have waited and are not DONE
  deadline_timer deadline_;
  errc cancel_code_ = errc::ok;
  u8 phase_ = 0;
  state state_ = state::IDLE;
  bool cancellable_ = true;        ///< the phase that waits (or start) stands before CLEANUP
  bool cancel_on_resume_ = false;  ///< cancelled while it waited for a sub-op
  bool background_ = false;  ///< runs in the page daemon's guaranteed share of each round
};

/// FIFO of ops that wait for one thing; `what` is what a person reads as the reason.
class wait_queue {
 public:
  explicit wait_queue(const char* what) : what_(what) {}
  bool empty() const { return ops_.empty(); }
  const char* what() const { return what_; }
  /// Puts the running `o` at the end (or the front); it must then return `wait(...)`.
  void enter(op& o);
  void enter_front(op& o);
  op* first() { return ops_.first(); }
  /// Makes the first / every waiting op ready. The op resumes from the run queue, never inside.
  void wake_one();
  void wake_all();

 private:
  friend class op;
  list<op, &op::link_> ops_;
  const char* what_;
};

}  // namespace pleach::sm
