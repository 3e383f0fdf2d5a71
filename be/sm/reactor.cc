// The executive: rounds, sleep, mail. Timers stand in timer_heap.cc.
#include "be/sm/reactor.hh"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace pleach::sm {

namespace {

// Forks counted by the child, threads numbered on first use: both cheaper than asking the kernel,
// and a number is not reused as a thread id or the address of a thread-local would be.
std::atomic<u64> fork_count{0};
std::atomic<u64> thread_count{0};
thread_local u64 thread_number = 0;

void register_fork_handler() {
  static const int once =
      pthread_atfork(nullptr, nullptr, [] { fork_count.fetch_add(1, std::memory_order_relaxed); });
  PLEACH_ASSERT(once == 0);
}

u64 this_thread() {
  if (thread_number == 0) [[unlikely]]
    thread_number = thread_count.fetch_add(1, std::memory_order_relaxed) + 1;
  return thread_number;
}

struct flag_guard {
  explicit flag_guard(bool& flag) : flag_(flag) { flag_ = true; }
  ~flag_guard() { flag_ = false; }
  flag_guard(const flag_guard&) = delete;
  flag_guard& operator=(const flag_guard&) = delete;
  bool& flag_;
};

}  // namespace

reactor::reactor(environment& env, reactor_options options)
    : env_(env), options_(options), random_(env.seed()) {
  register_fork_handler();
  forks_ = fork_count.load(std::memory_order_relaxed);
  event_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  PLEACH_ASSERT(event_fd_ >= 0);
  heap_.reserve(1024);
  pollers_.reserve(16);
}

reactor::~reactor() {
  PLEACH_ASSERT(alive_ == 0);
  PLEACH_ASSERT(pollers_.empty());
  PLEACH_ASSERT(completed_.empty());
  close(event_fd_);
}

// ---- start and readiness

void reactor::start(op& o) {
  PLEACH_ASSERT(o.idle());
  o.reactor_ = this;
  o.background_ = false;
  o.state_ = op::state::READY;
  ++alive_;
  ready_.push_back(o);
  if (host_sleeps_ && !in_round_) signal();
}

void reactor::start_background(op& o) {
  PLEACH_ASSERT(o.idle());
  o.reactor_ = this;
  o.background_ = true;
  o.state_ = op::state::READY;
  ++alive_;
  background_ready_.push_back(o);
  if (host_sleeps_ && !in_round_) signal();
}

void reactor::make_ready(op& o) {
  if (o.state_ == op::state::READY) return;
  PLEACH_ASSERT(o.state_ == op::state::WAITING || o.state_ == op::state::RUNNING);
  PLEACH_ASSERT(o.child_ == nullptr);
  if (o.link_.linked()) o.link_.unlink();
  o.state_ = op::state::READY;
  (o.background_ ? background_ready_ : ready_).push_back(o);
  if (host_sleeps_ && !in_round_) signal();
}

void reactor::for_each_waiting(void (*visit)(op&, void*), void* datum) {
  for (op* o = waited_.first(); o != nullptr;) {
    op* after = waited_.next(*o);
    if (o->waiting()) visit(*o, datum);
    o = after;
  }
}

// ---- rounds

status reactor::check_caller() {
  if (in_callback_ || in_round_) return fail(errc::invalid);
  if (errc e = check_thread(); e != errc::ok) return fail(e);
  thread_ = this_thread();
  return {};
}

errc reactor::check_thread() const {
  if (fork_count.load(std::memory_order_relaxed) != forks_) return errc::forked;
  return thread_ == 0 || thread_ == this_thread() ? errc::ok : errc::wrong_thread;
}

result<u32> reactor::poll() {
  if (status s = check_caller(); !s) return fail(s.error());
  return round(true);
}

status reactor::run_until(op& o) {
  if (status s = check_caller(); !s) return s;
  if (o.idle()) return fail(errc::invalid);
  if (o.done() && !o.link_.linked()) return {};
  awaited_ = &o;
  awaited_done_ = false;
  status s = run_while([](void* r) { return !static_cast<reactor*>(r)->awaited_done_; }, this);
  awaited_ = nullptr;
  return s;
}

status reactor::run_while(bool (*more)(void*), void* datum) {
  if (status s = check_caller(); !s) return s;
  while (more(datum)) {
    result<u32> found = round(false);
    if (!found) return fail(found.error());
    if (*found != 0 || !more(datum)) continue;
    if (i64 timeout = next_timeout_ns(); timeout != 0) env_.sleep(event_fd_, timeout);
  }
  return {};
}

/// `exact_timers`: look at the clock whenever a timer is armed; else only now and then while ops
/// are ready.
result<u32> reactor::round(bool exact_timers) {
  if (attached_ != pollers_.size()) [[unlikely]]
    if (status s = attach_pollers(); !s) return fail(s.error());
  flag_guard guard(in_round_);
  u32 found = reap();
  if (!heap_.empty() && (exact_timers || ready_.empty() || ++rounds_ % clock_interval == 0))
    found += fire_timers();
  found += take_mail();
  found += run_ready();
  found += run_completions();
  for (poller* p : pollers_) p->submit();
  if (found == 0) [[unlikely]] {
    // I4. What arrived between our look and the drain has no signal any more: look again.
    drain_event_fd();
    found += reap();
    found += take_mail();
    if (found != 0)
      for (poller* p : pollers_) p->submit();  // what the late completions queued
  }
  if (host_sleeps_ && work_left()) signal();  // I2
  return found;
}

status reactor::attach_pollers() {
  for (; attached_ < pollers_.size(); ++attached_)
    if (status s = pollers_[attached_]->attach(event_fd_); !s) return s;
  return {};
}

u32 reactor::reap() {
  u32 found = 0;
  for (poller* p : pollers_) found += p->reap();
  return found;
}

/// One op, then more for `round_ns`. A queue of one never looks at the clock.
u32 reactor::run_ready() {
  u32 count = 0;
  u32 next_look = 1;
  u64 begun = 0;
  while (count < max_round_ops && !(ready_.empty() && background_ready_.empty())) {
    if (count == next_look) {
      u64 now = env_.mono_ns();
      if (begun == 0)
        begun = now;
      else if (now - begun >= options_.round_ns)
        break;
      next_look += std::min(count, clock_interval);
    }
    run_one(next_ready(background_turn() ? background_ready_ : ready_));
    ++count;
  }
  return count;
}

/// I3.
bool reactor::background_turn() {
  if (background_ready_.empty()) return false;
  if (ready_.empty() || foreground_run_ >= options_.background_share) {
    foreground_run_ = 0;
    return true;
  }
  ++foreground_run_;
  return false;
}

op& reactor::next_ready(op_list& queue) {
  if (!env_.chaotic) [[likely]]
    return queue.pop_front();
  u64 count = 0;
  for (op* o = queue.first(); o != nullptr; o = queue.next(*o)) ++count;
  op* chosen = queue.first();
  for (u64 skip = random_.below(count); skip != 0; --skip) chosen = queue.next(*chosen);
  chosen->link_.unlink();
  return *chosen;
}

void reactor::run_one(op& o) {
  o.state_ = op::state::RUNNING;
  o.wait_reason_ = nullptr;
  {
    step_scope step(&o);
    o.run();
  }
  if (o.state_ == op::state::RUNNING)
    finish(o);
  else
    entered_wait(o);
}

/// What costs something is put off to the first wait: most ops never come here.
void reactor::entered_wait(op& o) {
  if (!o.alive_link_.linked()) waited_.push_back(o);
  if (o.deadline_.at_ns != 0 && !o.deadline_.armed()) {
    o.deadline_.fire = [](timer& t) {
      auto& d = static_cast<op::deadline_timer&>(t);
      d.at_ns = 0;
      d.owner->cancel(errc::timed_out);
    };
    arm(o.deadline_);
  }
}

void reactor::finish(op& o) {
  PLEACH_ASSERT(!o.link_.linked());
  o.state_ = op::state::DONE;
  --alive_;
  if (o.alive_link_.linked()) o.alive_link_.unlink();
  if (o.deadline_.armed()) disarm(o.deadline_);
  if (op* parent = o.parent_) {
    o.parent_ = nullptr;
    parent->child_ = nullptr;
    make_ready(*parent);
    return;
  }
  if (o.completion_ != nullptr)
    completed_.push_back(o);
  else if (&o == awaited_)
    awaited_done_ = true;
}

u32 reactor::run_completions() {
  u32 count = 0;
  for (; !completed_.empty(); ++count) {
    op& o = completed_.pop_front();
    bool awaited = &o == awaited_;
    {
      flag_guard guard(in_callback_);
      o.completion_(o, o.datum_);  // may destroy or restart `o`
    }
    if (awaited) awaited_done_ = true;
  }
  return count;
}

// ---- mail and the eventfd

void reactor::post(mail& m) {
  mail* head = mailbox_.load(std::memory_order_relaxed);
  do {
    m.next = head;
  } while (!mailbox_.compare_exchange_weak(head, &m, std::memory_order_release,
                                           std::memory_order_relaxed));
  // Whoever found the box empty rings; the bell stays up until a round that finds nothing.
  if (head == nullptr) notify();
}

u32 reactor::take_mail() {
  if (mailbox_.load(std::memory_order_relaxed) == nullptr) return 0;
  mail* stack = mailbox_.exchange(nullptr, std::memory_order_acquire);
  mail* queue = nullptr;
  while (stack != nullptr) {
    mail* next = stack->next;
    stack->next = queue;
    queue = stack;
    stack = next;
  }
  u32 count = 0;
  flag_guard guard(in_callback_);
  for (; queue != nullptr; ++count) {
    mail* m = queue;
    queue = m->next;  // before the call: `m` may die in it
    m->next = nullptr;
    m->fn(*m);
  }
  return count;
}

void reactor::notify() {
  u64 one = 1;
  // EAGAIN: the counter is full, so it is readable.
  while (write(event_fd_, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void reactor::signal() {
  if (signalled_) return;
  signalled_ = true;
  notify();
}

void reactor::drain_event_fd() {
  u64 count;
  while (read(event_fd_, &count, sizeof count) < 0 && errno == EINTR) {
  }
  signalled_ = false;
}

// ---- pollers

void reactor::add_poller(poller& p) { pollers_.push_back(&p); }

void reactor::remove_poller(poller& p) {
  auto at = std::find(pollers_.begin(), pollers_.end(), &p);
  PLEACH_ASSERT(at != pollers_.end());
  if (static_cast<std::size_t>(at - pollers_.begin()) < attached_) --attached_;
  pollers_.erase(at);
}

}  // namespace pleach::sm
