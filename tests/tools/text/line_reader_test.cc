// The line reader against a plain split, with every small chunk size, over files and pipes; its
// limit, its memory, the last line without a newline, signals.
#include "tools/text/line_reader.hh"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/tools/text/support.hh"

namespace pleach::text {
namespace {

using testing::input_file;

struct seen_line {
  std::string text;
  bool complete;
  bool operator==(const seen_line&) const = default;
};

std::vector<seen_line> read_all(int fd, line_reader_options options) {
  line_reader lines(fd, std::move(options));
  std::vector<seen_line> out;
  for (;;) {
    const auto more = lines.next();
    DOCTEST_REQUIRE(more.has_value());
    if (!*more) break;
    out.push_back({std::string(lines.line()), lines.complete()});
    DOCTEST_REQUIRE(lines.line_number() == out.size());
  }
  DOCTEST_CHECK(lines.next() == false);  // the end stays the end
  return out;
}

std::vector<seen_line> split(std::string_view text) {
  std::vector<seen_line> out;
  while (!text.empty()) {
    const std::size_t at = text.find('\n');
    out.push_back({std::string(text.substr(0, at)), at != text.npos});
    text = at == text.npos ? "" : text.substr(at + 1);
  }
  return out;
}

DOCTEST_TEST_CASE("line_reader: as a plain split, for every chunk size") {
  testing::random_engine random(7);
  for (int round = 0; round < 60; ++round) {
    std::string text;
    while (text.size() < 300) {
      text.append(random() % 40, static_cast<char>('a' + random() % 26));
      if (random() % 8 != 0) text += '\n';
    }
    for (const std::size_t chunk : {1u, 2u, 3u, 7u, 16u, 64u, 4096u}) {
      input_file in(text);
      DOCTEST_REQUIRE(read_all(in.fd(), {.chunk_bytes = chunk}) == split(text));
    }
  }
  input_file empty("");
  DOCTEST_CHECK(read_all(empty.fd(), {}).empty());
  input_file blank("\n\n");
  DOCTEST_CHECK(read_all(blank.fd(), {}) == split("\n\n"));
}

DOCTEST_TEST_CASE("line_reader: the limit, exactly") {
  const std::string ten(10, 'x');
  for (const std::size_t chunk : {2u, 5u, 4096u}) {
    input_file good("a\n" + ten + "\n" + ten);
    DOCTEST_CHECK(read_all(good.fd(), {.chunk_bytes = chunk, .line_bytes_max = 10}).size() == 3);
    for (const char* end : {"\n", "", "\nb\n"}) {
      input_file bad("a\n" + ten + "x" + end);
      line_reader lines(bad.fd(), {.chunk_bytes = chunk, .line_bytes_max = 10});
      DOCTEST_REQUIRE(lines.next() == true);
      const auto got = lines.next();
      DOCTEST_REQUIRE(!got.has_value());
      DOCTEST_CHECK(got.error().kind == fault::too_large);
      DOCTEST_CHECK(got.error().message() == "line 2: too large: a line may have 10");
    }
  }
}

DOCTEST_TEST_CASE("line_reader: the buffer grows with the longest line, not with the input") {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "0123456789012345678901234567890123456789\n";
  input_file small(text);
  line_reader lines(small.fd(), {.chunk_bytes = 65536});
  while (lines.next().value()) DOCTEST_REQUIRE(lines.buffer_bytes() <= 2 * 65536);
  DOCTEST_CHECK(lines.line_number() == 100000);
  DOCTEST_CHECK(lines.bytes_read() == text.size());

  input_file large(std::string(6u << 20, 'x') + "\n");
  line_reader long_lines(large.fd());
  DOCTEST_REQUIRE(long_lines.next() == true);
  DOCTEST_CHECK(long_lines.line().size() == 6u << 20);
  DOCTEST_CHECK(long_lines.buffer_bytes() < 8u << 20);
}

DOCTEST_TEST_CASE(
    "line_reader: a line is given before the next one has arrived; non-blocking pipes") {
  int ends[2];
  DOCTEST_REQUIRE(::pipe2(ends, O_NONBLOCK) == 0);
  line_reader lines(ends[0]);
  DOCTEST_REQUIRE(::write(ends[1], "one\ntwo\nth", 10) == 10);
  DOCTEST_REQUIRE(lines.next() == true);
  DOCTEST_CHECK(lines.line() == "one");
  DOCTEST_REQUIRE(lines.next() == true);
  DOCTEST_CHECK(lines.line() == "two");
  std::thread writer([&] {
    if (::write(ends[1], "ree", 3) != 3) std::abort();
    ::close(ends[1]);
  });
  DOCTEST_REQUIRE(lines.next() == true);
  DOCTEST_CHECK(lines.line() == "three");
  DOCTEST_CHECK(!lines.complete());
  DOCTEST_CHECK(lines.next() == false);
  writer.join();
  ::close(ends[0]);
}

std::atomic<int> signals = 0;
void count_signal(int) {
  ++signals;
}
bool after_two_signals() {
  return signals >= 2;
}

DOCTEST_TEST_CASE("line_reader: a signal alone is nothing; `stopped` ends the wait") {
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = count_signal;  // without SA_RESTART
  DOCTEST_REQUIRE(::sigaction(SIGUSR1, &action, &old) == 0);
  int ends[2];
  DOCTEST_REQUIRE(::pipe(ends) == 0);
  signals = 0;
  std::atomic<bool> over = false;
  const pthread_t reader = ::pthread_self();
  std::thread sender([&] {
    while (!over) {
      ::pthread_kill(reader, SIGUSR1);
      ::usleep(2000);
    }
  });
  line_reader lines(ends[0], {.name = "the pipe", .stopped = after_two_signals});
  const auto got = lines.next();
  over = true;
  sender.join();
  DOCTEST_REQUIRE(!got.has_value());
  DOCTEST_CHECK(got.error().kind == fault::interrupted);
  DOCTEST_CHECK(signals >= 2);
  ::close(ends[0]);
  ::close(ends[1]);
  ::sigaction(SIGUSR1, &old, nullptr);
}

DOCTEST_TEST_CASE("line_reader: a failing descriptor is an io error with the name") {
  line_reader lines(-1, {.name = "x.jsonl"});
  const auto got = lines.next();
  DOCTEST_REQUIRE(!got.has_value());
  DOCTEST_CHECK(got.error().kind == fault::io);
  DOCTEST_CHECK(got.error().message() == "reading x.jsonl: Bad file descriptor");
}

}  // namespace
}  // namespace pleach::text
