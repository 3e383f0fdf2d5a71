#include "tools/text/line_reader.hh"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "tools/text/size.hh"

namespace pleach::text {

line_reader::line_reader(int fd, line_reader_options options)
    : fd_(fd), options_(std::move(options)) {}

line_reader::~line_reader() {
  std::free(buffer_);
}

result<bool> line_reader::next() {
  for (;;) {
    if (scanned_ < end_) {
      const void* newline = std::memchr(buffer_ + scanned_, '\n', end_ - scanned_);
      if (newline != nullptr) {
        const auto at = static_cast<std::size_t>(static_cast<const char*>(newline) - buffer_);
        line_ = {buffer_ + begin_, at - begin_};
        ++line_number_;
        begin_ = scanned_ = at + 1;
        if (line_.size() > options_.line_bytes_max) break;
        return true;
      }
      scanned_ = end_;
    }
    if (end_ - begin_ > options_.line_bytes_max) {
      ++line_number_;
      break;
    }
    if (at_end_) {
      line_ = {};
      if (begin_ == end_) return false;
      line_ = {buffer_ + begin_, end_ - begin_};
      ++line_number_;
      complete_ = false;
      begin_ = end_;
      return true;
    }
    if (const auto filled = fill(); !filled) return filled;
  }
  return fail(fault::too_large,
              fmt::format("too large: a line may have {}", format_size(options_.line_bytes_max)),
              line_number_);
}

result<bool> line_reader::fill() {
  make_room();
  const auto got = read_some(buffer_ + end_, capacity_ - end_);
  if (!got) return std::unexpected(got.error());
  at_end_ = *got == 0;
  end_ += *got;
  bytes_read_ += *got;
  return true;
}

// Moves the unread bytes to the front; grows only if half a chunk would not fit behind them.
// realloc and not a vector: the kernel moves the pages of a large buffer, so that old and new are
// never resident both.
void line_reader::make_room() {
  if (begin_ > 0) {
    if (end_ > begin_) std::memmove(buffer_, buffer_ + begin_, end_ - begin_);
    end_ -= begin_;
    scanned_ -= begin_;
    begin_ = 0;
  }
  const std::size_t chunk = std::max<std::size_t>(options_.chunk_bytes, 2);
  if (capacity_ - end_ >= chunk / 2) return;
  const std::size_t wanted = end_ + std::max(chunk, end_ / 4);
  void* const grown = std::realloc(buffer_, wanted);
  if (grown == nullptr) throw std::bad_alloc();
  buffer_ = static_cast<char*>(grown);
  capacity_ = wanted;
}

result<std::size_t> line_reader::read_some(char* to, std::size_t bytes) {
  for (;;) {
    const ssize_t got = ::read(fd_, to, bytes);
    if (got >= 0) return static_cast<std::size_t>(got);
    int number = errno;
    if (number == EAGAIN || number == EWOULDBLOCK) {
      pollfd wait{fd_, POLLIN, 0};
      number = ::poll(&wait, 1, -1) < 0 ? errno : 0;
      if (number == 0) continue;
    }
    if (number != EINTR) {
      error e = system_error("reading " + options_.name, number);
      return std::unexpected(std::move(e));
    }
    if (options_.stopped != nullptr && options_.stopped()) {
      return fail(fault::interrupted, "interrupted while reading " + options_.name);
    }
  }
}

}  // namespace pleach::text
