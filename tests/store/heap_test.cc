// Proves: no heap allocation per cached get, multi-get and upsert in the steady state. Writes the
// counts where tests/run.sh collects them.
#include <cstdlib>
#include <fstream>
#include <new>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;

static u64 allocations = 0;

[[gnu::noinline]] void* operator new(std::size_t n) {
  ++allocations;
  if (void* p = std::malloc(n)) return p;
  std::abort();
}
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t a) {
  ++allocations;
  std::size_t unit = static_cast<std::size_t>(a);
  if (void* p = std::aligned_alloc(unit, (n + unit - 1) / unit * unit)) return p;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}

namespace {

constexpr int records = 1000;

struct rig {
  scratch_file f{"heap"};
  pleach::store s;
  pleach::tree t;
  std::vector<std::string> keys, values;

  explicit rig(bool memory)
      : s(memory ? open_memory(128 * mib, 64 * mib)
                 : (format(f.path, 128 * mib, 32 * mib), open(f.path, 64 * mib))),
        t(create(s, "t", 16384)) {
    for (u64 i = 0; i < records; ++i) {
      keys.push_back("a key of some length that is on the heap " +
                     std::to_string(i * 7919 % records));
      values.push_back(bytes_of(i, 100));
    }
    for (u64 i = 0; i < records; ++i)
      require_ok(s.run(t.put(keys[i], values[i], pleach::durability::ordered)));
    require_ok(s.run(s.flush()));
  }
  const std::string& key(int i) const { return keys[static_cast<std::size_t>(i) * 31 % records]; }
  const std::string& value(int i) const {
    return values[static_cast<std::size_t>(i) * 17 % records];
  }
};

void report(const char* name, u64 count) {
  if (const char* path = std::getenv("PLEACH_COUNTERS"))
    std::ofstream(path, std::ios::app) << name << '=' << count << '\n';
}

/// Allocations of `operations` times what `one` does, after a while of the same.
template <class One>
u64 counted(int operations, One one) {
  bool good = true;
  for (int i = 0; i < operations; ++i) good = one(i) && good;
  u64 before = allocations;
  for (int i = 0; i < operations; ++i) good = one(i) && good;
  u64 after = allocations;
  DOCTEST_CHECK(good);
  return after - before;
}

}  // namespace

DOCTEST_TEST_CASE("no heap allocation per cached operation") {
  // Durable commits one after the other take the device's time: fewer of them on a file.
  bool memory = false;
  int durable_operations = 1000;
  DOCTEST_SUBCASE("file") {}
  DOCTEST_SUBCASE("memory") {
    memory = true;
    durable_operations = 10'000;
  }
  constexpr int operations = 10'000;
  rig r(memory);
  std::string value;
  u64 gets = counted(operations, [&](int i) { return r.s.run(r.t.get(r.key(i), value)).ok(); });
  DOCTEST_CHECK(gets == 0);
  report("heap_allocations_cached_get", gets);
  u64 misses = counted(operations, [&](int i) { return !r.s.run(r.t.exists(r.value(i))).ok(); });
  DOCTEST_CHECK(misses == 0);
  std::vector<std::string> several(40);
  std::vector<pleach::lookup> lookups(several.size());
  u64 multi_gets = counted(operations / 40, [&](int i) {
    for (int k = 0; k < 40; ++k)
      lookups[static_cast<u64>(k)] = {r.key(40 * i + k), &several[static_cast<u64>(k)], {}};
    return r.s.run(r.t.multi_get(lookups)).ok();
  });
  DOCTEST_CHECK(multi_gets == 0);
  pleach::cookie near;
  u64 with_cookie = counted(operations, [&](int i) {
    return r.s.run(r.t.get(r.key(i), value, &near)).ok() &&
           r.s.run(r.t.upsert(r.key(i), r.value(i), pleach::durability::ordered, &near)).ok();
  });
  DOCTEST_CHECK(with_cookie == 0);
  u64 ordered = counted(operations, [&](int i) {
    return r.s.run(r.t.upsert(r.key(i), r.value(i), pleach::durability::ordered)).ok();
  });
  DOCTEST_CHECK(ordered == 0);
  u64 durable = counted(durable_operations,
                        [&](int i) { return r.s.run(r.t.upsert(r.key(i), r.value(i))).ok(); });
  DOCTEST_CHECK(durable == 0);
  report("heap_allocations_cached_put", ordered + durable);
  u64 callbacks = counted(operations, [&](int i) {
    int left = 1;
    pleach::operation op = r.t.get(r.key(i), value);
    op.start([](pleach::operation&, void* l) { --*static_cast<int*>(l); }, &left);
    while (left != 0) host_step(r.s);
    return op.result().ok();
  });
  DOCTEST_CHECK(callbacks == 0);
  // Integers are turned in the operation.
  pleach::tree integers;
  require_ok(r.s.run(r.s.create_tree(
      "i", {.key_bytes = 16, .order = pleach::key_order::signed_integers}, integers)));
  std::string found;
  u64 turned = counted(operations / 10, [&](int i) {
    std::string_view key(r.value(i).data(), 16);
    for (u64 k = 0; k < lookups.size(); ++k) lookups[k] = {key, &several[k], {}};
    return r.s.run(integers.upsert(key, r.value(i), pleach::durability::ordered)).ok() &&
           r.s.run(integers.get_at_least(key, found, value)).ok() && found == key &&
           r.s.run(integers.multi_get(lookups)).ok();
  });
  DOCTEST_CHECK(turned == 0);
  // The counter counts.
  u64 before = allocations;
  delete new int;
  DOCTEST_CHECK(allocations == before + 1);
  require_clean(r.s);
}
