// Proves: a process that ends without closing loses nothing that was acknowledged; reading that
// store first shows everything and changes no byte of it; whole batches only, in order.
#include <csignal>
#include <fstream>
#include <map>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

u64 hash_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string block(1 << 20, '\0');
  u64 h = 1469598103934665603u;
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())), in.gcount() > 0) {
    const char* p = block.data();
    for (std::streamsize i = 0; i + 8 <= in.gcount(); i += 8) {
      u64 word;
      __builtin_memcpy(&word, p + i, 8);
      h = (h ^ word) * 1099511628211u;
      h ^= h >> 29;
    }
  }
  return h;
}

struct plan {
  int singles, batches, deletes;
  bool large;
};

std::string key(int i) {
  return "key " + std::to_string(i * 7919 % 10007);
}
std::string value(int i, const plan& p) {
  return bytes_of(static_cast<u64>(i), p.large && i % 20 == 0 ? 50'000 : 200);
}

/// What is there after the child: everything it did was acknowledged durable.
std::map<std::string, std::string> expected(const plan& p) {
  std::map<std::string, std::string> m;
  for (int i = 0; i < p.singles; ++i) m[key(i)] = value(i, p);
  for (int b = 0; b < p.batches; ++b)
    for (int i = 0; i < 25; ++i) m[key(2000 + b * 25 + i)] = value(b, p);
  for (int i = 0; i < p.deletes; ++i) m.erase(key(i * 2));
  return m;
}

int run_and_vanish(const std::string& path, const plan& p) {
  pleach::open_options o;
  o.cache_bytes = 8 * mib;
  auto opened = pleach::store::open(path, o);
  if (!opened) return 10;
  pleach::store& s = *opened;
  pleach::tree t, gone;
  if (!s.run(s.create_tree("t", {4096}, t)).ok()) return 11;
  if (!s.run(s.create_tree("gone", {4096}, gone)).ok()) return 11;
  if (!s.run(gone.put("x", "y")).ok()) return 11;
  // The last one is durable, so all before it are.
  for (int i = 0; i < p.singles; ++i) {
    auto d = i % 10 == 9 || i == p.singles - 1 ? pleach::durability::durable
                                               : pleach::durability::ordered;
    if (!s.run(t.upsert(key(i), value(i, p), d)).ok()) return 12;
  }
  pleach::batch b(s);
  for (int n = 0; n < p.batches; ++n) {
    b.clear();
    for (int i = 0; i < 25; ++i) b.upsert(t, key(2000 + n * 25 + i), value(n, p));
    if (!s.run(b.commit()).ok()) return 13;
  }
  for (int i = 0; i < p.deletes; ++i)
    if (!s.run(t.del(key(i * 2))).ok()) return 14;
  if (!s.run(s.drop_tree("gone")).ok()) return 15;
  if (!s.run(s.flush()).ok()) return 16;
  ::_exit(0);  // no close, no destructors
}

void compare(pleach::store& s, const std::map<std::string, std::string>& m) {
  pleach::tree t = open_tree(s, "t"), gone;
  DOCTEST_CHECK(s.run(s.open_tree("gone", gone)).what() == category::not_found);
  pleach::cursor c(t);
  pleach::answer a = s.run(c.first());
  for (auto& [k, v] : m) {
    require_ok(a);
    DOCTEST_REQUIRE(c.key() == k);
    DOCTEST_REQUIRE(c.value() == v);
    if (!c.try_next()) a = s.run(c.next());
  }
  DOCTEST_CHECK(a.what() == category::not_found);
  DOCTEST_CHECK(t.record_count() == m.size());
  require_clean(s);
}

void vanish(const plan& p) {
  scratch_file f("crash");
  format(f.path, 64 * mib, 8 * mib);
  DOCTEST_REQUIRE(in_child([&] { return run_and_vanish(f.path, p); }) == 0);
  auto m = expected(p);
  u64 before = hash_of(f.path);
  for (int twice = 0; twice < 2; ++twice) {
    pleach::store reader = open(f.path, 8 * mib, true);
    DOCTEST_CHECK(!reader.recovery_text().empty());
    compare(reader, m);
  }
  DOCTEST_CHECK(hash_of(f.path) == before);
  {
    pleach::store s = open(f.path, 8 * mib);
    DOCTEST_CHECK(!s.recovery_text().empty());
    compare(s, m);
    // It works on.
    pleach::tree t = open_tree(s, "t");
    require_ok(s.run(t.upsert("after", "recovery")));
    m["after"] = "recovery";
  }
  DOCTEST_CHECK(hash_of(f.path) != before);
  pleach::store s = open(f.path, 8 * mib);
  DOCTEST_CHECK(s.recovery_text().empty());
  compare(s, m);
}

}  // namespace

DOCTEST_TEST_CASE("a few records") {
  vanish({3, 0, 0, false});
}
DOCTEST_TEST_CASE("records, batches and deletes") {
  vanish({1500, 30, 300, false});
}
DOCTEST_TEST_CASE("large values") {
  vanish({400, 10, 80, true});
}

DOCTEST_TEST_CASE("batches of a process that was killed: whole ones, in order") {
  scratch_file f("crash");
  format(f.path, 64 * mib, 8 * mib);
  int acked[2];
  DOCTEST_REQUIRE(::pipe(acked) == 0);
  std::fflush(nullptr);
  pid_t child = ::fork();
  DOCTEST_REQUIRE(child >= 0);
  if (child == 0) {
    auto opened = pleach::store::open(f.path, {});
    if (!opened) ::_exit(1);
    pleach::store& s = *opened;
    pleach::tree t, u;
    if (!s.run(s.create_tree("t", {4096}, t)).ok() || !s.run(s.create_tree("u", {4096}, u)).ok())
      ::_exit(1);
    pleach::batch b(s);
    for (int n = 0;; ++n) {
      b.clear();
      for (int i = 0; i < 7; ++i) {
        b.upsert(t, key(n * 7 + i), std::to_string(n));
        b.upsert(u, key(n * 7 + i), std::to_string(n));
      }
      if (!s.run(b.commit()).ok()) ::_exit(1);
      if (::write(acked[1], &n, sizeof n) != sizeof n) ::_exit(1);
    }
  }
  ::close(acked[1]);
  int last = -1, n;
  while (last < 60 && ::read(acked[0], &n, sizeof n) == sizeof n) last = n;
  ::kill(child, SIGKILL);
  while (::read(acked[0], &n, sizeof n) == sizeof n) last = n;
  ::close(acked[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  DOCTEST_REQUIRE(WIFSIGNALED(status));
  DOCTEST_REQUIRE(last >= 60);
  pleach::store s = open(f.path);
  pleach::tree t = open_tree(s, "t"), u = open_tree(s, "u");
  u64 count = t.record_count();
  DOCTEST_CHECK(count == u.record_count());
  DOCTEST_CHECK(count % 7 == 0);
  DOCTEST_CHECK(count / 7 >= static_cast<u64>(last) + 1);
  std::string v;
  for (int i = 0; i < static_cast<int>(count); ++i)
    for (pleach::tree* one : {&t, &u}) {
      require_ok(s.run(one->get(key(i), v)));
      DOCTEST_REQUIRE(v == std::to_string(i / 7));
    }
  require_clean(s);
}
