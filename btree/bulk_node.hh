// One node of a tree that is loaded in bulk: filled in memory from left to right, then closed, as
// an image that goes straight to its home.
//
// What it is not: no page of the cache. It has no descriptor and captures nothing; the page gets
// its first descriptor when somebody loads it. The functions that change nodes want a capture
// state: this one has all bits set for good, so that nothing is hashed twice.
//
// I1 Records and children come in ascending order, and the node is as full as they let it be.
// I2 Whatever is in it, the high fence still fits: a record or a child is taken only if the fence
//    that may follow it fits, too.
#pragma once

#include <memory>

#include "be/block_buffer.hh"
#include "btree/tree.hh"

namespace pleach::btree {

class bulk_node {
 public:
  /// An empty node of `blocks`; it may be one that was closed. `slotted_format`: of slotted leaves.
  void open(const tree& t, u8 level, u32 blocks, cbytes low, record_shape shape,
            u16 slotted_format);
  /// Appends a record to a leaf. `fence_bytes`: of the longest fence that may follow it.
  /// RETURNS: false if it does not fit; nothing has changed then that matters.
  bool append(cbytes key, u8 value_flags, cbytes value, u32 fence_bytes);
  /// Appends a child to an inner node; the separator of the first one counts for nothing.
  /// `sum`: of the child's records (sum()). `fence_bytes` and RETURNS: as append.
  bool append_child(cbytes separator, page_ref child, const aggregate& sum, u32 fence_bytes);
  /// What the records in or below it add up to; nothing in a tree that does not count them.
  aggregate sum();
  /// Makes it the image of page `own`, as of group `lsn`. `high` null: no high fence.
  void close(page_ref own, const cbytes* high, page_ref right, lsn_t lsn);

  page_reader reader() { return {page_->data(), size_}; }
  node_view view() { return node_view(reader()); }
  u32 blocks() const { return size_ / block_bytes; }
  std::byte* data() { return page_->data(); }

 private:
  page_writer writer() { return {page_->data(), size_, capture_}; }
  bytes scratch() const { return {ctx_->scratch, ctx_->scratch_bytes}; }
  bool cut_prefix(cbytes key, u32 value_bytes, u32 fence_bytes);

  const context* ctx_ = nullptr;
  const tree* tree_ = nullptr;
  std::unique_ptr<block_buffer> page_;
  std::unique_ptr<u64[]> map_;
  capture_state capture_;
  u32 size_ = 0;
};

}  // namespace pleach::btree
