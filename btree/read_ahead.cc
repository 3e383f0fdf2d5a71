#include "btree/read_ahead.hh"

#include <algorithm>

namespace pleach::btree {

namespace {
constexpr u32 cache_share = 8;    ///< one reader's window takes at most 1/8 of the grantable frames
constexpr u32 max_blocks = 1024;  ///< of a window: 4 MiB
}  // namespace

void read_ahead::missed(context& c, u32 leaf_blocks) {
  const u32 blocks = std::min(max_blocks, c.pages.grantable_units() / cache_share);
  const u32 most = std::min(max_window, blocks / leaf_blocks);
  u32 before = window_;
  window_ = std::min(std::max(2u, window_ * 2), most);
  c.stats.ahead_grown += window_ > before;
  due_ = 0;
}

/// RETURNS: how many references of pages to load stand in `next`: leaves in the order in which they
/// come, at most the window; and the parent of further ones, if it is not there.
u32 read_ahead::coming(context& c, bool forward, const cbytes* limit, const registered_order* order,
                       page_ref* next) const {
  const u32 one = forward ? 1u : ~0u;  // indices below 0 wrap, and are no children
  const auto outside = [&](const node_view& n, u32 child) {
    if (limit == nullptr) return false;
    if (forward) return n.compare(child, *limit) >= 0;
    return child + 1 < n.count() && n.compare(child + 1, *limit) <= 0;
  };
  u32 count = 0;
  const auto add = [&](const node_view& n, u32 child) {
    for (; child < n.count() && count < window_ && !outside(n, child); child += one)
      next[count++] = n.child(child);
  };
  const node_view parent(parent_.node->reader(), order);
  if (parent.is_leaf()) return 0;  // a dropped tree is emptied in place
  add(parent, parent_.child + one);
  if (count == window_ || !above_.current()) return count;
  const node_view above(above_.node->reader(), order);
  const u32 beside = above_.child + one;
  if (above.is_leaf() || beside >= above.count() || outside(above, beside)) return count;
  const page_ref ref = above.child(beside);
  if (const cache::descriptor* d = c.pages.find_resident(ref); d == nullptr) {
    next[count++] = ref;
  } else {
    const node_view n(d->reader(), order);
    add(n, forward ? 0 : n.count() - 1);
  }
  return count;
}

void read_ahead::go(context& c, bool forward, const cbytes* limit, const registered_order* order) {
  if (window_ == 0 || due_-- != 0) return;
  due_ = 0;
  if (!parent_.current()) return;
  page_ref next[max_window];
  const u32 count = coming(c, forward, limit, order, next);
  if (count == window_) due_ = window_ / 4;  // else more is known soon
  u32 started = 0;
  for (u32 i = 0; i < count; ++i) started += c.pages.start_load(next[i]);
  c.stats.read_ahead += started;
  if (count != window_ || started != 0) return;
  window_ /= 2;
  ++c.stats.ahead_shrunk;
}

}  // namespace pleach::btree
