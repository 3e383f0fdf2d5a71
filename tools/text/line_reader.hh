// Reads lines from a file descriptor (file, pipe, terminal) with their numbers, in bounded memory.
//
// It is not the owner of the descriptor and knows no format. Lines end with '\n' only; a '\r' is
// data.
//
// I1 The buffer holds at most one chunk more than the longest line so far; it never shrinks.
// I2 line() is valid until the next call of next().
// I3 A complete line is returned as soon as its bytes have arrived: no read is done while one is
//    buffered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tools/text/error.hh"

namespace pleach::text {

struct line_reader_options {
  std::size_t chunk_bytes = 128 * 1024;
  std::size_t line_bytes_max = 16 * 1024 * 1024;
  std::string name = "standard input";  // for messages
  bool (*stopped)() = nullptr;  // asked after a signal interrupted a wait; true ends the reading
};

class line_reader {
 public:
  explicit line_reader(int fd, line_reader_options options = {});
  ~line_reader();
  line_reader(const line_reader&) = delete;
  line_reader& operator=(const line_reader&) = delete;

  // RETURNS: true with a line, false at the end of the input (and again when called again).
  // WAITS: for the descriptor, also if it is non-blocking.
  // ERRORS: too_large (line over the limit), interrupted, io.
  [[nodiscard]] result<bool> next();

  [[nodiscard]] std::string_view line() const noexcept { return line_; }
  // From 1; the last line's number after the end, 0 before the first.
  [[nodiscard]] std::uint64_t line_number() const noexcept { return line_number_; }
  // False if the input ended without a newline after line().
  [[nodiscard]] bool complete() const noexcept { return complete_; }
  [[nodiscard]] std::uint64_t bytes_read() const noexcept { return bytes_read_; }
  [[nodiscard]] std::size_t buffer_bytes() const noexcept { return capacity_; }

 private:
  result<bool> fill();
  void make_room();
  result<std::size_t> read_some(char* to, std::size_t bytes);

  int fd_;
  line_reader_options options_;
  char* buffer_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;    // first byte not yet returned
  std::size_t scanned_ = 0;  // no newline in [begin_, scanned_)
  std::size_t end_ = 0;      // end of the bytes read
  bool at_end_ = false;
  bool complete_ = true;
  std::uint64_t line_number_ = 0;
  std::uint64_t bytes_read_ = 0;
  std::string_view line_;
};

}  // namespace pleach::text
