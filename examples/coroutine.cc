// The coroutine face: co_await an operation; it resumes from poll(). Here many run beside each
// other on one thread.
#include <coroutine>
#include <cstdio>
#include <exception>
#include <string>

#include "pleach/pleach.hh"

namespace {

struct task {
  struct promise_type {
    task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

/// Moves one unit between two counters, both or neither, as often as it is told.
task transfer(pleach::store& s, pleach::tree& t, std::string from, std::string to, int times,
              int& running) {
  ++running;
  pleach::batch b(s);
  for (int i = 0; i < times; ++i) {
    std::string a, z;
    (void)co_await t.get(from, a);
    (void)co_await t.get(to, z);
    b.clear();
    b.upsert(t, from, std::to_string(std::stoi(a) - 1));
    b.upsert(t, to, std::to_string(std::stoi(z) + 1));
    pleach::answer done = co_await b.commit();
    if (!done) std::printf("%s\n", done.text().c_str());
  }
  --running;
}

}  // namespace

int main() {
  auto opened = pleach::store::open_memory(64ull << 20);
  if (!opened) return std::fprintf(stderr, "%s\n", opened.error().message.c_str()), 1;
  pleach::store& s = *opened;
  pleach::tree t;
  if (!s.run(s.create_tree("accounts", {}, t))) return 1;
  for (const char* name : {"ann", "bob", "cat", "dan"})
    if (!s.run(t.put(name, "100"))) return 1;

  int running = 0;
  transfer(s, t, "ann", "bob", 30, running);
  transfer(s, t, "cat", "dan", 40, running);
  while (running != 0)
    if (!s.poll()) return 1;

  pleach::cursor c(t);
  int sum = 0;
  for (pleach::answer a = s.run(c.first()); a; a = s.run(c.next())) {
    std::printf("%s %s\n", std::string(c.key()).c_str(), std::string(c.value()).c_str());
    sum += std::stoi(std::string(c.value()));
  }
  std::string ann;
  return s.run(t.get("ann", ann)) && ann == "70" && sum == 400 ? 0 : 1;
}
