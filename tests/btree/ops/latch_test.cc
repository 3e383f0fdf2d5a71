// Proves: every access to a page's bytes stands in a bracket, and every change of them has a
// version that operations which wait meanwhile notice.
//
// How: with the latch hooks on (tests/support/latch_checker.hh) a page can be touched only through
// a bracket of the present step. Children of this process break that rule in each way that there
// is, and end; a workload of all operations keeps it. Then operations are suspended over changes of
// the pages that they hold: a change of structure makes them begin again, a change of content makes
// them look again.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <map>
#include <memory>

#include "be/base/random.hh"
#include "tests/support/latch_checker.hh"
#include "tests/support/sim_store.hh"

namespace pleach {
namespace {

constexpr int violation_exit = 43;

/// What becomes of a child that runs `body` on a tree of one leaf, in a step of its own.
/// RETURNS: 0 if nothing was wrong, a signal's number, or violation_exit.
int fate(const std::function<void(fixture&, cache::descriptor&)>& body) {
  std::fflush(nullptr);
  pid_t child = ::fork();
  if (child == 0) {
    for (int number : {SIGSEGV, SIGBUS, SIGABRT}) std::signal(number, SIG_DFL);
    // Destroyed by nobody: the process ends first.
    auto* hooks = new latch_checker([](const std::string&) { ::_exit(violation_exit); });
    auto* f = new fixture(1, 64, 4 << 20);
    btree::tree& t = f->create("t", 1);
    f->put(t, "key", "value");
    cache::descriptor* d = f->store->pages->find_resident(t.root);
    if (hooks->counts().changes == 0 || d == nullptr) ::_exit(1);
    body(*f, *d);
    ::_exit(0);
  }
  int state = 0;
  ::waitpid(child, &state, 0);
  return WIFSIGNALED(state) ? WTERMSIG(state) : WEXITSTATUS(state);
}

u8 first_byte(const std::byte* at) {
  return static_cast<u8>(*const_cast<const volatile std::byte*>(at));
}

}  // namespace

DOCTEST_TEST_CASE("an access outside of a bracket ends the process, one inside does not") {
  DOCTEST_CHECK(fate([](fixture&, cache::descriptor& d) {
                  sm::step_scope step;
                  first_byte(d.reader().base());
                  first_byte(d.reader().base() + d.size() - 1);
                }) == 0);
  DOCTEST_CHECK(fate([](fixture&, cache::descriptor& d) { first_byte(d.data); }) == SIGSEGV);
  // A pointer that is kept over the end of its step.
  DOCTEST_CHECK(fate([](fixture&, cache::descriptor& d) {
                  const std::byte* kept;
                  {
                    sm::step_scope step;
                    kept = d.reader().base();
                    first_byte(kept);
                  }
                  sm::step_scope next;
                  first_byte(kept);
                }) == SIGSEGV);
  DOCTEST_CHECK(fate([](fixture&, cache::descriptor& d) { d.reader(); }) == violation_exit);
}

DOCTEST_TEST_CASE("a page that is open for reading is not changed") {
  auto touch = [](std::byte* at) { *at = static_cast<std::byte>(static_cast<u8>(*at) ^ 1); };
  DOCTEST_CHECK(fate([&](fixture&, cache::descriptor& d) {
                  sm::step_scope step;
                  d.reader();
                  touch(d.data + d.size() - 1);
                }) == SIGSEGV);
  DOCTEST_CHECK(fate([&](fixture& f, cache::descriptor& d) {
                  sm::step_scope step;
                  touch(f.store->engine->write(d).writable(d.size() - 1, 1));
                }) == 0);
}

DOCTEST_TEST_CASE("a page loses its bracket with its frame") {
  DOCTEST_CHECK(fate([](fixture& f, cache::descriptor& d) {
                  f.home();
                  sm::step_scope step;
                  const std::byte* old = d.reader().base();
                  f.env.chaotic = true;
                  f.env.set_chaos("evict", 1000);
                  f.env.set_chaos("move", 1000);
                  page_ref other{page_addr(u64{f.store->engine->vol().super.root_block}, 1),
                                 format_generation};
                  for (int i = 0; i < 10'000 && d.data == old; ++i)
                    f.store->pages->unpin(*f.store->pages->pin(other));
                  if (d.data == old) ::_exit(1);
                  first_byte(old);
                }) == SIGSEGV);
}

DOCTEST_TEST_CASE("a change without a new version is found") {
  auto change_all = [](fixture& f, cache::descriptor& d, bool keep_content, bool keep_structure) {
    sm::step_scope step;
    u64 content = d.content_version, structure = d.structure_version;
    page_writer w = f.store->engine->write(d);
    btree::node_header h = btree::node_view(w).node();
    w.put(btree::node_header_offset, &h, sizeof h);  // the same bytes: no change
    if (keep_structure) {
      std::byte scratch[block_bytes];
      btree::set_high_fence(w, as_bytes(std::string_view("z")), true, scratch);
    } else {
      w.put_le<u64>(btree::node_header_offset + offsetof(btree::node_header, record_count), 77);
    }
    if (keep_content) d.content_version = content;
    if (keep_structure) d.structure_version = structure;
  };
  DOCTEST_CHECK(fate([&](fixture& f, cache::descriptor& d) { change_all(f, d, false, false); }) ==
                0);
  DOCTEST_CHECK(fate([&](fixture& f, cache::descriptor& d) { change_all(f, d, true, false); }) ==
                violation_exit);
  DOCTEST_CHECK(fate([&](fixture& f, cache::descriptor& d) { change_all(f, d, false, true); }) ==
                violation_exit);
}

DOCTEST_TEST_CASE("a step with a guard changes only what that names, or what it could have more") {
  auto root_block = [](fixture& f) -> cache::descriptor& { return f.store->engine->root_block(); };
  DOCTEST_CHECK(fate([&](fixture& f, cache::descriptor& d) {
                  sm::step_scope step;
                  cache::step_guard guard([&](auto&& latch) { latch(d); });
                  f.store->engine->write(d);
                  if (cache::try_latch(root_block(f))) f.store->engine->write(root_block(f));
                }) == 0);
  DOCTEST_CHECK(fate([&](fixture& f, cache::descriptor& d) {
                  sm::step_scope step;
                  cache::step_guard guard([&](auto&& latch) { latch(d); });
                  f.store->engine->write(root_block(f));
                }) == violation_exit);
}

namespace {

struct hooked {
  // The store is closed before the hooks go.
  latch_checker hooks;
  std::unique_ptr<fixture> f;
  btree::tree* t = nullptr;

  explicit hooked(u64 cache_bytes) : f(std::make_unique<fixture>(1, 128, cache_bytes)) {
    t = &f->create("t", 1);
  }
  btree::tree_statistics& stats() { return f->store->ctx->stats; }
  /// All pages home, and the store opened again with nothing in memory.
  void reopen() {
    f->home();
    io::sim_image image = f->device->current();
    auto env = std::make_unique<io::sim_environment>();
    auto device = std::make_unique<io::sim_device>(*env, image);
    io::sim_device* raw = device.get();
    auto opened = core::open(*env, std::move(device), {.cache_bytes = 4 << 20}, "again");
    DOCTEST_REQUIRE(opened);
    f = std::make_unique<fixture>(*opened);
    f->device = raw;
    later_env = std::move(env);
    t = &f->open("t");
  }
  ~hooked() { f.reset(); }
  std::unique_ptr<io::sim_environment> later_env;
};

}  // namespace

DOCTEST_TEST_CASE(
    "all operations keep to their brackets, with latches that are refused now and then") {
  hooked h(2 << 20);
  h.hooks.refuse_every(3);
  fixture& f = *h.f;
  f.env.chaotic = true;
  for (const char* site : {"yield", "evict", "move"}) f.env.set_chaos(site, 60);
  random_stream random(7);
  std::map<std::string, std::string> model;
  for (int i = 0; i < 12'000; ++i) {
    bool shrinking = i / 2000 % 2 == 1;
    std::string key = numbered(static_cast<u32>(random.below(800)));
    if (random.chance(shrinking ? 950 : 150)) {
      errc e = f.erase(*h.t, key);
      DOCTEST_REQUIRE(e == (model.erase(key) != 0 ? errc::ok : errc::not_found));
    } else {
      std::string value(random.chance(10) ? 6000 : random.below(200), 'v');
      DOCTEST_REQUIRE(f.put(*h.t, key, value) == errc::ok);
      model[key] = value;
    }
    if (i % 7 != 0) continue;
    std::string value;
    btree::read_op read;
    read.prepare(*h.t, seek::EXACT, as_bytes(key), {nullptr, &value, nullptr});
    errc e = f.run(read);
    DOCTEST_REQUIRE(e == (model.contains(key) ? errc::ok : errc::not_found));
    if (e == errc::ok) DOCTEST_REQUIRE(value == model[key]);
  }
  check_sound(*h.f->store);
  const latch_counts& c = h.hooks.counts();
  DOCTEST_CHECK(c.refusals > 0);
  DOCTEST_CHECK(h.stats().merges + h.stats().unlinks > 20);
  DOCTEST_CHECK(c.structure_versions >= h.stats().splits + h.stats().merges);
  DOCTEST_CHECK(c.content_versions > c.structure_versions);
  DOCTEST_CHECK(c.left > 0);
}

DOCTEST_TEST_CASE("a reader that waits for a leaf which is split before it resumes begins again") {
  hooked h(4 << 20);
  const std::string value(300, 'v');
  for (u32 i = 0; i < 200; i += 2) DOCTEST_REQUIRE(h.f->put(*h.t, numbered(i), value) == errc::ok);
  h.reopen();
  fixture& f = *h.f;
  sm::reactor& loop = f.store->loop;
  // A split far away, so that nothing but the leaf will have to be waited for.
  for (u32 i = 181; i < 200; i += 2) DOCTEST_REQUIRE(f.put(*h.t, numbered(i), value) == errc::ok);
  u64 splits = h.stats().splits;
  DOCTEST_REQUIRE(splits > 0);
  // The writer and the readers wait for the same leaf; the writer resumes first, and splits it.
  btree::write_op writer;
  const std::string large(900, 'w');
  const std::string new_keys[4] = {"key000101a", "key000101b", "key000101c", "key000101d"};
  btree::write_item items[4];
  for (u32 i = 0; i < 4; ++i) {
    items[i].t = h.t;
    items[i].key = as_bytes(new_keys[i]);
    items[i].value = as_bytes(large);
  }
  writer.prepare(*f.store->ctx, items, false);
  loop.start(writer);
  constexpr u32 count = 24;
  btree::read_op readers[count];
  std::string found[count];
  std::string keys[count];
  for (u32 i = 0; i < count; ++i) {
    keys[i] = numbered(80 + i * 2);
    readers[i].prepare(*h.t, seek::EXACT, as_bytes(keys[i]), {nullptr, &found[i], nullptr});
    loop.start(readers[i]);
  }
  u64 restarts = h.stats().restart_stale;
  DOCTEST_REQUIRE(loop.run_until(writer));
  for (auto& r : readers) DOCTEST_REQUIRE(loop.run_until(r));
  DOCTEST_CHECK(writer.out.code == errc::ok);
  DOCTEST_CHECK(h.stats().splits > splits);
  DOCTEST_CHECK(h.stats().restart_stale > restarts);
  for (u32 i = 0; i < count; ++i)
    DOCTEST_CHECK((readers[i].out.code == errc::ok && found[i] == value));
}

namespace {

/// A writer of a large value waits for its extent while `between` runs.
struct suspended {
  u64 stale, check, plan, splits;
};

suspended write_over(hooked& h, const std::string& key, const std::function<void()>& between) {
  fixture& f = *h.f;
  std::string large(30'000, 'L');
  btree::write_op op;
  op.prepare(*h.t, change::UPSERT, as_bytes(key), as_bytes(large), nullptr, false);
  btree::tree_statistics before = h.stats();
  f.store->loop.start(op);
  struct wait {
    btree::write_op* op;
    u64 rounds = 100'000;
  } w{&op};
  DOCTEST_REQUIRE(f.store->loop.run_while(
      [](void* p) {
        auto& x = *static_cast<wait*>(p);
        const char* why = x.op->innermost().waiting_for();
        bool there = why != nullptr && std::string_view(why) == "extent I/O";
        return --x.rounds != 0 && !there;
      },
      &w));
  DOCTEST_REQUIRE(w.rounds != 0);
  between();
  DOCTEST_REQUIRE(!op.done());
  DOCTEST_REQUIRE(f.store->loop.run_until(op));
  DOCTEST_REQUIRE(op.out.code == errc::ok);
  std::string got;
  btree::read_op read;
  read.prepare(*h.t, seek::EXACT, as_bytes(key), {nullptr, &got, nullptr});
  DOCTEST_REQUIRE(f.run(read) == errc::ok);
  DOCTEST_CHECK(got == large);
  const btree::tree_statistics& now = h.stats();
  return {now.restart_stale - before.restart_stale, now.restart_check - before.restart_check,
          now.restart_plan - before.restart_plan, now.splits - before.splits};
}

/// The device answers no write of an extent until told to.
void hold_extents(fixture& f, bool hold) {
  if (!hold) {
    f.device->faults.hook = nullptr;
    f.device->release_hung();
    return;
  }
  f.device->faults.hook = [](const io::request& r, u64) {
    bool extent = r.kind == io::request_kind::WRITE && r.length >= 30'000;
    return extent ? io::fault{io::fault::HANG, 0, io::sim_source::never} : io::fault{};
  };
}

}  // namespace

DOCTEST_TEST_CASE("a writer that is suspended over changes of its leaf sees them at its CHECK") {
  hooked h(4 << 20);
  fixture& f = *h.f;
  for (u32 i = 0; i < 60; i += 2)
    DOCTEST_REQUIRE(f.put(*h.t, numbered(i), std::string(200, 'v')) == errc::ok);
  // Nothing happens: it goes on.
  hold_extents(f, true);
  suspended s = write_over(h, numbered(5), [&] { hold_extents(f, false); });
  DOCTEST_CHECK((s.check == 0 && s.plan == 0 && s.stale == 0));
  // Its leaf's content changes: it looks again, what it needs is still what it holds.
  hold_extents(f, true);
  s = write_over(h, numbered(7), [&] {
    DOCTEST_REQUIRE(f.put(*h.t, numbered(6), std::string(200, 'x')) == errc::ok);
    hold_extents(f, false);
  });
  DOCTEST_CHECK((s.check == 0 && s.plan == 0 && s.stale == 0));
  // Its leaf is split under it: it begins again.
  hold_extents(f, true);
  s = write_over(h, numbered(9), [&] {
    for (u32 i = 0; i < 30; ++i)
      DOCTEST_REQUIRE(f.put(*h.t, numbered(8) + std::to_string(i), std::string(300, 'y')) ==
                      errc::ok);
    hold_extents(f, false);
  });
  DOCTEST_CHECK(s.splits > 0);
  DOCTEST_CHECK(s.check + s.stale == 1);
  check_sound(*h.f->store);
}

DOCTEST_TEST_CASE("a cookie is found out by the structure version") {
  hooked h(4 << 20);
  fixture& f = *h.f;
  for (u32 i = 0; i < 60; ++i)
    DOCTEST_REQUIRE(f.put(*h.t, numbered(i), std::string(200, 'v')) == errc::ok);
  btree::leaf_cookie near{};
  auto get = [&](u32 i) {
    std::string value, key = numbered(i);
    btree::read_op op;
    op.prepare(*h.t, seek::EXACT, as_bytes(key), {nullptr, &value, nullptr}, &near);
    return f.run(op);
  };
  DOCTEST_REQUIRE(get(1) == errc::ok);
  u64 hits = h.stats().cookie_hits, misses = h.stats().cookie_misses;
  // Other content, same structure: the cookie holds.
  DOCTEST_REQUIRE(f.put(*h.t, numbered(1), std::string(200, 'w')) == errc::ok);
  DOCTEST_REQUIRE(get(2) == errc::ok);
  DOCTEST_CHECK(h.stats().cookie_hits == hits + 1);
  for (u32 i = 0; i < 30; ++i)
    DOCTEST_REQUIRE(f.put(*h.t, numbered(2) + std::to_string(i), std::string(300, 'y')) ==
                    errc::ok);
  DOCTEST_REQUIRE(get(2) == errc::ok);
  DOCTEST_CHECK(h.stats().cookie_misses == misses + 1);
}

}  // namespace pleach
