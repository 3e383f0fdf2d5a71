// Drives a device without a reactor: submit, sleep on the eventfd, reap.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "be/io/device.hh"

namespace pleach::io {

/// Memory fit for direct I/O.
class aligned_buffer {
 public:
  explicit aligned_buffer(size_t n, int fill = 0)
      : p_(static_cast<std::byte*>(std::aligned_alloc(4096, round_up<size_t>(n, 4096)))), n_(n) {
    std::memset(p_, fill, n);
  }
  aligned_buffer(aligned_buffer&& o) noexcept : p_(o.p_), n_(o.n_) { o.p_ = nullptr; }
  ~aligned_buffer() { std::free(p_); }
  std::byte* data() { return p_; }
  size_t size() const { return n_; }
  bool all(int v) const {
    for (size_t i = 0; i < n_; ++i) {
      if (p_[i] != static_cast<std::byte>(v)) return false;
    }
    return true;
  }

 private:
  std::byte* p_;
  size_t n_;
};

class driver {
 public:
  driver(device& d, sm::environment& env)
      : d_(d), env_(env), fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    attached_ = bool(d_.attach(fd_));
  }
  ~driver() { close(fd_); }
  bool attached() const { return attached_; }

  request& make(request_kind kind, u64 offset, std::byte* data = nullptr, u64 length = 0) {
    request& r = requests_.emplace_back();
    r.kind = kind;
    r.offset = offset;
    r.data = data;
    r.length = length;
    r.owner = this;
    r.done = [](request& q) { static_cast<driver*>(q.owner)->done_.push_back(&q); };
    return r;
  }
  void queue(request& r) { d_.queue(r); }

  /// Until nothing is in flight. Aborts if a completion never wakes us (10 s of silence).
  void drain() {
    while (d_.in_flight() != 0) {
      d_.submit();
      // As the reactor does: drain first, reap then, so that no signal falls between.
      u64 count;
      (void)!read(fd_, &count, sizeof count);
      if (d_.reap() != 0 || d_.in_flight() == 0) continue;
      const u64 before = env_.mono_ns();
      env_.sleep(fd_, 10'000'000'000);
      if (env_.mono_ns() - before >= 10'000'000'000) std::abort();
    }
  }
  errc run(request& r) {
    queue(r);
    drain();
    return r.code;
  }
  errc read_at(u64 offset, aligned_buffer& b) {
    return run(make(request_kind::READ, offset, b.data(), b.size()));
  }
  errc write_at(u64 offset, aligned_buffer& b, bool durable = false) {
    request& r = make(request_kind::WRITE, offset, b.data(), b.size());
    r.durable = durable;
    return run(r);
  }
  errc fill(u64 offset, size_t n, int v, bool durable = false) {
    aligned_buffer b(n, v);
    return write_at(offset, b, durable);
  }
  bool holds(u64 offset, size_t n, int v) {
    aligned_buffer b(n, ~v);
    return read_at(offset, b) == errc::ok && b.all(v);
  }
  errc flush() { return run(make(request_kind::FLUSH, 0)); }
  errc resize(u64 size) { return run(make(request_kind::RESIZE, size)); }
  const std::vector<request*>& done() const { return done_; }

 private:
  device& d_;
  sm::environment& env_;
  int fd_;
  bool attached_ = false;
  std::deque<request> requests_;
  std::vector<request*> done_;
};

/// A name for a file in the build's temporary folder, removed at the end.
class temporary_file {
 public:
  explicit temporary_file(const char* name) {
    const char* base = std::getenv("TMPDIR");
    path = std::string(base ? base : "/tmp") + "/pleach_" + std::to_string(getpid()) + "_" + name;
    unlink(path.c_str());
  }
  ~temporary_file() { unlink(path.c_str()); }
  std::string path;
};

}  // namespace pleach::io
