#include "tools/text/progress.hh"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "tools/text/size.hh"

namespace pleach::text {
namespace {

std::uint64_t steady_ms() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

}  // namespace

progress::progress(std::string_view what, std::string_view unit, progress_options options)
    : what_(what), unit_(unit), options_(options) {
  if (options_.now_ms == nullptr) options_.now_ms = steady_ms;
  active_ = !options_.quiet && (options_.force || ::isatty(options_.fd) == 1);
  if (!active_) return;
  started_ms_ = options_.now_ms();
  next_ms_ = started_ms_ + options_.interval_ms;  // work that is over at once shows nothing
}

void progress::show(std::uint64_t done, std::uint64_t total, std::uint64_t bytes) {
  const std::uint64_t now = options_.now_ms();
  if (now < next_ms_) return;
  next_ms_ = now + options_.interval_ms;
  std::string line = fmt::format("\r{}: {}", what_, done);
  if (total != 0) {
    const double part = static_cast<double>(done) / static_cast<double>(total);
    line += fmt::format(" of {} {} ({:.0f} %)", total, unit_, 100 * part);
  } else {
    line += fmt::format(" {}", unit_);
  }
  if (bytes != 0) line += ", " + approximate_size(bytes);
  const std::uint64_t elapsed_ms = now - started_ms_;
  if (elapsed_ms >= 1000) line += fmt::format(", {} {}/s", done * 1000 / elapsed_ms, unit_);
  line += "\x1b[K";  // erase what a longer line left
  write_out(line);
  shown_ = true;
}

void progress::finish() {
  if (shown_) write_out("\r\x1b[K");
  shown_ = false;
  active_ = false;
}

void progress::write_out(std::string_view text) {
  const ssize_t written = ::write(options_.fd, text.data(), text.size());
  if (written < 0) active_ = false;  // nobody watches any more
}

}  // namespace pleach::text
