// Progress: silent without a terminal or with quiet, limited in rate by a clock of the test's own,
// and it clears its line.
#include "tools/text/progress.hh"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>

namespace pleach::text {
namespace {

std::uint64_t clock_ms = 0;
std::uint64_t test_now_ms() {
  return clock_ms;
}

struct pipe_ends {
  pipe_ends() {
    if (::pipe2(fd, O_NONBLOCK) != 0) fd[0] = fd[1] = -1;
  }
  ~pipe_ends() {
    ::close(fd[0]);
    ::close(fd[1]);
  }
  std::string read_all() {
    char bytes[65536];
    const ssize_t got = ::read(fd[0], bytes, sizeof bytes);
    return got > 0 ? std::string(bytes, static_cast<std::size_t>(got)) : std::string();
  }
  int fd[2];
};

DOCTEST_TEST_CASE("progress: silent when nobody looks or with quiet") {
  clock_ms = 0;
  pipe_ends ends;
  for (const bool quiet : {false, true}) {
    progress p("loading", "records",
               {.quiet = quiet, .fd = ends.fd[1], .force = quiet, .now_ms = test_now_ms});
    for (std::uint64_t i = 0; i < 1000; ++i) {
      clock_ms += 50;
      p.update(i);
    }
    p.finish();
    DOCTEST_CHECK(ends.read_all().empty());
  }
}

DOCTEST_TEST_CASE("progress: at most one line an interval, cleared at the end") {
  clock_ms = 5000;
  pipe_ends ends;
  {
    progress p("loading x", "records", {.fd = ends.fd[1], .force = true, .now_ms = test_now_ms});
    p.update(1);
    DOCTEST_CHECK(ends.read_all().empty());  // short work shows nothing
    clock_ms += 1000;
    for (std::uint64_t i = 0; i < 640; ++i) p.update(i + 2, 1000, 3u << 20);
    const std::string once = ends.read_all();
    DOCTEST_CHECK(once.starts_with("\rloading x: 65 of 1000 records ("));
    DOCTEST_CHECK(once.find("3.0 MiB, 65 records/s") != std::string::npos);
    DOCTEST_CHECK(once.find('\r', 1) == std::string::npos);
  }
  DOCTEST_CHECK(ends.read_all() == "\r\x1b[K");
}

}  // namespace
}  // namespace pleach::text
