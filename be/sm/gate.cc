#include "be/sm/gate.hh"

#include "be/sm/reactor.hh"

namespace pleach::sm {

bool gate::enter(op& o, gate_hold& h, bool exclusive) {
  if (h.gate_ != nullptr) {
    PLEACH_ASSERT(h.gate_ == this && h.exclusive_ == exclusive);
    if (h.held()) return true;
    h.waiter_.enter(o);  // woken from elsewhere; it kept its place
    return false;
  }
  h.gate_ = this;
  h.exclusive_ = exclusive;
  if (queue_.empty() && admits(exclusive)) {
    take(exclusive);
    return true;
  }
  queue_.push_back(h);
  h.waiter_.enter(o);
  return false;
}

void gate::take(bool exclusive) {
  if (exclusive)
    exclusive_ = true;
  else
    ++shared_;
}

/// Lets in from the head of the queue as many as fit together. An exclusive waiter stops those
/// behind it.
void gate::admit() {
  while (!queue_.empty() && admits(queue_.front().exclusive_)) {
    gate_hold& h = queue_.pop_front();
    take(h.exclusive_);
    h.waiter_.wake_one();
  }
}

void gate_hold::release() {
  if (gate_ == nullptr) return;
  gate& g = *gate_;
  if (link_.linked())
    link_.unlink();
  else if (exclusive_)
    g.exclusive_ = false;
  else
    --g.shared_;
  gate_ = nullptr;
  g.admit();
}

}  // namespace pleach::sm
