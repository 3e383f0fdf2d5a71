#include "tools/pending.hh"

#include <poll.h>

#include <algorithm>

namespace pleach::tool {

pending::~pending() {
  if (op_ == nullptr) return;
  if (!op_->done()) {
    op_->cancel();
    static_cast<void>(wait());
  }
  op_->~operation();
}

outcome<void> pending::poll() {
  if (auto polled = store_.poll(); !polled) return fail("running the store", polled.error());
  return {};
}

outcome<void> pending::turn() {
  if (auto polled = poll(); !polled || op_->done()) return polled;
  const std::int64_t timeout_ns = store_.next_timeout_ns();
  if (timeout_ns == 0) return {};
  pollfd ready{.fd = store_.event_fd(), .events = POLLIN, .revents = 0};
  const std::int64_t timeout_ms = std::min<std::int64_t>(timeout_ns / 1'000'000 + 1, 60'000);
  ::poll(&ready, 1, timeout_ns < 0 ? -1 : static_cast<int>(timeout_ms));  // EINTR: look again
  return {};
}

outcome<void> pending::wait() {
  while (!op_->done())
    if (auto turned = turn(); !turned) return turned;
  return {};
}

answer pending::take() {
  const answer a = op_->result();
  op_->~operation();
  op_ = nullptr;
  return a;
}

}  // namespace pleach::tool
