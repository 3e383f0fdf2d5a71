// The life of an op outside its phases: cancellation, reset, and queues.
#include "be/sm/op.hh"

#include "be/sm/reactor.hh"

namespace pleach::sm {

op::~op() {
  PLEACH_ASSERT(state_ == state::IDLE || state_ == state::DONE);
  // Destroyed by the completion of another op, its own being still to come: it does not come.
  if (link_.linked()) link_.unlink();
}

void op::reset() {
  PLEACH_ASSERT(state_ == state::IDLE || (state_ == state::DONE && !link_.linked()));
  out = outcome{};
  deadline_.at_ns = 0;
  wait_reason_ = nullptr;
  cancel_code_ = errc::ok;
  phase_ = 0;
  state_ = state::IDLE;
  cancellable_ = true;
  cancel_on_resume_ = false;
}

void op::cancel(errc code) {
  PLEACH_ASSERT(code != errc::ok);
  if (state_ == state::IDLE || state_ == state::DONE) return;
  if (machine_->cleanup < 0 || cancel_code_ != errc::ok) return;
  bool cleaning = state_ == state::RUNNING ? phase_ >= machine_->cleanup : !cancellable_;
  if (cleaning) return;
  cancel_code_ = code;
  if (state_ != state::WAITING) return;  // taken at its next wait
  if (child_ != nullptr) {
    // The sub-op may hold what it must give back, so the parent goes on only when it is DONE.
    cancel_on_resume_ = true;
    child_->cancel(code);
    return;
  }
  take_cancel();
  reactor_->make_ready(*this);  // leaves its wait queue
}

void op::take_cancel() {
  if (out.code == errc::ok) out.code = cancel_code_;
  // Counts as the edge from where it would have gone on.
  machine_->taken[phase_].fetch_or(u64{1} << machine_->cleanup, std::memory_order_relaxed);
  phase_ = static_cast<u8>(machine_->cleanup);
  cancellable_ = false;
}

void wait_queue::enter(op& o) {
  PLEACH_ASSERT(o.state_ == op::state::RUNNING);
  o.wait_reason_ = what_;
  ops_.push_back(o);
}

void wait_queue::enter_front(op& o) {
  PLEACH_ASSERT(o.state_ == op::state::RUNNING);
  o.wait_reason_ = what_;
  ops_.push_front(o);
}

void wait_queue::wake_one() {
  if (op* o = ops_.first()) o->reactor_->make_ready(*o);
}

void wait_queue::wake_all() {
  while (op* o = ops_.first()) o->reactor_->make_ready(*o);
}

}  // namespace pleach::sm
