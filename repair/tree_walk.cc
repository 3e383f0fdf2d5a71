#include "repair/tree_walk.hh"

#include <fmt/format.h>

#include "btree/record_extras.hh"

namespace pleach::repair {

using namespace btree;

namespace {

std::string text(cbytes b) {
  return std::string(as_text(b));
}

std::string key_of(const node_view& n, u32 index) {
  std::byte room[max_stored_key_bytes];
  return text({room, n.copy_key(index, room)});
}

std::string where_of(const gap& g) {
  return fmt::format("{} of tree {}", name_of(g.ref.addr), g.tree->name);
}

constexpr const char* not_freed_yet = "what was dropped is not freed yet";

const char* bad_tree_record(cbytes value, bool& keep_it) {
  keep_it = false;
  tree_record r;
  if (!parse_tree_record(value, r)) return "it is no sound record of a tree";
  return r.state == TREE_LIVE ? nullptr : not_freed_yet;
}

}  // namespace

struct tree_walk::suspect {
  u32 index;
  const char* why;
  bool keep;  ///< its bytes are there, and go to lost+found
};

std::string range_of(const gap& g) {
  if (g.low.empty() && !g.has_high) return "all keys";
  const std::string from = g.low.empty() ? "the first key" : readable(as_bytes(g.low));
  return g.has_high ? fmt::format("keys from {} to below {}", from, readable(as_bytes(g.high)))
                    : fmt::format("keys from {} on", from);
}

tree detached(const tree_facts& t) {
  tree out;
  out.id = t.id;
  out.root = t.root;
  out.node_blocks = t.record.node_blocks;
  out.key_bytes = t.record.key_bytes;
  out.value_bytes = t.record.value_bytes;
  out.counted = (t.record.flags & TREE_COUNTED) != 0;
  out.digest = (t.record.flags & TREE_DIGEST) != 0;
  out.fixed_leaves = (t.record.flags & TREE_FIXED_LEAVES) != 0;
  out.key_sums = (t.record.flags & TREE_KEY_SUMS) != 0;
  out.value_sums = (t.record.flags & TREE_VALUE_SUMS) != 0;
  return out;
}

tree_totals totals_of(const tree_facts& t, node_view n) {
  tree_totals sum;
  for (u32 i = 0; i < n.count(); ++i) {
    const record r = n.at(i);
    ++sum.records;
    sum.bytes += n.full_key_length(i) + value_bytes_of(r);
  }
  if (t.record.flags & TREE_COUNTED) sum.sum = sum_of(n, (t.record.flags & TREE_DIGEST) != 0);
  return sum;
}

void tree_walk::walk(const tree_facts& t) {
  const std::size_t gaps_before = gaps.size();
  const u64 repaired_before = journal_.repaired;
  miscounted_ = false;
  gap root;
  root.tree = &t;
  root.ref = t.root;
  const tree_totals found = visit(root);
  if (stopped || gaps.size() != gaps_before) return;  // it is counted when they are filled
  page_buffer page(store_.max_node_blocks());
  if (!store_.read_page(t.root, page)) return;
  const node_header& h = page.view().node();
  if (h.record_count == found.records && h.byte_count == found.bytes && !miscounted_) return;
  if (journal_.repaired == repaired_before)
    journal_.fixed("tree " + t.name,
                   fmt::format("its root counts {} records of {} bytes, found {} of {}{}",
                               u64{h.record_count}, u64{h.byte_count}, found.records, found.bytes,
                               miscounted_ ? "; inner nodes sum up what is not so" : ""),
                   "counted anew");
  recount(t);
}

const char* tree_walk::unexpected(const gap& g, node_view n) const {
  const tree_record& r = g.tree->record;
  if (n.header().tree_id != g.tree->id) return "it belongs to another tree";
  if (g.level >= 0 && n.level() != static_cast<u32>(g.level)) return "its level is another one";
  if (n.shape() != leaf_shape(r)) return "its layout is not its tree's";
  if (!n.is_leaf() && n.aggregated() != ((r.flags & TREE_COUNTED) != 0))
    return "its layout is not its tree's";
  if (as_text(n.low_fence()) != g.low) return "its low fence is not its parent's separator";
  const bool agrees =
      n.has_high_fence() == g.has_high && (!g.has_high || as_text(n.high_fence()) == g.high);
  return agrees ? nullptr : "its high fence is not its parent's next separator";
}

tree_totals tree_walk::visit(const gap& g) {
  if (stopped) return {};
  page_buffer page(store_.max_node_blocks());
  const char* why = nullptr;
  if (!store_.possible(g.ref.addr)) {
    why = "it cannot be there";
  } else if (reached_.any(g.ref.addr.block(), g.ref.addr.blocks())) {
    why = "its blocks belong to something else, too";
  } else if (status s = store_.read_page(g.ref, page); !s) {
    why = s.error() == errc::io ? "it cannot be read" : "its bytes are damaged";
  } else {
    why = unexpected(g, page.view());
  }
  if (why != nullptr) {
    gaps.push_back(g);
    gaps.back().why = why;
    return {};
  }
  reached_.claim(g.ref.addr);
  if (++pages % 64 == 0 && journal_.progress && !journal_.progress(pages, 0)) stopped = true;
  return page.view().is_leaf() ? leaf(g, page) : inner(g, page);
}

tree_totals tree_walk::inner(const gap& g, page_buffer& page) {
  std::vector<gap> children;
  std::vector<aggregate> said;
  {
    const node_view n = page.view();
    std::string low = g.low;
    for (u32 i = 0; i < n.count(); ++i) {
      gap c;
      c.tree = g.tree;
      c.ref = n.child(i);
      c.level = static_cast<i32>(n.level()) - 1;
      c.low = low;
      c.parent = g.ref;
      c.child = i;
      c.has_high = i + 1 < n.count() || g.has_high;
      c.high = i + 1 < n.count() ? key_of(n, i + 1) : g.high;
      low = c.high;
      if (n.aggregated()) said.push_back(n.child_sum(i));
      children.push_back(std::move(c));
    }
  }
  tree_totals sum;
  for (std::size_t i = 0; i < children.size(); ++i) {
    const tree_totals below = visit(children[i]);
    miscounted_ |= !said.empty() && !(said[i] == below.sum);
    sum += below;
  }
  return sum;
}

/// `keep_it`: whether the record's bytes are there all the same.
const char* tree_walk::bad_record(const gap& g, const tree& t, node_view n, u32 i, bool& keep_it) {
  const record r = n.at(i);
  const std::string key = key_of(n, i);
  const tree_record& facts = g.tree->record;
  if (t.id == tree_catalogue) return bad_tree_record(r.value, keep_it);
  keep_it = (r.value_flags & VALUE_INDIRECT) == 0 && !n.has_stub(i);
  if (!sums_agree(t, as_bytes(key), r)) return "it differs from its checksum";
  if (facts.key_bytes != 0 && key.size() != facts.key_bytes) return "its key has a wrong length";
  if ((r.value_flags & VALUE_INDIRECT) == 0) {
    if (facts.value_bytes != 0 && r.value.size() != facts.value_bytes)
      return "its value has a wrong length";
    return n.has_stub(i) ? claim_key(g, n, i) : nullptr;
  }
  if (n.has_stub(i))
    if (const char* wrong = claim_key(g, n, i)) return wrong;
  value_reference ref;
  std::memcpy(&ref, r.value.data(), sizeof ref);
  const u64 key_hash = n.has_stub(i) ? u64{n.key_extent(i).checksum} : hash64(as_bytes(key));
  return extents_.claim(g.tree->id, key_hash, ref);
}

/// The extent of a long key may be that of the low fence, too, which was claimed then.
const char* tree_walk::claim_key(const gap& g, node_view n, u32 i) {
  const value_reference ref = n.key_extent(i);
  const cbytes low = n.low_fence();
  if (is_stub(low) && same_extent(reference_of(low), ref)) return nullptr;
  return extents_.claim(g.tree->id, 0, ref);
}

tree_totals tree_walk::leaf(const gap& g, page_buffer& page) {
  const tree t = detached(*g.tree);
  std::vector<suspect> bad;
  node_view n = page.view();
  if (is_stub(n.low_fence())) {
    const value_reference low = reference_of(n.low_fence());
    if (const char* wrong = extents_.claim(g.tree->id, 0, low))
      journal_.leave(where_of(g), fmt::format("the key that it begins with: {}", wrong));
  }
  for (u32 i = 0; i < n.count(); ++i) {
    bool keep = false;
    if (const char* wrong = bad_record(g, t, n, i, keep)) bad.push_back({i, wrong, keep});
  }
  if (!bad.empty()) take_out(g, page, bad);
  return totals_of(*g.tree, page.view());
}

void tree_walk::take_out(const gap& g, page_buffer& page, const std::vector<suspect>& bad) {
  const node_view n = page.view();
  std::vector<u32> out;
  for (const suspect& s : bad) {
    const std::string key = key_of(n, s.index);
    const std::string where = fmt::format("{}, key {}", where_of(g), readable(as_bytes(key)));
    if (!journal_.may_all()) {
      journal_.leave(where, s.why);
      continue;
    }
    if (s.keep && !journal_.losses_saved) {
      journal_.keep_record(
          {g.tree->name, g.tree->id, g.ref.addr.block(), key, text(n.at(s.index).value)});
      journal_.postponed.push_back(where + ": " + s.why);
      continue;
    }
    out.push_back(s.index);
    // What is left of a dropped tree belongs to nobody then.
    const bool dropped = s.why == not_freed_yet;
    journal_.fixed(where, s.why, s.keep ? "moved to lost+found" : dropped ? "freed" : "given up");
    journal_.given_up += !s.keep && !dropped;
    catalogue_lost_some |= g.tree->id == tree_catalogue && !dropped;
  }
  if (out.empty()) return;
  for (std::size_t i = out.size(); i-- != 0;) erase_at(page.writer(), out[i]);
  if (!store_.write_page(page)) journal_.leave(where_of(g), "it cannot be written");
}

void tree_walk::each_record(page_ref ref, const record_sink& each) {
  page_buffer page(store_.max_node_blocks());
  if (!store_.read_page(ref, page)) return;
  const node_view n = page.view();
  for (u32 i = 0; i < n.count(); ++i) {
    if (!n.is_leaf()) {
      each_record(n.child(i), each);
    } else if (const record r = n.at(i); (r.value_flags & VALUE_INDIRECT) == 0) {
      each(as_bytes(key_of(n, i)), r.value);
    }
  }
}

bool tree_walk::set_tree_root(page_ref at, cbytes name, page_ref root) {
  page_buffer page(store_.max_node_blocks());
  for (;;) {
    if (!store_.read_page(at, page)) return false;
    const node_view n = page.view();
    if (n.is_leaf()) break;
    at = n.child(n.find_child(name));
  }
  const search_result found = page.view().find(name);
  tree_record r;
  if (!found.found || !parse_tree_record(page.view().at(found.index).value, r)) return false;
  const record old = page.view().at(found.index);
  std::string value(as_text(old.value));  // a comparator's name may stand behind
  r.root_addr = root.addr.raw;
  r.root_gen = root.gen;
  std::memcpy(value.data(), &r, sizeof r);
  replace_value(page.writer(), found.index, old.key_flags, old.value_flags, as_bytes(value));
  return store_.write_page(page).has_value();
}

void tree_walk::observe(page_ref ref, u32& flags) {
  page_buffer page(store_.max_node_blocks());
  while (store_.read_page(ref, page)) {
    const node_view n = page.view();
    if (n.is_leaf()) {
      if (n.fixed() || n.count() == 0) return;
      const record r = n.at(0);
      if (r.key_flags & KEY_CHECKSUM) flags |= TREE_KEY_SUMS;
      if (r.value_flags & VALUE_CHECKSUM) flags |= TREE_VALUE_SUMS;
      return;
    }
    if (n.aggregated()) {
      flags |= TREE_COUNTED;
      const aggregate a = n.child_sum(0);
      if (a.digest_low != 0 || a.digest_high != 0) flags |= TREE_DIGEST;
    }
    ref = n.child(0);
  }
}

void tree_walk::recount(const tree_facts& t) {
  if (journal_.left == 0 || journal_.may_all()) recount_below(t, t.root, true);
}

tree_totals tree_walk::recount_below(const tree_facts& t, page_ref ref, bool root) {
  page_buffer page(store_.max_node_blocks());
  if (!store_.read_page(ref, page)) return {};  // a gap that could not be filled
  tree_totals sum;
  bool changed = false;
  if (const node_view n = page.view(); n.is_leaf()) {
    sum = totals_of(t, n);
  } else {
    for (u32 i = 0; i < n.count(); ++i) {
      const tree_totals below = recount_below(t, n.child(i), false);
      sum += below;
      if (!n.aggregated() || n.child_sum(i) == below.sum) continue;
      set_child_sum(page.writer(), i, below.sum);
      changed = true;
    }
  }
  if (root) {
    const node_header& h = page.view().node();
    const i64 records = static_cast<i64>(sum.records - h.record_count);
    const i64 bytes = static_cast<i64>(sum.bytes - h.byte_count);
    changed |= records != 0 || bytes != 0;
    add_to_counts(page.writer(), records, bytes);
  }
  if (changed && !store_.write_page(page))
    journal_.leave(fmt::format("{} of tree {}", name_of(ref.addr), t.name), "it cannot be written");
  return sum;
}

}  // namespace pleach::repair
