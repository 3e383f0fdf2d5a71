#include "tools/input_file.hh"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "tools/signals.hh"
#include "tools/text/error.hh"
#include "tools/text/line_reader.hh"

namespace pleach::tool {

input_file::input_file(int fd, bool owned, std::string name)
    : fd_(fd), owned_(owned), name_(std::move(name)) {}

input_file::input_file(input_file&& other) noexcept
    : fd_(other.fd_), owned_(std::exchange(other.owned_, false)), name_(std::move(other.name_)) {}

input_file::~input_file() {
  if (owned_) close(fd_);
}

outcome<input_file> input_file::open(const std::string& path) {
  if (path == "-") return input_file(STDIN_FILENO, false, "standard input");
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(text::system_error(fmt::format("opening {}", path), errno));
  return input_file(fd, true, path);
}

outcome<std::uint64_t> input_file::count_dump_sections() {
  if (lseek(fd_, 0, SEEK_CUR) < 0) {
    if (auto spooled = spool(); !spooled) return std::unexpected(spooled.error());
  }
  const off_t start = lseek(fd_, 0, SEEK_CUR);
  text::line_reader lines(fd_, {.name = name_, .stopped = interrupted});
  std::uint64_t count = 0;
  for (;;) {
    auto more = lines.next();
    if (!more) return fail(more.error());
    if (!*more) break;
    if (lines.line() == "HEADER=END") ++count;  // data lines begin with a blank
  }
  lseek(fd_, start, SEEK_SET);
  return count;
}

outcome<std::uint64_t> input_file::spool(std::uint64_t bytes_max) {
  const char* folder = std::getenv("TMPDIR");
  std::string path =
      std::string(folder != nullptr && *folder != '\0' ? folder : "/tmp") + "/pleach-load-XXXXXX";
  const int to = mkostemp(path.data(), O_CLOEXEC);
  if (to < 0) return fail(text::system_error(fmt::format("copying {} to {}", name_, path), errno));
  unlink(path.c_str());
  std::string chunk(128 << 10, '\0');
  int number = 0;
  std::uint64_t copied = 0;
  while (copied < bytes_max) {
    const ssize_t got = read(fd_, chunk.data(), std::min(chunk.size(), bytes_max - copied));
    if (got < 0 && errno == EINTR && !interrupted()) continue;
    if (got < 0) number = errno;
    if (got <= 0) break;
    for (ssize_t done = 0; done < got && number == 0;) {
      const ssize_t put = write(to, chunk.data() + done, static_cast<std::size_t>(got - done));
      if (put < 0 && errno != EINTR) number = errno;
      if (put > 0) done += put;
    }
    copied += static_cast<std::uint64_t>(got);
    if (number != 0) break;
  }
  if (number != 0) {
    close(to);
    return fail(text::system_error(fmt::format("copying {} to {}", name_, path), number));
  }
  lseek(to, 0, SEEK_SET);
  if (owned_) close(fd_);
  fd_ = to;
  owned_ = true;
  return copied;
}

}  // namespace pleach::tool
