// The io_uring device: one ring per store, used by the polling thread only, one submission a round.
//
// Set-up: SINGLE_ISSUER + DEFER_TASKRUN, created disabled at open and enabled in `attach`, because
// a single issuer is the thread that enables the ring, and stores are opened in one thread and
// polled in another. Wake-ups come from the registered eventfd: with deferred task work the ring's
// own fd loses them (measured), and `register_eventfd_async` never fires for requests that complete
// inline. The kernel signals it once for the deferred work and once for the completion: one
// spurious round, which the reactor drains. Switching the signal off around reaping would save it,
// at the risk of a lost wake-up.
//
// I1 `queued_` holds what has no SQE yet: requests before attach, and those beyond `depth`.
// I2 At most `depth` requests are in the kernel, so the completion queue (2 x depth) does not
//    overflow.
#include <fcntl.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "be/base/assert.hh"
#include "be/io/backends.hh"
#include "be/io/transfer.hh"

namespace pleach::io {

namespace {

bool has_needed_ops(io_uring& ring) {
  io_uring_probe* probe = io_uring_get_probe_ring(&ring);
  if (!probe) return false;
  bool all = true;
  for (int op : {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READV, IORING_OP_WRITEV,
                 IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_NOP}) {
    all = all && io_uring_opcode_supported(probe, op);
  }
  io_uring_free_probe(probe);
  return all;
}

/// Sets the ring up with the best flags that this kernel knows.
/// RETURNS: 0 or -errno.
int set_up(io_uring& ring, u32 depth, unsigned& flags) {
  constexpr unsigned wanted[] = {
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
          IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP,                            // 6.1
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CLAMP,  // 5.19
      IORING_SETUP_CLAMP,                                                          // 5.6
  };
  int rc = -EINVAL;
  for (unsigned f : wanted) {
    flags = f;
    rc = io_uring_queue_init(depth, &ring, f);
    if (rc == 0 && has_needed_ops(ring)) return 0;
    if (rc == 0) {
      io_uring_queue_exit(&ring);
      return -ENOSYS;
    }
    if (rc != -EINVAL) return rc;
  }
  return rc;
}

/// liburing declares io_uring_enable_rings, but 2.3 does not export it.
int enable(io_uring& ring) {
  return static_cast<int>(
      syscall(__NR_io_uring_register, ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0));
}

class uring_device final : public device {
 public:
  uring_device(opened_file&& file, io_uring ring, unsigned flags, u32 depth)
      : file_(std::move(file)), ring_(ring), depth_(depth), flags_(flags) {
    limits_ = file_.limit;
  }
  ~uring_device() override {
    PLEACH_ASSERT(in_flight_ == 0);
    // The kernel tears a ring down later, by itself; the file must be free at once for the next
    // open.
    if (fixed_) io_uring_unregister_files(&ring_);
    io_uring_queue_exit(&ring_);
  }

  u64 size() const override { return file_.size; }
  const char* name() const override { return "io_uring"; }
  i64 read_now(u64 offset, bytes out) override { return read_file_now(file_.fd, offset, out); }
  status attach(int event_fd) override;
  void submit() override;
  u32 reap() override;

 private:
  void start(request& r) override { queued_.push_back(r); }
  void prepare(io_uring_sqe& sqe, request& r);
  void prepare_transfer(io_uring_sqe& sqe, request& r);
  void prepare_resize(io_uring_sqe& sqe, request& r);
  void finish(request& r, int res);
  bool enter_kernel();
  void wake_self() {
    u64 one = 1;
    ++stats_.system_calls;
    if (event_fd_ >= 0) (void)!write(event_fd_, &one, sizeof one);
  }
  int target() const { return fixed_ ? 0 : file_.fd; }

  opened_file file_;
  io_uring ring_;
  list<request, &request::link> queued_;
  u32 depth_;
  u32 in_kernel_ = 0;
  unsigned flags_;
  int event_fd_ = -1;
  bool attached_ = false;
  bool fixed_ = false;
};

status uring_device::attach(int event_fd) {
  PLEACH_ASSERT(!attached_);
  if ((flags_ & IORING_SETUP_R_DISABLED) && enable(ring_) != 0) return fail(errc::io);
  if (event_fd >= 0 && io_uring_register_eventfd(&ring_, event_fd) < 0) return fail(errc::io);
  event_fd_ = event_fd;
  fixed_ = io_uring_register_files(&ring_, &file_.fd, 1) == 0;  // only saves the reference counting
  attached_ = true;
  return {};
}

void uring_device::submit() {
  if (queued_.empty() && io_uring_sq_ready(&ring_) == 0) return;
  if (!attached_) return;
  while (!queued_.empty() && in_kernel_ < depth_) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (!sqe) {
      if (!enter_kernel()) return;
      continue;
    }
    request& r = queued_.pop_front();
    ++in_kernel_;
    prepare(*sqe, r);
    io_uring_sqe_set_data(sqe, &r);
    if (fixed_) io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
  }
  enter_kernel();
}

/// RETURNS: true if the kernel has taken all SQEs; otherwise a later round tries again.
bool uring_device::enter_kernel() {
  while (io_uring_sq_ready(&ring_) != 0) {
    ++stats_.system_calls;
    int rc = io_uring_submit(&ring_);
    if (rc == -EINTR) continue;
    if (rc <= 0) {
      // Short of memory, or completions first. A wrong thread or a closed ring would be our own
      // bug.
      PLEACH_ASSERT(rc == 0 || rc == -EAGAIN || rc == -EBUSY || rc == -ENOMEM);
      wake_self();
      return false;
    }
  }
  return true;
}

void uring_device::prepare(io_uring_sqe& sqe, request& r) {
  switch (r.kind) {
    case request_kind::READ:
    case request_kind::WRITE:
      return prepare_transfer(sqe, r);
    case request_kind::FLUSH:
      return io_uring_prep_fsync(&sqe, target(), IORING_FSYNC_DATASYNC);
    case request_kind::DISCARD:
      return io_uring_prep_fallocate(&sqe, target(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     r.offset, r.length);
    case request_kind::RESIZE:
      return prepare_resize(sqe, r);
  }
}

void uring_device::prepare_transfer(io_uring_sqe& sqe, request& r) {
  std::span<iovec> rest = remaining(r);
  const u64 at = r.offset + r.progress;
  const auto bytes = static_cast<unsigned>(std::min<u64>(rest[0].iov_len, 1u << 30));
  const bool one = rest.size() == 1;
  if (r.kind == request_kind::READ) {
    if (one) return io_uring_prep_read(&sqe, target(), rest[0].iov_base, bytes, at);
    return io_uring_prep_readv(&sqe, target(), rest.data(), static_cast<unsigned>(rest.size()), at);
  }
  if (one) {
    io_uring_prep_write(&sqe, target(), rest[0].iov_base, bytes, at);
  } else {
    io_uring_prep_writev(&sqe, target(), rest.data(), static_cast<unsigned>(rest.size()), at);
  }
  if (r.durable) sqe.rw_flags = RWF_DSYNC;
}

void uring_device::prepare_resize(io_uring_sqe& sqe, request& r) {
  // Shrinking blocks for one ftruncate (io_uring has none before 6.9): an administrator's rare
  // command.
  if (!file_.block_device && r.offset > file_.size) {
    return io_uring_prep_fallocate(&sqe, target(), 0, static_cast<off_t>(file_.size),
                                   static_cast<off_t>(r.offset - file_.size));
  }
  io_uring_prep_nop(&sqe);
}

u32 uring_device::reap() {
  if (in_kernel_ == 0) return 0;
  if (*ring_.sq.kflags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) {
    ++stats_.system_calls;
    io_uring_get_events(&ring_);
  }
  struct outcome {
    request* r;
    int res;
  };
  u32 total = 0;
  for (;;) {
    // Copied first: completions may queue more, and the ring is given back before user code runs.
    std::array<io_uring_cqe*, 64> cqes;
    std::array<outcome, 64> outcomes;
    const unsigned n = std::min<unsigned>(io_uring_cq_ready(&ring_), 64);
    if (n == 0) return total;
    const unsigned got = io_uring_peek_batch_cqe(&ring_, cqes.data(), n);
    for (unsigned i = 0; i < got; ++i) {
      outcomes[i] = {static_cast<request*>(io_uring_cqe_get_data(cqes[i])), cqes[i]->res};
    }
    io_uring_cq_advance(&ring_, got);
    in_kernel_ -= got;
    total += got;
    for (unsigned i = 0; i < got; ++i) finish(*outcomes[i].r, outcomes[i].res);
  }
}

void uring_device::finish(request& r, int res) {
  if (r.kind == request_kind::RESIZE) {
    if (file_.block_device) return complete(r, -EOPNOTSUPP);
    if (res == -EOPNOTSUPP || (res == 0 && r.offset < file_.size)) {
      ++stats_.system_calls;
      res = ftruncate(file_.fd, static_cast<off_t>(r.offset)) == 0 ? 0 : -errno;
    } else if (res < 0) {
      ++stats_.system_calls;
      res = give_back_space(file_.fd, file_.size, res);
    }
    if (res == 0) file_.size = r.offset;
  }
  complete(r, res);
}

}  // namespace

result<std::unique_ptr<device>> make_uring_device(opened_file& file, u32 depth) {
  io_uring ring;
  unsigned flags = 0;
  depth = std::clamp<u32>(depth, 1, 4096);
  if (set_up(ring, depth, flags) != 0) return fail(errc::unsupported);
  return std::make_unique<uring_device>(std::move(file), ring, flags, depth);
}

bool uring_available() {
  io_uring ring;
  unsigned flags = 0;
  if (set_up(ring, 4, flags) != 0) return false;
  io_uring_queue_exit(&ring);
  return true;
}

}  // namespace pleach::io
