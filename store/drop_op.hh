// drop_tree: mark the catalogue record `dropping` (from then on the tree is gone for everybody),
// then give its pages back.
#pragma once

#include "btree/read_op.hh"
#include "btree/reclaim_op.hh"
#include "store/core.hh"

namespace pleach::store_layer {

#define PLEACH_DROP_PHASES(X)     \
  X(INIT, NOWAIT, FIND)           \
  X(FIND, WAIT, MARK, CLEANUP)    \
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
  std::shared_ptr<core> core_;
  std::string name_, value_;
  btree::tree_record record_{};
  btree::tree tree_;
  page_addr bad_;
  bool forgotten_ = false;
  btree::read_op read_;
  btree::write_op write_;
  btree::reclaim_op reclaim_;
};

}  // namespace pleach::store_layer
