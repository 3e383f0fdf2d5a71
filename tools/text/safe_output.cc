#include "tools/text/safe_output.hh"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace pleach::text {
namespace {

// The file that a link leads to: the rename must replace that one and not the link.
std::string resolved(const std::string& path) {
  char* const real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return path;
  std::string out = real;
  std::free(real);
  return out;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// RETURNS: 0 or errno. Some file systems cannot sync a folder (EINVAL): they need no sync.
int sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int number = ::fsync(fd) != 0 ? errno : 0;
  ::close(fd);
  return number == EINVAL ? 0 : number;
}

}  // namespace

safe_output::safe_output(int fd, std::string name) : fd_(fd), name_(std::move(name)) {
  buffer_.reserve(buffer_bytes);
}

safe_output::safe_output(safe_output&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      owned_(std::exchange(other.owned_, false)),
      name_(std::move(other.name_)),
      path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      buffer_(std::move(other.buffer_)),
      bytes_written_(other.bytes_written_),
      error_(std::move(other.error_)),
      stopped_(other.stopped_) {
  other.temporary_.clear();
  other.buffer_.clear();
}

safe_output::~safe_output() {
  discard();
}

result<void> safe_output::open_file(const std::string& path, std::optional<safe_output>& out) {
  out.reset();
  struct stat at_path {};
  const bool exists = ::stat(path.c_str(), &at_path) == 0;
  const std::string what = fmt::format("opening {} for writing", path);
  if (exists && !S_ISREG(at_path.st_mode)) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return std::unexpected(system_error(what, errno));
    out.emplace(safe_output(fd, path));
    out->owned_ = true;
    return {};
  }
  const std::string place = exists ? resolved(path) : path;
  const std::string temporary = fmt::format("{}.tmp-{}", place, ::getpid());
  // The name holds our own process number: what stands there was left by a dead process.
  ::unlink(temporary.c_str());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return std::unexpected(system_error(what, errno));
  out.emplace(safe_output(fd, path));
  out->owned_ = true;
  out->path_ = place;
  out->temporary_ = temporary;
  if (exists && ::fchmod(fd, at_path.st_mode & 07777) != 0) {
    error e = system_error(what, errno);
    out.reset();
    return std::unexpected(std::move(e));
  }
  return {};
}

result<void> safe_output::write(std::string_view bytes) {
  if (error_) return std::unexpected(*error_);
  bytes_written_ += bytes.size();
  if (buffer_.size() + bytes.size() <= buffer_bytes) {
    buffer_.append(bytes);
    return {};
  }
  if (auto good = flush(); !good) return good;
  if (bytes.size() >= buffer_bytes) return write_out(bytes);
  buffer_.append(bytes);
  return {};
}

result<void> safe_output::flush() {
  if (error_) return std::unexpected(*error_);
  auto good = write_out(buffer_);
  buffer_.clear();
  return good;
}

result<void> safe_output::write_out(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
      continue;
    }
    int number = errno;
    if (number == EAGAIN || number == EWOULDBLOCK) {
      pollfd wait{fd_, POLLOUT, 0};
      number = ::poll(&wait, 1, -1) < 0 ? errno : 0;
    }
    if (number == EINTR && stopped_ != nullptr && stopped_()) {
      return failed({fault::interrupted, 0, "interrupted while writing " + name_});
    }
    if (number == 0 || number == EINTR) continue;
    return failed(system_error("writing " + name_, number));
  }
  return {};
}

result<void> safe_output::commit() {
  if (auto good = flush(); !good) return good;
  if (!temporary_.empty()) return rename_into_place();
  // Network file systems and quotas report a failed write only here; a copy keeps the caller's
  // open.
  const int copy = ::dup(fd_);
  if (copy >= 0 && ::close(copy) != 0 && errno != EINTR) {
    return failed(system_error("closing " + name_, errno));
  }
  return {};
}

result<void> safe_output::rename_into_place() {
  if (::fsync(fd_) != 0) return failed(system_error("syncing " + name_, errno));
  const int closed = ::close(std::exchange(fd_, -1));
  owned_ = false;
  if (closed != 0 && errno != EINTR) return failed(system_error("closing " + name_, errno));
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return failed(system_error(fmt::format("renaming {} to {}", temporary_, path_), errno));
  }
  temporary_.clear();
  if (const int number = sync_folder(folder_of(path_)); number != 0) {
    return failed(system_error("syncing the folder of " + name_, number));
  }
  return {};
}

result<void> safe_output::failed(error e) {
  error_ = e;
  return std::unexpected(std::move(e));
}

void safe_output::discard() noexcept {
  if (owned_ && fd_ >= 0) ::close(fd_);
  owned_ = false;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

}  // namespace pleach::text
