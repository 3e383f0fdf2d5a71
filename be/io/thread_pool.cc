// The device for kernels and containers that refuse io_uring: worker threads around
// preadv2/pwritev2.
//
// Not a simulated path. Workers touch a request between the hand-over in `submit` and the hand-back
// in `finished_` only, both under `mutex_`; all of device.hh runs on the polling thread.
//
// I1 `finished_` not empty implies that the eventfd was written after the last reap.
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "be/base/assert.hh"
#include "be/io/backends.hh"
#include "be/io/transfer.hh"

namespace pleach::io {

namespace {

using request_list = list<request, &request::link>;

class thread_device final : public device {
 public:
  thread_device(opened_file&& file, u32 depth) : file_(std::move(file)), size_(file_.size) {
    limits_ = file_.limit;
    const u32 cpus = std::thread::hardware_concurrency();
    worker_count_ = std::min(std::clamp<u32>(2 * cpus, 4, 8), std::max<u32>(depth, 1));
  }
  ~thread_device() override {
    PLEACH_ASSERT(in_flight_ == 0);
    {
      std::lock_guard guard(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (auto& w : workers_) w.join();
  }

  u64 size() const override { return size_; }
  const char* name() const override { return "threads"; }
  i64 read_now(u64 offset, bytes out) override { return read_file_now(file_.fd, offset, out); }

  status attach(int event_fd) override {
    event_fd_ = event_fd;
    return {};
  }

  void submit() override {
    if (queued_.empty()) return;
    if (workers_.empty()) start_workers();
    u32 n = 0;
    {
      std::lock_guard guard(mutex_);
      for (request* r = queued_.first(); r; r = queued_.next(*r)) ++n;
      todo_.splice_back(queued_);
    }
    for (; n != 0 && n < worker_count_; --n) work_.notify_one();
    if (n != 0) work_.notify_all();
  }

  u32 reap() override {
    if (in_flight_ == 0 || !any_finished_.load(std::memory_order_acquire)) return 0;
    request_list now;
    {
      std::lock_guard guard(mutex_);
      now.splice_back(finished_);
      any_finished_.store(false, std::memory_order_relaxed);
    }
    u32 n = 0;
    for (; !now.empty(); ++n) {
      request& r = now.pop_front();
      const auto raw = static_cast<std::int32_t>(r.slot);
      if (r.kind == request_kind::RESIZE && raw == 0) size_ = r.offset;
      complete(r, raw);
    }
    stats_.system_calls = calls_.load(std::memory_order_relaxed);
    return n;
  }

 private:
  void start(request& r) override { queued_.push_back(r); }

  void start_workers() {
    // Signals belong to the host's threads.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (u32 i = 0; i < worker_count_; ++i) workers_.emplace_back([this] { serve(); });
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }

  void serve() {
    std::unique_lock guard(mutex_);
    for (;;) {
      work_.wait(guard, [this] { return stopping_ || !todo_.empty(); });
      if (todo_.empty()) return;
      request& r = todo_.pop_front();
      guard.unlock();
      r.slot = static_cast<u32>(static_cast<std::int32_t>(execute(r)));
      guard.lock();
      const bool first = finished_.empty();
      finished_.push_back(r);
      any_finished_.store(true, std::memory_order_release);
      if (!first) continue;
      // Under the lock: once unlocked, the polling thread may destroy the device and its eventfd.
      u64 one = 1;
      if (event_fd_ >= 0) (void)!write(event_fd_, &one, sizeof one);
    }
  }

  i64 execute(request& r) {
    calls_.fetch_add(1, std::memory_order_relaxed);
    switch (r.kind) {
      case request_kind::READ:
      case request_kind::WRITE:
        return transfer(r);
      case request_kind::FLUSH:
        return fdatasync(file_.fd) == 0 ? 0 : -errno;
      case request_kind::DISCARD:
        return fallocate(file_.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         static_cast<off_t>(r.offset), static_cast<off_t>(r.length)) == 0
                   ? 0
                   : -errno;
      case request_kind::RESIZE:
        return resize(r);
    }
    return -EINVAL;
  }

  i64 transfer(request& r) {
    std::span<iovec> rest = remaining(r);
    const auto at = static_cast<off_t>(r.offset + r.progress);
    const auto count = static_cast<int>(rest.size());
    if (r.kind == request_kind::READ) {
      i64 n = preadv(file_.fd, rest.data(), count, at);
      return n >= 0 ? n : -errno;
    }
    if (r.durable && !no_dsync_.load(std::memory_order_relaxed)) {
      i64 n = pwritev2(file_.fd, rest.data(), count, at, RWF_DSYNC);
      if (n >= 0) return n;
      if (errno != EOPNOTSUPP && errno != ENOSYS) return -errno;
      no_dsync_.store(true, std::memory_order_relaxed);
    }
    i64 n = pwritev(file_.fd, rest.data(), count, at);
    if (n < 0) return -errno;
    if (r.durable && fdatasync(file_.fd) != 0) return -errno;
    return n;
  }

  i64 resize(request& r) {
    if (file_.block_device) return -EOPNOTSUPP;
    struct stat st;
    if (fstat(file_.fd, &st) != 0) return -errno;
    return reserve_space(file_.fd, static_cast<u64>(st.st_size), r.offset);
  }

  opened_file file_;
  u64 size_;
  u32 worker_count_;
  int event_fd_ = -1;
  request_list queued_;  ///< of the polling thread

  std::mutex mutex_;
  std::condition_variable work_;
  request_list todo_, finished_;
  bool stopping_ = false;
  std::atomic<bool> any_finished_{false};
  std::atomic<bool> no_dsync_{false};
  std::atomic<u64> calls_{0};
  std::vector<std::thread> workers_;
};

}  // namespace

std::unique_ptr<device> make_thread_device(opened_file& file, u32 depth) {
  return std::make_unique<thread_device>(std::move(file), depth);
}

}  // namespace pleach::io
