// The blocking face: a store in a file, opened, written and scanned in a few lines.
//
// Usage: blocking [FILE]     without FILE: one in the temporary directory, removed at the end
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "pleach/pleach.hh"

namespace {

int fail(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  return 1;
}

int run(const std::string& path) {
  pleach::format_options o;
  o.size_bytes = 64ull << 20;
  if (auto made = pleach::store::format(path, o); !made) return fail(made.error().message);
  {
    auto s = pleach::store::open(path);
    if (!s) return fail(s.error().message);
    pleach::tree t;
    if (pleach::answer a = s->run(s->create_tree("capitals", {}, t)); !a) return fail(a.text());
    // Three records at once: all or none of them.
    pleach::batch b(*s);
    b.upsert(t, "France", "Paris");
    b.upsert(t, "Japan", "Tokyo");
    b.upsert(t, "Peru", "Lima");
    if (pleach::answer a = s->run(b.commit()); !a) return fail(a.text());
    if (auto closed = s->close(); !closed) return fail(closed.error().message);
  }
  auto s = pleach::store::open(path, {.read_only = true});
  if (!s) return fail(s.error().message);
  pleach::tree t;
  if (pleach::answer a = s->run(s->open_tree("capitals", t)); !a) return fail(a.text());
  int count = 0;
  pleach::cursor c(t);
  for (pleach::answer a = s->run(c.seek("J")); a; a = s->run(c.next()), ++count)
    std::printf("%s: %s\n", std::string(c.key()).c_str(), std::string(c.value()).c_str());
  std::string value;
  pleach::answer none = s->run(t.get("Atlantis", value));
  std::printf("Atlantis: %s\n", none.sentence());
  return count == 2 && none.what() == pleach::category::not_found ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) return run(argv[1]);
  const char* dir = std::getenv("TMPDIR");
  std::string path =
      std::string(dir ? dir : "/tmp") + "/pleach-example-" + std::to_string(::getpid());
  int code = run(path);
  ::unlink(path.c_str());
  return code;
}
