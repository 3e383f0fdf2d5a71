#include "store/drop_op.hh"

namespace pleach::store_layer {

drop_op::drop_op(std::shared_ptr<core> c, std::string_view name)
    : core_(std::move(c)), name_(name), tree_(*core_->ctx) {}

sm::step drop_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return go(FIND);
    case FIND:
      read_.prepare(*core_->catalogue, btree::seek::EXACT, as_bytes(name_),
                    {nullptr, &value_, nullptr});
      return sub(read_, MARK);
    case MARK: {
      if (!is_ok(read_.out.code)) {
        bad_ = read_.bad_page();
        return fail(read_.out.code == errc::not_found ? errc::unknown_tree : read_.out.code);
      }
      if (!btree::parse_tree_record(as_bytes(value_), record_)) return fail(errc::corrupt);
      if (record_.state != btree::TREE_LIVE) return fail(errc::unknown_tree);
      btree::adopt(tree_, record_);
      record_.state = btree::TREE_DROPPING;
      // The name of a comparator may follow.
      std::memcpy(value_.data(), &record_, sizeof record_);
      write_.prepare(*core_->catalogue, btree::change::UPDATE, as_bytes(name_), as_bytes(value_),
                     nullptr, true);
      return sub(write_, RECLAIM);
    }
    case RECLAIM:
      out.lsn = write_.out.lsn;
      if (!is_ok(write_.out.code)) {
        bad_ = write_.bad_page();
        return fail(write_.out.code);
      }
      core_->forget(name_);
      forgotten_ = true;
      reclaim_.prepare(tree_, *core_->catalogue, as_bytes(name_), record_);
      return sub(reclaim_, CLEANUP);
    case CLEANUP:
      // A cancel after the mark only detaches: the tree is gone; the next writable open gives its
      // pages back.
      if (write_.applied() && !forgotten_) core_->forget(name_);
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

}  // namespace pleach::store_layer
