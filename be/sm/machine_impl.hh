// The loop over phases. Included by reactor.hh only.
#pragma once

#include "be/sm/reactor.hh"

namespace pleach::sm {

[[noreturn]] void bad_edge(const op& o, u8 from, u8 to);
[[noreturn]] void bad_wait(const op& o, u8 phase);

template <class Derived>
void machine<Derived>::run() noexcept {
  using phase = typename Derived::phase;
  constexpr auto& rows = Derived::phase_rows;
  constexpr int cleanup = Derived::info.cleanup;
  if (cancel_on_resume_) [[unlikely]] {
    // Cancelled while it waited for a sub-op, which is DONE now.
    cancel_on_resume_ = false;
    take_cancel();
  }
  for (;;) {
    u8 p = phase_;
    if (p == Derived::DONE) return;
    step s = static_cast<Derived*>(this)->tick(static_cast<phase>(p));
    if (!(rows[p].edges >> s.next & 1)) [[unlikely]]
      bad_edge(*this, p, s.next);
    u64 bit = u64{1} << s.next;
    if (!(Derived::phase_taken[p].load(std::memory_order_relaxed) & bit)) [[unlikely]]
      Derived::phase_taken[p].fetch_or(bit, std::memory_order_relaxed);
    phase_ = s.next;
    if (s.what == step::GO) {
      if (!reactor_->env_.chaotic || rows[p].wait == waits::NOWAIT || s.next == Derived::DONE ||
          !reactor_->env_.chaos("yield")) [[likely]]
        continue;
      s.what = step::YIELD;
    }
    if (rows[p].wait == waits::NOWAIT) [[unlikely]]
      bad_wait(*this, p);
    cancellable_ = p < cleanup;
    if (cancel_code_ != errc::ok && cancellable_) [[unlikely]] {
      // Requested while the op ran or was ready: taken now, at its first wait.
      if (child_ == nullptr) {
        if (link_.linked()) link_.unlink();
        state_ = state::RUNNING;
        take_cancel();
        continue;
      }
      cancel_on_resume_ = true;
      child_->cancel(cancel_code_);
    }
    if (state_ == state::RUNNING) state_ = state::WAITING;  // else: woken before it returned
    if (s.what == step::YIELD) reactor_->make_ready(*this);
    return;
  }
}

template <class Derived>
step machine<Derived>::sub(op& child, u8 p) {
  PLEACH_ASSERT(child.idle());
  child.parent_ = this;
  child.reactor_ = reactor_;
  child.background_ = background_;
  child.state_ = state::RUNNING;
  child.run();
  if (child.state_ == state::RUNNING) {
    // DONE without a wait: no queue, no completion, the parent goes straight on.
    child.parent_ = nullptr;
    child.state_ = state::DONE;
    return {step::GO, p};
  }
  ++reactor_->alive_;
  reactor_->entered_wait(child);
  child_ = &child;
  wait_reason_ = child.machine_->name;
  return {step::WAIT, p};
}

}  // namespace pleach::sm
