#include "be/io/inspect.hh"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <vector>

namespace pleach::io {

bool is_block_device(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 && S_ISBLK(st.st_mode);
}

bool is_mounted(const std::string& path) {
  struct stat st;
  if (stat(path.c_str(), &st) != 0 || !S_ISBLK(st.st_mode)) return false;
  std::ifstream info("/proc/self/mountinfo");
  std::string line;
  while (std::getline(info, line)) {
    // "36 35 98:0 /root /mount/point ... - type source options"; third field = major:minor.
    std::istringstream fields(line);
    std::string id, parent, device;
    fields >> id >> parent >> device;
    unsigned major_number = 0, minor_number = 0;
    if (std::sscanf(device.c_str(), "%u:%u", &major_number, &minor_number) != 2) continue;
    if (makedev(major_number, minor_number) == st.st_rdev) return true;
  }
  return false;
}

int sync_folder_of(const std::string& path, bool must) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int dir = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return must ? -errno : 0;
  const int rc = fsync(dir) == 0 || errno == EINVAL ? 0 : -errno;
  close(dir);
  return rc;
}

namespace {

result<bool> nonzero(int fd, off_t from, off_t to) {
  std::vector<char> buffer(65536);
  for (off_t at = from; at < to;) {
    ssize_t n =
        pread(fd, buffer.data(), std::min<size_t>(buffer.size(), static_cast<size_t>(to - at)), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errc::io);
    if (n == 0) break;
    if (std::any_of(buffer.begin(), buffer.begin() + n, [](char c) { return c != 0; })) return true;
    at += n;
  }
  return false;
}

}  // namespace

result<bool> holds_data(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == EACCES || errno == EPERM) return fail(errc::read_only);
    return fail(errno == ENOENT ? errc::no_file : errc::io);
  }
  const off_t end = lseek(fd, 0, SEEK_END);
  result<bool> found = end < 0 ? fail(errc::io) : nonzero(fd, 0, std::min<off_t>(end, 128 << 10));
  if (found && !*found) found = nonzero(fd, std::max<off_t>(0, end - (64 << 10)), end);
  close(fd);
  return found;
}

}  // namespace pleach::io
