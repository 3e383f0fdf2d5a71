#include "tools/read_file.hh"

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include <cerrno>

#include "tools/signals.hh"
#include "tools/text/size.hh"

namespace pleach::tool {

namespace {

outcome<std::string> read_all(int fd, const std::string& name, std::uint64_t bytes_max) {
  std::string bytes;
  constexpr std::size_t chunk = 64 << 10;
  for (;;) {
    const std::size_t before = bytes.size();
    bytes.resize(before + chunk);
    const ssize_t got = read(fd, bytes.data() + before, chunk);
    const int number = errno;
    bytes.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got == 0) return bytes;
    if (got < 0) {
      if (number == EINTR && !interrupted()) continue;
      if (number == EINTR) return fail("interrupted; nothing was changed");
      return fail(text::system_error(fmt::format("reading {}", name), number));
    }
    if (bytes.size() > bytes_max) {
      return fail(fmt::format("reading the value from {}: too large: a value has at most {}", name,
                              text::format_size(bytes_max)));
    }
  }
}

}  // namespace

outcome<std::string> read_whole(const std::string& path, std::uint64_t bytes_max) {
  if (path == "-") return read_all(STDIN_FILENO, "standard input", bytes_max);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(text::system_error(fmt::format("opening {}", path), errno));
  auto bytes = read_all(fd, path, bytes_max);
  close(fd);
  return bytes;
}

}  // namespace pleach::tool
