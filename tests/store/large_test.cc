// Proves: values to 64 MiB are put, streamed, read whole and in ranges, overwritten, deleted and
// dropped; what they used comes back, whatever ended the writing; a reader of a replaced value says
// so; damage is found; a full or fragmented volume is handled.
#include <fcntl.h>

#include <cstring>
#include <map>
#include <vector>

#include "tests/store/support.hh"

using namespace store_test;
using pleach::category;

namespace {

/// A value's bytes, so that every 8 bytes say where they belong.
std::string pattern(u64 seed, std::size_t bytes) {
  std::string s(bytes, '\0');
  std::mt19937_64 r(seed);
  for (std::size_t i = 0; i < bytes; i += 8) {
    u64 w = r();
    std::memcpy(s.data() + i, &w, std::min<std::size_t>(8, bytes - i));
  }
  return s;
}

/// Streams `value` in pieces of about `piece` bytes.
pleach::answer stream(pleach::store& s, pleach::tree& t, std::string_view key,
                      const std::string& value, std::size_t piece, bool say_size,
                      pleach::durability d = pleach::durability::ordered) {
  pleach::value_writer w(t, key, say_size ? value.size() : 0);
  std::mt19937_64 r(value.size() + piece);
  for (std::size_t at = 0; at < value.size();) {
    std::size_t n = std::min(value.size() - at, 1 + r() % piece);
    pleach::answer a = s.run(w.write({value.data() + at, n}));
    if (!a.ok()) return a;
    at += n;
  }
  DOCTEST_CHECK(w.size() == value.size());
  return s.run(w.commit(d));
}

void require_value(pleach::store& s, pleach::tree& t, std::string_view key,
                   const std::string& expected) {
  std::string v;
  require_ok(s.run(t.get(key, v)));
  DOCTEST_REQUIRE(v.size() == expected.size());
  DOCTEST_REQUIRE(v == expected);
}

void require_ranges(pleach::store& s, pleach::tree& t, std::string_view key,
                    const std::string& expected, u64 seed) {
  std::mt19937_64 r(seed);
  std::string out;
  for (int i = 0; i < 12; ++i) {
    u64 offset = r() % (expected.size() + 10);
    std::size_t length = r() % (i % 3 == 0 ? 300'000 : 5000);
    out.assign(length, '#');
    std::size_t got = 77;
    require_ok(s.run(t.read(key, offset, {out.data(), out.size()}, got)));
    std::size_t there = offset < expected.size()
                            ? std::min<std::size_t>(length, expected.size() - offset)
                            : 0;
    DOCTEST_REQUIRE(got == there);
    DOCTEST_REQUIRE(out.compare(0, got, expected, there ? offset : 0, there) == 0);
    DOCTEST_REQUIRE(out.find_first_not_of('#', got) == std::string::npos);
  }
}

void finish(pleach::store& s, const pleach::operation& o) {
  while (!o.done()) host_step(s);
}

constexpr u64 most = 64 * mib;

}  // namespace

DOCTEST_TEST_CASE("a value of 64 MiB") {
  pleach::store s = open_memory(300 * mib, 8 * mib);
  pleach::tree t = create(s, "t");
  DOCTEST_CHECK(s.limits().value_bytes == most);
  u64 at_start = require_clean(s).blocks_free;
  std::string value = pattern(1, most);
  require_ok(s.run(t.put("k", value)));
  DOCTEST_CHECK(t.byte_count() == 1 + most);
  require_value(s, t, "k", value);
  require_ranges(s, t, "k", value, 5);
  require_clean(s);
  // Overwritten by another one, streamed; the old runs come back.
  value = pattern(2, most);
  require_ok(stream(s, t, "k", value, 700'000, false));
  require_value(s, t, "k", value);
  require_clean(s);
  std::string old;
  require_ok(s.run(t.del("k", &old)));
  DOCTEST_CHECK(old == value);
  DOCTEST_CHECK(require_clean(s).blocks_free == at_start);
  // One byte more is too large, for every way in.
  value += 'x';
  DOCTEST_CHECK(s.run(t.put("k", value)).what() == category::too_large);
  DOCTEST_CHECK(stream(s, t, "k", value, 3'000'000, true).what() == category::too_large);
  DOCTEST_CHECK(require_clean(s).blocks_free == at_start);
}

DOCTEST_TEST_CASE("values of all sizes, against a model") {
  scratch_file f("large");
  format(f.path, 160 * mib, 4 * mib);
  std::map<std::string, std::string> model;
  std::mt19937_64 r(base_seed());
  u64 at_start = 0;
  for (int round = 0; round < 2; ++round) {
    pleach::store s = open(f.path, 6 * mib);
    pleach::tree t = round == 0 ? create(s, "t") : open_tree(s, "t");
    if (round == 0) at_start = require_clean(s).blocks_free;
    for (auto& [k, v] : model) require_value(s, t, k, v);
    for (int i = 0; i < 120; ++i) {
      std::string key = "key " + std::to_string(r() % 12);
      static constexpr std::size_t sizes[] = {0,       10,      3000,    65'535,    65'536,
                                              65'537,  131'072, 300'001, 1'048'576, 1'048'577,
                                              1'200'000, 3'000'000, 5'000'000};
      std::size_t bytes = sizes[r() % std::size(sizes)] + (r() % 3 == 0 ? r() % 5000 : 0);
      std::string value = pattern(r(), bytes);
      switch (r() % 4) {
        case 0: {
          std::string old;
          pleach::answer a = s.run(t.del(key, r() % 2 ? &old : nullptr));
          DOCTEST_REQUIRE(a.ok() == model.contains(key));
          if (!old.empty()) DOCTEST_REQUIRE(old == model[key]);
          model.erase(key);
          break;
        }
        case 1: {
          // The same key twice in one batch: the last one stays, the other's space comes back.
          pleach::batch b(s);
          std::string other = pattern(r(), r() % 2'000'000);
          b.upsert(t, key, other);
          b.upsert(t, key, value);
          b.upsert(t, key + "x", other);
          b.del(t, "key " + std::to_string(r() % 12) + "y");
          require_ok(s.run(b.commit(pleach::durability::ordered)));
          model[key] = value;
          model[key + "x"] = other;
          break;
        }
        case 2:
          require_ok(stream(s, t, key, value, 1 + r() % 400'000, r() % 2));
          model[key] = value;
          break;
        default:
          require_ok(s.run(t.upsert(key, value, pleach::durability::ordered)));
          model[key] = value;
      }
      if (i % 10 == 0 && !model.empty()) {
        auto at = model.begin();
        std::advance(at, static_cast<long>(r() % model.size()));
        require_value(s, t, at->first, at->second);
        require_ranges(s, t, at->first, at->second, r());
      }
    }
    require_clean(s);
    u64 bytes = 0;
    for (auto& [k, v] : model) bytes += k.size() + v.size();
    DOCTEST_CHECK(t.byte_count() == bytes);
    DOCTEST_CHECK(t.record_count() == model.size());
    // A cursor sees them as every other record.
    pleach::cursor c(t);
    auto at = model.begin();
    for (pleach::answer a = s.run(c.first()); a.ok(); a = s.run(c.next()), ++at) {
      DOCTEST_REQUIRE(at != model.end());
      DOCTEST_REQUIRE(c.key() == at->first);
      DOCTEST_REQUIRE(c.value() == at->second);
    }
    DOCTEST_CHECK(at == model.end());
  }
  pleach::store s = open(f.path, 6 * mib);
  require_ok(s.run(s.drop_tree("t")));
  DOCTEST_CHECK(require_clean(s).blocks_free == at_start + 1);
}

DOCTEST_TEST_CASE("a writer that is abandoned, fails or is cancelled gives all of it back") {
  scratch_file f("abandoned");
  format(f.path, 16 * mib, 1 * mib);
  pleach::store s = open(f.path, 6 * mib);
  pleach::tree t = create(s, "t");
  require_ok(s.run(t.put("there", "before")));
  u64 at_start = require_clean(s).blocks_free;
  std::string large = pattern(3, 5 * mib);
  {
    pleach::value_writer w(t, "k");
    require_ok(s.run(w.write(large)));
    // Not visible, not in the bitmaps: a crash would leak nothing.
    std::string v;
    DOCTEST_CHECK(s.run(t.get("k", v)).what() == category::not_found);
    DOCTEST_CHECK(require_clean(s).blocks_free == at_start);
    // But reserved: what does not fit beside it does not fit.
    DOCTEST_CHECK(s.run(t.put("other", pattern(4, 10 * mib))).what() == category::no_space);
  }
  require_ok(s.run(t.put("other", pattern(4, 9 * mib))));
  require_ok(s.run(t.del("other")));
  // The volume fills up in the middle.
  DOCTEST_CHECK(stream(s, t, "k", pattern(5, 20 * mib), 200'000, false).what() ==
                category::no_space);
  DOCTEST_CHECK(s.run(t.upsert("there", pattern(5, 20 * mib))).what() == category::no_space);
  DOCTEST_CHECK(require_clean(s).blocks_free == at_start);
  // Cancelled at every poll.
  for (int polls = 0; polls < 200; polls += 3) {
    pleach::value_writer w(t, "k", large.size());
    pleach::operation write = w.write(large);
    write.start([](pleach::operation&, void*) {}, nullptr);
    for (int i = 0; i < polls && !write.done(); ++i) DOCTEST_REQUIRE(s.poll());
    write.cancel();
    finish(s, write);
    if (!write.result().ok()) {
      DOCTEST_CHECK(write.result().what() == category::cancelled);
      DOCTEST_CHECK(!s.run(w.write("more")).ok());
      DOCTEST_CHECK(!s.run(w.commit()).ok());
      continue;
    }
    pleach::operation commit = w.commit();
    commit.start([](pleach::operation&, void*) {}, nullptr);
    DOCTEST_REQUIRE(s.poll());
    commit.cancel();
    finish(s, commit);
  }
  for (int polls = 0; polls < 200; polls += 3) {
    pleach::operation put = t.upsert("k", large);
    put.start([](pleach::operation&, void*) {}, nullptr);
    for (int i = 0; i < polls && !put.done(); ++i) DOCTEST_REQUIRE(s.poll());
    put.cancel();
    finish(s, put);
  }
  (void)s.run(t.del("k"));
  DOCTEST_CHECK(require_clean(s).blocks_free == at_start);
  // A writer may outlive its store.
  pleach::value_writer w(t, "k");
  require_ok(s.run(w.write(large)));
  DOCTEST_REQUIRE(s.close());
  DOCTEST_CHECK(!s.run(w.write("more")).ok());
}

namespace {

/// Writes `bytes` at `where` in pieces; write_at::end appends.
pleach::answer patch(pleach::store& s, pleach::tree& t, std::string_view key,
                     pleach::write_at where, std::string_view bytes, std::size_t piece) {
  pleach::value_writer w(t, key, where);
  for (std::size_t at = 0; at < bytes.size(); at += piece)
    if (pleach::answer a = s.run(w.write(bytes.substr(at, piece))); !a.ok()) return a;
  return s.run(w.commit(pleach::durability::ordered));
}

void overwrite(std::string& model, std::size_t at, std::string_view bytes) {
  model.resize(std::max(model.size(), at + bytes.size()));
  model.replace(at, bytes.size(), bytes);
}

}  // namespace

DOCTEST_TEST_CASE("ranges of values are overwritten and appended, against a model") {
  scratch_file f("ranges");
  format(f.path, 64 * mib, 1 * mib);
  pleach::store s = open(f.path, 8 * mib);
  pleach::tree t = create(s, "t");
  require_ok(s.run(t.put("other", "o")));
  u64 at_start = require_clean(s).blocks_free;
  std::mt19937_64 r(11);
  for (std::size_t size : {std::size_t{0}, std::size_t{50}, std::size_t{5000}, std::size_t{300'000},
                           mib, mib + 1, 3 * mib, 4 * mib + 70'000}) {
    std::string model = pattern(size, size);
    require_ok(s.run(t.upsert("k", model)));
    for (int i = 0; i < 12; ++i) {
      std::string bytes = pattern(r(), 1 + r() % (i % 3 == 0 ? 400'000 : 3000));
      bool append = i % 4 == 1;
      std::size_t at = append ? model.size() : r() % (model.size() + 1);
      if (!append && i % 5 == 4) at = at / 65536 * 65536;
      pleach::write_at where = append ? pleach::write_at::end : pleach::write_at{at};
      require_ok(patch(s, t, "k", where, bytes, 1 + r() % 100'000));
      overwrite(model, at, bytes);
      if (i % 4 == 0) require_value(s, t, "k", model);
    }
    require_value(s, t, "k", model);
    require_ranges(s, t, "k", model, size);
    require_clean(s);
    if (size == 3 * mib) {
      DOCTEST_REQUIRE(s.close());
      s = open(f.path, 8 * mib);
      t = open_tree(s, "t");
      require_value(s, t, "k", model);
    }
  }
  require_ok(s.run(t.del("k")));
  DOCTEST_CHECK(require_clean(s).blocks_free == at_start);
}

DOCTEST_TEST_CASE("a range of a large value costs the range, not the value") {
  pleach::store s = open_memory(300 * mib, 8 * mib);
  pleach::tree t = create(s, "t");
  std::string model = pattern(1, most - 100'000);
  require_ok(stream(s, t, "k", model, 1 * mib, true));
  u64 before = counter_of(s, "device.written_bytes"), read = counter_of(s, "device.read_bytes");
  std::string bytes = pattern(2, 5000);
  require_ok(patch(s, t, "k", pleach::write_at{33 * mib + 7}, bytes, 5000));
  overwrite(model, 33 * mib + 7, bytes);
  require_ok(s.run(s.flush()));
  DOCTEST_CHECK(counter_of(s, "device.written_bytes") - before < 300'000);
  DOCTEST_CHECK(counter_of(s, "device.read_bytes") - read < 300'000);
  require_ok(patch(s, t, "k", pleach::write_at::end, pattern(3, 100'000), 65'536));
  overwrite(model, model.size(), pattern(3, 100'000));
  require_value(s, t, "k", model);
  DOCTEST_CHECK(patch(s, t, "k", pleach::write_at::end, "x", 1).what() == category::too_large);
  DOCTEST_CHECK(patch(s, t, "k", pleach::write_at{most}, "x", 1).what() == category::too_large);
  require_value(s, t, "k", model);
  require_clean(s);
}

DOCTEST_TEST_CASE("a patch that cannot be: said, and nothing changed or lost") {
  pleach::store s = open_memory(64 * mib, 8 * mib);
  pleach::tree t = create(s, "t");
  for (std::size_t size : {std::size_t{100}, std::size_t{200'000}, 2 * mib}) {
    u64 at_start = require_clean(s).blocks_free;
    DOCTEST_CHECK(patch(s, t, "k", pleach::write_at{0}, "x", 1).what() == category::not_found);
    std::string model = pattern(size, size);
    require_ok(s.run(t.upsert("k", model)));
    {
      pleach::value_writer w(t, "k", pleach::write_at{size + 1});
      DOCTEST_CHECK(s.run(w.write(std::string_view("x"))).what() == category::invalid);
      DOCTEST_CHECK(s.run(w.write(std::string_view("x"))).what() == category::invalid);
      DOCTEST_CHECK(s.run(w.commit()).what() == category::invalid);
    }
    require_ok(patch(s, t, "k", pleach::write_at{1}, "", 1));
    {  // replaced between the first write and the commit, by the same bytes where it is an extent
      pleach::value_writer w(t, "k", pleach::write_at{50});
      require_ok(s.run(w.write(std::string_view("new"))));
      model[0] ^= 1;
      require_ok(s.run(t.upsert("k", model)));
      DOCTEST_CHECK(s.run(w.commit()).what() == category::conflict);
      DOCTEST_CHECK(!s.run(w.commit()).ok());
    }
    {  // deleted meanwhile
      pleach::value_writer w(t, "k", pleach::write_at::end);
      require_ok(s.run(w.write(std::string_view("new"))));
      require_ok(s.run(t.del("k")));
      DOCTEST_CHECK(s.run(w.commit()).what() == category::not_found);
      require_ok(s.run(t.put("k", model)));
    }
    // Cancelled at every poll: the old value, or the new one, and no space lost.
    std::string longer = model;
    overwrite(longer, size - 20, pattern(9, 70'000));
    for (int polls = 0; polls < 60; ++polls) {
      require_ok(s.run(t.upsert("k", model)));
      pleach::value_writer w(t, "k", pleach::write_at{size - 20});
      std::string bytes = pattern(9, 70'000);
      auto cancelled_after = [&](pleach::operation&& o, int n) {
        o.start([](pleach::operation&, void*) {}, nullptr);
        for (int i = 0; i < n && !o.done(); ++i) DOCTEST_REQUIRE(s.poll());
        o.cancel();
        finish(s, o);
        return o.result().ok();
      };
      if (cancelled_after(w.write(bytes), polls % 2 ? polls : 1000))
        cancelled_after(w.commit(), polls % 2 ? 1000 : polls);
      std::string v;
      require_ok(s.run(t.get("k", v)));
      DOCTEST_REQUIRE((v == model || v == longer));
    }
    require_ok(s.run(t.del("k")));
    DOCTEST_CHECK(require_clean(s).blocks_free == at_start);
  }
}

DOCTEST_TEST_CASE("a reader says that its value was replaced") {
  pleach::store s = open_memory(64 * mib, 8 * mib);
  pleach::tree t = create(s, "t");
  for (std::size_t bytes : {std::size_t{100}, std::size_t{500'000}, std::size_t{5'000'000}}) {
    std::string value = pattern(bytes, bytes);
    require_ok(s.run(t.upsert("k", value)));
    pleach::value_reader r(t, "k");
    std::string out(70'000, '\0');
    std::size_t got = 0;
    DOCTEST_CHECK(r.size() == 0);
    std::string whole;
    for (u64 at = 0;; at += got) {
      require_ok(s.run(r.read(at, {out.data(), out.size()}, got)));
      if (got == 0) break;
      whole.append(out, 0, got);
    }
    DOCTEST_CHECK(r.size() == bytes);
    DOCTEST_CHECK(whole == value);
    // The same bytes again are another value where it is an extent.
    require_ok(s.run(t.upsert("k", pattern(bytes + 1, bytes))));
    DOCTEST_CHECK(s.run(r.read(10, {out.data(), 50}, got)).what() == category::conflict);
    DOCTEST_CHECK(got == 0);
    require_ok(s.run(t.del("k")));
    DOCTEST_CHECK(s.run(r.read(10, {out.data(), 50}, got)).what() == category::not_found);
  }
}

namespace {

task rewrite(pleach::tree t, int& running, u64 rounds) {
  ++running;
  for (u64 i = 0; i < rounds; ++i) {
    std::string value = pattern(i % 5, 1'500'000 + i % 5);
    pleach::answer a = co_await t.upsert("k", value, pleach::durability::ordered);
    require_ok(a);
  }
  --running;
}

task look(pleach::tree t, int& running, u64& conflicts, u64& seen) {
  ++running;
  std::vector<std::string> values;
  for (u64 i = 0; i < 5; ++i) values.push_back(pattern(i, 1'500'000 + i));
  std::string v, out(200'000, '\0');
  for (int round = 0; round < 40; ++round) {
    pleach::answer a = co_await t.get("k", v);
    require_ok(a);
    DOCTEST_REQUIRE(v == values[v.size() - 1'500'000]);
    ++seen;
    pleach::value_reader r(t, "k");
    std::string whole;
    for (std::size_t got = 0;;) {
      a = co_await r.read(whole.size(), {out.data(), out.size()}, got);
      if (!a.ok() || got == 0) break;
      whole.append(out, 0, got);
    }
    if (a.ok()) {
      DOCTEST_REQUIRE(whole == values[whole.size() - 1'500'000]);
    } else {
      DOCTEST_REQUIRE(a.what() == category::conflict);
      ++conflicts;
    }
  }
  --running;
}

}  // namespace

DOCTEST_TEST_CASE("readers among writers never see a mixture") {
  pleach::store s = open_memory(64 * mib, 8 * mib);
  pleach::tree t = create(s, "t");
  require_ok(s.run(t.put("k", pattern(0, 1'500'000))));
  int running = 0;
  u64 conflicts = 0, seen = 0;
  for (int i = 0; i < 3; ++i) look(t, running, conflicts, seen);
  rewrite(t, running, 120);
  rewrite(t, running, 120);
  host_until(s, running);
  DOCTEST_CHECK(seen == 120);
  DOCTEST_CHECK(conflicts > 0);
  require_clean(s);
}

DOCTEST_TEST_CASE("space in pieces: a value in many short runs, with a small log") {
  scratch_file f("pieces");
  format(f.path, 48 * mib, 256 << 10);
  pleach::store s = open(f.path, 8 * mib);
  pleach::tree t = create(s, "t");
  // Every other 64 KiB is free, a little at each end apart.
  std::vector<int> keys;
  for (int i = 0;; ++i) {
    pleach::answer a =
        s.run(t.put(std::to_string(i), pattern(1, 65'536), pleach::durability::ordered));
    if (!a.ok()) {
      DOCTEST_REQUIRE(a.what() == category::no_space);
      break;
    }
    keys.push_back(i);
  }
  for (std::size_t i = 0; i < keys.size(); i += 2)
    require_ok(s.run(t.del(std::to_string(keys[i]), nullptr, pleach::durability::ordered)));
  u64 before = require_clean(s).blocks_free;
  std::string value = pattern(9, 10 * mib);
  require_ok(s.run(t.put("large", value)));
  require_value(s, t, "large", value);
  require_ranges(s, t, "large", value, 3);
  require_clean(s);
  std::string other = pattern(10, 9 * mib);
  require_ok(stream(s, t, "large", other, 100'000, true));
  require_value(s, t, "large", other);
  require_clean(s);
  require_ok(s.run(t.del("large")));
  DOCTEST_CHECK(require_clean(s).blocks_free == before);
  require_ok(s.run(t.put("large", value)));
  require_ok(s.run(s.drop_tree("t")));
  DOCTEST_CHECK(require_clean(s).blocks_free > before);
}

DOCTEST_TEST_CASE("damage in a large value or its map is found, never returned") {
  scratch_file f("damage");
  format(f.path, 32 * mib, 1 * mib);
  std::string value = pattern(11, 3'000'000);
  {
    pleach::store s = open(f.path);
    pleach::tree t = create(s, "t");
    require_ok(s.run(t.put("k", value)));
    DOCTEST_REQUIRE(s.close());
  }
  int fd = ::open(f.path.c_str(), O_RDWR);
  DOCTEST_REQUIRE(fd >= 0);
  std::string disk(32 * mib, '\0');
  DOCTEST_REQUIRE(::pread(fd, disk.data(), disk.size(), 0) == static_cast<ssize_t>(disk.size()));
  // Where the middle of the value stands, and its map.
  std::size_t middle = disk.find(value.substr(1'500'000, 64));
  std::size_t map = disk.find("PLvm");
  DOCTEST_REQUIRE(middle != std::string::npos);
  DOCTEST_REQUIRE(map != std::string::npos);
  for (std::size_t at : {middle, map + 70, map + 4000}) {
    char bad = static_cast<char>(disk[at] ^ 4);
    DOCTEST_REQUIRE(::pwrite(fd, &bad, 1, static_cast<off_t>(at)) == 1);
    {
      pleach::store s = open(f.path, 16 * mib, true);
      pleach::tree t = open_tree(s, "t");
      std::string v;
      DOCTEST_CHECK(s.run(t.get("k", v)).what() == category::corrupt);
      std::string out(1000, '\0');
      std::size_t got = 5;
      DOCTEST_CHECK(s.run(t.read("k", 1'499'900, {out.data(), 1000}, got)).what() ==
                    category::corrupt);
      DOCTEST_CHECK(got == 0);
      // Elsewhere in the value the other chunks are as good as ever.
      if (at == middle) {
        require_ok(s.run(t.read("k", 5000, {out.data(), 1000}, got)));
        DOCTEST_CHECK(out == value.substr(5000, 1000));
      }
      auto checked = s.check({});
      DOCTEST_REQUIRE(checked.has_value());
      DOCTEST_CHECK(!checked->clean);
    }
    DOCTEST_REQUIRE(::pwrite(fd, &disk[at], 1, static_cast<off_t>(at)) == 1);
  }
  ::close(fd);
  pleach::store s = open(f.path);
  require_clean(s);
}
