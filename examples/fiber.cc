// The fiber face: straight code on its own stack; await() suspends it while others run.
#include "pleach/fiber.hh"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

int main() {
  auto opened = pleach::store::open_memory(64ull << 20);
  if (!opened) return std::fprintf(stderr, "%s\n", opened.error().message.c_str()), 1;
  pleach::store& s = *opened;
  pleach::tree t;
  if (!s.run(s.create_tree("words", {}, t))) return 1;

  int failures = 0;
  std::vector<std::unique_ptr<pleach::fiber>> fibers;
  for (int id = 0; id < 4; ++id) {
    fibers.push_back(std::make_unique<pleach::fiber>());
    bool started = fibers.back()->start([&, id] {
      for (int i = 0; i < 10; ++i) {
        std::string key = "fiber " + std::to_string(id) + " word " + std::to_string(i), value;
        if (!pleach::await(t.put(key, std::to_string(id * i)))) ++failures;
        if (!pleach::await(t.get(key, value)) || value != std::to_string(id * i)) ++failures;
      }
    });
    if (!started) return 1;
  }
  for (auto& f : fibers)
    while (f->alive())
      if (!s.poll()) return 1;
  std::printf("%llu words, %d failures\n", static_cast<unsigned long long>(t.record_count()),
              failures);
  return failures == 0 && t.record_count() == 40 ? 0 : 1;
}
