// What open.cc hands to the devices that stand on a file descriptor. No interface for anybody else.
#pragma once

#include <unistd.h>

#include "be/io/device.hh"

namespace pleach::io {

/// An opened, locked and probed file or block device.
/// OWNS: the descriptor; releases the lock by itself, because a ring may keep the file alive for a
/// while.
class opened_file {
 public:
  opened_file() = default;
  opened_file(opened_file&& o) noexcept
      : path(std::move(o.path)),
        fd(o.fd),
        size(o.size),
        block_device(o.block_device),
        limit(o.limit) {
    o.fd = -1;
  }
  opened_file& operator=(opened_file&&) = delete;
  ~opened_file();

  std::string path;
  int fd = -1;
  u64 size = 0;
  bool block_device = false;
  limits limit;
};

/// ERRORS: unsupported, if the kernel refuses io_uring. `file` is taken only on success.
result<std::unique_ptr<device>> make_uring_device(opened_file& file, u32 depth);
std::unique_ptr<device> make_thread_device(opened_file& file, u32 depth);

/// Gives the file `size` bytes with space reserved where the file system can. Blocks; not durable
/// by itself.
/// RETURNS: 0 or -errno.
int reserve_space(int fd, u64 old_size, u64 size);
/// Some file systems keep, and show in the file's size, what a fallocate got before it failed: all
/// that was free. RETURNS: `error`.
int give_back_space(int fd, u64 old_size, int error);

/// `device::read_now` of a file: reads on after short transfers, EINTR and EAGAIN.
i64 read_file_now(int fd, u64 offset, bytes out);

}  // namespace pleach::io
