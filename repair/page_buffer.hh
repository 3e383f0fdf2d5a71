// A page in memory that belongs to no cache: for code that reads and changes a store's pages one at
// a time.
//
// The functions that change nodes want a capture state; this one has all bits set for good, so that
// nothing is summed before the page is stamped.
#pragma once

#include <algorithm>
#include <memory>

#include "be/block_buffer.hh"
#include "btree/node.hh"

namespace pleach::repair {

class page_buffer {
 public:
  explicit page_buffer(u32 most_blocks)
      : room_(u64{most_blocks} * block_bytes),
        map_(new u64[room_.size() / granule_bytes]),
        size_(block_bytes) {
    std::fill_n(map_.get(), room_.size() / granule_bytes, ~u64{0});
    capture_.map = map_.get();
  }
  u32 most_blocks() const { return static_cast<u32>(room_.size() / block_bytes); }
  /// REQUIRES: at most most_blocks.
  void set_blocks(u32 blocks) { size_ = blocks * block_bytes; }
  void clear() { std::memset(room_.data(), 0, size_); }
  u32 size() const { return size_; }
  bytes all() { return room_.part(0, size_); }
  page_header& header() { return room_.as<page_header>(); }
  page_writer writer() { return {room_.data(), size_, capture_}; }
  btree::node_view view(const btree::registered_order* order = nullptr) {
    return btree::node_view(page_reader(room_.data(), size_), order);
  }

 private:
  block_buffer room_;
  std::unique_ptr<u64[]> map_;
  capture_state capture_;
  u32 size_;
};

}  // namespace pleach::repair
