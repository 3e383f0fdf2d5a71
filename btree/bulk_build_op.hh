// Appends records to a draft of a tree (bulk_draft.hh), or completes it.
//
//     build(records):
//       all keys ascend, all lengths are right; else nothing is taken        # in slices
//       at first: await the root; the tree must be empty
//       for record in records:
//         value too large for a leaf: to an extent, or to one with a map     # await space, writes
//         if the leaf is full:
//           roll up from level 0 while nodes are full:
//             addresses for the node and its right neighbour                 # await space
//             close the node; to the write buffer, or await its write
//             open its neighbour; the level above gets the separator
//         append
//
//     complete():
//       from level 0 up: what is pending goes into its node; close it; await its write
//       the node at the top stays in memory if the root can hold it
//       await the write of the buffers; give the ends of the runs back
//
// The buffers are the draft's own memory (no frames): a cancelled op waits in CLEANUP until its I/O
// has ended. A draft whose op failed or was cancelled on its way takes no more; refused records do
// it no harm.
#pragma once

#include "btree/aggregate.hh"
#include "btree/bulk_draft.hh"
#include "txn/alloc_op.hh"

namespace pleach::btree {

/// The caller's records, wherever they stand. Called from ticks only.
class bulk_source {
 public:
  struct item {
    cbytes key;    ///< stays until four records behind it were asked for
    cbytes value;  ///< the caller's until the op is DONE
  };
  virtual u64 count() const = 0;
  virtual item at(u64 index) = 0;

 protected:
  ~bulk_source() = default;
};

#define PLEACH_BULK_BUILD_PHASES(X)                 \
  X(INIT, NOWAIT, LOOK, WORK, CLEANUP)              \
  X(LOOK, WAIT, LOOK, ADMIT, WORK, CLEANUP)         \
  X(ADMIT, WAIT, ROOT, SPACE, CLEANUP)              \
  X(ROOT, WAIT, LOOKED, CLEANUP)                    \
  X(LOOKED, NOWAIT, WORK, CLEANUP)                  \
  X(WORK, WAIT, WORK, ADMIT, VALUE, WRITE, CLEANUP) \
  X(SPACE, WAIT, SPACED, CLEANUP)                   \
  X(SPACED, NOWAIT, SPACE, WORK, CLEANUP)           \
  X(VALUE, WAIT, VALUED, CLEANUP)                   \
  X(VALUED, NOWAIT, WORK, CLEANUP)                  \
  X(WRITE, WAIT, WRITTEN, CLEANUP)                  \
  X(WRITTEN, NOWAIT, WORK, CLEANUP)                 \
  X(CLEANUP, WAIT, CLEANUP, DONE)                   \
  X(DONE, NOWAIT)

class bulk_build_op final : public sm::machine<bulk_build_op> {
 public:
  PLEACH_PHASES("bulk_build", PLEACH_BULK_BUILD_PHASES)

  /// Draft and source are the caller's until DONE.
  /// ERRORS: not_ascending, key_too_large, wrong_key_length, ... : of one of the records; none was
  /// taken, and the draft is as it was. not_empty, no_space, io, ...: the draft is broken.
  void prepare(bulk_draft& d, bulk_source& from);
  /// No more records come.
  void prepare_end(bulk_draft& d);
  length_fault wrong_length() const { return wrong_length_; }
  page_addr bad_page() const { return bad_; }
  sm::step tick(phase p) noexcept;

 private:
  /// After this many records without a wait the others get their turn.
  static constexpr u64 records_per_tick = 2048;

  /// What must be waited for before the work can go on.
  enum class need : u8 { NOTHING, SPACE, WRITE, VALUE };

  /// A node that is full is closed, and its neighbour opened; on one level at a time.
  struct rolling {
    bool active = false;
    u32 level = 0;
    std::string key;  ///< separator of `child`
    page_ref child;   ///< comes to this level; null: nothing, what is pending goes into the node
    aggregate below;  ///< of the node that was closed on the level below
    page_ref first;   ///< left neighbour of `child`: the first child of a level that is new
    page_ref next;    ///< the neighbour that will be opened; null: it has no address yet
    bool closed = false;
  };

  sm::step init();
  sm::step look();
  sm::step root();
  sm::step looked();
  sm::step work();
  sm::step space();
  sm::step spaced();
  sm::step value();
  sm::step valued();
  sm::step write();
  sm::step written();
  sm::step cleanup();

  void begin(bulk_draft& d);
  errc check(const bulk_source::item& r, cbytes before);
  bool truncates() const;
  u32 fence_behind(cbytes key) const;
  need feed(const bulk_source::item& r);
  need store_value(const bulk_source::item& r);
  need roll();
  need complete();
  need want(bulk_space& s, u32 blocks);
  need put_image(bulk_space& s, bulk_level& l);
  need write_out(bulk_space& s);
  bulk_space& space_of(u32 level) { return level == 0 ? draft_->leaves_ : draft_->inners_; }
  page_ref take(bulk_space& s, u32 blocks);
  bool fits_root(bulk_node& n) const;
  static void io_done(io::request& r);

  bulk_draft* draft_ = nullptr;
  bulk_source* from_ = nullptr;
  bool ending_ = false;
  bool checked_ = false;  ///< the records are in order; what fails now breaks the draft
  u64 next_ = 0;
  length_fault wrong_length_;
  page_addr bad_;
  rolling roll_;
  u32 end_level_ = 0;  ///< levels below are complete
  bool value_stored_ = false;
  stored_reference reference_;
  u32 reference_bytes_ = 0;  ///< of it in the leaf
  bulk_space* space_ = nullptr;  ///< that needs a run
  u32 least_blocks_ = 0;         ///< of that run
  txn::space_need need_{};
  txn::space_claim claim_;
  txn::alloc_op alloc_op_;
  sm::claim grant_;
  cache::descriptor* root_ = nullptr;
  cbytes image_;  ///< to be written
  u64 image_at_ = 0;
  bulk_space* writing_ = nullptr;  ///< whose buffer it is; null: a single node
  bool in_flight_ = false;
  io::request request_;
  struct large_value;
  struct large_delete {
    void operator()(large_value* v) const;
  };
  std::unique_ptr<large_value, large_delete> large_;
};

}  // namespace pleach::btree
