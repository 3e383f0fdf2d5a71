// A program outside the source tree: uses only what is installed. Blocking calls, a batch, a
// coroutine.
#include <coroutine>
#include <cstdio>
#include <cstdlib>
#include <pleach/pleach.hh>
#include <string>

namespace {

struct task {
  struct promise_type {
    task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
};

task read_twice(pleach::tree& t, int& found) {
  std::string value;
  if ((co_await t.get("key", value)).ok() && value == "value") ++found;
  if ((co_await t.get("nothing", value)).what() == pleach::category::not_found) ++found;
}

int failed(const char* what, const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", what, why.c_str());
  return 1;
}

}  // namespace

int main() {
  auto s = pleach::store::open_memory(64 << 20);
  if (!s) return failed("opening", s.error().message);
  {
    pleach::tree t;
    if (auto a = s->run(s->create_tree("t", {}, t)); !a) return failed("creating", a.text());
    pleach::batch b(*s);
    b.upsert(t, "key", "value");
    b.upsert(t, "other", "");
    if (auto a = s->run(b.commit()); !a) return failed("committing", a.text());
    int found = 0;
    read_twice(t, found);
    for (int round = 0; round < 100000 && found < 2; ++round) {
      if (auto polled = s->poll(); !polled) return failed("polling", polled.error().text());
    }
    if (found != 2) return failed("reading", "the records are not there");
    if (t.record_count() != 2) return failed("counting", "not two records");
  }
  if (auto closed = s->close(); !closed) return failed("closing", closed.error().message);
  std::puts(pleach::version());
  return 0;
}
