// The in-memory store's device: requests complete at the next reap. Anonymous memory, zeros until
// written.
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "be/io/device.hh"
#include "be/io/transfer.hh"

namespace pleach::io {

namespace {

class memory_device final : public device {
 public:
  memory_device() {
    limits_.discard = true;
    limits_.alignment = 512;
  }
  ~memory_device() override {
    PLEACH_ASSERT(in_flight_ == 0);
    if (base_) munmap(base_, capacity(size_));
  }

  int resize(u64 bytes) {
    void* p = base_ ? mremap(base_, capacity(size_), capacity(bytes), MREMAP_MAYMOVE)
                    : mmap(nullptr, capacity(bytes), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return -ENOSPC;
    base_ = static_cast<std::byte*>(p);
    if (bytes < size_) std::memset(base_ + bytes, 0, capacity(bytes) - bytes);
    size_ = bytes;
    return 0;
  }

  u64 size() const override { return size_; }
  const char* name() const override { return "memory"; }
  i64 read_now(u64 offset, bytes out) override {
    u64 n = offset >= size_ ? 0 : std::min<u64>(out.size(), size_ - offset);
    if (n != 0) std::memcpy(out.data(), base_ + offset, n);
    return static_cast<i64>(n);
  }
  status attach(int event_fd) override {
    event_fd_ = event_fd;
    return {};
  }
  void submit() override {
    if (waiting_.empty() || signalled_) return;
    // Nobody else would wake a host that sleeps now.
    signalled_ = true;
    ++stats_.system_calls;
    u64 one = 1;
    if (event_fd_ >= 0 && write(event_fd_, &one, sizeof one) < 0) signalled_ = false;
  }
  u32 reap() override {
    if (in_flight_ == 0) return 0;
    signalled_ = false;
    list<request, &request::link> now;
    now.splice_back(waiting_);
    u32 n = 0;
    for (; !now.empty(); ++n) {
      request& r = now.pop_front();
      complete(r, execute(r));
    }
    return n;
  }

 private:
  static u64 capacity(u64 bytes) { return round_up<u64>(bytes ? bytes : 1, block_bytes); }

  void start(request& r) override { waiting_.push_back(r); }

  i64 execute(request& r) {
    switch (r.kind) {
      case request_kind::READ:
      case request_kind::WRITE:
        return transfer(r);
      case request_kind::FLUSH:
        return 0;
      case request_kind::DISCARD:
        return discard(r);
      case request_kind::RESIZE:
        return resize(r.offset);
    }
    return -EINVAL;
  }

  i64 transfer(request& r) {
    const bool reading = r.kind == request_kind::READ;
    if (r.offset + r.length > size_ && !reading) return -ENOSPC;
    u64 at = r.offset + r.progress;
    i64 moved = 0;
    for (iovec& v : remaining(r)) {
      u64 n = at >= size_ ? 0 : std::min<u64>(v.iov_len, size_ - at);
      if (n != 0)
        std::memcpy(reading ? v.iov_base : base_ + at, reading ? base_ + at : v.iov_base, n);
      at += n;
      moved += static_cast<i64>(n);
      if (n < v.iov_len) break;
    }
    return moved;
  }

  i64 discard(request& r) {
    if (r.offset + r.length > size_) return -EINVAL;
    u64 from = round_up<u64>(r.offset, block_bytes);
    u64 to = (r.offset + r.length) & ~u64{block_bytes - 1};
    if (from < to && madvise(base_ + from, to - from, MADV_DONTNEED) == 0) {
      std::memset(base_ + r.offset, 0, from - r.offset);
      std::memset(base_ + to, 0, r.offset + r.length - to);
    } else {
      std::memset(base_ + r.offset, 0, r.length);
    }
    return 0;
  }

  std::byte* base_ = nullptr;
  u64 size_ = 0;
  list<request, &request::link> waiting_;
  int event_fd_ = -1;
  bool signalled_ = false;
};

}  // namespace

std::unique_ptr<device> make_memory_device(u64 bytes) {
  auto d = std::make_unique<memory_device>();
  if (d->resize(bytes) != 0) return nullptr;
  return d;
}

}  // namespace pleach::io
