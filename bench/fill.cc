// pleach-fill: how full leaves are after workloads of different order, and what that costs in the
// log. Counted, not timed: the same figures on every machine. Stores in memory, one operation in
// flight, so that each change pays for its own group.
//
// First table: inserts in different orders. Second: all records but every n-th are deleted from a
// tree that was filled at random. Third: a tree of constant size under inserts and deletes, which
// shows whether leaves split and merge to and fro.
//
// fill: used bytes of leaves / bytes that they have for records. A client of include/pleach only.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "bench/workload.hh"
#include "pleach/pleach.hh"

namespace {

using namespace pleach;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

struct shape {
  const char* name;
  u32 node_bytes, key_bytes, value_bytes;
  bool fixed;
};
constexpr shape shapes[] = {{"16+100 @16K", 16384, 16, 100, false},
                            {"8+8 @4K", 4096, 8, 8, false},
                            {"8+8 fixed @4K", 4096, 8, 8, true}};

[[noreturn]] void die(const std::string& what) {
  fmt::print(stderr, "pleach-fill: {}\n", what);
  std::_Exit(8);
}
void check(const answer& a, const char* what) {
  if (!a.ok()) die(fmt::format("{}: {}", what, a.text()));
}

/// What a tree has used so far.
struct figures {
  u64 logged = 0, splits = 0, in_runs = 0, growths = 0, merges = 0, unlinks = 0;
};
struct space {
  u64 leaves = 0;
  double fill = 0;
};

class subject {
 public:
  explicit subject(const shape& x)
      : shape_(x), store_(*store::open_memory(u64{1} << 30, {u64{1} << 29})) {
    const check_report empty = report();
    leaves_ = empty.leaves;
    bytes_ = empty.leaf_bytes;
    used_ = empty.leaf_bytes_used;
    tree_options o;
    o.node_bytes = x.node_bytes;
    if (x.fixed) {
      o.key_bytes = x.key_bytes;
      o.value_bytes = x.value_bytes;
    }
    check(store_.run(store_.create_tree("t", o, tree_)), "create_tree");
  }

  /// Eight bytes, or 16 hex digits: the order of the keys is that of the numbers.
  void put(u64 number) {
    make(number);
    check(store_.run(tree_.put(key_, std::string(shape_.value_bytes, 'v'))), "put");
  }
  void del(u64 number) {
    make(number);
    check(store_.run(tree_.del(key_)), "del");
  }

  void del_later(u64 number) {
    make(number);
    batch_.del(tree_, key_);
    if (batch_.size() == 1000) commit();
  }
  void commit() {
    if (batch_.size() == 0) return;
    check(store_.run(batch_.commit()), "commit");
    batch_.clear();
  }

  figures now() const {
    figures f;
    for (const counter& c : store_.stats()) {
      const std::string_view name = c.name;
      if (name == "log.payload_bytes") f.logged = c.value;
      if (name == "tree.splits") f.splits = c.value;
      if (name == "tree.splits_in_run") f.in_runs = c.value;
      if (name == "tree.growths" || name == "tree.push_downs") f.growths += c.value;
      if (name == "tree.merges") f.merges = c.value;
      if (name == "tree.unlinks") f.unlinks = c.value;
    }
    return f;
  }

  /// Of the leaves of the tree: those of the catalogue are left out.
  space leaves() {
    const check_report r = report();
    if (r.leaf_bytes == bytes_) return {};
    return {r.leaves - leaves_, 100.0 * static_cast<double>(r.leaf_bytes_used - used_) /
                                    static_cast<double>(r.leaf_bytes - bytes_)};
  }

 private:
  check_report report() {
    auto r = store_.check({});
    if (!r || !r->clean) die("the check finds problems");
    return *r;
  }
  void make(u64 number) {
    key_.resize(shape_.key_bytes);
    const u32 digit_bits = shape_.key_bytes == 16 ? 4 : 8;
    for (std::size_t i = key_.size(); i-- > 0; number >>= digit_bits) {
      const u64 digit = number & ((1u << digit_bits) - 1);
      key_[i] = digit_bits == 4 ? "0123456789abcdef"[digit] : static_cast<char>(digit);
    }
  }

  const shape& shape_;
  store store_;
  tree tree_;
  batch batch_{store_};
  std::string key_;
  u64 leaves_ = 0, bytes_ = 0, used_ = 0;
};

// --- inserts ---

constexpr u64 streams = 16, queued = 10'000;

struct order {
  const char* name;
  u64 (*number)(u64 i, u64 records);
  bool queue = false;  ///< what was inserted `queued` inserts before is deleted
};
u64 ascending(u64 i, u64) {
  return i;
}
u64 descending(u64 i, u64 records) {
  return records - i;
}
u64 streams_in_turn(u64 i, u64) {
  return i % streams << 48 | i / streams;
}
/// Streams of different speed, one of which comes forth at random.
u64 streams_at_random(u64 i, u64) {
  const u64 word = bench::mix64(i), a = word % streams, b = word / streams % streams;
  return std::min(a, b) << 48 | i;
}
u64 random_order(u64 i, u64) {
  return bench::mix64(i);
}
/// Nine of ten into a hundredth of the range.
u64 hot_spot(u64 i, u64) {
  const u64 word = bench::mix64(i);
  return i % 10 == 0 ? word : (u64{7} << 60) + word / 100;
}
constexpr order orders[] = {{"ascending", ascending},
                            {"descending", descending},
                            {"16 ascending streams in turn", streams_in_turn},
                            {"16 ascending streams at random", streams_at_random},
                            {"random", random_order},
                            {"queue of 10,000", ascending, true},
                            {"hot spot", hot_spot}};

void inserts(const shape& x, u64 records) {
  for (const order& o : orders) {
    subject s(x);
    const u64 before = s.now().logged;
    u64 logged_by_deletes = 0;
    for (u64 i = 0; i < records; ++i) {
      s.put(o.number(i, records));
      if (!o.queue || i < queued) continue;
      const u64 at = s.now().logged;
      s.del(o.number(i - queued, records));
      logged_by_deletes += s.now().logged - at;
    }
    const figures f = s.now();
    const space l = s.leaves();
    fmt::print(
        "| {} | {} | {} | {:.0f} % | {:.0f} | {} | {} | {} | {} | {} |\n", x.name, o.name, l.leaves,
        l.fill,
        static_cast<double>(f.logged - before - logged_by_deletes) / static_cast<double>(records),
        f.splits, f.in_runs, f.growths, f.merges, f.unlinks);
    std::fflush(stdout);
  }
}

// --- deletes ---

enum class way { ASCENDING, RANDOM, BATCHES };  ///< batches: of 1000, ascending

void sparse_deletes(const shape& x, u64 records) {
  constexpr const char* names[] = {"ascending", "at random", "in batches"};
  for (way how : {way::ASCENDING, way::RANDOM, way::BATCHES})
    for (u64 n = 2; n <= 10; ++n) {
      subject s(x);
      const auto ids = bench::make_requests(bench::order::PERMUTATION, records, records, 7);
      for (u64 id : ids) s.put(id);
      const figures full = s.now();
      const space before = s.leaves();
      u64 deletes = 0;
      for (u64 i = 0; i < records; ++i) {
        const u64 id = how == way::RANDOM ? ids[(i * 7919 + 13) % records] : i;
        if (id % n == 0) continue;
        how == way::BATCHES ? s.del_later(id) : s.del(id);
        ++deletes;
      }
      s.commit();
      const figures f = s.now();
      const space l = s.leaves();
      fmt::print("| {} | {} | {} | {} | {:.0f} % | {} | {:.0f} % | {:.0f} | {} |\n", x.name,
                 names[static_cast<int>(how)], n, before.leaves, before.fill, l.leaves, l.fill,
                 static_cast<double>(f.logged - full.logged) / static_cast<double>(deletes),
                 f.merges - full.merges);
      std::fflush(stdout);
    }
}

/// Half of the numbers are there; each step inserts one that is not and deletes one that is.
void churn(const shape& x, u64 records) {
  subject s(x);
  for (u64 i = 0; i < records; ++i) s.put(bench::mix64(i));
  const space before = s.leaves();
  const figures start = s.now();
  const u64 steps = 4 * records;
  for (u64 i = 0; i < steps; ++i) {
    s.put(bench::mix64(records + i));
    s.del(bench::mix64(i));
  }
  const figures f = s.now();
  const space l = s.leaves();
  fmt::print("| {} | {:.0f} % | {:.0f} % | {:.0f} | {} | {} |\n", x.name, before.fill, l.fill,
             static_cast<double>(f.logged - start.logged) / static_cast<double>(2 * steps),
             f.splits - start.splits, f.merges - start.merges);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const u64 records = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000;
  if (records < 20'000 || records % 7919 == 0) {
    fmt::print(stderr, "usage: pleach-fill [RECORDS, at least 20000, no multiple of 7919]\n");
    return 16;
  }
  fmt::print(
      "| records | inserts | leaves | fill | logged an insert | splits | of leaves, in runs | "
      "grew | merges | unlinks |\n|---|---|---|---|---|---|---|---|---|---|\n");
  for (const shape& x : shapes) inserts(x, records);
  fmt::print(
      "\n| records | deletes | all but every n-th | leaves before | fill | leaves after | fill | "
      "logged a delete | merges |\n|---|---|---|---|---|---|---|---|---|\n");
  for (const shape& x : shapes) sparse_deletes(x, records);
  fmt::print(
      "\n| records | fill before | after inserts and deletes of 4 times as many | logged a change "
      "| "
      "splits | merges |\n|---|---|---|---|---|---|\n");
  for (const shape& x : shapes) churn(x, records);
  return 0;
}
