// A device: the only thing that the engine writes to and reads from. Asynchronous, block-addressed.
//
// What it is not: it knows no page, no log and no order. Requests in flight have no order among
// themselves; whoever needs one waits (a flush covers what had *completed* before it was
// submitted).
//
// One layer above the kernel, shared by all implementations (`device::complete`), gives each raw
// outcome one meaning: EINTR and EAGAIN are resubmitted; a short transfer goes on with the
// remainder; end of file inside a read is `truncated`; ENOSPC/EDQUOT `device_full`; ENODEV/ENXIO
// `device_gone`; all else `io`. Reads that fail with EIO are retried `read_retries` times. Writes
// and flushes are never retried here, and once a flush has failed no later one succeeds: what the
// first was to make durable may be lost, and the kernel reports that to one of them only.
//
// I1 A request and its buffers belong to the caller (a frame, the log) and live until `done` has
//    run.
// I2 Offsets, lengths and addresses are multiples of `limits().alignment`: asserted, because some
//    file systems accept misaligned direct I/O silently.
// I3 `done` runs from `reap()` only, never inside `submit` or `queue`.
// I4 One flush at a time is on its way, so none can succeed because of another one that failed.
#pragma once

#include <sys/uio.h>

#include <memory>
#include <string>

#include "be/base/error.hh"
#include "be/base/list.hh"
#include "be/sm/reactor.hh"

namespace pleach::io {

enum class request_kind : u8 { READ, WRITE, FLUSH, DISCARD, RESIZE };

struct request {
  request_kind kind = request_kind::READ;
  bool durable = false;  ///< WRITE: durable on completion, by itself only (RWF_DSYNC / FUA)
  u64 offset = 0;        ///< bytes; RESIZE: the new size, durable with the next flush
  u64 length = 0;        ///< bytes, the sum over the vector
  /// Either one buffer ...
  std::byte* data = nullptr;
  /// ... or a vector (kept by the caller; entries may be advanced after a short transfer).
  iovec* vec = nullptr;
  u32 vec_count = 0;

  errc code = errc::ok;  ///< valid in `done`
  void (*done)(request&) = nullptr;
  void* owner = nullptr;

  list_link link;    ///< the device's own while in flight
  u64 progress = 0;  ///< bytes transferred so far; the device's own
  u32 retries = 0;
  u32 slot = 0;
  iovec single{};  ///< the device's own
};

struct limits {
  u32 alignment = 512;  ///< of offset, length and memory
  u64 max_transfer = 1 << 20;
  bool discard = false;
  bool durable_write_is_cheap = true;  ///< a durable write beats a write followed by a flush
  bool resizable = true;               ///< a file; false for a block device
  bool read_only = false;
};

struct statistics {
  u64 reads = 0, writes = 0, flushes = 0, discards = 0;
  u64 read_bytes = 0, written_bytes = 0;
  u64 retries = 0, errors = 0, system_calls = 0;
};

class device : public sm::poller {
 public:
  /// Queues `r`; it reaches the kernel at the end of the round (`submit`).
  /// REQUIRES: r is not in flight; I2.
  void queue(request& r);

  virtual u64 size() const = 0;  ///< bytes
  /// Reads at once, blocking, what a READ request would give: for page loads of a read-only
  /// opening, which apply the log inside a completion.
  /// RETURNS: bytes read or -errno. I2 holds.
  virtual i64 read_now(u64 offset, bytes out) = 0;
  virtual const char* name() const = 0;
  const limits& limit() const { return limits_; }
  const statistics& stats() const { return stats_; }
  u32 in_flight() const override { return in_flight_; }

  static constexpr u32 read_retries = 3;

 protected:
  /// Starts or restarts `r` at `r.offset + r.progress`. Errors come back through `complete`.
  virtual void start(request& r) = 0;
  /// The raw outcome of a request: bytes transferred or -errno. Finishes it, or starts it again.
  void complete(request& r, i64 raw);

  limits limits_;
  statistics stats_;
  u32 in_flight_ = 0;

 private:
  void flush_ended(request& r);

  list<request, &request::link> flushes_waiting_;  ///< for the one that is on its way
  bool flushing_ = false;
  errc flush_error_ = errc::ok;  ///< of the first flush that failed
};

enum class backend : u8 { AUTO, URING, THREADS };

struct open_options {
  backend kind = backend::AUTO;  ///< AUTO: io_uring where the kernel allows it, else threads
  bool read_only = false;
  bool create = false;    ///< create a file that must not exist
  u64 create_bytes = 0;   ///< with create: reserve this much (fallocate)
  bool exclusive = true;  ///< lock: writer excludes all, readers share
  u64 lock_wait_ns = 1'000'000'000;
  u32 depth = 256;  ///< requests in flight in the kernel
};

/// Opens a file or block device with O_DIRECT, locks it (flock; O_EXCL too on a block device that
/// is opened for writing) and probes its limits (STATX_DIOALIGN; BLKGETSIZE64). Blocks; for mkfs,
/// open and tools.
/// ERRORS: no_file, file_exists, already_open (after lock_wait_ns), mounted, read_only,
/// device_full, unsupported (io_uring asked for by name and refused by the kernel), io.
result<std::unique_ptr<device>> open_device(const std::string& path, const open_options& options,
                                            sm::environment& env);

/// The in-memory store: same interface, contents lost on destruction. `bytes` may grow by RESIZE.
std::unique_ptr<device> make_memory_device(u64 bytes);

/// True if io_uring can be set up here (not forbidden by seccomp, sysctl or an old kernel).
bool uring_available();

}  // namespace pleach::io
