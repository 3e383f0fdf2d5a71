#include "btree/bulk_node.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "be/page.hh"
#include "btree/aggregate.hh"
#include "btree/record_extras.hh"

namespace pleach::btree {

void bulk_node::open(const tree& t, u8 level, u32 blocks, cbytes low, record_shape shape,
                     u16 slotted_format) {
  ctx_ = t.ctx;
  tree_ = &t;
  if (size_ != blocks * block_bytes) {
    size_ = blocks * block_bytes;
    page_ = std::make_unique<block_buffer>(size_);
    map_ = std::make_unique<u64[]>(size_ / granule_bytes);
    std::fill_n(map_.get(), size_ / granule_bytes, ~u64{0});
    capture_.map = map_.get();
  }
  std::memset(page_->data(), 0, size_);
  // Its address is not known yet. The keys that come first share most with the low fence; the
  // prefix is cut when one does not.
  const cbytes prefix = (shape.flags & NO_PREFIX) != 0 ? cbytes{} : low;
  format_node(writer(), page_addr(0, blocks), ctx_->pages.store_id(), t.id, 0, level, low, {},
              false, prefix, shape, level == 0 ? slotted_format : node_format_slotted, t.counted);
}

/// Makes the prefix one that `key` shares.
/// RETURNS: false if the record, and a fence, would not fit then.
bool bulk_node::cut_prefix(cbytes key, u32 value_bytes, u32 fence_bytes) {
  const node_view n = view();
  const u32 shared = common_prefix(n.prefix(), key);
  const u32 unit = heap_unit(size_);
  const u32 record = record_bytes(static_cast<u32>(key.size()) - shared, value_bytes);
  return shorten_prefix(
      writer(), shared,
      round_up(record, unit) + static_cast<u32>(sizeof(slot)) + round_up(fence_bytes, unit),
      scratch());
}

bool bulk_node::append(cbytes key, u8 value_flags, cbytes value, u32 fence_bytes) {
  const node_view n = view();
  const record_extras extras = make_extras(*tree_, key, value, 0);
  const u32 length = static_cast<u32>(value.size()) + extras.size;
  if (!n.fixed()) {
    if (common_prefix(n.prefix(), key) < n.prefix().size() && !cut_prefix(key, length, fence_bytes))
      return false;
    const u32 reserve = round_up(fence_bytes, heap_unit(size_));
    const u32 suffix = static_cast<u32>(key.size() - n.prefix().size());
    if (!n.fits_now(record_bytes(suffix, length) + reserve)) return false;
  } else if (room_for_insert(n, key, length) != room::NOW) {
    return false;
  }
  insert_at(writer(), n.count(), key, extras.key_flags, value_flags | extras.value_flags, value,
            extras.attached());
  return true;
}

bool bulk_node::append_child(cbytes separator, page_ref child, const aggregate& sum,
                             u32 fence_bytes) {
  const node_view n = view();
  const u32 length = n.child_bytes();
  const u32 reserve = round_up(fence_bytes, heap_unit(size_));
  if (n.count() == 0) {
    insert_child(writer(), 0, {}, child, sum);
    return true;
  }
  if (common_prefix(n.prefix(), separator) < n.prefix().size() &&
      !cut_prefix(separator, length, fence_bytes))
    return false;
  const u32 suffix = static_cast<u32>(separator.size() - n.prefix().size());
  if (!n.fits_now(record_bytes(suffix, length) + reserve)) return false;
  insert_child(writer(), n.count(), separator, child, sum);
  return true;
}

aggregate bulk_node::sum() {
  if (!tree_->counted) return {};
  const u32 count = view().count() - (PLEACH_PLANTED("bulk_sum_short") ? 1 : 0);
  return sum_of(view(), 0, count, tree_->digest);
}

void bulk_node::close(page_ref own, const cbytes* high, page_ref right, lsn_t lsn) {
  PLEACH_ASSERT(own.addr.blocks() == blocks());
  if (high != nullptr) set_high_fence(writer(), *high, true, scratch());
  if (right) set_right_hint(writer(), right);
  page_header& h = header_of(page_->data());
  h.address = own.addr.raw;
  h.generation = own.gen;
  const bytes image{page_->data(), size_};
  stamp(image, page_sum(image, page_seed(ctx_->pages.store_id(), own.addr, own.gen)), lsn);
}

}  // namespace pleach::btree
