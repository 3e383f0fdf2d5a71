// What the tests of the store share: temporary files, loop devices, a coroutine type, an event-loop
// host.
//
// What it is not: a face of the engine. It sees the public headers only, and sleeps as a host
// would: on event_fd and next_timeout.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coroutine>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "pleach/pleach.hh"

namespace store_test {

using u32 = std::uint32_t;
using u64 = std::uint64_t;
constexpr u64 mib = 1ull << 20;

/// A name in the temporary directory; removed at the end.
class scratch_file {
 public:
  explicit scratch_file(const std::string& stem) {
    const char* dir = std::getenv("TMPDIR");
    static int number = 0;
    path = std::string(dir ? dir : "/tmp") + "/pleach-" + stem + "-" + std::to_string(::getpid()) +
           "-" + std::to_string(number++);
  }
  ~scratch_file() { ::unlink(path.c_str()); }
  scratch_file(const scratch_file&) = delete;
  std::string path;
};

/// A loop device over a temporary file, made without any tool. `ok()` is false where that is not
/// allowed.
class loop_device {
 public:
  explicit loop_device(u64 bytes) : backing_("loop") {
    backing_fd_ = ::open(backing_.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (backing_fd_ >= 0 && control >= 0 &&
        ::ftruncate(backing_fd_, static_cast<off_t>(bytes)) == 0) {
      for (int tries = 0; tries < 20 && fd_ < 0; ++tries) {
        int number = ::ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0) break;
        path = "/dev/loop" + std::to_string(number);
        int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
        if (fd >= 0 && ::ioctl(fd, LOOP_SET_FD, backing_fd_) == 0) {
          fd_ = fd;
        } else if (fd >= 0) {
          ::close(fd);
        }
      }
    }
    if (control >= 0) ::close(control);
  }
  ~loop_device() {
    if (fd_ >= 0) ::ioctl(fd_, LOOP_CLR_FD, 0);
    if (fd_ >= 0) ::close(fd_);
    if (backing_fd_ >= 0) ::close(backing_fd_);
  }
  loop_device(const loop_device&) = delete;
  bool ok() const { return fd_ >= 0; }
  std::string path;

 private:
  scratch_file backing_;
  int backing_fd_ = -1;
  int fd_ = -1;
};

/// Ends the program as "skipped".
[[noreturn]] inline void skip(const char* why) {
  std::printf("skipped: %s\n", why);
  std::fflush(stdout);
  std::_Exit(77);
}

inline void format(const std::string& path, u64 size, u64 log = 0, bool force = false) {
  pleach::format_options o;
  o.size_bytes = size;
  o.log_bytes = log;
  o.force = force;
  auto made = pleach::store::format(path, o);
  DOCTEST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
}

inline pleach::store open(const std::string& path, u64 cache = 16 * mib, bool read_only = false,
                          pleach::device_kind kind = pleach::device_kind::automatic) {
  pleach::open_options o;
  o.cache_bytes = cache;
  o.read_only = read_only;
  o.device = kind;
  auto s = pleach::store::open(path, o);
  DOCTEST_REQUIRE_MESSAGE(s.has_value(), (s ? "" : s.error().message));
  return std::move(*s);
}

inline pleach::store open_memory(u64 size, u64 cache = 16 * mib) {
  pleach::open_options o;
  o.cache_bytes = cache;
  auto s = pleach::store::open_memory(size, o);
  DOCTEST_REQUIRE_MESSAGE(s.has_value(), (s ? "" : s.error().message));
  return std::move(*s);
}

inline void require_ok(const pleach::answer& a) {
  DOCTEST_REQUIRE_MESSAGE(a.ok(), a.text());
}

inline pleach::tree create(pleach::store& s, std::string_view name, u32 node_bytes = 4096) {
  pleach::tree t;
  require_ok(s.run(s.create_tree(name, {node_bytes}, t)));
  return t;
}
inline pleach::tree open_tree(pleach::store& s, std::string_view name) {
  pleach::tree t;
  require_ok(s.run(s.open_tree(name, t)));
  return t;
}

/// check() with nothing to complain about.
inline pleach::check_report require_clean(pleach::store& s) {
  auto r = s.check({});
  DOCTEST_REQUIRE_MESSAGE(r.has_value(), (r ? "" : r.error().message));
  DOCTEST_REQUIRE_MESSAGE(
      r->clean, (r->problems.empty() ? "" : r->problems[0].where + ": " + r->problems[0].what));
  return *r;
}

inline u64 counter_of(const pleach::store& s, std::string_view name) {
  for (const pleach::counter& c : s.stats())
    if (name == c.name) return c.value;
  DOCTEST_FAIL("no counter " << name);
  return 0;
}

/// A coroutine that runs by itself until it ends; `running` counts those that have not.
struct task {
  struct promise_type {
    task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

/// One step of a host: a round, then sleep on event_fd for as long as next_timeout allows.
inline void host_step(pleach::store& s) {
  auto did = s.poll();
  DOCTEST_REQUIRE_MESSAGE(did.has_value(), (did ? "" : did.error().text()));
  std::int64_t ns = s.next_timeout_ns();
  if (ns == 0) return;
  pollfd p{s.event_fd(), POLLIN, 0};
  // A minute of silence is a lost wake-up: the test hangs visibly, not for ever.
  int ms = ns < 0 ? 60'000 : static_cast<int>(ns / 1'000'000 + 1);
  int n = ::poll(&p, 1, ms);
  if (n == 0 && ns < 0) DOCTEST_FAIL("asleep over work: " << s.waiting_text());
}

inline void host_until(pleach::store& s, const int& running) {
  while (running != 0) host_step(s);
}

/// Runs `body` in a child process.
/// RETURNS: its exit code; -1 if it was killed.
inline int in_child(const std::function<int()>& body) {
  std::fflush(nullptr);
  pid_t child = ::fork();
  DOCTEST_REQUIRE(child >= 0);
  if (child == 0) ::_exit(body());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// Bytes that depend on `seed` only.
inline std::string bytes_of(u64 seed, std::size_t n) {
  std::string s(n, '\0');
  u64 x = seed * 0x9e3779b97f4a7c15u + 1;
  for (std::size_t i = 0; i < n; ++i) {
    if (i % 8 == 0) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
    }
    s[i] = static_cast<char>(x >> (i % 8 * 8));
  }
  return s;
}

inline u64 base_seed() {
  const char* given = std::getenv("PLEACH_SEED");
  return given ? std::strtoull(given, nullptr, 10) : 1;
}

}  // namespace store_test
