// Proves opening: creation leaves a durable file or none, the lock excludes and shares as it
// should, also after a kill, and each refusal has its own code.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "be/io/inspect.hh"
#include "tests/be/io/driver.hh"

namespace pleach::io {
namespace {

result<std::unique_ptr<device>> attempt(const std::string& path, open_options o = {}) {
  if (!o.create) o.lock_wait_ns = std::min<u64>(o.lock_wait_ns, 30'000'000);
  return open_device(path, o, sm::system_environment());
}

errc error_of(const result<std::unique_ptr<device>>& r) {
  return r ? errc::ok : r.error();
}

open_options creating(u64 n = 1 << 20) {
  open_options o;
  o.create = true;
  o.create_bytes = n;
  return o;
}

open_options reading() {
  open_options o;
  o.read_only = true;
  return o;
}

DOCTEST_TEST_CASE("a created file has its size, and is not created twice") {
  temporary_file f("create");
  DOCTEST_CHECK(error_of(attempt(f.path)) == errc::no_file);
  {
    auto d = attempt(f.path, creating());
    DOCTEST_REQUIRE(d);
    DOCTEST_CHECK((*d)->size() == 1 << 20);
    DOCTEST_CHECK((*d)->limit().resizable);
    DOCTEST_CHECK((*d)->limit().alignment >= 512);
    DOCTEST_CHECK((*d)->limit().alignment <= 4096);
  }
  struct stat st;
  DOCTEST_REQUIRE(stat(f.path.c_str(), &st) == 0);
  DOCTEST_CHECK(st.st_size == 1 << 20);
  DOCTEST_CHECK(st.st_blocks * 512 >= 1 << 20);  // reserved, not a hole
  DOCTEST_CHECK(error_of(attempt(f.path, creating())) == errc::file_exists);
  DOCTEST_CHECK(stat(f.path.c_str(), &st) == 0);  // a refusal leaves the other's file
}

DOCTEST_TEST_CASE("a creation that fails leaves no file") {
  temporary_file f("nospace");
  DOCTEST_CHECK(error_of(attempt(f.path, creating(u64{1} << 50))) == errc::device_full);
  DOCTEST_CHECK(access(f.path.c_str(), F_OK) != 0);
}

DOCTEST_TEST_CASE("refusals") {
  DOCTEST_CHECK(error_of(attempt("/nonexistent/x")) == errc::no_file);
  DOCTEST_CHECK(error_of(attempt("/tmp")) == errc::not_a_store);
  DOCTEST_CHECK(error_of(attempt("/dev/null")) != errc::ok);
}

DOCTEST_TEST_CASE("a writer excludes all, readers share") {
  temporary_file f("lock");
  {
    auto writer = attempt(f.path, creating());
    DOCTEST_REQUIRE(writer);
    DOCTEST_CHECK(error_of(attempt(f.path)) == errc::already_open);
    DOCTEST_CHECK(error_of(attempt(f.path, reading())) == errc::already_open);
    open_options unlocked;
    unlocked.exclusive = false;
    DOCTEST_CHECK(attempt(f.path, unlocked));
  }
  auto first = attempt(f.path, reading());
  auto second = attempt(f.path, reading());
  DOCTEST_REQUIRE(first);
  DOCTEST_REQUIRE(second);
  DOCTEST_CHECK((*first)->limit().read_only);
  DOCTEST_CHECK(error_of(attempt(f.path)) == errc::already_open);
  first->reset();
  second->reset();
  open_options at_once;
  at_once.lock_wait_ns = 0;
  DOCTEST_CHECK(attempt(f.path, at_once));
}

DOCTEST_TEST_CASE("a used ring releases the lock at once, too") {
  temporary_file f("release");
  DOCTEST_REQUIRE(attempt(f.path, creating()));
  for (int i = 0; i < 20; ++i) {
    open_options at_once;
    at_once.lock_wait_ns = 0;
    auto d = attempt(f.path, at_once);
    DOCTEST_REQUIRE(d);
    driver run(**d, sm::system_environment());
    DOCTEST_CHECK(run.fill(0, 4096, i) == errc::ok);
    DOCTEST_CHECK(run.flush() == errc::ok);
  }
}

DOCTEST_TEST_CASE("the lock of a killed process is waited for") {
  temporary_file f("killed");
  DOCTEST_REQUIRE(attempt(f.path, creating()));
  for (int i = 0; i < 5; ++i) {
    int ready[2];
    DOCTEST_REQUIRE(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
      auto d = attempt(f.path);
      if (!d) _exit(1);
      driver run(**d, sm::system_environment());
      aligned_buffer b(65536, 1);
      for (u64 k = 0; k < 8; ++k)
        run.queue(run.make(request_kind::WRITE, k * 65536, b.data(), b.size()));
      (*d)->submit();  // killed with I/O in flight
      (void)!write(ready[1], "x", 1);
      pause();
      _exit(0);
    }
    close(ready[1]);
    char c;
    DOCTEST_REQUIRE(read(ready[0], &c, 1) == 1);
    close(ready[0]);
    DOCTEST_CHECK(error_of(attempt(f.path)) == errc::already_open);
    kill(child, SIGKILL);
    open_options o;
    o.lock_wait_ns = 5'000'000'000;
    auto d = open_device(f.path, o, sm::system_environment());
    DOCTEST_CHECK_MESSAGE(d, name_of(error_of(d)));
    waitpid(child, nullptr, 0);
  }
}

DOCTEST_TEST_CASE("a file without write permission opens for reading only") {
  temporary_file f("readonly");
  DOCTEST_REQUIRE(attempt(f.path, creating()));
  chmod(f.path.c_str(), 0444);
  pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(0);
    if (error_of(attempt(f.path)) != errc::read_only) _exit(1);
    auto d = attempt(f.path, reading());
    if (!d) _exit(2);
    driver run(**d, sm::system_environment());
    _exit(run.holds(0, 4096, 0) ? 0 : 3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  DOCTEST_CHECK(WIFEXITED(status));
  DOCTEST_CHECK(WEXITSTATUS(status) == 0);
}

DOCTEST_TEST_CASE("each back end can be asked for by name") {
  temporary_file f("kinds");
  DOCTEST_REQUIRE(attempt(f.path, creating()));
  open_options o;
  o.kind = backend::THREADS;
  auto threads = attempt(f.path, o);
  DOCTEST_REQUIRE(threads);
  DOCTEST_CHECK(std::string((*threads)->name()) == "threads");
  threads->reset();
  o.kind = backend::URING;
  auto uring = attempt(f.path, o);
  DOCTEST_CHECK(bool(uring) == uring_available());
  if (!uring) DOCTEST_CHECK(uring.error() == errc::unsupported);
}

DOCTEST_TEST_CASE("opened in one thread or process, polled in another") {
  temporary_file f("thread");
  auto d = attempt(f.path, creating());
  DOCTEST_REQUIRE(d);
  // Requests may be queued before the device is attached.
  aligned_buffer b(4096, 9);
  bool ok = false;
  std::unique_ptr<device> dev = std::move(*d);
  request early;
  early.kind = request_kind::WRITE;
  early.data = b.data();
  early.length = 4096;
  early.done = [](request&) {};
  dev->queue(early);
  dev->submit();
  driver run(*dev, sm::system_environment());
  run.drain();
  ok = early.code == errc::ok && run.holds(0, 4096, 9);
  DOCTEST_CHECK(ok);
}

DOCTEST_TEST_CASE("data at either end is found") {
  temporary_file f("data");
  DOCTEST_CHECK(holds_data(f.path).error() == errc::no_file);
  int fd = open(f.path.c_str(), O_RDWR | O_CREAT, 0600);
  DOCTEST_REQUIRE(fd >= 0);
  DOCTEST_REQUIRE(ftruncate(fd, 1 << 20) == 0);
  DOCTEST_CHECK(*holds_data(f.path) == false);
  DOCTEST_REQUIRE(pwrite(fd, "x", 1, 500000) == 1);
  DOCTEST_CHECK(*holds_data(f.path) == false);
  DOCTEST_REQUIRE(pwrite(fd, "x", 1, (1 << 20) - 1) == 1);
  DOCTEST_CHECK(*holds_data(f.path) == true);
  DOCTEST_REQUIRE(pwrite(fd, "", 1, (1 << 20) - 1) == 1);
  DOCTEST_REQUIRE(pwrite(fd, "x", 1, 1080) == 1);
  DOCTEST_CHECK(*holds_data(f.path) == true);
  close(fd);
  DOCTEST_CHECK(!is_mounted(f.path));
  DOCTEST_CHECK(!is_block_device(f.path));
}

}  // namespace
}  // namespace pleach::io
