// The one layer that gives raw outcomes a meaning; every device reports through `complete`.
//
// I1 A transfer goes on only from a multiple of the alignment: what a short transfer left of a
//    sector is transferred again. A transfer that does not get one sector further has reached the
//    end.
// I2 `complete` is called from reap() only (device.hh I3); `start` may be called from it.
#include "be/io/device.hh"

#include <cerrno>
#include <climits>

#include "be/base/assert.hh"
#include "be/base/planted.hh"
#include "be/io/backends.hh"
#include "be/io/transfer.hh"

namespace pleach::io {

namespace {

bool is_transfer(const request& r) {
  return r.kind == request_kind::READ || r.kind == request_kind::WRITE;
}

void assert_aligned(const request& r, u64 alignment) {
  const u64 mask = alignment - 1;
  PLEACH_ASSERT((r.offset & mask) == 0);
  if (r.kind == request_kind::FLUSH || r.kind == request_kind::RESIZE) return;
  PLEACH_ASSERT(r.length != 0 && (r.length & mask) == 0);
  if (!is_transfer(r)) return;
  if (!r.vec) {
    PLEACH_ASSERT(r.data && (reinterpret_cast<std::uintptr_t>(r.data) & mask) == 0);
    return;
  }
  PLEACH_ASSERT(r.vec_count > 0 && r.vec_count <= IOV_MAX);
  u64 sum = 0;
  for (u32 i = 0; i < r.vec_count; ++i) {
    PLEACH_ASSERT((reinterpret_cast<std::uintptr_t>(r.vec[i].iov_base) & mask) == 0);
    PLEACH_ASSERT((r.vec[i].iov_len & mask) == 0);
    sum += r.vec[i].iov_len;
  }
  PLEACH_ASSERT(sum == r.length);
}

errc meaning(const request& r, int negative_errno) {
  switch (-negative_errno) {
    case ENOSPC:
    case EDQUOT:
      return errc::device_full;
    case ENODEV:
    case ENXIO:
      return errc::device_gone;
    case EROFS:  // remounted, or made immutable, under an open file
    case EPERM:
      return errc::read_only;
    case EFBIG:  // a limit of the file system or of the process, met only where space is asked for
      return r.kind == request_kind::RESIZE ? errc::device_full : errc::io;
    case EOPNOTSUPP:
    case ENOSYS:
    case ENOTTY:
      return is_transfer(r) || r.kind == request_kind::FLUSH ? errc::io : errc::unsupported;
    default:
      return errc::io;
  }
}

}  // namespace

void device::queue(request& r) {
  PLEACH_ASSERT(!r.link.linked() && r.done);
  assert_aligned(r, limits_.alignment);
  PLEACH_ASSERT(!limits_.read_only || r.kind == request_kind::READ ||
                r.kind == request_kind::FLUSH);
  r.code = errc::ok;
  r.progress = 0;
  r.retries = 0;
  r.slot = 0;
  switch (r.kind) {
    case request_kind::READ:
      ++stats_.reads;
      break;
    case request_kind::WRITE:
      ++stats_.writes;
      break;
    case request_kind::FLUSH:
      ++stats_.flushes;
      break;
    case request_kind::DISCARD:
      ++stats_.discards;
      break;
    case request_kind::RESIZE:
      break;
  }
  ++in_flight_;
  if (r.kind == request_kind::FLUSH) {
    if (flushing_) return flushes_waiting_.push_back(r);
    flushing_ = true;
  }
  start(r);
}

/// Gives `r` the outcome of a flush (I4 of device.hh), and the next one its turn.
void device::flush_ended(request& r) {
  if (flush_error_ == errc::ok) flush_error_ = r.code;
  r.code = flush_error_;
  flushing_ = !flushes_waiting_.empty();
  if (flushing_) start(flushes_waiting_.pop_front());
}

void device::complete(request& r, i64 raw) {
  if (raw == -EINTR || raw == -EAGAIN) {
    ++stats_.retries;
    return start(r);
  }
  if (raw == -EIO && r.kind == request_kind::READ && r.retries < read_retries) {
    ++r.retries;
    ++stats_.retries;
    return start(r);
  }
  if (raw < 0) {
    r.code = meaning(r, static_cast<int>(raw));
  } else if (is_transfer(r)) {
    PLEACH_ASSERT(static_cast<u64>(raw) <= r.length - r.progress);
    const u64 whole = static_cast<u64>(raw) & ~u64{limits_.alignment - 1};
    advance(r, whole);
    if (r.progress < r.length &&
        !(PLEACH_PLANTED("short_write_is_full") && r.kind == request_kind::WRITE)) {
      if (whole != 0) {
        ++stats_.retries;
        return start(r);
      }
      r.code = r.kind == request_kind::READ ? errc::truncated : errc::io;
    }
  }
  if (r.kind == request_kind::FLUSH) flush_ended(r);
  (r.kind == request_kind::READ ? stats_.read_bytes : stats_.written_bytes) +=
      is_transfer(r) ? r.progress : 0;
  if (r.code != errc::ok) ++stats_.errors;
  PLEACH_ASSERT(in_flight_ > 0);
  --in_flight_;
  r.done(r);  // last: the owner may reuse or free the request
}

i64 read_file_now(int fd, u64 offset, bytes out) {
  u64 done = 0;
  while (done < out.size()) {
    ssize_t n = pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return -errno;
    if (n == 0) break;
    done += static_cast<u64>(n);
  }
  return static_cast<i64>(done);
}

}  // namespace pleach::io
