// Proves raw block devices: size, exclusion of writers and mounts, read-only devices. Needs loop
// devices.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "be/io/inspect.hh"
#include "tests/be/io/driver.hh"

namespace pleach::io {
namespace {

/// A loop device over a temporary file, made without any tool.
class loop_device {
 public:
  loop_device() : backing_("loop") {
    backing_fd_ = open(backing_.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (backing_fd_ < 0 || control < 0 || ftruncate(backing_fd_, 16 << 20) != 0) return;
    for (int tries = 0; tries < 20 && fd_ < 0; ++tries) {
      int number = ioctl(control, LOOP_CTL_GET_FREE);
      if (number < 0) break;
      path = "/dev/loop" + std::to_string(number);
      int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
      if (fd >= 0 && ioctl(fd, LOOP_SET_FD, backing_fd_) == 0) {
        fd_ = fd;
      } else if (fd >= 0) {
        close(fd);
      }
    }
    close(control);
  }
  ~loop_device() {
    if (fd_ >= 0) ioctl(fd_, LOOP_CLR_FD, 0);
    if (fd_ >= 0) close(fd_);
    if (backing_fd_ >= 0) close(backing_fd_);
  }
  bool ok() const { return fd_ >= 0; }
  void read_only(bool on) {
    int v = on;
    DOCTEST_REQUIRE(ioctl(fd_, BLKROSET, &v) == 0);
  }
  std::string path;

 private:
  temporary_file backing_;
  int backing_fd_ = -1;
  int fd_ = -1;
};

result<std::unique_ptr<device>> attempt(const std::string& path, backend kind,
                                        bool reading = false) {
  open_options o;
  o.kind = kind;
  o.read_only = reading;
  o.lock_wait_ns = 50'000'000;
  return open_device(path, o, sm::system_environment());
}
errc error_of(const result<std::unique_ptr<device>>& r) {
  return r ? errc::ok : r.error();
}

/// Where loop devices are forbidden the whole program is "skipped".
void need(const loop_device& l) {
  if (l.ok()) return;
  std::puts("skipped: no loop device can be set up here");
  std::exit(77);
}

DOCTEST_TEST_CASE("a block device is read and written, cannot grow, and is exclusive") {
  for (backend kind : {backend::AUTO, backend::THREADS}) {
    loop_device loop;
    need(loop);
    DOCTEST_CHECK(is_block_device(loop.path));
    DOCTEST_CHECK(*holds_data(loop.path) == false);
    auto d = attempt(loop.path, kind);
    DOCTEST_REQUIRE_MESSAGE(d, name_of(error_of(d)));
    DOCTEST_CHECK((*d)->size() == 16 << 20);
    DOCTEST_CHECK(!(*d)->limit().resizable);
    DOCTEST_CHECK(error_of(attempt(loop.path, kind)) == errc::already_open);
    DOCTEST_CHECK(error_of(attempt(loop.path, kind, true)) == errc::already_open);
    {
      driver run(**d, sm::system_environment());
      DOCTEST_CHECK(run.fill(0, 65536, 3, true) == errc::ok);
      DOCTEST_CHECK(run.flush() == errc::ok);
      DOCTEST_CHECK(run.holds(0, 65536, 3));
      DOCTEST_CHECK(run.resize(32 << 20) == errc::unsupported);
      const errc e = run.run(run.make(request_kind::DISCARD, 65536, nullptr, 65536));
      DOCTEST_CHECK(e == ((*d)->limit().discard ? errc::ok : errc::unsupported));
    }
    d->reset();
    DOCTEST_CHECK(*holds_data(loop.path) == true);
    auto again = attempt(loop.path, kind);
    DOCTEST_CHECK(again);
  }
}

DOCTEST_TEST_CASE("a read-only block device opens for reading, and only so") {
  loop_device loop;
  need(loop);
  loop.read_only(true);
  DOCTEST_CHECK(error_of(attempt(loop.path, backend::AUTO)) == errc::read_only);
  auto d = attempt(loop.path, backend::AUTO, true);
  DOCTEST_REQUIRE(d);
  driver run(**d, sm::system_environment());
  DOCTEST_CHECK(run.holds(0, 4096, 0));
  loop.read_only(false);
}

DOCTEST_TEST_CASE("a mounted device is refused to writers") {
  loop_device loop;
  need(loop);
  const std::string quiet = "mkfs.ext4 -q -F " + loop.path + " >/dev/null 2>&1";
  temporary_file point("mount");
  if (std::system(quiet.c_str()) != 0 || mkdir(point.path.c_str(), 0700) != 0) return;
  if (mount(loop.path.c_str(), point.path.c_str(), "ext4", 0, nullptr) == 0) {
    DOCTEST_CHECK(is_mounted(loop.path));
    DOCTEST_CHECK(error_of(attempt(loop.path, backend::AUTO)) == errc::mounted);
    DOCTEST_CHECK(umount(point.path.c_str()) == 0);
    DOCTEST_CHECK(!is_mounted(loop.path));
  }
  DOCTEST_CHECK(*holds_data(loop.path) == true);
  rmdir(point.path.c_str());
}

}  // namespace
}  // namespace pleach::io
