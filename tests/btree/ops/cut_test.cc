// Proves: delete_range deletes what std::map deletes, for ranges of every shape in trees of 1 to 4
// levels, with small, large and mapped values, in slotted and fixed leaves; counts what it deletes;
// leaves a clean store of which the space has come back; and a large range goes with a handful of
// page writes. truncate does the same in steps of 1, 2, 3... pages, with the tree right between
// them. Both among readers and writers, in a full store, and twice at once.
#include <deque>
#include <map>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

using model = std::map<std::string, std::string>;

std::string numbered(u64 i) {
  char text[24];
  std::snprintf(text, sizeof text, "%07llu", static_cast<unsigned long long>(i));
  return text;
}

/// Keys of 8 bytes, or longer ones of which many differ at their end only; values of all sizes, or
/// of 8 bytes.
struct shape {
  u64 records;
  u32 node_bytes = 4096;
  bool fixed = false;
  std::size_t key_pad = 0;
  u64 value_bytes = 60;
  u64 large_each = 0;   ///< one value of 9000 bytes in so many
  u64 mapped_each = 0;  ///< and of more than 1 MiB
  u32 height = 1;

  std::string key(u64 i) const {
    if (key_pad == 0) return numbered(i) + 'k';
    return numbered(i / 64) + std::string(key_pad, 'k') + numbered(i % 64);
  }
};

pleach::tree make(pleach::store& s, const shape& of, const char* name = "t") {
  pleach::tree_options o;
  o.node_bytes = of.node_bytes;
  if (of.fixed) o.key_bytes = o.value_bytes = 8;
  o.prefix_compression = of.height < 4;  // else such keys take no room
  pleach::tree t;
  require_ok(s.run(s.create_tree(name, o, t)));
  return t;
}

model fill(pleach::store& s, pleach::tree& t, const shape& of) {
  model m;
  pleach::batch b(s);
  for (u64 i = 0; i < of.records; ++i) {
    std::size_t bytes = of.fixed ? 8 : i * 31 % of.value_bytes;
    if (of.large_each && i % of.large_each == 3) bytes = 9000;
    if (of.mapped_each && i % of.mapped_each == 5) bytes = (1 << 20) + 5000;
    std::string key = of.key(i), value = bytes_of(i, bytes);
    b.upsert(t, key, value);
    m[key] = value;
    if (b.size() < 50 && bytes < 9000 && i + 1 < of.records) continue;
    require_ok(s.run(b.commit(pleach::durability::ordered)));
    b.clear();
  }
  require_ok(s.run(s.flush()));
  return m;
}

u64 erase(model& m, const std::string& from, const std::string& to) {
  if (!to.empty() && to <= from) return 0;
  auto a = m.lower_bound(from), z = to.empty() ? m.end() : m.lower_bound(to);
  u64 n = static_cast<u64>(std::distance(a, z));
  m.erase(a, z);
  return n;
}

void compare(pleach::store& s, pleach::tree& t, const model& m) {
  pleach::cursor c(t);
  auto at = m.begin();
  for (pleach::answer a = s.run(c.first()); a.ok(); a = s.run(c.next()), ++at) {
    DOCTEST_REQUIRE(at != m.end());
    DOCTEST_REQUIRE(c.key() == at->first);
    DOCTEST_REQUIRE(c.value() == at->second);
  }
  DOCTEST_REQUIRE(at == m.end());
  for (pleach::answer a = s.run(c.last()); a.ok(); a = s.run(c.prev())) {
    DOCTEST_REQUIRE(at != m.begin());
    DOCTEST_REQUIRE(c.key() == (--at)->first);
  }
  DOCTEST_REQUIRE(at == m.begin());
  DOCTEST_REQUIRE(t.record_count() == m.size());
}

u32 height_of(pleach::store& s) {
  auto all = s.trees();
  DOCTEST_REQUIRE(all);
  return all->front().height;
}

u64 used(pleach::store& s) {
  return require_clean(s).blocks_used;
}

const shape shapes[] = {
    {.records = 0},
    {.records = 1},
    {.records = 40},
    {.records = 3000, .height = 2},
    {.records = 12'000, .fixed = true, .height = 2},
    {.records = 400'000, .fixed = true, .height = 3},
    {.records = 1200, .large_each = 6, .height = 2},
    {.records = 500, .large_each = 5, .mapped_each = 120, .height = 2},
    {.records = 6000, .key_pad = 200, .height = 4},
    {.records = 2000, .key_pad = 900, .height = 5},
    {.records = 20'000, .node_bytes = 65536, .height = 2},
};

}  // namespace

DOCTEST_TEST_CASE("ranges of every shape") {
  for (const shape& of : shapes) {
    DOCTEST_CAPTURE(of.records);
    DOCTEST_CAPTURE(of.key_pad);
    DOCTEST_CAPTURE(of.fixed);
    pleach::store s = open_memory(256 * mib, 16 * mib);
    pleach::tree t = make(s, of);
    const u64 empty = used(s);
    model m = fill(s, t, of);
    DOCTEST_CHECK(height_of(s) == of.height);
    const u64 r = of.records;
    auto k = [&](u64 i) { return of.key(i); };
    const std::pair<std::string, std::string> ranges[] = {
        {k(5), k(5)},    // none
        {k(9), k(2)},    // the wrong way round
        {k(7), k(8)},    // one record
        {k(10), k(14)},  // in one leaf
        {k(r / 2), k(r / 2 + 30)},
        {"", k(3)},      // the first ones
        {k(r - 3), ""},  // the last ones
        {k(r / 3), k(r / 3 + r / 50)},
        {k(r / 5) + "x", k(r / 4) + "x"},  // bounds that are no keys
        {k(r / 4), k(r / 2)},
        {"", k(r / 8)},
        {k(r - r / 8), "~"},
        {k(r / 3), k(r - r / 4)},
        {"", ""},  // all
        {"", ""},  // nothing is left
    };
    for (const auto& [from, to] : ranges) {
      DOCTEST_CAPTURE(from);
      DOCTEST_CAPTURE(to);
      u64 n = ~u64{0};
      const u64 expected = erase(m, from, to);
      require_ok(s.run(t.delete_range(from, to, n)));
      DOCTEST_CHECK(n == expected);
      require_clean(s);
      compare(s, t, m);
    }
    require_ok(s.run(s.flush()));
    DOCTEST_CHECK(used(s) == empty);
    DOCTEST_CHECK(height_of(s) == 1);
    m = fill(s, t, of);
    compare(s, t, m);
  }
}

DOCTEST_TEST_CASE("ranges by chance, with refills") {
  std::mt19937_64 random(base_seed());
  for (u64 pad : {0, 40, 300, 900}) {
    const shape of{.records = 3000, .key_pad = pad, .value_bytes = 200, .large_each = 50};
    pleach::store s = open_memory(256 * mib, 8 * mib);
    pleach::tree t = make(s, of);
    model m = fill(s, t, of);
    for (int round = 0; round < 60; ++round) {
      u64 a = random() % of.records, b = a + random() % (random() % 4 == 0 ? of.records : 200);
      std::string from = of.key(a), to = of.key(b);
      if (random() % 3 == 0) from += "z";
      if (random() % 3 == 0) to.resize(random() % to.size());
      u64 n = 0;
      const u64 expected = erase(m, from, to);
      require_ok(s.run(t.delete_range(from, to, n, pleach::durability::ordered)));
      DOCTEST_CHECK(n == expected);
      for (u64 i = random() % 100; i-- > 0;) {
        const u64 at = random() % of.records;
        std::string key = of.key(at), value = bytes_of(random(), random() % 300);
        require_ok(s.run(t.upsert(key, value, pleach::durability::ordered)));
        m[key] = value;
      }
      if (round % 10 == 9) require_clean(s);
    }
    compare(s, t, m);
  }
}

DOCTEST_TEST_CASE("the longest keys, and keys that go on with zeros where another one ends") {
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = make(s, {});
  model m;
  // Whatever key a step ends with: the next one begins with it.
  for (u64 i = 0; i < 60; ++i) {
    const std::string key = numbered(i) + std::string(1007, 'k');
    for (u64 zeros = 0; zeros < 11; ++zeros) m[key + std::string(zeros, '\0')] = "";
  }
  DOCTEST_REQUIRE(m.rbegin()->first.size() == 1024);
  for (const auto& [key, value] : m)
    require_ok(s.run(t.put(key, value, pleach::durability::ordered)));
  for (u64 first : {50, 20, 0}) {
    u64 n = 0;
    const u64 expected = erase(m, numbered(first) + std::string(300, 'k'), "");
    require_ok(s.run(t.delete_range(numbered(first) + std::string(300, 'k'), "", n)));
    DOCTEST_CHECK(n == expected);
    compare(s, t, m);
    require_clean(s);
  }
}

DOCTEST_TEST_CASE("a million records go with a handful of page writes") {
  pleach::store s = open_memory(256 * mib, 64 * mib);
  const shape of{.records = 1'000'000, .fixed = true};
  pleach::tree t = make(s, of);
  model m = fill(s, t, of);
  require_ok(s.run(s.wait(0, pleach::watermark::placed)));
  const u64 pages = counter_of(s, "cache.page_writes"), bytes = counter_of(s, "log.payload_bytes");
  u64 n = 0;
  DOCTEST_REQUIRE(erase(m, of.key(500), of.key(999'500)) == 999'000);
  require_ok(s.run(t.delete_range(of.key(500), of.key(999'500), n)));
  DOCTEST_CHECK(n == 999'000);
  require_ok(s.run(s.wait(0, pleach::watermark::placed)));
  DOCTEST_MESSAGE("cuts: ", counter_of(s, "tree.cuts"));
  DOCTEST_MESSAGE("steps: ", counter_of(s, "tree.cut_leaves"));
  DOCTEST_MESSAGE("page writes: ", counter_of(s, "cache.page_writes") - pages);
  DOCTEST_MESSAGE("log bytes: ", counter_of(s, "log.payload_bytes") - bytes);
  DOCTEST_CHECK(counter_of(s, "cache.page_writes") - pages < 100);
  require_clean(s);
  compare(s, t, m);
}

DOCTEST_TEST_CASE("truncate in steps of 1, 2, 3... pages, used between the steps") {
  const shape all[] = {{.records = 40},
                       {.records = 3000, .large_each = 40, .height = 2},
                       {.records = 3000, .fixed = true, .height = 2},
                       {.records = 1200, .key_pad = 200, .height = 3},
                       {.records = 6000, .key_pad = 200, .height = 4}};
  for (const shape& of : all)
    for (u32 pages : {1u, 2u, 3u, 5u, 16u}) {
      DOCTEST_CAPTURE(of.records);
      DOCTEST_CAPTURE(of.key_pad);
      DOCTEST_CAPTURE(pages);
      pleach::store s = open_memory(256 * mib, 16 * mib);
      pleach::tree t = make(s, of);
      const u64 empty = used(s);
      model m = fill(s, t, of);
      DOCTEST_CHECK(height_of(s) == of.height);
      u64 steps = 0, n = 1;
      for (;; ++steps) {
        const u64 before = m.size(), log = counter_of(s, "log.captured_bytes");
        require_ok(s.run(t.truncate(pages, n, 1, pleach::durability::ordered)));
        if (n == 0) break;
        // What is left is the end of what was there, and all of it.
        DOCTEST_REQUIRE(n <= before);
        m.erase(m.begin(), std::next(m.begin(), static_cast<std::ptrdiff_t>(n)));
        DOCTEST_REQUIRE(t.record_count() == m.size());
        // One step: a few nodes, however large the tree is.
        DOCTEST_REQUIRE(counter_of(s, "log.captured_bytes") - log < 64 * 1024);
        if (m.empty()) continue;
        std::string key, value;
        require_ok(s.run(t.min(key, value)));
        DOCTEST_REQUIRE(key == m.begin()->first);
        require_ok(s.run(t.max(key, value)));
        DOCTEST_REQUIRE(key == m.rbegin()->first);
        const std::string again = of.key(of.records + steps), what = bytes_of(steps, 8);
        if (steps % 7 == 3 && steps < 100) {
          require_ok(s.run(t.put(again, what, pleach::durability::ordered)));
          m[again] = what;
        }
        if (steps % 40 == 0) require_clean(s);
        if (steps % 40 == 20) compare(s, t, m);
      }
      DOCTEST_CHECK(m.empty());
      DOCTEST_CHECK(steps >= (of.height == 1 ? 1 : of.records / (300 * pages)));
      require_ok(s.run(s.flush()));
      DOCTEST_CHECK(used(s) == empty);
    }
  pleach::store s = open_memory(64 * mib);
  pleach::tree t = make(s, {});
  u64 n = 0;
  DOCTEST_CHECK(s.run(t.truncate(0, n)).what() == category::invalid);
  DOCTEST_CHECK(s.run(t.truncate(17, n)).what() == category::invalid);
}

namespace {

/// One who writes, deletes and reads keys of its own, over and over, and knows what it must find
/// unless a range took it: then nothing.
class actor {
 public:
  actor(pleach::tree& t, const shape& of, u64 number, u64 actors)
      : t_(t), of_(of), number_(number), actors_(actors), random_(base_seed() + number) {}
  void start() { next(); }
  void stop() { stopping_ = true; }
  bool idle() const { return idle_; }
  u64 turns() const { return turns_; }

 private:
  void next() {
    if (stopping_) {
      idle_ = true;
      return;
    }
    ++turns_;
    key_ = of_.key(random_() % (of_.records / actors_) * actors_ + number_);
    switch (random_() % 4) {
      case 0:
        value_ = key_ + "'s";
        return run(
            new pleach::operation(t_.upsert(key_, value_, pleach::durability::ordered, &near_)));
      case 1:
        return run(
            new pleach::operation(t_.del(key_, nullptr, pleach::durability::ordered, &near_)));
      case 2:
        return run(new pleach::operation(t_.get(key_, value_, &near_)));
      default:
        return run(new pleach::operation(t_.next(key_, found_, value_)));
    }
  }
  void run(pleach::operation* op) {
    op->start(
        [](pleach::operation& done, void* self) {
          auto& a = *static_cast<actor*>(self);
          const pleach::answer r = done.result();
          const bool fine = r.ok() || r.what() == category::not_found;
          DOCTEST_CHECK_MESSAGE(fine, r.text());
          delete &done;
          a.next();
        },
        this);
  }

  pleach::tree& t_;
  const shape& of_;
  u64 number_, actors_, turns_ = 0;
  bool stopping_ = false, idle_ = false;
  std::mt19937_64 random_;
  std::string key_, value_, found_;
  pleach::cookie near_;
};

}  // namespace

DOCTEST_TEST_CASE("ranges and truncates among readers and writers, and of two at once") {
  for (bool truncates : {false, true}) {
    const shape of{.records = 5000, .key_pad = 200, .large_each = 70};
    pleach::store s = open_memory(256 * mib, 8 * mib);
    pleach::tree t = make(s, of);
    const u64 empty = used(s);
    for (int round = 0; round < 4; ++round) {
      fill(s, t, of);
      std::deque<actor> actors;
      for (u64 i = 0; i < 12; ++i) actors.emplace_back(t, of, i, 12);
      for (actor& a : actors) a.start();
      u64 n[2] = {0, 0};
      int running = 2;
      auto ended = [](pleach::operation& o, void* left) {
        require_ok(o.result());
        --*static_cast<int*>(left);
      };
      std::string from = of.key(round == 3 ? 0 : 700), to = of.key(round == 3 ? 6000 : 4100);
      pleach::operation one = truncates ? t.truncate(3, n[0]) : t.delete_range(from, to, n[0]);
      pleach::operation two = truncates ? t.truncate(2, n[1]) : t.delete_range(from, to, n[1]);
      one.start(ended, &running);
      two.start(ended, &running);
      host_until(s, running);
      DOCTEST_CHECK(n[0] + n[1] > 2000);
      for (actor& a : actors) a.stop();
      for (actor& a : actors)
        while (!a.idle()) DOCTEST_REQUIRE(s.poll());
      u64 counted = 0;
      require_ok(s.run(t.count("", "", counted)));
      DOCTEST_CHECK(counted == t.record_count());
      require_clean(s);
    }
    u64 rest = 0;
    require_ok(s.run(t.delete_range("", "", rest)));
    require_ok(s.run(s.flush()));
    DOCTEST_CHECK(used(s) == empty);
  }
}

DOCTEST_TEST_CASE("cursors, cookies and leaf copies do not outlive a cut") {
  const shape of{.records = 6000, .key_pad = 200};
  pleach::store s = open_memory(256 * mib, 32 * mib);
  pleach::tree t = make(s, of);
  model m = fill(s, t, of);
  pleach::cursor c(t);
  pleach::cookie near;
  std::string value;
  require_ok(s.run(c.seek(of.key(3000))));
  require_ok(s.run(t.get(of.key(3001), value, &near)));
  u64 n = 0;
  require_ok(s.run(t.delete_range(of.key(10), of.key(5990), n)));
  DOCTEST_CHECK(counter_of(s, "tree.cuts") > 0);
  DOCTEST_CHECK(n == 5980);
  DOCTEST_CHECK(!c.try_next());
  require_ok(s.run(c.next()));
  DOCTEST_CHECK(c.key() == of.key(5990));
  DOCTEST_CHECK(s.run(t.get(of.key(3001), value, &near)).what() == category::not_found);
  require_ok(s.run(t.put(of.key(3001), "new", pleach::durability::ordered, &near)));
  require_ok(s.run(t.get(of.key(3001), value)));
  DOCTEST_CHECK(value == "new");
  require_clean(s);
}

DOCTEST_TEST_CASE("a full store: a range goes without space, and gives its own back") {
  scratch_file f("cut");
  format(f.path, 24 * mib, 4 * mib);
  pleach::store s = open(f.path, 8 * mib);
  const shape of{.records = 0, .key_pad = 200};
  pleach::tree t = make(s, of);
  u64 there = 0;
  for (;; ++there) {
    const pleach::answer a =
        s.run(t.upsert(of.key(there), bytes_of(there, 60), pleach::durability::ordered));
    if (a.ok()) continue;
    DOCTEST_REQUIRE_MESSAGE(a.what() == category::no_space, a.text());
    break;
  }
  while (s.run(t.upsert("small" + std::to_string(there), "x", pleach::durability::ordered)).ok())
    ++there;
  const pleach::check_report full = require_clean(s);
  u64 n = 0;
  require_ok(s.run(t.delete_range(of.key(100), of.key(40'000), n)));
  DOCTEST_CHECK(n > 10'000);
  const pleach::check_report now = require_clean(s);
  DOCTEST_CHECK(now.blocks_free > full.blocks_free + 1500);
  require_ok(s.run(t.upsert(of.key(200), bytes_of(1, 60))));
}

DOCTEST_TEST_CASE(
    "leaves that are half full go whole, and do not come into the one that is trimmed") {
  constexpr u64 records = 4000;
  for (bool fixed : {false, true}) {
    DOCTEST_CAPTURE(fixed);
    pleach::store s = open_memory(64 * mib, 32 * mib);
    const shape of{.records = records, .fixed = fixed, .height = 2};
    pleach::tree t = make(s, of);
    fill(s, t, of);
    for (u64 i = 0; i < records; ++i)
      if (i % 2 != 0) require_ok(s.run(t.del(of.key(i), nullptr, pleach::durability::ordered)));
    const u64 before = counter_of(s, "tree.deletes");
    u64 removed = 0;
    require_ok(s.run(t.delete_range(of.key(records / 10), of.key(records * 9 / 10), removed)));
    DOCTEST_CHECK(removed == records * 8 / 10 / 2);
    const u64 trimmed = counter_of(s, "tree.deletes") - before;
    DOCTEST_MESSAGE(trimmed << " of " << removed << " records were trimmed");
    DOCTEST_CHECK(trimmed < removed / 8);
    require_clean(s);
  }
}

DOCTEST_TEST_CASE("bounds that are too long, closed trees, read-only stores, dropped trees") {
  scratch_file f("cut");
  format(f.path, 64 * mib, 4 * mib);
  const shape of{.records = 6000, .key_pad = 200};
  u64 n = 7;
  {
    pleach::store s = open(f.path);
    pleach::tree t = make(s, of);
    fill(s, t, of);
    const std::string longest(s.limits().key_bytes + 1, 'k');
    DOCTEST_CHECK(s.run(t.delete_range(longest, "", n)).what() == category::too_large);
    DOCTEST_CHECK(s.run(t.delete_range("", longest, n)).what() == category::too_large);
    DOCTEST_CHECK(n == 0);
    // Dropped in the middle of it.
    int running = 2;
    auto ended = [](pleach::operation& o, void* left) {
      const bool fine = o.result().ok() || o.result().what() == category::invalid;
      DOCTEST_CHECK_MESSAGE(fine, o.result().text());
      --*static_cast<int*>(left);
    };
    pleach::operation range = t.delete_range(of.key(5), "", n), drop = s.drop_tree("t");
    range.start(ended, &running);
    for (int i = 0; i < 300 && n < 100; ++i) DOCTEST_REQUIRE(s.poll());
    drop.start(ended, &running);
    host_until(s, running);
    require_clean(s);
    DOCTEST_CHECK(s.run(t.delete_range("", "", n)).what() == category::invalid);
    pleach::tree u = make(s, of, "u");
    DOCTEST_REQUIRE(s.close());
    DOCTEST_CHECK(s.run(u.delete_range("", "", n)).what() == category::invalid);
  }
  {
    pleach::store s = open(f.path);  // what was cut off a tree that is gone is given back
    require_clean(s);
  }
  pleach::store s = open(f.path, 16 * mib, true);
  pleach::tree u = open_tree(s, "u");
  DOCTEST_CHECK(s.run(u.delete_range("", "", n)).what() == category::read_only);
}
