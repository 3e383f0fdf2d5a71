// Buffered output to standard output, or to a file that appears whole or not at all.
//
// A file is written beside its place (FILE.tmp-PID), synced, renamed over it, and the folder is
// synced. What stands at FILE and is no regular file (a pipe, /dev/null) is written directly.
// SIGPIPE must be ignored by the caller; then a closed pipe is the error closed_pipe.
//
// I1 Until commit() has returned, FILE is untouched; without commit() the temporary file is
//    removed.
// I2 After an error every further call fails with the same error; nothing is lost silently.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tools/text/error.hh"

namespace pleach::text {

class safe_output {
 public:
  // Standard output, or another descriptor that stays the caller's.
  explicit safe_output(int fd = 1, std::string name = "standard output");
  // RETURNS: in `out` an output to the file `path`. ERRORS: io, no_space.
  [[nodiscard]] static result<void> open_file(const std::string& path,
                                              std::optional<safe_output>& out);
  ~safe_output();
  safe_output(safe_output&& other) noexcept;
  safe_output& operator=(safe_output&&) = delete;

  [[nodiscard]] result<void> write(std::string_view bytes);
  // Hands everything to the kernel (for acknowledgements that must be seen now); no fsync.
  [[nodiscard]] result<void> flush();
  // Flushes and, for a file, syncs and renames. The last call.
  [[nodiscard]] result<void> commit();

  // `stopped` is asked after a signal interrupted a write; true makes it fail as `interrupted`.
  void set_stopped(bool (*stopped)()) noexcept { stopped_ = stopped; }

  [[nodiscard]] std::uint64_t bytes_written() const noexcept { return bytes_written_; }

 private:
  result<void> write_out(std::string_view bytes);
  result<void> rename_into_place();
  result<void> failed(error e);
  void discard() noexcept;

  static constexpr std::size_t buffer_bytes = 256 * 1024;

  int fd_;
  bool owned_ = false;     // close it
  std::string name_;       // for messages
  std::string path_;       // the place; empty if written directly
  std::string temporary_;  // exists until renamed or removed; empty if there is none
  std::string buffer_;
  std::uint64_t bytes_written_ = 0;
  std::optional<error> error_;
  bool (*stopped_)() = nullptr;
};

}  // namespace pleach::text
