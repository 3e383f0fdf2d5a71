// The input of load and put: a file or standard input, and a look ahead over the sections of a
// dump.
//
// I1 Nothing is held in memory: what cannot be read twice (a pipe) is copied to an unnamed
//    temporary file in $TMPDIR or /tmp, and only when somebody asks for the look ahead, or for the
//    copy.
#pragma once

#include <cstdint>
#include <string>

#include "tools/outcome.hh"

namespace pleach::tool {

class input_file {
 public:
  // "-" is standard input. ERRORS: io.
  static outcome<input_file> open(const std::string& path);
  ~input_file();
  input_file(input_file&& other) noexcept;
  input_file& operator=(input_file&&) = delete;

  int fd() const { return fd_; }
  const std::string& name() const { return name_; }  // for messages

  // RETURNS: how many dump sections follow; the position stays where it is.
  outcome<std::uint64_t> count_dump_sections();
  // Reads all that is left, at most `bytes_max`, into a temporary file and goes on there.
  // RETURNS: bytes.
  outcome<std::uint64_t> spool(std::uint64_t bytes_max = ~std::uint64_t{0});

 private:
  input_file(int fd, bool owned, std::string name);

  int fd_;
  bool owned_;
  std::string name_;
};

}  // namespace pleach::tool
