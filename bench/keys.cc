// pleach-keys: what prefix compression and suffix truncation are worth, and what a comparator
// costs. The same records stand in trees in memory that differ in these options only; space,
// height, gets and inserts side by side. Rounds alternate between the trees, so that a busy machine
// slows all; the median of the rounds counts. A client of include/pleach only.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "bench/workload.hh"
#include "pleach/pleach.hh"

namespace {

using namespace pleach;

struct kind {
  const char* name;
  bool prefix, truncation, comparator;
};
constexpr kind kinds[] = {{"default", true, true, false},
                          {"no prefix compression", false, true, false},
                          {"no suffix truncation", true, false, false},
                          {"neither", false, false, false},
                          {"comparator: memcmp", false, false, true}};
constexpr int rounds = 9;

[[noreturn]] void die(const std::string& what) {
  fmt::print(stderr, "pleach-keys: {}\n", what);
  std::_Exit(8);
}
void check(const answer& a, const char* what) {
  if (!a.ok()) die(fmt::format("{}: {}", what, a.text()));
}

/// A file of a tree of folders: what two neighbours share is 60 to 80 bytes of about 85.
std::string path_key(std::uint64_t id) {
  const std::uint64_t folder = id / 40;
  return fmt::format(
      "/home/projects/archive-{:02}/measurements/series-{:03}/day-{:04}/sensor-{:02}/"
      "sample-{:08x}",
      folder / 25'000 % 10, folder / 250 % 100, folder / 5 % 50, folder % 5,
      static_cast<std::uint32_t>(bench::mix64(id)));
}
std::string random_key(std::uint64_t id) {
  const std::uint64_t words[] = {bench::mix64(id), bench::mix64(id + (1ull << 40))};
  return {reinterpret_cast<const char*>(words), sizeof words};
}

class side {
 public:
  side(const kind& k, std::string (*key)(std::uint64_t), std::uint64_t records)
      : key_(key), records_(records), store_(open()) {
    tree_options o;
    o.prefix_compression = k.prefix;
    o.suffix_truncation = k.truncation;
    if (k.comparator) {
      o.order = key_order::registered;
      o.comparator = "memcmp";
    }
    check(store_.run(store_.create_tree("t", o, tree_)), "create_tree");
    const std::uint64_t empty = blocks_used();
    ids_ = bench::make_requests(bench::order::PERMUTATION, records, records, 7);
    batch b(store_);
    for (std::uint64_t i = 0; i < records; ++i) {
      b.upsert(tree_, key_(ids_[i]), value_);
      if (b.size() < 1000 && i + 1 < records) continue;
      check(store_.run(b.commit(durability::ordered)), "commit");
      b.clear();
    }
    space = double(blocks_used() - empty) * 4096 / double(records);
    auto all = store_.trees();
    if (!all) die(all.error().message);
    height = all->front().height;
  }

  /// Gets; and deletes and inserts of the same records, so that the tree stays as large as it is.
  void round(int number) {
    constexpr std::uint64_t gets = 100'000, puts = 20'000;
    std::string value;
    std::vector<std::string> keys;
    for (std::uint64_t i = 0; i < gets; ++i)
      keys.push_back(key_(ids_[bench::mix64(i + 1) % records_]));
    get_ns.push_back(
        timed(gets, [&](std::uint64_t i) { check(store_.run(tree_.get(keys[i], value)), "get"); }));
    const std::uint64_t first = static_cast<std::uint64_t>(number) * puts;
    keys.clear();
    for (std::uint64_t i = 0; i < puts; ++i) {
      keys.push_back(key_(ids_[(first + i) % records_]));
      check(store_.run(tree_.del(keys[i], nullptr, durability::ordered)), "del");
    }
    put_ns.push_back(timed(puts, [&](std::uint64_t i) {
      check(store_.run(tree_.put(keys[i], value_, durability::ordered)), "put");
    }));
  }

  static double median(std::vector<double> all) {
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
  }

  double space = 0;
  unsigned height = 0;
  std::vector<double> get_ns, put_ns;

 private:
  static store open() {
    open_options o;
    o.cache_bytes = 1ull << 30;
    o.comparators = {
        {"memcmp", [](std::string_view a, std::string_view b, void*) { return a.compare(b); }}};
    auto s = store::open_memory(2ull << 30, o);
    if (!s) die(s.error().message);
    return std::move(*s);
  }
  template <class F>
  static double timed(std::uint64_t n, F&& f) {
    const auto start = std::chrono::steady_clock::now();
    for (std::uint64_t i = 0; i < n; ++i) f(i);
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    return took.count() / double(n);
  }
  std::uint64_t blocks_used() {
    auto report = store_.check({});
    if (!report || !report->clean) die("the check finds problems");
    return report->blocks_used;
  }

  std::string (*key_)(std::uint64_t);
  std::uint64_t records_;
  store store_;
  tree tree_;
  std::vector<std::uint32_t> ids_;
  const std::string value_ = std::string(32, 'v');
};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t records = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 500'000;
  if (records < 1000) {
    fmt::print(stderr, "usage: pleach-keys [RECORDS, at least 1000]\n");
    return 16;
  }
  fmt::print("| keys | tree | bytes a record | height | get ns | put ns |\n");
  const std::pair<const char*, std::string (*)(std::uint64_t)> shapes[] = {
      {"paths", path_key}, {"random 16", random_key}};
  for (const auto& [name, key] : shapes) {
    std::vector<std::unique_ptr<side>> sides;
    for (const kind& k : kinds) sides.push_back(std::make_unique<side>(k, key, records));
    for (int i = 0; i < rounds; ++i)
      for (auto& s : sides) s->round(i);
    for (std::size_t i = 0; i < sides.size(); ++i)
      fmt::print("| {} | {} | {:.1f} | {} | {:.0f} | {:.0f} |\n", name, kinds[i].name,
                 sides[i]->space, sides[i]->height, side::median(sides[i]->get_ns),
                 side::median(sides[i]->put_ns));
    std::fflush(stdout);
  }
  return 0;
}
