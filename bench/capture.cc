// pleach-capture: what one change costs in the log, counted, not timed. A store in memory; one
// operation in flight, so that every byte of a group is the operation's own, then 64 of them, which
// share groups, pages and counts. Same input, same figures on every machine.
//
// captured: bytes of pages announced as changed, in granules of 8. logged: bytes of records in the
// log (headers, run lengths, captured bytes; without block headers and the rest of the last block).
// claimed: the credit that the operation took before it changed anything, never below `logged`; the
// block that each group has for rounding is not in it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "pleach/pleach.hh"

namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "pleach-capture: %s\n", what.c_str());
  std::exit(8);
}

struct counters {
  u64 captured = 0, logged = 0, claimed = 0, splits = 0, merges = 0;
};

counters read_counters(const pleach::store& s) {
  counters c;
  for (const pleach::counter& x : s.stats()) {
    if (std::strcmp(x.name, "log.captured_bytes") == 0) c.captured = x.value;
    if (std::strcmp(x.name, "log.payload_bytes") == 0) c.logged = x.value;
    if (std::strcmp(x.name, "tx.claimed_bytes") == 0) c.claimed = x.value;
    if (std::strcmp(x.name, "tree.splits") == 0 || std::strcmp(x.name, "tree.growths") == 0 ||
        std::strcmp(x.name, "tree.push_downs") == 0)
      c.splits += x.value;
    if (std::strcmp(x.name, "tree.merges") == 0 || std::strcmp(x.name, "tree.unlinks") == 0 ||
        std::strcmp(x.name, "tree.pull_ups") == 0)
      c.merges += x.value;
  }
  return c;
}

/// A class of operations: those of one kind that did, or did not, change the structure.
struct sum {
  u64 operations = 0, captured = 0, logged = 0, claimed = 0;
  void add(const counters& a, const counters& b) {
    ++operations;
    captured += b.captured - a.captured;
    logged += b.logged - a.logged;
    claimed += b.claimed - a.claimed;
  }
  void add(const sum& s) {
    operations += s.operations;
    captured += s.captured;
    logged += s.logged;
    claimed += s.claimed;
  }
};

struct shape {
  const char* name;
  u32 key, value;      ///< bytes; value 0: 0 to 200
  bool fixed = false;  ///< the tree knows both lengths: leaves of format 2
};

/// One tree of one shape in a store of its own.
class workload {
 public:
  workload(u32 node_bytes, const shape& s, u32 records)
      : shape_(s), random_(42), name_(fmt::format("{} @{}K", s.name, node_bytes >> 10)) {
    auto opened = pleach::store::open_memory(u64{1} << 30, {.cache_bytes = u64{1} << 30});
    if (!opened) give_up(opened.error().message);
    store_ = std::make_unique<pleach::store>(std::move(*opened));
    pleach::tree_options options;
    options.node_bytes = node_bytes;
    if (s.fixed) {
      options.key_bytes = s.key;
      options.value_bytes = s.value;
    }
    check(store_->run(store_->create_tree("t", options, tree_)));
    order_.resize(records);
    for (u32 i = 0; i < records; ++i) order_[i] = i;
  }

  /// Every kind of change twice: alone, and 64 at a time.
  void run() {
    measure("insert, random", true, 0, false);
    measure("update, same size", true, 0, false);
    if (shape_.value != 0 && !shape_.fixed) measure("update, 8 B longer", true, 8, false);
    measure("delete, random", true, 0, true);
    measure("insert, ascending", false, 0, false);
  }

  const std::string& name() const { return name_; }

 private:
  struct change {
    std::string key, value;
    std::unique_ptr<pleach::operation> op;
  };

  static void check(const pleach::answer& a) {
    if (!a) give_up(a.text());
  }
  void fill(change& c, u32 i, u32 more) {
    c.key = fmt::format("{:0{}}", i, std::min<u32>(shape_.key, 8));
    c.key.resize(shape_.key, 'k');
    c.value.resize(shape_.value ? shape_.value + more : random_() % 200);
    for (char& x : c.value) x = static_cast<char>(random_());
  }
  pleach::operation start(change& c, bool erase) {
    return erase ? tree_.del(c.key) : tree_.upsert(c.key, c.value);
  }

  /// Half of the records alone, the other half 64 at a time.
  void measure(const char* title, bool shuffled, u32 more, bool erase) {
    std::sort(order_.begin(), order_.end());
    if (shuffled) std::shuffle(order_.begin(), order_.end(), random_);
    std::size_t half = order_.size() / 2;
    sum plain, structure;
    change one;
    for (std::size_t i = 0; i < half; ++i) {
      fill(one, order_[i], more);
      counters before = read_counters(*store_);
      check(store_->run(start(one, erase)));
      counters after = read_counters(*store_);
      bool moved = after.splits != before.splits || after.merges != before.merges;
      (moved ? structure : plain).add(before, after);
    }
    sum many = at_a_time(std::span(order_).subspan(half), more, erase);
    sum all = plain;
    all.add(structure);
    fmt::print("| {} | {} | {} | {} | {} | {} ({:.1f} %) | {} | {} | {:.2f} |\n", name_, title,
               per(all.captured, all), per(all.logged, all), per(plain.logged, plain),
               per(structure.logged, structure),
               100.0 * static_cast<double>(structure.operations) / static_cast<double>(half),
               per(many.captured, many), per(many.logged, many),
               static_cast<double>(many.claimed) / static_cast<double>(many.logged));
    std::fflush(stdout);
  }

  sum at_a_time(std::span<const u32> numbers, u32 more, bool erase) {
    std::vector<change> changes(64);
    counters before = read_counters(*store_);
    for (std::size_t i = 0; i < numbers.size(); i += changes.size()) {
      std::size_t n = std::min(changes.size(), numbers.size() - i);
      std::size_t left = n;
      for (std::size_t k = 0; k < n; ++k) {
        fill(changes[k], numbers[i + k], more);
        changes[k].op.reset(new pleach::operation(start(changes[k], erase)));
        changes[k].op->start(
            [](pleach::operation& o, void* to) {
              check(o.result());
              --*static_cast<std::size_t*>(to);
            },
            &left);
      }
      while (left != 0)
        if (!store_->poll()) give_up("the store cannot be polled");
    }
    sum s;
    s.add(before, read_counters(*store_));
    s.operations = numbers.size();
    return s;
  }

  static std::string per(u64 bytes, const sum& s) {
    if (s.operations == 0) return "-";
    return fmt::format("{:.0f}", static_cast<double>(bytes) / static_cast<double>(s.operations));
  }

  shape shape_;
  std::mt19937_64 random_;
  std::unique_ptr<pleach::store> store_;
  pleach::tree tree_;
  std::vector<u32> order_;
  std::string name_;
};

}  // namespace

int main(int argc, char** argv) {
  u32 records = 100'000;
  std::string only;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 < argc && std::strcmp(argv[i], "--records") == 0)
      records = static_cast<u32>(std::strtoul(argv[i + 1], nullptr, 10));
    else if (i + 1 < argc && std::strcmp(argv[i], "--only") == 0)
      only = argv[i + 1];
    else
      give_up("it takes --records N (default 100000) and --only NAME, as in the first column");
  }
  if (records < 1000 || records > 10'000'000) give_up("--records is from 1000 to 10000000");
  fmt::print(
      "Bytes an operation; averages over {} records, half of them alone, half 64 at a time.\n\n"
      "| records | operation | captured | logged | in place | nodes split, grew, merged | "
      "captured, "
      "64 | logged, 64 | claimed / logged, 64 |\n|---|---|---|---|---|---|---|---|---|\n",
      records);
  const shape shapes[] = {
      {"8+8", 8, 8},     {"16+100", 16, 100},       {"24+24", 24, 24},
      {"20+var", 20, 0}, {"8+8 fixed", 8, 8, true}, {"24+24 fixed", 24, 24, true}};
  for (u32 node : {4u << 10, 16u << 10, 64u << 10})
    for (const shape& s : shapes) {
      workload w(node, s, records);
      if (only.empty() || w.name() == only) w.run();
    }
}
