// The executive: run queue, completions, timers, mailbox, pollers. One per store, one thread at a
// time.
//
// A round (`poll`) is: reap what devices completed; fire timers; take mail; run ready ops for at
// most one op plus `round_ns`; run completions; submit what was queued to devices in one system
// call each. It never blocks. `run_until` adds the only place that may sleep, and that through the
// environment.
//
// I1 User code (completions, posted calls) runs only inside `poll`/`run_until`, on the caller's
//    thread, never inside `start`, submit or reap.
// I2 After a round with work left, `event_fd` is readable and `next_timeout_ns` is 0: a host that
//    sleeps on either never sleeps over work.
// I3 Background ops (the page daemon, the log writer) get at least `background_share` of the ops of
//    a round, however long the foreground queue is.
// I4 A round in which nothing was found drains the eventfd: no busy loop on a spurious wake-up.
#pragma once

#include <vector>

#include "be/base/random.hh"
#include "be/sm/op.hh"
#include "be/sm/step_watch.hh"

namespace pleach::sm {

/// Time, sleep, randomness and forced rare paths. Core code has no other source of any of them.
/// `system_environment()` is the real one; the simulation has its own.
class environment {
 public:
  virtual ~environment() = default;
  virtual u64 mono_ns() = 0;
  virtual u64 real_ms() = 0;
  /// Sleeps until `fd` is readable or `timeout_ns` passed (-1: no limit). Tolerates EINTR.
  virtual void sleep(int fd, i64 timeout_ns) = 0;
  /// Seed of a stream; the same seed gives the same run.
  virtual u64 seed() = 0;
  /// Rare paths made common: true with the probability the environment gives to `site`. False in
  /// production.
  virtual bool chaos(const char* site) {
    (void)site;
    return false;
  }
  bool chaotic = false;  ///< chaos() may return true, ready ops run in random order
};
environment& system_environment();

/// Something that completes outside the run queue: a device. Polled once a round.
class poller {
 public:
  virtual ~poller() = default;
  /// Takes what has completed, makes the ops that waited for it ready.
  /// RETURNS: how many.
  virtual u32 reap() = 0;
  /// Hands over what was queued since the last call, in one system call where the kernel allows.
  virtual void submit() = 0;
  /// RETURNS: requests in flight or queued; the store's close waits for 0.
  virtual u32 in_flight() const = 0;
  /// Tells the poller the eventfd to signal. Called once on the polling thread before the first
  /// round.
  virtual status attach(int event_fd) = 0;
};

/// A call posted from another thread. Owned by the poster, must live until `fn` has run.
struct mail {
  void (*fn)(mail&) = nullptr;
  mail* next = nullptr;
};

struct reactor_options {
  u64 round_ns = 200'000;
  u32 background_share = 8;  ///< one background op at least per this many foreground ops
};

class reactor {
 public:
  explicit reactor(environment& env, reactor_options options = {});
  ~reactor();  // REQUIRES: no op started and not DONE, no poller
  reactor(const reactor&) = delete;
  reactor& operator=(const reactor&) = delete;

  /// Queues `o` at its first phase, O(1). `start_background` for daemons.
  /// REQUIRES: o.idle().
  void start(op& o);
  void start_background(op& o);

  /// One bounded round.
  /// RETURNS: number of ops run and completions reaped; `invalid` inside a callback, `wrong_thread`
  /// on another thread than the first poll's, `forked` in a forked child.
  result<u32> poll();
  /// Rounds and sleeps until `o` is DONE and its completion has run (which may destroy or restart
  /// `o`).
  /// ERRORS: invalid if `o` is idle, and those of `poll`.
  status run_until(op& o);
  /// Rounds and sleeps until `done(datum)`; for faces that wait for more than one op.
  status run_while(bool (*more)(void*), void* datum);

  /// RETURNS: `wrong_thread` or `forked` where `poll` would, else ok.
  errc check_thread() const;

  /// Level-triggered. From the first call on, `start` outside a round and rounds with work left
  /// signal it; before that nobody can sleep on it but `run_until`, which then costs no system call
  /// for an op that does not wait.
  int event_fd() {
    host_sleeps_ = true;
    if (work_left()) signal();
    return event_fd_;
  }
  /// RETURNS: ns until `poll` has something to do; 0 now, -1 when only the eventfd will tell.
  i64 next_timeout_ns();

  /// Thread-safe: `m.fn(m)` runs in a later round on the polling thread.
  void post(mail& m);
  /// Thread-safe: makes `event_fd` readable.
  void notify();

  void add_poller(poller& p);
  void remove_poller(poller& p);

  void arm(timer& t);
  void disarm(timer& t);

  environment& env() { return env_; }
  u64 now_ns() { return env_.mono_ns(); }
  bool in_callback() const { return in_callback_; }
  /// Ops started and not DONE.
  u64 alive() const { return alive_; }
  /// Visits every op that waits now (for "why am I waiting", and the deadlock oracle of the
  /// simulation).
  void for_each_waiting(void (*visit)(op&, void*), void* datum);

  /// For queues, devices and callbacks that an op armed: `o` resumes from the run queue. No effect
  /// if it is ready already.
  /// REQUIRES: `o` waits, or runs and is about to return `wait`.
  void make_ready(op& o);

 private:
  template <class>
  friend class machine;
  friend class op;
  friend class wait_queue;

  using op_list = list<op, &op::link_>;

  static constexpr u32 max_round_ops = 256;  ///< bounds a round where the clock stands still
  static constexpr u32 clock_interval = 32;  ///< ops (rounds of `run_until`) per look at the clock

  result<u32> round(bool exact_timers);
  status attach_pollers();
  u32 reap();
  void run_one(op& o);
  void entered_wait(op& o);
  void finish(op& o);
  u32 run_completions();
  u32 run_ready();
  u32 take_mail();
  u32 fire_timers();
  status check_caller();
  bool work_left() const {
    return !ready_.empty() || !background_ready_.empty() || !completed_.empty() ||
           mailbox_.load(std::memory_order_relaxed) != nullptr;
  }
  void signal();
  void drain_event_fd();
  bool background_turn();
  op& next_ready(op_list& queue);
  void sift_up(u32 i);
  void sift_down(u32 i);
  void place(u32 i, timer* t);

  environment& env_;
  reactor_options options_;
  op_list ready_, background_ready_, completed_;
  list<op, &op::alive_link_> waited_;
  std::vector<timer*> heap_;
  std::vector<poller*> pollers_;
  std::size_t attached_ = 0;  ///< pollers_[0..attached_) know the eventfd
  std::atomic<mail*> mailbox_{nullptr};
  random_stream random_;
  u64 alive_ = 0;
  u64 timer_sequence_ = 0;
  u64 thread_ = 0;           ///< number of the polling thread, 0 before the first poll
  u64 forks_ = 0;            ///< forks that this process had seen at construction
  op* awaited_ = nullptr;    ///< the op of `run_until`; compared, never followed
  bool awaited_done_ = false;
  u32 foreground_run_ = 0;   ///< foreground ops since the last background op
  u32 rounds_ = 0;
  int event_fd_ = -1;
  bool host_sleeps_ = false;  ///< somebody outside may sleep on event_fd_
  bool signalled_ = false;    ///< we know event_fd_ to be readable
  bool in_callback_ = false;
  bool in_round_ = false;
};

/// The engine of one machine type: the loop over phases, inlined around `Derived::tick`.
template <class Derived>
class machine : public op {
 protected:
  machine() : op(Derived::info) {}

  static step go(u8 p) { return {step::GO, p}; }
  /// The op was entered into a wait queue (or armed a callback that makes it ready); resume at `p`.
  static step wait(u8 p) { return {step::WAIT, p}; }
  /// The same, with the reason that a person reads.
  step wait(u8 p, const char* why) {
    wait_reason_ = why;
    return {step::WAIT, p};
  }
  /// Lets others run; resume at `p`.
  static step yield(u8 p) { return {step::YIELD, p}; }
  /// Waits in `q`.
  step wait_in(wait_queue& q, u8 p) {
    q.enter(*this);
    return {step::WAIT, p};
  }
  /// Runs the sub-op `child` and goes on at `p` when it is DONE (at once if it does not wait).
  step sub(op& child, u8 p);
  /// Ends with `code` through CLEANUP; the first failure counts.
  step fail(errc code) {
    if (out.code == errc::ok) out.code = code;
    return {step::GO, Derived::CLEANUP};
  }

 private:
  void run() noexcept final;
};

}  // namespace pleach::sm

#include "be/sm/machine_impl.hh"
