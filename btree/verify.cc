#include "btree/verify.hh"

#include <fmt/format.h>

#include <optional>

#include "be/space_policy.hh"
#include "btree/aggregate.hh"
#include "btree/load_op.hh"
#include "btree/record_extras.hh"
#include "btree/value_read_op.hh"

namespace pleach::btree {

struct verifier::expectation {
  std::string tree;
  tree_id_t id;
  page_ref ref;
  i32 level;  ///< -1: any (a root)
  std::string low, high;
  bool has_high;
  going how;
  const std::function<void(cbytes key, cbytes value)>* each;
  std::optional<aggregate> sum{};  ///< that the parent keeps
};

namespace {
std::string place(page_addr a) {
  return fmt::format("page {}+{}", a.block(), a.blocks());
}
std::string text(cbytes b) {
  return std::string(as_text(b));
}

#define PLEACH_EXTENT_CHECK_PHASES(X) \
  X(INIT, NOWAIT, ADMIT)              \
  X(ADMIT, WAIT, READ, CLEANUP)       \
  X(READ, WAIT, CLEANUP)              \
  X(CLEANUP, NOWAIT, DONE)            \
  X(DONE, NOWAIT)

/// Reads the map of a value, or all of its data against the checksums, under its own grant. The
/// data is not kept.
class extent_check_op final : public sm::machine<extent_check_op> {
 public:
  PLEACH_PHASES("extent_check", PLEACH_EXTENT_CHECK_PHASES)

  void prepare(context& c, const value_reference& ref, bool map_only) {
    reset();
    value_op_.reset();
    ctx_ = &c;
    if (map_only)
      value_op_.prepare_map(c, ref);
    else
      value_op_.prepare(c, ref, 0, ref.length, nullptr);
  }
  /// Reads bytes [from, from + to.size()) to `to`.
  void prepare_part(context& c, const value_reference& ref, u64 from, bytes to) {
    reset();
    value_op_.reset();
    ctx_ = &c;
    value_op_.prepare(c, ref, from, to.size(), to.data());
  }
  const value_map& map() const { return value_op_.map(); }
  sm::step tick(phase p) noexcept {
    switch (p) {
      case INIT:
        return go(ADMIT);
      case ADMIT:
        return ctx_->pages.grants().take(grant_, *this, txn::extent_chunk_blocks)
                   ? go(READ)
                   : wait(READ, "page frames");
      case READ:
        return sub(value_op_, CLEANUP);
      case CLEANUP:
        if (is_ok(out.code)) out.code = value_op_.out.code;
        ctx_->pages.grants().give_back(grant_);
        return go(DONE);
      case DONE:
      case phase_count_:
        break;
    }
    return go(DONE);
  }

 private:
  context* ctx_ = nullptr;
  sm::claim grant_;
  value_read_op value_op_;
};
}  // namespace

verifier::verifier(context& c, problem_sink problems, progress_sink progress)
    : ctx_(c), problems_(std::move(problems)), progress_(std::move(progress)) {}

void verifier::problem(const std::string& where, const std::string& what) {
  problems_(where, what);
}

void verifier::step_progress() {
  if (progress_ && totals_.pages % 64 == 0 && !progress_(totals_.blocks_used, reached_.size()))
    stopped_ = true;
}

/// RETURNS: false if a block was reached before, or lies outside the volume.
bool verifier::mark(u64 block, u64 blocks, const std::string& where) {
  if (block + blocks > reached_.size() || block + blocks < block) {
    problem(where, fmt::format("corrupt: blocks {}+{} lie outside the volume", block, blocks));
    return false;
  }
  bool fresh = true;
  for (u64 b = block; b < block + blocks; ++b) {
    if (reached_[b]) fresh = false;
    reached_[b] = true;
  }
  if (!fresh) problem(where, fmt::format("corrupt: blocks {}+{} are used twice", block, blocks));
  totals_.blocks_used += blocks;
  return fresh;
}

/// RETURNS: a copy: what follows waits.
static root_record root_of(context& ctx) {
  sm::step_scope step;
  return *reinterpret_cast<const root_record*>(ctx.engine.root_block().reader().base());
}

result<verify_totals> verifier::run() {
  const volume& v = ctx_.engine.vol();
  const root_record root = root_of(ctx_);
  reached_.assign(v.super.blocks, false);
  for (u32 c = 0; c < superblock_copies; ++c) mark(superblock_block(c), 1, "superblock");
  mark(v.super.root_block, 1, "root block");
  for (const log_segment& s : v.super.log)
    if (s.blocks != 0) mark(s.start, s.blocks, "log");
  u64 groups = root.groups_formatted;
  for (u64 g = 0; g < groups; ++g) mark(bitmap_block(g, v.super.group_blocks), 1, "space");

  struct found_tree {
    std::string name;
    tree_record record;
    std::string comparator;
  };
  std::vector<found_tree> trees;
  auto each = [&](cbytes key, cbytes value) {
    tree_record rec;
    std::string_view comparator;
    if (!parse_tree_record(value, rec, &comparator)) {
      problem("catalogue", fmt::format("corrupt: the record of tree \"{}\" is damaged", text(key)));
      return;
    }
    if (rec.id >= root.next_tree_id)
      problem("catalogue",
              fmt::format("corrupt: tree \"{}\" has id {}, but the next free one is {}", text(key),
                          u64{rec.id}, u64{root.next_tree_id}));
    trees.push_back({text(key), rec, std::string(comparator)});
  };
  check_tree("(catalogue)", tree_catalogue, catalogue_root(ctx_.engine.root_block()), going::NO,
             each);
  // What was cut off goes before the trees that still count its records.
  for (bool cut : {true, false})
    for (const found_tree& t : trees) {
      if (stopped_) break;
      if (cut != (t.record.state == TREE_CUT)) continue;
      totals_.trees += !cut;
      record_ = t.record;
      const auto found = ctx_.orders.find(t.comparator);
      order_ = found != ctx_.orders.end() && !t.comparator.empty() ? &found->second : nullptr;
      if (order_ == nullptr && !t.comparator.empty() && unchecked_ && !cut)
        unchecked_("tree " + t.name,
                   fmt::format("the order of its keys: comparator \"{}\" is not registered",
                               t.comparator));
      if (cut && t.name.size() <= max_tree_name_bytes)
        problem("catalogue",
                fmt::format("corrupt: tree \"{}\" is said to be cut off a tree", t.name));
      check_tree(cut ? fmt::format("{} (cut off)", u64{t.record.id}) : t.name, t.record.id,
                 {page_addr(t.record.root_addr), t.record.root_gen},
                 cut                               ? going::CUT
                 : t.record.state == TREE_DROPPING ? going::DROPPED
                                                   : going::NO,
                 nullptr);
      if (!cut) continue;
      counts& c = cut_[t.record.id];
      c.records += tree_records_;
      c.bytes += tree_bytes_;
    }
  if (!stopped_) check_space();
  if (stopped_) return fail(errc::cancelled);
  return totals_;
}

void verifier::check_tree(const std::string& name, tree_id_t id, page_ref root, going how,
                          const std::function<void(cbytes, cbytes)>& each) {
  tree_records_ = tree_bytes_ = 0;
  u64 records = 0, bytes = 0;
  bool have_counts = false;
  {
    load_op load;
    if (cache::descriptor* d = load.fetch(ctx_, root)) {
      sm::step_scope step;
      node_view n(d->reader());
      records = n.node().record_count;
      bytes = n.node().byte_count;
      have_counts = true;
    }
  }
  check_page({name, id, root, -1, "", "", false, how, &each});
  const counts cut = cut_[id];
  if (have_counts && how == going::NO && !stopped_ &&
      (records != tree_records_ + cut.records || bytes != tree_bytes_ + cut.bytes))
    problem("tree " + name,
            fmt::format("corrupt: its root counts {} records of {} bytes, found {} of {}", records,
                        bytes, tree_records_ + cut.records, tree_bytes_ + cut.bytes));
  if (id != tree_catalogue && how != going::CUT) totals_.records += tree_records_;
}

void verifier::check_page(const expectation& e) {
  if (stopped_) return;
  std::string where = place(e.ref.addr) + " of tree " + e.tree;
  if (!e.ref.addr || !mark(e.ref.addr.block(), e.ref.addr.blocks(), where)) return;
  ++totals_.pages;
  step_progress();
  load_op load;
  cache::descriptor* d = load.fetch(ctx_, e.ref);
  if (d == nullptr) {
    problem(where, fmt::format("{}: it does not load ({})",
                               class_of(load.out.code) == error_class::io ? "io" : "corrupt",
                               sentence_of(load.out.code)));
    return;
  }
  std::optional<sm::step_scope> step(std::in_place);
  node_view n(d->reader());
  const char* why = nullptr;
  if (check_node(n.page(), &why) != errc::ok) {
    problem(where, fmt::format("corrupt: {}", why ? why : "its node is unsound"));
    return;
  }
  if (n.header().tree_id != e.id)
    problem(where,
            fmt::format("corrupt: it belongs to tree {}, not {}", u64{n.header().tree_id}, e.id));
  const record_shape shape = leaf_shape(record_);
  if (n.shape() != shape) problem(where, "corrupt: its layout is not its tree's");
  const bool counted = (record_.flags & TREE_COUNTED) != 0;
  if (!n.is_leaf() && n.aggregated() != counted)
    problem(where, counted ? "corrupt: a node without aggregates in a counted tree"
                           : "corrupt: a node with aggregates in a tree without");
  if (e.level >= 0 && n.level() != static_cast<u32>(e.level)) {
    problem(where,
            fmt::format("corrupt: its level is {}, its parent expects {}", n.level(), e.level));
    return;
  }
  bool right_edge = e.how != going::NO && !e.has_high;
  bool left_edge = e.how == going::CUT && e.low.empty();
  if (text(n.low_fence()) != e.low && !left_edge)
    problem(where, "corrupt: its low fence is not its parent's separator");
  bool high_agrees =
      n.has_high_fence() == e.has_high && (!e.has_high || text(n.high_fence()) == e.high);
  if (!high_agrees && !right_edge)
    problem(where, "corrupt: its high fence is not its parent's next separator");

  if (n.is_leaf() || n.aggregated() == counted) check_sum(e, n, where);
  if (order_ != nullptr) check_order(node_view(d->reader(), order_), where);
  std::byte key[max_stored_key_bytes];
  if (n.is_leaf()) {
    totals_.leaves += 1;
    totals_.old_leaves += n.old_version();
    totals_.leaf_bytes += node_capacity(n.size(), u32{n.header().tail} * 16);
    totals_.leaf_bytes_used += n.used_bytes();
    tree summed(ctx_);
    adopt(summed, record_);
    summed.id = e.id;
    struct extent {
      std::string key;
      u64 key_hash;
      value_reference ref;
      std::optional<u64> content;
    };
    std::vector<extent> extents;
    std::vector<std::string> stubs;
    if (is_stub(n.low_fence())) stubs.push_back(text(n.low_fence()));
    const bool long_low = !stubs.empty();
    for (u32 i = 0; i < n.count(); ++i) {
      record r = n.at(i);
      u32 length = n.copy_key(i, key);
      ++tree_records_;
      if (!sums_agree(summed, {key, length}, r))
        problem(where, fmt::format("corrupt: the record of key \"{}\" differs from its checksum",
                                   as_text({key, length}).substr(0, 64)));
      if (record_.key_bytes != 0 && length != record_.key_bytes)
        problem(where, fmt::format("corrupt: a key of {} bytes, the tree's have {}", length,
                                   u32{record_.key_bytes}));
      tree_bytes_ += n.full_key_length(i);
      const bool is_long = n.has_stub(i);
      const u64 key_hash = is_long ? u64{n.key_extent(i).checksum} : hash64({key, length});
      if (is_long) stubs.push_back(text({key, length}));
      if (r.value_flags & VALUE_INDIRECT) {
        value_reference ref;
        std::memcpy(&ref, r.value.data(), sizeof ref);
        tree_bytes_ += ref.length;
        extents.push_back({text({key, length}), key_hash, ref, {}});
        if (has_content(r))
          extents.back().content = load_le<u64>(r.value.data() + sizeof ref);
        else if ((record_.flags & TREE_DIGEST) && has_map(ref))
          problem(where, "corrupt: a value with a map has no content hash, in a tree with digests");
      } else {
        tree_bytes_ += r.value.size();
        if (record_.value_bytes != 0 && r.value.size() != record_.value_bytes)
          problem(where, fmt::format("corrupt: a value of {} bytes, the tree's have {}",
                                     r.value.size(), u32{record_.value_bytes}));
        if (*e.each) (*e.each)({key, length}, r.value);
      }
    }
    // At the right edge of what is being freed, the leaf that had the extent is gone.
    const bool long_high = !right_edge && n.has_high_fence() && is_stub(n.high_fence());
    if (long_high) stubs.push_back(text(n.high_fence()));
    step.reset();
    load.release();
    for (const extent& x : extents)
      check_extent(e, as_bytes(x.key), x.key_hash, x.ref, x.content ? &*x.content : nullptr);
    check_long_keys(e, stubs, long_low, long_high);
    return;
  }
  if (n.count() == 0) problem(where, "corrupt: an inner node without children");
  // The children are visited after this page is let go: of the way there only references and fences
  // are held.
  std::vector<expectation> children;
  std::string low = text(n.low_fence());
  for (u32 i = 0; i < n.count(); ++i) {
    expectation c{e.tree,     e.id,  n.child(i), static_cast<i32>(n.level()) - 1, low, e.high,
                  e.has_high, e.how, e.each};
    if (n.aggregated()) c.sum = n.child_sum(i);
    if (i + 1 < n.count()) {
      c.high = text({key, n.copy_key(i + 1, key)});
      c.has_high = true;
      low = c.high;
    } else if (!right_edge) {
      c.has_high = n.has_high_fence();
      c.high = c.has_high ? text(n.high_fence()) : "";
    }
    children.push_back(std::move(c));
  }
  step.reset();
  load.release();
  for (const expectation& c : children) check_page(c);
}

/// What check_node leaves to those who have the comparator: keys ascend, between the fences.
void verifier::check_order(const node_view& n, const std::string& where) {
  std::byte room[max_stored_key_bytes];
  if (n.has_high_fence() && compare_in(order_, n.low_fence(), n.high_fence()) >= 0)
    problem(where, "corrupt: fence order");
  for (u32 i = 0; i < n.count(); ++i) {
    const cbytes key{room, n.copy_key(i, room)};
    if (!n.covers(key)) return problem(where, "corrupt: a key outside its fences");
    if (i + 1 < n.count() && n.compare(i + 1, key) <= 0)
      return problem(where, "corrupt: key order");
  }
}

/// What the parent says that this page adds up to. (A wrong sum is one problem: each is compared
/// with the page's own entries, not with all that is below.)
void verifier::check_sum(const expectation& e, const node_view& n, const std::string& where) {
  if (!e.sum || e.how != going::NO) return;
  const aggregate found = sum_of(n, (record_.flags & TREE_DIGEST) != 0);
  if (found.count != e.sum->count)
    problem(where, fmt::format("corrupt: its parent counts {} records below it, found {}",
                               e.sum->count, found.count));
  else if (!(found == *e.sum))
    problem(where, fmt::format(
                       "corrupt: its digest is {:016x}{:016x}, its parent says {:016x}{:016x}",
                       found.digest_high, found.digest_low, e.sum->digest_high, e.sum->digest_low));
}

/// RETURNS: does the value, which agrees with its map, have this hash?
bool verifier::check_content(const value_reference& ref, u64 content) {
  std::vector<std::byte> part(std::min<u64>(ref.length, value_chunk_bytes));
  hash64_stream hash;
  for (u64 at = 0; at < ref.length; at += part.size()) {
    part.resize(std::min<u64>(part.size(), ref.length - at));
    extent_check_op op;
    op.prepare_part(ctx_, ref, at, part);
    ctx_.loop.start(op);
    if (status s = ctx_.loop.run_until(op); !s || !is_ok(op.out.code)) return false;
    hash.add(part);
  }
  return hash.value() == content;
}

/// Of one leaf: its long low fence, its stubs, its long high fence, in order. They are what their
/// stubs say, and ascend where the stubs do not tell.
void verifier::check_long_keys(const expectation& e, const std::vector<std::string>& stubs,
                               bool has_low, bool has_high) {
  std::string before, key;
  for (std::size_t i = 0; i < stubs.size(); ++i) {
    const cbytes stub = as_bytes(stubs[i]);
    const value_reference ref = reference_of(stub);
    const page_addr run(ref.run);
    const bool is_low = has_low && i == 0, is_high = has_high && i + 1 == stubs.size();
    const bool same_as_low = i == 1 && has_low && stubs[0] == stubs[1];
    const std::string where =
        fmt::format("extent {}+{} of tree {}, long key \"{}\"", run.block(), run.blocks(), e.tree,
                    std::string_view(stubs[i]).substr(0, 64));
    // The high fence is the next leaf's.
    if (!is_high && !same_as_low && !mark(run.block(), run.blocks(), where)) return;
    extent_check_op op;
    key.resize(ref.length);
    op.prepare_part(ctx_, ref, 0, {reinterpret_cast<std::byte*>(key.data()), key.size()});
    ctx_.loop.start(op);
    if (status s = ctx_.loop.run_until(op); !s) op.out.code = s.error();
    if (!is_ok(op.out.code)) {
      problem(where, class_of(op.out.code) == error_class::corrupt
                         ? "corrupt: it differs from its checksum"
                         : fmt::format("io: it does not load ({})", sentence_of(op.out.code)));
      return;
    }
    if (key.compare(0, max_inline_key_bytes, stubs[i], 0, max_inline_key_bytes) != 0)
      problem(where, "corrupt: it begins otherwise than its stub");
    if (i > 0 && !same_as_low && !(i == 1 && has_low ? before <= key : before < key))
      problem(where, "corrupt: key order");
    if (is_low || !same_as_low) std::swap(before, key);
  }
}

void verifier::check_extent(const expectation& e, cbytes key, u64 key_hash,
                            const value_reference& ref, const u64* content) {
  page_addr run(ref.run);
  std::string where = fmt::format("extent {}+{} of tree {}, key \"{}\"", run.block(), run.blocks(),
                                  e.tree, as_text(key).substr(0, 64));
  if (!sound_reference(ref, ctx_.engine.vol().super.blocks)) {
    problem(where, "corrupt: the value reference is unsound");
    return;
  }
  if (!mark(run.block(), run.blocks(), where)) return;
  extent_check_op op;
  auto reads = [&](bool map_only) {
    op.prepare(ctx_, ref, map_only);
    ctx_.loop.start(op);
    if (status s = ctx_.loop.run_until(op); !s) op.out.code = s.error();
    if (is_ok(op.out.code)) return true;
    const char* what = map_only ? "its map" : "it";
    if (class_of(op.out.code) == error_class::corrupt)
      problem(where, fmt::format("corrupt: {} differs from its checksum", what));
    else
      problem(where, fmt::format("{}: {} does not load ({})",
                                 class_of(op.out.code) == error_class::io ? "io" : "corrupt", what,
                                 sentence_of(op.out.code)));
    return false;
  };
  if (has_map(ref)) {
    if (!reads(true)) return;
    if (op.map().tree_id != e.id || op.map().key_hash != key_hash)
      problem(where, "corrupt: its map belongs to another tree or key");
    for (page_addr r : op.map().runs)
      if (!mark(r.block(), r.blocks(), where)) return;
  }
  if (reads(false) && content != nullptr && !check_content(ref, *content))
    problem(where, "corrupt: its content hash is another one");
}

/// What is reachable against what the bitmaps say, both ways.
void verifier::check_space() {
  const volume& v = ctx_.engine.vol();
  const root_record root = root_of(ctx_);
  u64 size = v.super.group_blocks;
  for (u64 g = 0; g < root.groups_formatted && !stopped_; ++g) {
    page_addr at(bitmap_block(g, size), 1);
    load_op load;
    cache::descriptor* d = load.fetch(ctx_, page_ref{at, format_generation});
    if (d == nullptr) {
      problem("space",
              fmt::format("corrupt: the bitmap of group {} ({}) does not load", g, place(at)));
      continue;
    }
    sm::step_scope step;
    check_group(g, d->reader().page(), root.volume_blocks);
  }
}

void verifier::check_group(u64 group, cbytes page, u64 volume_blocks) {
  const volume& v = ctx_.engine.vol();
  u64 first = group * v.super.group_blocks;
  u64 end = std::min<u64>(first + v.super.group_blocks, reached_.size());
  // Neighbouring blocks with the same fault are one problem.
  auto used = [&](u64 b) {
    u64 i = b - first;
    return (static_cast<u8>(page[bitmap_payload_offset + i / 8]) >> (i % 8) & 1) != 0;
  };
  for (u64 b = first; b < end;) {
    bool is_used = used(b), is_reached = reached_[b];
    u64 run = b + 1;
    while (run < end && run != volume_blocks && used(run) == is_used && reached_[run] == is_reached)
      ++run;
    // What an interrupted growth has not come to yet is marked used.
    if (is_used && !is_reached && b < volume_blocks)
      problem("space", fmt::format("corrupt: blocks {}+{} are marked used and belong to nothing", b,
                                   run - b));
    if (!is_used && is_reached)
      problem("space", fmt::format("corrupt: blocks {}+{} are in use and marked free", b, run - b));
    if (!is_used && b >= volume_blocks)
      problem("space", fmt::format("corrupt: blocks {}+{} are beyond the volume and marked free", b,
                                   run - b));
    if (!is_used) totals_.blocks_free += run - b;
    b = run;
  }
}

}  // namespace pleach::btree
