#include "repair/salvage.hh"

#include <algorithm>

#include "btree/record_extras.hh"

namespace pleach::repair {

using namespace btree;

namespace {

/// Is this the leaf that it should be, whatever of its bytes is damaged? One of the fields that say
/// so may be it.
bool resembles(const page_header& h, const raw_store& s, const gap& g) {
  const int agree = (h.magic == page_magic) + (h.address == g.ref.addr.raw) +
                    (h.store_id == s.vol.store_id()) + (h.tree_id == g.tree->id) +
                    (h.kind == static_cast<u16>(page_kind::leaf) && h.level == 0);
  return agree >= 4;
}

bool in_range(const gap& g, const std::string& key) {
  if (g.tree->has_order) return true;
  const int c = compare_keys(as_bytes(key), as_bytes(g.low));
  return c >= 0 && (!g.has_high || compare_keys(as_bytes(key), as_bytes(g.high)) < 0);
}

/// A reference where one is announced, and only there.
bool plausible_value(const possible_record& r) {
  if ((r.value_flags & VALUE_INDIRECT) == 0) return true;
  return r.value.size() == sizeof(value_reference) ||
         r.value.size() == sizeof(value_reference) + value_content_bytes;
}

bool proven(const tree& t, const possible_record& r) {
  if (!t.key_sums || !t.value_sums) return false;
  record seen;
  seen.key_flags = r.key_flags;
  seen.value_flags = r.value_flags;
  seen.value = as_bytes(r.value);
  seen.attached = as_bytes(r.attached);
  return sums_agree(t, as_bytes(r.key), seen);
}

void add_fixed(page_buffer& page, const gap& g, std::vector<salvaged_record>& to) {
  if (!is_ok(check_node(page.all()))) return;
  const node_view n = page.view();
  for (u32 i = 0; i < n.count(); ++i) {
    const record r = n.at(i);
    salvaged_record s;
    s.key = std::string(as_text(r.key_suffix));
    s.value = std::string(as_text(r.value));
    if (in_range(g, s.key)) to.push_back(std::move(s));
  }
}

}  // namespace

std::vector<salvaged_record> salvage_leaf(const raw_store& s, const gap& g, page_buffer& page) {
  std::vector<salvaged_record> found;
  page_header& h = page.header();
  if (!resembles(h, s, g)) return found;
  const tree t = detached(*g.tree);
  if (t.fixed_leaves) {
    h.kind = static_cast<u16>(page_kind::leaf);
    h.format = node_format_fixed;
    h.level = 0;
    add_fixed(page, g, found);
    return found;
  }
  const u16 format = h.format == node_format_slotted ? node_format_slotted : node_format_slotted_2;
  each_possible_record(page.all(), format, [&](possible_record&& r) {
    if (!in_range(g, r.key) || !plausible_value(r)) return;
    const bool sums_prove_it = proven(t, r);
    found.push_back({{std::move(r)}, sums_prove_it});
  });
  // Of two with one key the one that is proven, else the first.
  std::stable_sort(found.begin(), found.end(),
                   [](const salvaged_record& a, const salvaged_record& b) {
                     return a.key != b.key ? a.key < b.key : a.proven > b.proven;
                   });
  found.erase(std::unique(found.begin(), found.end(),
                          [](const salvaged_record& a, const salvaged_record& b) {
                            return a.key == b.key;
                          }),
              found.end());
  return found;
}

}  // namespace pleach::repair
