// One line of progress on standard error, rewritten in place: only on a terminal, at most ten times
// a second.
//
// Not a log: it leaves nothing behind but, after finish(), an empty line. It never fails.
//
// I1 Nothing is written if the descriptor is no terminal or with `quiet`.
// I2 update() asks the clock only every 64th call, so that it may stand in the loop over records.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pleach::text {

struct progress_options {
  bool quiet = false;
  int fd = 2;
  bool force = false;                   // as if on a terminal; for tests
  std::uint64_t (*now_ms)() = nullptr;  // monotonic; the steady clock if null
  std::uint64_t interval_ms = 100;
};

class progress {
 public:
  // `what` is "loading FILE"; `unit` is "records".
  progress(std::string_view what, std::string_view unit, progress_options options = {});
  ~progress() { finish(); }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;

  // `total` 0: not known. `bytes` 0: not shown.
  void update(std::uint64_t done, std::uint64_t total = 0, std::uint64_t bytes = 0) {
    if (!active_ || (calls_++ % 64) != 0) return;
    show(done, total, bytes);
  }
  // Clears the line. Call it before printing an error.
  void finish();

 private:
  void show(std::uint64_t done, std::uint64_t total, std::uint64_t bytes);
  void write_out(std::string_view text);

  std::string what_;
  std::string unit_;
  progress_options options_;
  bool active_ = false;
  bool shown_ = false;
  std::uint64_t calls_ = 0;
  std::uint64_t started_ms_ = 0;
  std::uint64_t next_ms_ = 0;
};

}  // namespace pleach::text
