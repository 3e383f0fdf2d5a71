// Output: a file appears whole or not at all, links and modes are kept, nothing is left after a
// failure; a closed pipe and a full device are their own errors.
#include "tools/text/safe_output.hh"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tools/text/support.hh"

namespace pleach::text {
namespace {

namespace files = std::filesystem;
using testing::content_of;

std::size_t entries(const files::path& folder) {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : files::directory_iterator(folder)) ++n;
  return n;
}

DOCTEST_TEST_CASE("safe_output: a file is there only after commit, and whole") {
  const testing::temporary_folder folder;
  const files::path path = folder.path / "out";
  std::string expected;
  {
    std::optional<safe_output> out;
    DOCTEST_REQUIRE(safe_output::open_file(path.string(), out).has_value());
    for (int i = 0; i < 2000; ++i) {
      const std::string piece(static_cast<std::size_t>(i % 700), static_cast<char>('a' + i % 26));
      expected += piece;
      DOCTEST_REQUIRE(out->write(piece).has_value());
    }
    const std::string large(1u << 20, 'L');
    expected += large;
    DOCTEST_REQUIRE(out->write(large).has_value());
    DOCTEST_CHECK(!files::exists(path));
    DOCTEST_CHECK(files::exists(path.string() + ".tmp-" + std::to_string(::getpid())));
    DOCTEST_REQUIRE(out->commit().has_value());
    DOCTEST_CHECK(out->bytes_written() == expected.size());
  }
  DOCTEST_CHECK(content_of(path) == expected);
  DOCTEST_CHECK(entries(folder.path) == 1);
}

DOCTEST_TEST_CASE("safe_output: without commit the old file stays and nothing else") {
  const testing::temporary_folder folder;
  const files::path path = folder.path / "out";
  std::ofstream(path) << "old";
  {
    std::optional<safe_output> out;
    DOCTEST_REQUIRE(safe_output::open_file(path.string(), out).has_value());
    DOCTEST_REQUIRE(out->write("new").has_value());
    DOCTEST_REQUIRE(out->flush().has_value());
    DOCTEST_CHECK(entries(folder.path) == 2);
  }
  DOCTEST_CHECK(content_of(path) == "old");
  DOCTEST_CHECK(entries(folder.path) == 1);
}

DOCTEST_TEST_CASE(
    "safe_output: replaces what a link leads to and keeps the mode; a stale neighbour goes") {
  const testing::temporary_folder folder;
  const files::path path = folder.path / "real";
  const files::path link = folder.path / "link";
  std::ofstream(path) << "old";
  std::ofstream(path.string() + ".tmp-" + std::to_string(::getpid())) << "stale";
  DOCTEST_REQUIRE(::chmod(path.c_str(), 0640) == 0);
  files::create_symlink("real", link);
  std::optional<safe_output> out;
  DOCTEST_REQUIRE(safe_output::open_file(link.string(), out).has_value());
  DOCTEST_REQUIRE(out->write("new").has_value());
  DOCTEST_REQUIRE(out->commit().has_value());
  DOCTEST_CHECK(files::is_symlink(link));
  DOCTEST_CHECK(content_of(path) == "new");
  struct stat after {};
  DOCTEST_REQUIRE(::stat(path.c_str(), &after) == 0);
  DOCTEST_CHECK((after.st_mode & 07777) == 0640);
  DOCTEST_CHECK(entries(folder.path) == 2);
}

DOCTEST_TEST_CASE("safe_output: a relative path without a folder") {
  const testing::temporary_folder folder;
  const files::path before = files::current_path();
  files::current_path(folder.path);
  std::optional<safe_output> out;
  const bool opened = safe_output::open_file("plain", out).has_value();
  const bool done = opened && out->write("x").has_value() && out->commit().has_value();
  files::current_path(before);
  DOCTEST_CHECK(done);
  DOCTEST_CHECK(content_of(folder.path / "plain") == "x");
}

DOCTEST_TEST_CASE("safe_output: a folder that is missing, a place that is a folder") {
  const testing::temporary_folder folder;
  std::optional<safe_output> out;
  const std::string missing = (folder.path / "no" / "out").string();
  auto got = safe_output::open_file(missing, out);
  DOCTEST_REQUIRE(!got.has_value());
  DOCTEST_CHECK(got.error().kind == fault::io);
  DOCTEST_CHECK(got.error().message() ==
                "opening " + missing + " for writing: No such file or directory");
  DOCTEST_CHECK(!out.has_value());
  DOCTEST_CHECK(!safe_output::open_file(folder.path.string(), out).has_value());
  DOCTEST_CHECK(entries(folder.path) == 0);
}

DOCTEST_TEST_CASE("safe_output: a device is written directly") {
  std::optional<safe_output> out;
  DOCTEST_REQUIRE(safe_output::open_file("/dev/null", out).has_value());
  DOCTEST_REQUIRE(out->write("x").has_value());
  DOCTEST_REQUIRE(out->commit().has_value());
  DOCTEST_CHECK(!files::is_regular_file("/dev/null"));
}

DOCTEST_TEST_CASE("safe_output: a full device is no_space, and the error stays") {
  if (!files::exists("/dev/full")) return;
  std::optional<safe_output> out;
  DOCTEST_REQUIRE(safe_output::open_file("/dev/full", out).has_value());
  DOCTEST_REQUIRE(out->write("x").has_value());  // buffered
  for (int i = 0; i < 2; ++i) {
    const auto got = out->commit();
    DOCTEST_REQUIRE(!got.has_value());
    DOCTEST_CHECK(got.error().kind == fault::no_space);
    DOCTEST_CHECK(got.error().message() == "no space: writing /dev/full: No space left on device");
  }
  DOCTEST_CHECK(!out->write("y").has_value());
}

DOCTEST_TEST_CASE("safe_output: a closed pipe is closed_pipe; the descriptor stays the caller's") {
  ::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  DOCTEST_REQUIRE(::pipe(ends) == 0);
  {
    safe_output out(ends[1], "the pipe");
    DOCTEST_REQUIRE(out.write("acked 1\n").has_value());
    DOCTEST_REQUIRE(out.flush().has_value());
    char bytes[16];
    DOCTEST_CHECK(::read(ends[0], bytes, sizeof bytes) == 8);
    ::close(ends[0]);
    DOCTEST_REQUIRE(out.write("acked 2\n").has_value());
    const auto got = out.flush();
    DOCTEST_REQUIRE(!got.has_value());
    DOCTEST_CHECK(got.error().kind == fault::closed_pipe);
  }
  DOCTEST_CHECK(::fcntl(ends[1], F_GETFD) >= 0);
  ::close(ends[1]);
}

}  // namespace
}  // namespace pleach::text
