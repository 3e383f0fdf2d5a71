// The value of put, from a file or standard input: in pieces, and ready before the store is opened.
//
// I1 Nobody waits for input while the store is open: what comes from a pipe and is longer than the
//    head is copied to an unnamed temporary file in $TMPDIR or /tmp first.
// I2 Memory: the head and one piece, whatever the value has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tools/input_file.hh"
#include "tools/outcome.hh"

namespace pleach::tool {

class value_input {
 public:
  static constexpr std::size_t head_bytes = 1 << 20;

  // `path` "-" is standard input. ERRORS: io; `too large` over `bytes_max`.
  static outcome<value_input> open(const std::string& path, std::uint64_t bytes_max);

  // The value's first bytes; all of it if `whole()`.
  const std::string& head() const { return head_; }
  bool whole() const { return head_.size() == size_; }
  std::uint64_t size() const { return size_; }
  // The next bytes behind the head. RETURNS: how many; 0 at the end. ERRORS: io; the file changed.
  outcome<std::size_t> next(std::span<char> into);

 private:
  value_input(input_file file, std::string head, std::uint64_t size);

  input_file file_;
  std::string head_;
  std::uint64_t size_;
  std::uint64_t given_;
};

}  // namespace pleach::tool
