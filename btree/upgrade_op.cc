#include "btree/upgrade_op.hh"

namespace pleach::btree {

void upgrade_op::prepare(tree& t, u64& leaves, u64& converted) {
  PLEACH_ASSERT(idle());
  tree_ = &t;
  leaves_ = &leaves;
  converted_ = &converted;
  leaves = converted = 0;
  key_.clear();
}

sm::step upgrade_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return tree_->dropped ? fail(errc::tree_closed) : go(CONVERT);
    case CONVERT:
      return convert();
    case CONVERTED:
      return converted();
    case PAUSE:
      return yield(CONVERT);
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

sm::step upgrade_op::convert() {
  leaf_.converted = false;
  write_.reset();
  write_.prepare_convert(*tree_, as_bytes(key_), leaf_);
  return sub(write_, CONVERTED);
}

sm::step upgrade_op::converted() {
  if (errc e = write_.out.code; !is_ok(e)) return fail(e);
  ++*leaves_;
  if (leaf_.converted) {
    ++*converted_;
    out.lsn = write_.out.lsn;
  }
  if (leaf_.last) return go(COMMIT);
  std::swap(key_, leaf_.high);
  return go(PAUSE);
}

sm::step upgrade_op::commit() {
  auto queue = tree_->ctx->engine.await_durable(out.lsn);
  if (!queue) return fail(queue.error());
  return *queue != nullptr ? wait_in(**queue, COMMIT) : go(CLEANUP);
}

}  // namespace pleach::btree
