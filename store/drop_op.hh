// drop_tree: mark the catalogue record `dropping` (from then on the tree is gone for everybody),
// then give its pages back.
//
// I1 Of several at once only the one that makes the mark goes on: it is made over a record that is
//    live in that very tick.
#pragma once

#include "btree/reclaim_op.hh"
#include "btree/write_op.hh"
#include "store/core.hh"

namespace pleach::store_layer {

#define PLEACH_DROP_PHASES(X)     \
  X(INIT, NOWAIT, MARK)           \
  X(MARK, WAIT, RECLAIM, CLEANUP) \
  X(RECLAIM, WAIT, CLEANUP)       \
  X(CLEANUP, NOWAIT, DONE)        \
  X(DONE, NOWAIT)

class drop_op final : public sm::machine<drop_op> {
 public:
  PLEACH_PHASES("drop", PLEACH_DROP_PHASES)

  drop_op(std::shared_ptr<core> c, std::string_view name);
  page_addr bad_page() const { return bad_; }
  sm::step tick(phase p) noexcept;

 private:
  /// The editor of the record.
  static btree::verdict mark(void* self, bool present, std::string& value);

  std::shared_ptr<core> core_;
  std::string name_, value_;
  btree::tree_record record_{};
  btree::tree tree_;
  page_addr bad_;
  errc refusal_ = errc::ok;  ///< why `mark` fails
  bool forgotten_ = false;
  btree::write_op write_;
  btree::reclaim_op reclaim_;
};

}  // namespace pleach::store_layer
