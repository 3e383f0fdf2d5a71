#include "repair/mend.hh"

#include <fmt/format.h>

#include "btree/record_extras.hh"

namespace pleach::repair {

using namespace btree;

namespace {

std::string where_of(const gap& g) {
  return fmt::format("{} of tree {}, {}", name_of(g.ref.addr), g.tree->name, range_of(g));
}

/// `b` begins at `a` or behind it.
bool overlap(const found_node& a, const found_node& b) {
  return !a.has_high || compare_keys(as_bytes(b.low), as_bytes(a.high)) < 0;
}

bool ends_within(const found_node& n, const std::string& high, bool has_high) {
  if (!has_high) return true;
  return n.has_high && compare_keys(as_bytes(n.high), as_bytes(high)) <= 0;
}

}  // namespace

page_ref mender::allocate(u32 blocks) {
  const page_addr at = space_.allocate(blocks);
  failed_ |= !at;
  return at ? page_ref{at, store_.generation()} : page_ref{};
}

page_ref mender::place_for(const gap& g, u32 blocks) {
  const page_addr own = g.ref.addr;
  if (store_.possible(own) && own.blocks() >= blocks && reached_.claim(own)) return g.ref;
  return allocate(blocks);
}

void mender::format(page_buffer& page, const tree_facts& t, page_ref at, u32 level,
                    const range& r) {
  page.set_blocks(at.addr.blocks());
  page.clear();
  const record_shape shape = leaf_shape(t.record);
  const cbytes low = as_bytes(r.low), high = as_bytes(r.high);
  const bool cuts = r.has_high && (shape.flags & NO_PREFIX) == 0;
  const cbytes prefix = low.first(cuts ? std::min(common_prefix(low, high), max_prefix_bytes) : 0);
  const bool newest = (store_.vol.super.incompat & feature_slotted_2) != 0;
  format_node(page.writer(), at.addr, store_.vol.store_id(), t.id, at.gen, static_cast<u8>(level),
              low, high, r.has_high, prefix, shape,
              newest ? node_format_slotted_2 : node_format_slotted,
              (t.record.flags & TREE_COUNTED) != 0);
}

found_node* mender::same_node(const gap& g) {
  const auto tree = found_.find(g.tree->id);
  if (tree == found_.end()) return nullptr;
  found_node* best = nullptr;
  for (auto& [level, nodes] : tree->second) {
    if (g.level >= 0 && level != static_cast<u32>(g.level)) continue;
    for (found_node& n : nodes) {
      const bool same = !n.used && n.low == g.low && n.has_high == g.has_high && n.high == g.high &&
                        (g.parent.addr || n.ref.addr.blocks() == root_blocks) &&
                        !reached_.any(n.ref.addr.block(), n.ref.addr.blocks());
      // Of a tree that grew there may be older roots: the highest is the newest.
      if (same && (best == nullptr || level > 0 || n.lsn > best->lsn)) best = &n;
    }
  }
  return best;
}

/// The parent refers to the node from now on.
bool mender::adopt(const gap& g, found_node& node) {
  node.used = true;
  gap now = g;
  now.ref = node.ref;
  now.level = -1;
  const std::size_t gaps_before = walk_.gaps.size();
  walk_.walk_below(now);
  const bool hangs = walk_.gaps.size() == gaps_before || walk_.gaps[gaps_before].ref != node.ref;
  if (!hangs) walk_.gaps.resize(gaps_before);
  return hangs;
}

page_ref mender::fill(const gap& g) {
  if (found_node* n = same_node(g); n != nullptr && adopt(g, *n)) {
    journal_.fixed(where_of(g), g.why, fmt::format("found again as {}", name_of(n->ref.addr)));
    return n->ref;
  }
  if (g.tree->has_order && g.level != 0) {
    journal_.leave(where_of(g), g.why + "; only the tree's comparator knows the order of its keys");
    return {};
  }
  u32 level = static_cast<u32>(std::max(g.level, 0));
  if (g.level < 0)
    if (const auto tree = found_.find(g.tree->id); tree != found_.end() && !tree->second.empty())
      level = tree->second.rbegin()->first + 1;
  return level == 0 ? fill_leaf(g) : fill_inner(g, level);
}

// --- leaves ---

bool mender::whole_key(const salvaged_record& r, std::string& key) {
  if (!is_stub(as_bytes(r.key))) {
    key = r.key;
    return true;
  }
  const value_reference ref = reference_of(as_bytes(r.key));
  return sound_key_reference(ref) && extents_.read(ref, key) == nullptr;
}

/// RETURNS: false if its key or its value cannot be read.
bool mender::read_whole(const gap& g, const salvaged_record& r, lost_record& to) {
  to = {g.tree->name, g.tree->id, g.ref.addr.block(), {}, r.value};
  if (!whole_key(r, to.key)) return false;
  if ((r.value_flags & VALUE_INDIRECT) == 0) return true;
  value_reference ref;
  std::memcpy(&ref, r.value.data(), sizeof ref);
  return extents_.read(ref, to.value) == nullptr;
}

/// Gives these records of a damaged leaf to the journal, which saves them before the leaf may be
/// overwritten. Until then what they consist of stays in use.
/// RETURNS: false if none of them can be read: there is nothing to wait for.
bool mender::postpone(const gap& g, const record_list& out) {
  u64 kept = 0;
  for (const salvaged_record* r : out) {
    lost_record lost;
    if (!read_whole(g, *r, lost)) continue;
    ++kept;
    journal_.keep_record(std::move(lost));
    if (is_stub(as_bytes(r->key))) extents_.claim(g.tree->id, 0, reference_of(as_bytes(r->key)));
    if ((r->value_flags & VALUE_INDIRECT) == 0) continue;
    value_reference ref;
    std::memcpy(&ref, r->value.data(), sizeof ref);
    extents_.claim(g.tree->id, hash64(as_bytes(r->key)), ref);
  }
  if (kept == 0) return false;
  reached_.claim(g.ref.addr);
  journal_.postponed.push_back(where_of(g) + ": " + g.why);
  return true;
}

/// A catalogue has no checksums; but a record that names the root of its own tree is none by
/// chance.
bool mender::names_a_tree(const salvaged_record& r) {
  tree_record t;
  if (!parse_tree_record(as_bytes(r.value), t) || t.state != TREE_LIVE) return false;
  page_buffer page(store_.max_node_blocks());
  const generation_t gen = t.root_gen;
  return store_.read_page(page_addr(t.root_addr), &gen, page) && page.header().tree_id == t.id;
}

/// What there is at the place of a leaf.
std::vector<salvaged_record> mender::records_of(const gap& g) {
  std::vector<salvaged_record> records;
  if (!store_.possible(g.ref.addr) || reached_.any(g.ref.addr.block(), g.ref.addr.blocks()))
    return records;
  page_buffer page(store_.max_node_blocks());
  const bool sound =
      store_.read_page(g.ref, page) && page.view().is_leaf() && page.header().tree_id == g.tree->id;
  if (!sound && !store_.read(g.ref.addr, page)) return records;
  records = salvage_leaf(store_, g, page);
  for (salvaged_record& r : records)
    r.proven |= sound || (g.tree->id == tree_catalogue && names_a_tree(r));
  return records;
}

page_ref mender::fill_leaf(const gap& g) {
  const std::vector<salvaged_record> records = records_of(g);
  const page_ref at = place_for(g, root_blocks);
  if (!at) {
    journal_.leave(where_of(g), g.why + "; there is no space for a leaf in its place");
    return {};
  }
  page_buffer page(store_.max_node_blocks());
  const record_list out = fill_page(page, g, at, records);
  // What a catalogue loses is looked for by the pages of the trees.
  const bool catalogue = g.tree->id == tree_catalogue;
  if (!catalogue && !journal_.losses_saved && postpone(g, out)) return {};
  if (!store_.write_page(page)) {
    journal_.leave(where_of(g), g.why + "; the leaf in its place cannot be written");
    return {};
  }
  u64 given_up = 0;
  lost_record ignored;
  for (const salvaged_record* r : out) given_up += catalogue || !read_whole(g, *r, ignored);
  journal_.given_up += given_up;
  journal_.fixed(where_of(g), g.why,
                 fmt::format("rebuilt with {} records; {} others that nothing proves are in "
                             "lost+found, {} are given up",
                             records.size() - out.size(), out.size() - given_up, given_up));
  return at;
}

/// Makes the page a leaf of the range with those records that are proven.
/// RETURNS: the others.
mender::record_list mender::fill_page(page_buffer& page, const gap& g, page_ref at,
                                      const std::vector<salvaged_record>& records) {
  record_list out;
  format(page, *g.tree, at, 0, {g.low, g.high, g.has_high});
  if (is_stub(as_bytes(g.low))) extents_.claim(g.tree->id, 0, reference_of(as_bytes(g.low)));
  for (const salvaged_record& r : records) {
    const cbytes key = as_bytes(r.key), value = as_bytes(r.value), attached = as_bytes(r.attached);
    bool fits = r.proven && !is_stub(key) &&
                room_for_insert(page.view(), key, static_cast<u32>(value.size()),
                                static_cast<u32>(attached.size())) == room::NOW;
    if (fits && (r.value_flags & VALUE_INDIRECT)) {
      value_reference ref;
      std::memcpy(&ref, value.data(), sizeof ref);
      fits = extents_.claim(g.tree->id, hash64(key), ref) == nullptr;
    }
    if (fits)
      insert_at(page.writer(), page.view().count(), key, r.key_flags, r.value_flags, value,
                attached);
    else
      out.push_back(&r);
  }
  return out;
}

// --- inner nodes ---

/// RETURNS: nodes of just this level that together have all of the range, without gap or overlap.
std::vector<mender::child> mender::cover(const tree_facts& t, u32 level, const range& r) {
  std::vector<found_node*> chosen;
  if (const auto tree = found_.find(t.id); tree != found_.end())
    if (const auto nodes = tree->second.find(level); nodes != tree->second.end())
      for (found_node& n : nodes->second) {
        if (n.used || reached_.any(n.ref.addr.block(), n.ref.addr.blocks())) continue;
        if (compare_keys(as_bytes(n.low), as_bytes(r.low)) < 0 ||
            !ends_within(n, r.high, r.has_high) || n.shape != leaf_shape(t.record))
          continue;
        // Of two that overlap the newer one: it took over what the other had.
        while (!chosen.empty() && overlap(*chosen.back(), n) && n.lsn > chosen.back()->lsn)
          chosen.pop_back();
        if (chosen.empty() || !overlap(*chosen.back(), n)) chosen.push_back(&n);
      }
  std::vector<child> out;
  std::string at = r.low;
  const auto open = [&](const std::string& to, bool has_to) {
    if (has_to && at == to) return;
    for (child& c : tiles(t, level, {at, to, has_to})) out.push_back(std::move(c));
  };
  bool to_the_end = false;
  for (found_node* n : chosen) {
    open(n->low, true);
    at = n->low;
    gap found;
    found.tree = &t;
    found.ref = n->ref;
    found.level = static_cast<i32>(level);
    found.low = n->low;
    found.high = n->high;
    found.has_high = n->has_high;
    n->used = true;
    const std::size_t gaps_before = walk_.gaps.size();
    walk_.walk_below(found);
    const bool hangs = walk_.gaps.size() == gaps_before || walk_.gaps[gaps_before].ref != n->ref;
    if (!hangs) {
      walk_.gaps.resize(gaps_before);
      continue;
    }
    out.push_back({n->low, n->ref});
    at = n->high;
    to_the_end = !n->has_high;
  }
  if (!to_the_end && !(r.has_high && at == r.high)) open(r.high, r.has_high);
  return out;
}

/// The same from the levels below: no node of this level has any of the range.
std::vector<mender::child> mender::tiles(const tree_facts& t, u32 level, const range& r) {
  if (level != 0) return pack(t, level, r, cover(t, level - 1, r));
  gap empty;
  empty.tree = &t;
  empty.level = 0;
  empty.low = r.low;
  empty.high = r.high;
  empty.has_high = r.has_high;
  const page_ref at = allocate(root_blocks);
  if (!at) return {};
  page_buffer page(store_.max_node_blocks());
  fill_page(page, empty, at, {});
  failed_ |= !store_.write_page(page);
  return {{r.low, at}};
}

/// RETURNS: nodes of the level over these children, which have the range.
std::vector<mender::child> mender::pack(const tree_facts& t, u32 level, const range& r,
                                        const std::vector<child>& below) {
  std::vector<child> out;
  const u32 blocks = std::max<u32>(t.record.node_blocks, root_blocks);
  for (std::size_t first = 0; first < below.size();) {
    const page_ref ref = allocate(blocks);
    if (!ref) return {};
    const std::string low = first == 0 ? r.low : below[first].low;
    const std::size_t taken = write_inner(t, ref, level, {low, r.high, r.has_high},
                                          std::span(below).subspan(first), false);
    failed_ |= taken == 0;
    if (taken == 0) return {};
    out.push_back({low, ref});
    first += taken;
  }
  return out;
}

/// Writes a node over as many of the children as fit; its high fence is the low one of the next.
/// RETURNS: how many they are; 0 if it cannot be written, or if not all fit and all must.
std::size_t mender::write_inner(const tree_facts& t, page_ref at, u32 level, const range& r,
                                std::span<const child> children, bool all_or_nothing) {
  page_buffer page(store_.max_node_blocks());
  for (std::size_t want = children.size(); want != 0;) {
    const bool last = want == children.size();
    const range own{r.low, last ? r.high : children[want].low, last ? r.has_high : true};
    format(page, t, at, level, own);
    std::size_t n = 0;
    for (; n < want; ++n) {
      const cbytes key = as_bytes(children[n].low);
      if (n != 0 && room_for_insert(page.view(), key, page.view().child_bytes()) != room::NOW)
        break;
      insert_child(page.writer(), static_cast<u32>(n), key, children[n].ref);
    }
    if (n == want) return store_.write_page(page) ? want : 0;
    if (all_or_nothing) return 0;
    want = n;  // again, with the fence that is then right
  }
  return 0;
}

page_ref mender::fill_inner(const gap& g, u32 level) {
  const range r{g.low, g.high, g.has_high};
  failed_ = false;
  std::vector<child> children = cover(*g.tree, level - 1, r);
  const auto give_up = [&](const char* why) {
    journal_.leave(where_of(g), g.why + why);
    return page_ref{};
  };
  if (failed_) return give_up("; there is no space for what is to be built in its place");
  const bool is_root = !g.parent.addr;
  page_ref at = place_for(g, root_blocks);
  if (!at) return give_up("; there is no space for a node in its place");
  const std::size_t found = children.size();
  for (;;) {
    if (write_inner(*g.tree, at, level, r, children, true) != 0) break;
    if (!is_root) {
      // What hung on a node of this size may not fit any more: keys that lie between.
      const u32 blocks = at.addr.blocks() * 2;
      reached_.remove(at.addr.block(), at.addr.blocks());
      at = blocks <= store_.max_node_blocks() ? allocate(blocks) : page_ref{};
      if (!at) return give_up("; what was found does not fit into one node");
      continue;
    }
    // A root has one block: what does not fit goes a level down.
    children = pack(*g.tree, level, r, children);
    if (children.empty() || ++level > max_height)
      return give_up("; there is no space for its nodes");
  }
  journal_.fixed(where_of(g), g.why, fmt::format("built anew over {} nodes", found));
  return at;
}

}  // namespace pleach::repair
