#include "btree/load_op.hh"

namespace pleach::btree {

cache::descriptor* load_op::fetch(context& c, page_ref ref) {
  if (c.loop.in_callback()) {  // nothing may poll there
    out.code = errc::invalid;
    return nullptr;
  }
  prepare(c, ref);
  c.loop.start(*this);
  if (status s = c.loop.run_until(*this); !s) {
    out.code = s.error();
    return nullptr;
  }
  return is_ok(out.code) ? d_ : nullptr;
}

void load_op::release() {
  if (ctx_ == nullptr) return;
  if (d_) ctx_->pages.unpin(*d_);
  d_ = nullptr;
  ctx_->pages.grants().give_back(grant_);
  ctx_ = nullptr;
}

sm::step load_op::tick(phase p) noexcept {
  using cache::page_state;
  switch (p) {
    case INIT:
      return go(ADMIT);
    case ADMIT:
      return ctx_->pages.grants().take(grant_, *this, ref_.addr.blocks())
                 ? go(LOAD)
                 : wait(LOAD, "page frames");
    case LOAD:
      d_ = ctx_->pages.pin(ref_);
      return d_->state == page_state::LOADING ? wait_in(d_->waiters, LOADED) : go(LOADED);
    case LOADED:
      if (d_->state == page_state::FAILED) return fail(d_->error);
      if (d_->state != page_state::RESIDENT) return fail(errc::corrupt);
      return go(CLEANUP);
    case CLEANUP:
      if (!is_ok(out.code)) release();
      return go(DONE);
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

}  // namespace pleach::btree
