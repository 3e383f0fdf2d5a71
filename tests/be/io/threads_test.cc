// Proves the thread-pool device, and opening a ring in one thread and polling it in another, under
// the thread sanitizer.
#include <doctest/doctest.h>

#include <thread>

#include "tests/be/io/driver.hh"

namespace pleach::io {
namespace {

std::unique_ptr<device> make(const temporary_file& f, backend kind) {
  open_options o;
  o.kind = kind;
  o.create = true;
  o.create_bytes = 4 << 20;
  auto d = open_device(f.path, o, sm::system_environment());
  DOCTEST_REQUIRE(d);
  return std::move(*d);
}

void churn(device& dev) {
  driver d(dev, sm::system_environment());
  DOCTEST_REQUIRE(d.attached());
  std::vector<aligned_buffer> buffers;
  for (int i = 0; i < 256; ++i) buffers.emplace_back(4096, i);
  for (int round = 0; round < 20; ++round) {
    for (u64 i = 0; i < 256; ++i) {
      request& r = d.make(request_kind::WRITE, i * 4096, buffers[i].data(), 4096);
      r.durable = i % 64 == 0;
      d.queue(r);
    }
    d.drain();
    DOCTEST_CHECK(d.flush() == errc::ok);
  }
  for (int i = 0; i < 256; ++i) DOCTEST_CHECK(d.holds(static_cast<u64>(i) * 4096, 4096, i));
}

DOCTEST_TEST_CASE("the pool") {
  temporary_file f("pool");
  auto dev = make(f, backend::THREADS);
  churn(*dev);
}

DOCTEST_TEST_CASE("opened here, polled there") {
  for (backend kind : {backend::THREADS, backend::AUTO}) {
    temporary_file f("there");
    auto dev = make(f, kind);
    std::thread other([&] { churn(*dev); });
    other.join();
  }
}

DOCTEST_TEST_CASE("destroyed unused") {
  temporary_file f("unused");
  make(f, backend::THREADS);
}

}  // namespace
}  // namespace pleach::io
