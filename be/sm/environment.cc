// The real environment: the kernel's clocks, poll(2), getrandom(2).
#include <poll.h>
#include <sys/random.h>
#include <time.h>

#include <cerrno>

#include "be/sm/reactor.hh"

namespace pleach::sm {

namespace {

class kernel_environment final : public environment {
 public:
  u64 mono_ns() override {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<u64>(t.tv_sec) * 1'000'000'000 + static_cast<u64>(t.tv_nsec);
  }

  u64 real_ms() override {
    timespec t{};
    clock_gettime(CLOCK_REALTIME, &t);
    return static_cast<u64>(t.tv_sec) * 1000 + static_cast<u64>(t.tv_nsec) / 1'000'000;
  }

  /// ppoll, not poll: its unit is the nanosecond. A signal ends the sleep early, the caller's loop
  /// goes on.
  void sleep(int fd, i64 timeout_ns) override {
    pollfd p{fd, POLLIN, 0};
    timespec limit{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
    (void)ppoll(&p, 1, timeout_ns < 0 ? nullptr : &limit, nullptr);
  }

  u64 seed() override {
    u64 s = 0;
    while (getrandom(&s, sizeof s, 0) < 0 && errno == EINTR) {
    }
    return s;
  }
};

}  // namespace

environment& system_environment() {
  static kernel_environment env;
  return env;
}

}  // namespace pleach::sm
