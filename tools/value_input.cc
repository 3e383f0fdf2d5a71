#include "tools/value_input.hh"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "tools/signals.hh"
#include "tools/text/size.hh"

namespace pleach::tool {

namespace {

// Until `into` is full or the input ends.
outcome<std::size_t> read_full(const input_file& file, std::span<char> into) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t got = read(file.fd(), into.data() + done, into.size() - done);
    if (got == 0) break;
    if (got > 0) {
      done += static_cast<std::size_t>(got);
      continue;
    }
    if (errno == EINTR && !interrupted()) continue;
    if (errno == EINTR) return fail("interrupted; nothing was changed");
    return fail(text::system_error(fmt::format("reading {}", file.name()), errno));
  }
  return done;
}

}  // namespace

value_input::value_input(input_file file, std::string head, std::uint64_t size)
    : file_(std::move(file)), head_(std::move(head)), size_(size), given_(head_.size()) {}

outcome<value_input> value_input::open(const std::string& path, std::uint64_t bytes_max) {
  auto file = input_file::open(path);
  if (!file) return std::unexpected(file.error());
  auto too_large = [&] {
    return fail(fmt::format("reading the value from {}: too large: a value has at most {}",
                            file->name(), text::format_size(bytes_max)));
  };
  std::string head(head_bytes, '\0');
  auto got = read_full(*file, head);
  if (!got) return std::unexpected(got.error());
  head.resize(*got);
  if (*got < head_bytes) return value_input(std::move(*file), std::move(head), *got);

  struct stat about = {};
  const off_t at = lseek(file->fd(), 0, SEEK_CUR);
  const bool regular = at >= 0 && fstat(file->fd(), &about) == 0 && S_ISREG(about.st_mode);
  std::uint64_t rest = 0;
  if (regular) {
    rest = about.st_size > at ? static_cast<std::uint64_t>(about.st_size - at) : 0;
  } else {
    auto copied = file->spool(bytes_max - head_bytes + 1);
    if (!copied) return std::unexpected(copied.error());
    rest = *copied;
  }
  if (head_bytes + rest > bytes_max) return too_large();
  return value_input(std::move(*file), std::move(head), head_bytes + rest);
}

outcome<std::size_t> value_input::next(std::span<char> into) {
  const std::size_t most = static_cast<std::size_t>(
      std::min<std::uint64_t>(into.size(), size_ - given_));
  auto got = read_full(file_, into.first(most));
  if (!got) return got;
  given_ += *got;
  if (*got < most)
    return fail(fmt::format("reading {}: truncated: it became shorter meanwhile", file_.name()));
  return got;
}

}  // namespace pleach::tool
