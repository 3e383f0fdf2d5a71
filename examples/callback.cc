// The callback face: operations in storage of yours, callbacks from poll(), an event loop in ten
// lines.
#include <poll.h>

#include <cstdio>
#include <string>

#include "pleach/pleach.hh"

namespace {

/// Puts one record, then reads it back: each callback starts the next operation.
struct visit {
  pleach::tree t;
  std::string key, value;
  bool finished = false;
  pleach::operation put, get;

  visit(const pleach::tree& tree, std::string k)
      : t(tree),
        key(std::move(k)),
        put(t.upsert(key, "seen by a callback")),
        get(t.get(key, value)) {}
  void start() { put.start(on_put, this); }
  static void on_put(pleach::operation& op, void* self) {
    auto* v = static_cast<visit*>(self);
    if (op.result())
      v->get.start(on_get, v);
    else
      v->finished = true;
  }
  static void on_get(pleach::operation&, void* self) { static_cast<visit*>(self)->finished = true; }
};

}  // namespace

int main() {
  auto opened = pleach::store::open_memory(64ull << 20);
  if (!opened) return std::fprintf(stderr, "%s\n", opened.error().message.c_str()), 1;
  pleach::store& s = *opened;
  pleach::tree t;
  if (!s.run(s.create_tree("visits", {}, t))) return 1;

  visit first(t, "first"), second(t, "second");
  first.start();
  second.start();
  while (!first.finished || !second.finished) {
    if (!s.poll()) return 1;
    std::int64_t ns = s.next_timeout_ns();
    pollfd fd{s.event_fd(), POLLIN, 0};
    if (ns != 0) ::poll(&fd, 1, ns < 0 ? -1 : static_cast<int>((ns + 999'999) / 1'000'000));
  }
  std::printf("%s: %s\n%s: %s\n", first.key.c_str(), first.value.c_str(), second.key.c_str(),
              second.value.c_str());
  return first.value == second.value && first.value == "seen by a callback" ? 0 : 1;
}
