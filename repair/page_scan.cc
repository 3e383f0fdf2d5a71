#include "repair/page_scan.hh"

#include <algorithm>

namespace pleach::repair {

namespace {

constexpr u64 window_blocks = 256;

/// Does a node seem to begin here?
bool promising(const page_header& h, u64 block, const raw_store& s) {
  const page_addr a(h.address);
  const u16 kind = h.kind;
  return h.magic == page_magic && h.store_id == s.vol.store_id() && a.block() == block &&
         s.possible(a) &&
         (kind == static_cast<u16>(page_kind::leaf) || kind == static_cast<u16>(page_kind::inner));
}

found_node describe(page_ref ref, lsn_t lsn, const btree::node_view& n) {
  found_node f;
  f.ref = ref;
  f.lsn = lsn;
  f.low = std::string(as_text(n.low_fence()));
  f.has_high = n.has_high_fence();
  if (f.has_high) f.high = std::string(as_text(n.high_fence()));
  f.shape = n.shape();
  f.aggregated = !n.is_leaf() && n.aggregated();
  return f;
}

}  // namespace

found_nodes scan_pages(raw_store& s, const block_set& reached, const space_map& space,
                       const std::set<tree_id_t>& wanted, journal& j) {
  found_nodes found;
  block_buffer window(window_blocks * block_bytes);
  page_buffer page(s.max_node_blocks());
  u64 skip_to = 0;
  for (u64 first = 0; first < s.blocks(); first += window_blocks) {
    if (j.progress && !j.progress(first, s.blocks())) break;
    const u64 count = std::min(window_blocks, s.blocks() - first);
    u64 unknown = 0;
    for (u64 b = first; b < first + count; ++b) unknown += !reached.has(b) && space.may_be_used(b);
    if (unknown == 0) continue;
    const bool whole =
        read_blocks(s.loop, s.dev, first, window.part(0, count * block_bytes)).has_value();
    for (u64 b = std::max(first, skip_to); b < first + count; ++b) {
      if (reached.has(b) || !space.may_be_used(b)) continue;
      const page_header& h = window.as<page_header>((b - first) * block_bytes);
      // A window that does not read is looked at block by block.
      if (!whole &&
          !read_blocks(s.loop, s.dev, b, window.part((b - first) * block_bytes, block_bytes)))
        continue;
      if (!promising(h, b, s)) continue;
      const tree_id_t tree = h.tree_id;
      if (!wanted.empty() && !wanted.contains(tree)) continue;
      const page_addr at(h.address);
      const generation_t gen = h.generation;
      lsn_t lsn = 0;
      if (reached.any(b, at.blocks()) || !s.read_page(at, &gen, page, &lsn)) continue;
      const btree::node_view n = page.view();
      found[tree][n.level()].push_back(describe({at, gen}, lsn, n));
      skip_to = b + at.blocks();
      b = skip_to - 1;
    }
  }
  for (auto& [tree, levels] : found)
    for (auto& [level, nodes] : levels)
      std::sort(nodes.begin(), nodes.end(), [](const found_node& a, const found_node& b) {
        return a.low != b.low ? a.low < b.low : a.lsn > b.lsn;
      });
  return found;
}

}  // namespace pleach::repair
