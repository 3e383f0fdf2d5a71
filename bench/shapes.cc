// pleach-shapes: what fixed lengths of keys and values are worth. For each shape a tree that knows
// its lengths and one that does not hold the same records, in stores in memory; gets, space and
// captured bytes side by side. Rounds alternate between the two, so that a busy machine slows both;
// the best round of each counts. A client of include/pleach only.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/workload.hh"
#include "pleach/pleach.hh"

namespace {

using namespace pleach;

struct shape {
  std::uint32_t node_bytes, key_bytes, value_bytes;
  bool key_fixed, value_fixed;
  bool digits;  ///< keys of hex digits that count, as in pleach-bench; else random bytes
};
constexpr shape shapes[] = {
    {4096, 8, 8, true, true, false},    {16384, 8, 8, true, true, false},
    {16384, 16, 16, true, true, true},  {16384, 16, 16, true, true, false},
    {16384, 24, 24, true, true, false}, {65536, 24, 24, true, true, false},
    {16384, 16, 100, true, true, true}, {16384, 16, 100, true, false, true},
    {8192, 16, 100, false, true, true},
};

[[noreturn]] void die(const std::string& what) {
  fmt::print(stderr, "pleach-shapes: {}\n", what);
  std::_Exit(8);
}
void check(const answer& a, const char* what) {
  if (!a.ok()) die(fmt::format("{}: {}", what, a.text()));
}

void make_key(const shape& x, std::uint64_t id, std::string& key) {
  key.resize(x.key_bytes);
  if (x.digits) {
    bench::key_text text;
    bench::make_key(id, false, text);
    key.assign(text.view());
    return;
  }
  for (std::size_t at = 0; at < key.size(); at += 8) {
    const std::uint64_t word = bench::mix64(id * 8 + at);
    std::memcpy(key.data() + at, &word, std::min<std::size_t>(8, key.size() - at));
  }
}

class side {
 public:
  side(const shape& x, bool knows_lengths, std::uint64_t records)
      : shape_(x), records_(records), store_(*store::open_memory(4ull << 30, {1ull << 30})) {
    tree_options o{x.node_bytes};
    if (knows_lengths && x.key_fixed) o.key_bytes = x.key_bytes;
    if (knows_lengths && x.value_fixed) o.value_bytes = x.value_bytes;
    check(store_.run(store_.create_tree("t", o, tree_)), "create_tree");
    const std::uint64_t empty = blocks_used();
    batch b(store_);
    std::string key;
    const std::string value(x.value_bytes, 'v');
    const auto ids = bench::make_requests(bench::order::PERMUTATION, records + records / 20,
                                          records + records / 20, 7);
    std::uint64_t inserted = 0;
    for (; inserted < records; ++inserted) {
      make_key(x, ids[inserted], key);
      b.upsert(tree_, key, value);
      present_.push_back(ids[inserted]);
      if (b.size() < 1000 && inserted + 1 < records) continue;
      check(store_.run(b.commit(durability::ordered)), "commit");
      b.clear();
    }
    space = double(blocks_used() - empty) * 4096 / double(records);
    // One group an insert: nothing of two inserts is captured together.
    const std::uint64_t before = counter("log.captured_bytes");
    const std::uint64_t singles = std::min<std::uint64_t>(5000, ids.size() - records);
    for (std::uint64_t i = 0; i < singles; ++i) {
      make_key(x, ids[records + i], key);
      check(store_.run(tree_.put(key, value, durability::durable)), "put");
    }
    captured = double(counter("log.captured_bytes") - before) / double(singles);
  }

  void round() {
    constexpr std::uint64_t gets = 200'000;
    const auto start = std::chrono::steady_clock::now();
    std::string key, value;
    for (std::uint64_t i = 0; i < gets; ++i) {
      make_key(shape_, present_[bench::mix64(i + 1) % records_], key);
      check(store_.run(tree_.get(key, value)), "get");
    }
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    get_ns = std::min(get_ns, took.count() / double(gets));
  }

  double space = 0, captured = 0, get_ns = 1e18;

 private:
  std::uint64_t counter(std::string_view name) const {
    for (const pleach::counter& c : store_.stats())
      if (name == c.name) return c.value;
    die(fmt::format("no counter {}", name));
  }
  std::uint64_t blocks_used() {
    auto report = store_.check({});
    if (!report || !report->clean) die("the check finds problems");
    return report->blocks_used;
  }

  const shape& shape_;
  std::uint64_t records_;
  store store_;
  tree tree_;
  std::vector<std::uint32_t> present_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t records = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  if (records < 1000) {
    fmt::print(stderr, "usage: pleach-shapes [RECORDS, at least 1000]\n");
    return 16;
  }
  fmt::print(
      "| shape | node | get ns slotted | fixed | slotted / fixed | bytes a record slotted | "
      "fixed | captured an insert slotted | fixed |\n");
  for (const shape& x : shapes) {
    side without(x, false, records), with(x, true, records);
    for (int i = 0; i < 7; ++i) {
      without.round();
      with.round();
    }
    fmt::print(
        "| {}{}+{}{} {} | {} KiB | {:.0f} | {:.0f} | {:.2f} | {:.1f} | {:.1f} | {:.0f} | "
        "{:.0f} |\n",
        x.key_fixed ? "" : "var ", x.key_bytes, x.value_fixed ? "" : "var ", x.value_bytes,
        x.digits ? "digits" : "random", x.node_bytes >> 10, without.get_ns, with.get_ns,
        without.get_ns / with.get_ns, without.space, with.space, without.captured, with.captured);
    std::fflush(stdout);
  }
  return 0;
}
