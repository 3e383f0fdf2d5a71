#include "store/drop_op.hh"

namespace pleach::store_layer {

drop_op::drop_op(std::shared_ptr<core> c, std::string_view name)
    : core_(std::move(c)), name_(name), tree_(*core_->ctx) {}

sm::step drop_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return go(MARK);
    case MARK:
      write_.prepare_modify(*core_->catalogue, as_bytes(name_), {&drop_op::mark, this, &value_},
                            true);
      return sub(write_, RECLAIM);
    case RECLAIM:
      out.lsn = write_.out.lsn;
      if (!is_ok(write_.out.code)) {
        bad_ = write_.bad_page();
        return fail(write_.out.code == errc::callback_failed ? refusal_ : write_.out.code);
      }
      core_->forget(name_, record_.id);
      forgotten_ = true;
      btree::adopt(tree_, record_);
      reclaim_.prepare(tree_, *core_->catalogue, as_bytes(name_), record_);
      return sub(reclaim_, CLEANUP);
    case CLEANUP:
      // A cancel after the mark only detaches: the tree is gone; the next writable open gives its
      // pages back.
      if (write_.applied() && !forgotten_) core_->forget(name_, record_.id);
      if (is_ok(out.code) && !is_ok(reclaim_.out.code)) {
        out.code = reclaim_.out.code;
        bad_ = reclaim_.bad_page();
      }
      out.lsn = std::max(out.lsn, reclaim_.out.lsn);
      return go(DONE);
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

btree::verdict drop_op::mark(void* self, bool present, std::string& value) {
  drop_op& op = *static_cast<drop_op*>(self);
  op.refusal_ = errc::unknown_tree;
  if (!present) return btree::verdict::FAIL;
  if (!btree::parse_tree_record(as_bytes(value), op.record_)) {
    op.refusal_ = errc::corrupt;
    return btree::verdict::FAIL;
  }
  if (op.record_.state != btree::TREE_LIVE) return btree::verdict::FAIL;
  op.record_.state = btree::TREE_DROPPING;
  // The name of a comparator may follow.
  std::memcpy(value.data(), &op.record_, sizeof op.record_);
  return btree::verdict::STORE;
}

}  // namespace pleach::store_layer
