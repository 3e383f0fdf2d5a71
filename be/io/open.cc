// Opening: descriptor, lock, size, limits; then the back end. Blocks; called before the first round
// only.
//
// I1 What is returned is locked (unless `exclusive` is false): a writer excludes all, readers
//    share.
// I2 A created file is durable with its name and size before it is returned; a failed creation
//    leaves none.
// I3 A reader writes nothing, not even an fsync.
//
// The lock of a killed process lives on until the kernel has torn down its ring, hence the retries.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "be/io/backends.hh"
#include "be/io/inspect.hh"

namespace pleach::io {

namespace {

constexpr u64 lock_retry_ns = 10'000'000;

errc open_error(int number, bool writing) {
  switch (number) {
    case ENOENT:
    case ENOTDIR:
      return errc::no_file;
    case EEXIST:
      return errc::file_exists;
    case EROFS:
    case EACCES:
    case EPERM:
      return writing ? errc::read_only : errc::io;
    case EBUSY:
    case ETXTBSY:
      return errc::already_open;
    case EISDIR:
      return errc::not_a_store;
    default:
      return from_errno(-number);
  }
}

/// Tells a device that another writer holds from one that the kernel claimed (mount, swap, md, dm).
errc why_claimed(const std::string& path) {
  if (is_mounted(path)) return errc::mounted;
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errc::already_open;
  const bool ours = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(fd);
  return ours ? errc::already_open : errc::mounted;
}

class opener {
 public:
  opener(const std::string& path, const open_options& options, sm::environment& env)
      : options_(options), env_(env), deadline_(env.mono_ns() + options.lock_wait_ns) {
    file_.path = path;
  }

  result<std::unique_ptr<device>> run() {
    status s = open_path();
    if (s) s = lock();
    if (s) s = measure();
    if (s && options_.create) s = reserve();
    if (s && !options_.read_only && !file_.block_device) s = make_durable();
    if (!s) {
      if (created_) unlink(file_.path.c_str());
      return fail(s.error());
    }
    probe_limits();
    if (file_.limit.alignment > block_bytes) return fail(errc::unsupported);
    return make_device();
  }

 private:
  bool writing() const { return !options_.read_only; }

  /// RETURNS: true after a pause, false when the time is over.
  bool wait() {
    const u64 now = env_.mono_ns();
    if (now >= deadline_) return false;
    env_.sleep(-1, static_cast<i64>(std::min(lock_retry_ns, deadline_ - now)));
    return true;
  }

  status open_path() {
    struct stat st;  // opening a pipe would wait for its other end
    if (!options_.create && stat(file_.path.c_str(), &st) == 0 && !S_ISREG(st.st_mode) &&
        !S_ISBLK(st.st_mode))
      return fail(errc::not_a_store);
    int flags = O_CLOEXEC | O_DIRECT | (writing() ? O_RDWR : O_RDONLY);
    if (options_.create) flags |= O_CREAT | O_EXCL;
    if (!options_.create && writing() && options_.exclusive && is_block_device(file_.path)) {
      flags |= O_EXCL;  // the lock alone does not exclude a mount
    }
    for (;;) {
      file_.fd = open(file_.path.c_str(), flags, 0644);
      if (file_.fd >= 0) break;
      if (errno == EINTR) continue;
      if (errno == EINVAL && (flags & O_DIRECT)) {  // tmpfs of older kernels
        flags &= ~O_DIRECT;
        if (options_.create) unlink(file_.path.c_str());  // some create it, then refuse
        continue;
      }
      if (errno != EBUSY) return fail(open_error(errno, writing()));
      errc why = why_claimed(file_.path);
      if (why == errc::mounted && is_mounted(file_.path)) return fail(why);
      if (!wait()) return fail(why);
    }
    created_ = options_.create;
    return {};
  }

  status lock() {
    if (!options_.exclusive) return {};
    while (flock(file_.fd, (writing() ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) return fail(errc::io);
      if (!wait()) return fail(errc::already_open);
    }
    return {};
  }

  status measure() {
    struct stat st;
    if (fstat(file_.fd, &st) != 0) return fail(errc::io);
    file_.block_device = S_ISBLK(st.st_mode);
    rdev_ = st.st_rdev;
    if (S_ISREG(st.st_mode)) {
      file_.size = static_cast<u64>(st.st_size);
      return {};
    }
    if (!file_.block_device) return fail(errc::not_a_store);
    int locked =
        0;  // the kernel lets a read-only device be opened for writing, and fails each write
    if (writing() && ioctl(file_.fd, BLKROGET, &locked) == 0 && locked)
      return fail(errc::read_only);
    return ioctl(file_.fd, BLKGETSIZE64, &file_.size) == 0 ? status{} : fail(errc::io);
  }

  status reserve() {
    if (options_.create_bytes == 0) return {};
    int rc = reserve_space(file_.fd, 0, options_.create_bytes);
    if (rc != 0) return fail(rc == -EFBIG ? errc::device_full : from_errno(rc));
    file_.size = options_.create_bytes;
    return {};
  }

  /// What a crashed predecessor left in the kernel's hands is durable before anything is read.
  status make_durable() {
    if (fsync(file_.fd) != 0) return fail(from_errno(-errno));
    const int rc = sync_folder_of(file_.path, created_);
    return rc == 0 ? status{} : fail(from_errno(rc));
  }

  void probe_limits() {
    limits& l = file_.limit;
    l.read_only = options_.read_only;
    l.resizable = !file_.block_device;
    l.discard = !file_.block_device || queue_attribute("write_zeroes_max_bytes") != 0;
    l.alignment = block_bytes;
    int sector = 0;
    if (file_.block_device && ioctl(file_.fd, BLKSSZGET, &sector) == 0 && sector >= 512) {
      l.alignment = static_cast<u32>(sector);
    }
    struct statx sx;
    if (statx(file_.fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
        (sx.stx_mask & STATX_DIOALIGN) && sx.stx_dio_offset_align != 0) {
      l.alignment = std::max({sx.stx_dio_mem_align, sx.stx_dio_offset_align, 512u});
    }
  }

  u64 queue_attribute(const char* name) const {
    const std::string device = std::to_string(major(rdev_)) + ":" + std::to_string(minor(rdev_));
    u64 value = 0;
    for (const char* base : {"/queue/", "/../queue/"}) {  // a partition's queue is its disk's
      std::ifstream in("/sys/dev/block/" + device + base + name);
      if (in >> value) return value;
    }
    return 0;
  }

  result<std::unique_ptr<device>> make_device() {
    if (options_.kind != backend::THREADS) {
      auto d = make_uring_device(file_, options_.depth);
      if (d) return d;
      if (options_.kind == backend::URING) {
        if (created_) unlink(file_.path.c_str());
        return d;
      }
    }
    return make_thread_device(file_, options_.depth);
  }

  const open_options& options_;
  sm::environment& env_;
  u64 deadline_;
  opened_file file_;
  dev_t rdev_ = 0;
  bool created_ = false;
};

}  // namespace

opened_file::~opened_file() {
  if (fd < 0) return;
  flock(fd, LOCK_UN);
  close(fd);
}

int reserve_space(int fd, u64 old_size, u64 size) {
  if (size <= old_size) return ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : -errno;
  int rc;
  do {
    rc = fallocate(fd, 0, static_cast<off_t>(old_size), static_cast<off_t>(size - old_size));
  } while (rc != 0 && errno == EINTR);
  if (rc == 0) return 0;
  if (errno != EOPNOTSUPP && errno != ENOSYS) return give_back_space(fd, old_size, -errno);
  // posix_fallocate would write each block; where the file system cannot reserve, neither can that.
  return ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : -errno;
}

int give_back_space(int fd, u64 old_size, int error) {
  (void)!ftruncate(fd, static_cast<off_t>(old_size));
  return error;
}

result<std::unique_ptr<device>> open_device(const std::string& path, const open_options& options,
                                            sm::environment& env) {
  return opener(path, options, env).run();
}

}  // namespace pleach::io
