// Proves that all devices keep the one contract of device.hh: the same suite over each of them.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <functional>

#include "be/base/random.hh"
#include "be/io/sim.hh"
#include "tests/be/io/driver.hh"

namespace pleach::io {
namespace {

constexpr u64 device_bytes = 4 << 20;

struct fixture {
  sm::environment& env() { return sim ? *sim : sm::system_environment(); }
  std::unique_ptr<sim_environment> sim;
  std::unique_ptr<temporary_file> file;
  std::unique_ptr<device> dev;
};

fixture make(const std::string& kind) {
  fixture f;
  if (kind == "sim") {
    f.sim = std::make_unique<sim_environment>(sim_environment_options{.seed = 7});
    f.dev = std::make_unique<sim_device>(*f.sim, sim_image(device_bytes));
  } else if (kind == "memory") {
    f.dev = make_memory_device(device_bytes);
  } else {
    f.file = std::make_unique<temporary_file>(kind.c_str());
    open_options o;
    o.kind = kind == "io_uring" ? backend::URING : backend::THREADS;
    o.create = true;
    o.create_bytes = device_bytes;
    auto d = open_device(f.file->path, o, f.env());
    DOCTEST_REQUIRE_MESSAGE(d, name_of(d ? errc::ok : d.error()));
    f.dev = std::move(*d);
  }
  return f;
}

void each(const std::function<void(device&, driver&)>& body) {
  std::vector<std::string> kinds = {"memory", "sim", "threads"};
  if (uring_available()) kinds.push_back("io_uring");
  for (const std::string& kind : kinds) {
    DOCTEST_INFO(kind);
    fixture f = make(kind);
    DOCTEST_CHECK(f.dev->name() == kind);
    driver d(*f.dev, f.env());
    DOCTEST_REQUIRE(d.attached());
    body(*f.dev, d);
    DOCTEST_CHECK(f.dev->in_flight() == 0);
  }
}

DOCTEST_TEST_CASE("what is written is read, unwritten bytes are zeros") {
  each([](device& dev, driver& d) {
    DOCTEST_CHECK(dev.size() == device_bytes);
    DOCTEST_CHECK(d.holds(0, 65536, 0));
    DOCTEST_CHECK(d.fill(8192, 16384, 7) == errc::ok);
    DOCTEST_CHECK(d.holds(8192, 16384, 7));
    DOCTEST_CHECK(d.holds(4096, 4096, 0));
    DOCTEST_CHECK(d.holds(24576, 4096, 0));
    DOCTEST_CHECK(d.fill(device_bytes - 4096, 4096, 9) == errc::ok);
    DOCTEST_CHECK(d.holds(device_bytes - 4096, 4096, 9));
    DOCTEST_CHECK(dev.stats().writes == 2);
    DOCTEST_CHECK(dev.stats().written_bytes == 20480);
  });
}

DOCTEST_TEST_CASE("durable writes and flushes end well") {
  each([](device& dev, driver& d) {
    DOCTEST_CHECK(d.fill(0, 4096, 1, true) == errc::ok);
    DOCTEST_CHECK(d.fill(4096, 4096, 2) == errc::ok);
    DOCTEST_CHECK(d.flush() == errc::ok);
    DOCTEST_CHECK(d.holds(0, 4096, 1));
    DOCTEST_CHECK(d.holds(4096, 4096, 2));
    DOCTEST_CHECK(dev.stats().flushes == 1);
  });
}

DOCTEST_TEST_CASE("vectors gather and scatter") {
  each([](device&, driver& d) {
    aligned_buffer a(4096, 1), b(12288, 2), c(4096, 3);
    iovec out[] = {{a.data(), 4096}, {b.data(), 12288}, {c.data(), 4096}};
    request& w = d.make(request_kind::WRITE, 40960, nullptr, 20480);
    w.vec = out;
    w.vec_count = 3;
    w.durable = true;
    DOCTEST_CHECK(d.run(w) == errc::ok);
    DOCTEST_CHECK(d.holds(40960, 4096, 1));
    DOCTEST_CHECK(d.holds(45056, 12288, 2));
    DOCTEST_CHECK(d.holds(57344, 4096, 3));
    aligned_buffer x(8192), y(12288);
    iovec in[] = {{x.data(), 8192}, {y.data(), 12288}};
    request& r = d.make(request_kind::READ, 40960, nullptr, 20480);
    r.vec = in;
    r.vec_count = 2;
    DOCTEST_CHECK(d.run(r) == errc::ok);
    DOCTEST_CHECK(x.data()[0] == std::byte{1});
    DOCTEST_CHECK(x.data()[4096] == std::byte{2});
    DOCTEST_CHECK(y.data()[8191] == std::byte{2});
    DOCTEST_CHECK(y.data()[8192] == std::byte{3});
  });
}

DOCTEST_TEST_CASE("growth is there at completion, is zeros, and keeps the old bytes") {
  each([](device& dev, driver& d) {
    DOCTEST_CHECK(d.fill(0, 4096, 5) == errc::ok);
    DOCTEST_CHECK(d.resize(2 * device_bytes) == errc::ok);
    DOCTEST_CHECK(dev.size() == 2 * device_bytes);
    DOCTEST_CHECK(d.holds(0, 4096, 5));
    DOCTEST_CHECK(d.holds(2 * device_bytes - 4096, 4096, 0));
    DOCTEST_CHECK(d.fill(2 * device_bytes - 8192, 8192, 6) == errc::ok);
    DOCTEST_CHECK(d.holds(2 * device_bytes - 8192, 8192, 6));
    DOCTEST_CHECK(d.resize(device_bytes) == errc::ok);
    DOCTEST_CHECK(dev.size() == device_bytes);
    DOCTEST_CHECK(d.resize(2 * device_bytes) == errc::ok);
    DOCTEST_CHECK(d.holds(2 * device_bytes - 8192, 8192, 0));
  });
}

DOCTEST_TEST_CASE("a read beyond the end is truncated") {
  each([](device&, driver& d) {
    aligned_buffer b(16384);
    DOCTEST_CHECK(d.read_at(device_bytes, b) == errc::truncated);
    DOCTEST_CHECK(d.read_at(device_bytes - 8192, b) == errc::truncated);
  });
}

DOCTEST_TEST_CASE("a discard ends, spares its neighbours, and the range can be written again") {
  each([](device& dev, driver& d) {
    DOCTEST_CHECK(d.fill(0, 3 * 65536, 8) == errc::ok);
    const errc e = d.run(d.make(request_kind::DISCARD, 65536, nullptr, 65536));
    DOCTEST_CHECK((e == errc::ok || (e == errc::unsupported && !dev.limit().discard)));
    DOCTEST_CHECK(d.holds(0, 65536, 8));
    DOCTEST_CHECK(d.holds(2 * 65536, 65536, 8));
    DOCTEST_CHECK(d.fill(65536, 65536, 4) == errc::ok);
    DOCTEST_CHECK(d.holds(65536, 65536, 4));
  });
}

DOCTEST_TEST_CASE("more requests than the depth: all end, none inside queue or submit") {
  each([](device& dev, driver& d) {
    std::vector<aligned_buffer> buffers;
    constexpr int count = 700;
    for (int i = 0; i < count; ++i) buffers.emplace_back(4096, i % 251);
    for (int i = 0; i < count; ++i) {
      d.queue(d.make(request_kind::WRITE, static_cast<u64>(i) * 4096,
                     buffers[static_cast<size_t>(i)].data(), 4096));
    }
    DOCTEST_CHECK(d.done().empty());
    dev.submit();
    DOCTEST_CHECK(d.done().empty());
    DOCTEST_CHECK(dev.in_flight() == count);
    d.drain();
    DOCTEST_CHECK(d.done().size() == count);
    for (request* r : d.done()) DOCTEST_CHECK(r->code == errc::ok);
    for (int i = 0; i < count; i += 37)
      DOCTEST_CHECK(d.holds(static_cast<u64>(i) * 4096, 4096, i % 251));
  });
}

DOCTEST_TEST_CASE("an idle device makes no system call") {
  each([](device& dev, driver& d) {
    DOCTEST_CHECK(d.fill(0, 4096, 1) == errc::ok);
    const u64 before = dev.stats().system_calls;
    for (int i = 0; i < 100; ++i) {
      dev.submit();
      DOCTEST_CHECK(dev.reap() == 0);
    }
    DOCTEST_CHECK(dev.stats().system_calls == before);
  });
}

DOCTEST_TEST_CASE("a completion may queue the next request") {
  each([](device& dev, driver& d) {
    struct chain {
      device* dev;
      aligned_buffer buffer{4096, 3};
      int left = 20;
    } c{&dev};
    request& r = d.make(request_kind::WRITE, 0, c.buffer.data(), 4096);
    r.owner = &c;
    r.done = [](request& q) {
      auto& ch = *static_cast<chain*>(q.owner);
      if (--ch.left == 0) return;
      q.offset += 4096;
      ch.dev->queue(q);
    };
    dev.queue(r);
    d.drain();
    DOCTEST_CHECK(c.left == 0);
    DOCTEST_CHECK(d.holds(0, 20 * 4096, 3));
  });
}

DOCTEST_TEST_CASE("random requests agree with a flat array") {
  each([](device& dev, driver& d) {
    std::vector<std::byte> model(device_bytes);
    random_stream random(3);
    for (int i = 0; i < 400; ++i) {
      const u64 n = 4096 * (1 + random.below(16));
      const u64 at = 4096 * random.below((dev.size() - n) / 4096);
      aligned_buffer b(n);
      if (random.chance(500)) {
        for (size_t k = 0; k < n; ++k) b.data()[k] = static_cast<std::byte>(random.next());
        DOCTEST_REQUIRE(d.write_at(at, b, random.chance(200)) == errc::ok);
        std::memcpy(model.data() + at, b.data(), n);
      } else {
        DOCTEST_REQUIRE(d.read_at(at, b) == errc::ok);
        DOCTEST_REQUIRE(std::memcmp(model.data() + at, b.data(), n) == 0);
      }
    }
  });
}

DOCTEST_TEST_CASE("under the reactor nothing is lost and the sleep ends") {
  std::vector<std::string> kinds = {"memory", "sim", "threads"};
  if (uring_available()) kinds.push_back("io_uring");
  for (const std::string& kind : kinds) {
    DOCTEST_INFO(kind);
    fixture f = make(kind);
    sm::reactor loop(f.env());
    loop.add_poller(*f.dev);
    struct state {
      device* dev;
      aligned_buffer buffer{4096, 1};
      int left = 2000;
      int alive = 8;
    } st{f.dev.get()};
    std::vector<request> requests(8);
    for (u64 i = 0; i < requests.size(); ++i) {
      request& r = requests[i];
      r.kind = request_kind::WRITE;
      r.offset = i * 4096;
      r.data = st.buffer.data();
      r.length = 4096;
      r.owner = &st;
      r.done = [](request& q) {
        auto& s = *static_cast<state*>(q.owner);
        if (q.code == errc::ok && --s.left > 0) return s.dev->queue(q);
        --s.alive;
      };
      f.dev->queue(r);
    }
    auto more = [](void* p) { return static_cast<state*>(p)->alive != 0; };
    DOCTEST_CHECK(loop.run_while(more, &st));
    DOCTEST_CHECK(st.left <= 0);
    loop.remove_poller(*f.dev);
  }
}

/// True if `body` aborts (in a child).
bool aborts(const std::function<void()>& body) {
  pid_t child = fork();
  if (child == 0) {
    close(2);
    signal(SIGABRT, SIG_DFL);
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

DOCTEST_TEST_CASE("misaligned requests abort, whatever the device would say") {
  auto dev = make_memory_device(device_bytes);
  aligned_buffer b(8192);
  auto attempt = [&](u64 offset, std::byte* data, u64 length) {
    return aborts([&, offset, data, length] {
      request r;
      r.kind = request_kind::WRITE;
      r.offset = offset;
      r.data = data;
      r.length = length;
      r.done = [](request&) {};
      dev->queue(r);
    });
  };
  DOCTEST_CHECK(!attempt(512, b.data(), 512));
  DOCTEST_CHECK(attempt(100, b.data(), 512));
  DOCTEST_CHECK(attempt(0, b.data() + 8, 512));
  DOCTEST_CHECK(attempt(0, b.data(), 100));
  DOCTEST_CHECK(attempt(0, b.data(), 0));
}

DOCTEST_TEST_CASE("the simulated device catches overlapping writes and changed buffers") {
  auto attempt = [](bool overlap, bool change) {
    return aborts([=] {
      sim_environment env;
      sim_device dev(env, sim_image(device_bytes));
      driver d(dev, env);
      aligned_buffer a(8192, 1), b(4096, 2);
      d.queue(d.make(request_kind::WRITE, 0, a.data(), 8192));
      d.queue(d.make(request_kind::WRITE, overlap ? 4096 : 8192, b.data(), 4096));
      dev.submit();
      if (change) a.data()[5000] = std::byte{9};
      d.drain();
    });
  };
  DOCTEST_CHECK(!attempt(false, false));
  DOCTEST_CHECK(attempt(true, false));
  DOCTEST_CHECK(attempt(false, true));
}

}  // namespace
}  // namespace pleach::io
