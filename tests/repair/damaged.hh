// A store with trees of every kind, what is in it, where its pages are, and ways to damage it.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "be/page.hh"
#include "be/volume.hh"
#include "btree/node.hh"
#include "pleach/repair.hh"
#include "tests/store/support.hh"

namespace repair_test {

using namespace store_test;
using image = std::vector<std::byte>;
using records = std::map<std::string, std::string>;
using content = std::map<std::string, records>;  ///< by tree

struct page_place {
  pleach::page_addr addr;
  pleach::page_kind kind;
  u64 tree;
  u32 level;
};

inline image read_file(const std::string& path) {
  std::FILE* f = std::fopen(path.c_str(), "rb");
  DOCTEST_REQUIRE(f != nullptr);
  struct stat st = {};
  ::stat(path.c_str(), &st);
  image out(static_cast<std::size_t>(st.st_size));
  DOCTEST_REQUIRE(std::fread(out.data(), 1, out.size(), f) == out.size());
  std::fclose(f);
  return out;
}
inline void write_file(const std::string& path, const image& bytes) {
  std::FILE* f = std::fopen(path.c_str(), "wb");
  DOCTEST_REQUIRE(f != nullptr);
  DOCTEST_REQUIRE(std::fwrite(bytes.data(), 1, bytes.size(), f) == bytes.size());
  std::fclose(f);
}

inline content content_of(pleach::store& s) {
  content all;
  auto trees = s.trees();
  DOCTEST_REQUIRE(trees.has_value());
  for (const pleach::tree_info& info : *trees) {
    pleach::tree t = open_tree(s, info.name);
    pleach::cursor c(t);
    records& r = all[info.name];
    pleach::answer a = s.run(c.first());
    while (a.ok()) {
      r[std::string(c.key())] = c.value();
      if (!c.try_next()) a = s.run(c.next());
    }
    DOCTEST_REQUIRE_MESSAGE(a.what() == pleach::category::not_found, info.name << ": " << a.text());
  }
  return all;
}

/// Made once, damaged often.
struct sample {
  image bytes;
  content all;
  std::vector<page_place> pages;

  static const sample& get() {
    static const sample one;
    return one;
  }

 private:
  sample() {
    scratch_file f("repair-sample");
    format(f.path, 16 * mib, 2 * mib);
    {
      pleach::store s = open(f.path, 32 * mib);
      fill(s);
      all = content_of(s);
      DOCTEST_REQUIRE(s.close());
    }
    bytes = read_file(f.path);
    find_pages();
  }

  static void put(pleach::store& s, pleach::tree& t, const std::string& key,
                  const std::string& value) {
    require_ok(s.run(t.put(key, value, pleach::durability::ordered)));
  }
  static pleach::tree make(pleach::store& s, const char* name, const pleach::tree_options& o) {
    pleach::tree t;
    require_ok(s.run(s.create_tree(name, o, t)));
    return t;
  }
  static void fill(pleach::store& s) {
    pleach::tree_options o{.node_bytes = 4096};
    pleach::tree plain = make(s, "plain", o);
    o.prefix_compression = o.suffix_truncation = false;
    pleach::tree high = make(s, "high", o);  // of three levels and more
    o = {.node_bytes = 4096};
    o.key_checksums = o.value_checksums = true;
    pleach::tree summed = make(s, "summed", o);
    o = {.node_bytes = 4096, .key_bytes = 8, .value_bytes = 24};
    pleach::tree fixed = make(s, "fixed", o);
    o = {.node_bytes = 8192};
    o.digest = true;
    pleach::tree counted = make(s, "counted", o);
    pleach::tree large = make(s, "large", {});
    for (u64 i = 0; i < 1200; ++i) {
      const std::string key = "key" + std::to_string(i * 7919 % 1'000'003);
      put(s, plain, key, bytes_of(i, i % 150));
      put(s, summed, key, bytes_of(i + 1, i % 100));
      if (i % 3 == 0) put(s, high, std::string(300, 'k') + key, bytes_of(i, 40));
      put(s, fixed, bytes_of(i * 3 + 1, 8), bytes_of(i, 24));
      if (i % 2 == 0) put(s, counted, key, bytes_of(i, i % 400));
      if (i % 40 == 0) put(s, large, key, bytes_of(i, i % 80 == 0 ? 20'000 : 200));
    }
    put(s, large, "mapped", bytes_of(7, 1'300'000));
    for (u64 i = 0; i < 12; ++i)
      put(s, large, std::string(3000, 'l') + std::to_string(i), bytes_of(i, 30));
  }
  void find_pages() {
    const auto& super = *reinterpret_cast<const pleach::superblock*>(bytes.data());
    for (u64 b = 0; b < bytes.size() / 4096; ++b) {
      const auto& h = *reinterpret_cast<const pleach::page_header*>(bytes.data() + b * 4096);
      const pleach::page_addr a{u64{h.address}};
      if (h.magic != pleach::page_magic || a.block() != b ||
          h.store_id != pleach::load_le<u64>(super.uuid))
        continue;
      pages.push_back(
          {a, static_cast<pleach::page_kind>(std::uint16_t{h.kind}), h.tree_id, h.level});
      b += a.blocks() - 1;
    }
  }
};

struct mended {
  pleach::repair_report report;
  std::vector<pleach::repair_step> steps;
};
inline mended mend(const std::string& path, pleach::repair_options o = {}) {
  mended m;
  o.tell = [&](const pleach::repair_step& s) { m.steps.push_back(s); };
  auto r = pleach::repair_store(path, o);
  DOCTEST_REQUIRE_MESSAGE(r.has_value(), (r ? "" : r.error().message));
  m.report = *r;
  return m;
}
inline std::string lines_of(const mended& m) {
  std::string out;
  for (const pleach::repair_step& s : m.steps)
    out += s.where + ": " + s.what + ": " + s.done + "\n";
  return out;
}

}  // namespace repair_test
