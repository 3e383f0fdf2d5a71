#include "btree/read_ahead.hh"

#include <algorithm>

namespace pleach::btree {

namespace {
constexpr u32 cache_share = 8;  ///< one reader's window takes at most 1/8 of the grantable frames
}

void read_ahead::missed(context& c, u32 leaf_blocks) {
  u32 most = std::min(max_window, c.pages.grantable_units() / cache_share / leaf_blocks);
  u32 before = window_;
  window_ = std::min(std::max(2u, window_ * 2), most);
  c.stats.ahead_grown += window_ > before;
  due_ = 0;
}

void read_ahead::go(context& c, bool forward, const cbytes* limit, const registered_order* order) {
  if (window_ == 0 || parent_ == nullptr || due_-- != 0) return;
  due_ = window_ / 2;
  if (!parent_->resident() || parent_->structure_version != version_) return;
  node_view n(parent_->reader(), order);
  if (n.is_leaf() || child_ >= n.count()) return;  // a dropped tree is emptied in place
  page_ref next[max_window];
  u32 count = 0;
  for (u32 i = 1; i <= window_; ++i) {
    if (forward ? child_ + i >= n.count() : child_ < i) break;
    u32 index = forward ? child_ + i : child_ - i;
    if (limit != nullptr &&
        (forward ? n.compare(index, *limit) >= 0 : n.compare(index + 1, *limit) <= 0))
      break;
    next[count++] = n.child(index);
  }
  u32 started = 0;
  for (u32 i = 0; i < count; ++i) started += c.pages.start_load(next[i]);
  c.stats.read_ahead += started;
  if (count != window_ || started != 0) return;
  window_ /= 2;
  ++c.stats.ahead_shrunk;
}

}  // namespace pleach::btree
