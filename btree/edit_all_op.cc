#include "btree/edit_all_op.hh"

#include <algorithm>

namespace pleach::btree {

void edit_all_op::prepare(tree& t, const record_editor& e) {
  PLEACH_ASSERT(idle());
  tree_ = &t;
  editor_ = e;
  progress_ = {};
  bad_ = {};
  begun_ = false;
  key_.clear();
}

sm::step edit_all_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return tree_->dropped ? fail(errc::tree_closed) : go(FIND);
    case FIND:
      return find();
    case FOUND:
      return found();
    case EDIT:
      return edit();
    case EDITED:
      return edited();
    case PAUSE:
      return yield(FIND);
    case COMMIT:
      return commit();
    case CLEANUP:
      return go(DONE);
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

sm::step edit_all_op::find() {
  read_.reset();
  read_.prepare(*tree_, begun_ ? seek::AFTER : seek::AT_LEAST, as_bytes(key_), {.key = &next_});
  begun_ = true;
  return sub(read_, FOUND);
}

sm::step edit_all_op::found() {
  if (read_.out.code == errc::not_found) return go(COMMIT);
  if (errc e = read_.out.code; !is_ok(e)) {
    bad_ = read_.bad_page();
    return fail(e);
  }
  std::swap(key_, next_);
  return go(EDIT);
}

verdict edit_all_op::decide(void* self, bool present, std::string& value) {
  auto& op = *static_cast<edit_all_op*>(self);
  op.shown_ = present;
  if (!present) return verdict::KEEP;
  return op.editor_.fn(op.editor_.datum, as_bytes(op.key_), value);
}

sm::step edit_all_op::edit() {
  shown_ = false;
  write_.reset();
  write_.prepare_modify(*tree_, as_bytes(key_), {&edit_all_op::decide, this, &value_}, false);
  return sub(write_, EDITED);
}

sm::step edit_all_op::edited() {
  if (errc e = write_.out.code; !is_ok(e)) {
    bad_ = write_.bad_page();
    return fail(e);
  }
  progress_.records += shown_;
  if (write_.applied()) {
    ++progress_.changed;
    out.lsn = std::max(out.lsn, write_.out.lsn);
  }
  return go(PAUSE);
}

sm::step edit_all_op::commit() {
  auto queue = tree_->ctx->engine.await_durable(out.lsn);
  if (!queue) return fail(queue.error());
  return *queue != nullptr ? wait_in(**queue, COMMIT) : go(CLEANUP);
}

}  // namespace pleach::btree
