// The content of an empty tree that is loaded in bulk: what of it stands on the device already, and
// what is still in memory.
//
// Records come in strictly ascending order (bulk_build_op), so the tree grows at its right edge
// only: each level has one node in memory, which is filled, closed and written home once. Nothing
// is logged but the transaction that makes all of it the tree's (bulk_commit_op).
//
// Nothing refers to a draft before: its runs are reserved in memory only, so that a crash leaks
// nothing, and an abandoned draft gives all of it back. Between two operations it holds neither
// frames nor pins.
//
// Generation and LSN of pages that no group made. A page must not be taken for one that stood at
// its address before: so its generation is that of the group that is open when its address is
// taken, which is newer than the group that freed the run (that one is durable, else the run could
// not have been reserved), and so than all pages before; and not newer than the group that
// commits. Its LSN is the newest durable one of when it is closed: the page holds nothing of a
// group that may still be lost, and a log that ends before that LSN is damaged indeed. Recovery
// needs no record of it: the committing group is not durable before the page is (require_flush),
// and what is captured later changes a page that is home.
//
// I1 Every page below the open nodes is closed; all are on the device (not flushed) but those in
//    the write buffers.
// I2 A node has an address as soon as its parent or its left neighbour refers to it; only the node
//    at the top needs none.
// I3 A separator that its parent has not got yet is `pending`: the parent can always be closed with
//    it as high fence.
#pragma once

#include <string>
#include <vector>

#include "btree/bulk_node.hh"
#include "btree/value_draft.hh"

namespace pleach::btree {

/// A run that is filled from its beginning, and the images that have not been written yet.
class bulk_space {
 public:
  /// RETURNS: true if `blocks` more can be taken.
  bool has(u32 blocks) const { return run_ && used_ + blocks <= run_.blocks(); }
  /// RETURNS: what `take` will return.
  page_addr next(u32 blocks) const { return {run_.block() + used_, blocks}; }
  page_addr take(u32 blocks);
  /// RETURNS: room for the image of `a`; null if the buffer must be written first.
  std::byte* image_of(page_addr a);
  /// What is to be written; empty if nothing is.
  cbytes buffered() { return {buffer_ ? buffer_->data() : nullptr, u64{filled_} * block_bytes}; }
  u64 buffered_at() const { return first_ * block_bytes; }
  void written() { filled_ = 0; }

 private:
  friend class bulk_draft;
  static constexpr u32 buffer_blocks = max_page_blocks;
  page_addr run_;  ///< reserved
  u32 used_ = 0;   ///< blocks of it
  std::unique_ptr<block_buffer> buffer_;
  u64 first_ = 0;  ///< block of the first image in the buffer
  u32 filled_ = 0;
  u32 next_blocks_ = 0;  ///< length of run to reserve next
};

struct bulk_level {
  bulk_node node;
  page_ref ref;  ///< null: not needed yet (I2)
  std::string pending_key;
  page_ref pending;  ///< last child, not in the node yet; null: none
};

class bulk_draft {
 public:
  bulk_draft() = default;
  bulk_draft(const bulk_draft&) = delete;
  ~bulk_draft();  // REQUIRES: taken, abandoned or given back

  void begin(tree& t);
  u64 records() const { return records_; }
  /// Why it takes no more; ok while it does.
  errc broken() const { return broken_; }
  /// Gives the reservations back.
  /// REQUIRES: the engine lives, no operation of it is in flight.
  void give_back();
  /// The engine is gone, and its reservations with it.
  void abandon();

 private:
  friend class bulk_build_op;
  friend class bulk_commit_op;
  void retire(bulk_space& s);
  /// RETURNS: true if a run that is filled has blocks which are not taken.
  bool has_spare_room() const;
  void adopt(bulk_space& s, page_addr run);
  u32 run_to_ask_for(bulk_space& s, u32 blocks) const;
  void forget();

  tree* tree_ = nullptr;
  record_shape shape_;
  u16 leaf_format_ = node_format_slotted;  ///< of slotted leaves: that of the root
  bool looked_ = false;                    ///< the tree was empty
  errc broken_ = errc::ok;
  bool complete_ = false;
  std::vector<std::unique_ptr<bulk_level>> levels_;
  bulk_space leaves_, inners_, values_;
  std::vector<page_addr> runs_;  ///< reserved and used up
  bool has_maps_ = false;
  std::string last_key_;
  u64 records_ = 0, bytes_ = 0;
  bulk_node top_;  ///< what becomes of the root, if the node at the top has a page of its own
  bool top_in_root_ = false;
};

}  // namespace pleach::btree
