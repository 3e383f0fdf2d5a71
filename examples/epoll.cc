// A server's event loop: one epoll over its own descriptors (here a pipe with lines) and a store's
// event_fd.
//
// The two rules of a host: call poll() when event_fd is readable or next_timeout_ns() has passed;
// ask next_timeout_ns() anew before each sleep.
#include <sys/epoll.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "pleach/pleach.hh"

namespace {

/// One request of a client: lives until its callback.
struct request {
  std::string key, value;
  pleach::operation put;
  int& in_flight;
  request(pleach::tree& t, std::string k, std::string v, int& n)
      : key(std::move(k)), value(std::move(v)), put(t.upsert(key, value)), in_flight(n) {}
};

void serve(pleach::tree& t, const std::string& line, int& in_flight) {
  std::size_t at = line.find('=');
  if (at == std::string::npos) return;
  ++in_flight;
  auto* r = new request(t, line.substr(0, at), line.substr(at + 1), in_flight);
  r->put.start(
      [](pleach::operation& op, void* self) {
        std::unique_ptr<request> mine(static_cast<request*>(self));
        std::printf("%s: %s\n", mine->key.c_str(), op.result().sentence());
        --mine->in_flight;
      },
      r);
}

}  // namespace

int main() {
  auto opened = pleach::store::open_memory(64ull << 20);
  if (!opened) return std::fprintf(stderr, "%s\n", opened.error().message.c_str()), 1;
  pleach::store& s = *opened;
  pleach::tree t;
  if (!s.run(s.create_tree("settings", {}, t))) return 1;

  int ends[2];
  if (::pipe(ends) != 0) return 1;
  const std::string lines = "colour=green\nsize=42\nname=pleach\n";
  if (::write(ends[1], lines.data(), lines.size()) != static_cast<ssize_t>(lines.size())) return 1;
  ::close(ends[1]);  // the client hangs up

  int poller = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = s.event_fd();
  ::epoll_ctl(poller, EPOLL_CTL_ADD, s.event_fd(), &event);
  event.data.fd = ends[0];
  ::epoll_ctl(poller, EPOLL_CTL_ADD, ends[0], &event);

  bool open = true;
  int in_flight = 0;
  std::string pending;
  while (open || in_flight != 0) {
    std::int64_t ns = s.next_timeout_ns();
    int ms = ns < 0 ? -1 : static_cast<int>((ns + 999'999) / 1'000'000);
    epoll_event events[8];
    int n = ::epoll_wait(poller, events, 8, ms);
    for (int i = 0; i < n; ++i) {
      if (events[i].data.fd != ends[0]) continue;
      char buffer[512];
      ssize_t got = ::read(ends[0], buffer, sizeof buffer);
      if (got <= 0) {
        open = false;
        ::epoll_ctl(poller, EPOLL_CTL_DEL, ends[0], nullptr);
        continue;
      }
      pending.append(buffer, static_cast<std::size_t>(got));
      for (std::size_t end; (end = pending.find('\n')) != std::string::npos;
           pending.erase(0, end + 1))
        serve(t, pending.substr(0, end), in_flight);
    }
    if (!s.poll()) return 1;
  }
  ::close(poller);
  ::close(ends[0]);
  std::string value;
  return t.record_count() == 3 && s.run(t.get("size", value)) && value == "42" ? 0 : 1;
}
