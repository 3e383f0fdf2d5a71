#include "txn/page_op.hh"

namespace pleach::txn {

sm::step page_load_op::tick(phase p) noexcept {
  switch (p) {
    case GRANT:
      return pages_->grants().take(grant_, *this, ref_.addr.blocks()) ? go(PIN)
                                                                      : wait(PIN, "frame grant");
    case PIN:
      if (page == nullptr) page = pages_->pin(ref_);
      if (page->state == cache::page_state::LOADING) return wait_in(page->waiters, PIN);
      if (page->state == cache::page_state::RESIDENT) return go(CLEANUP);
      return fail(page->error == errc::ok ? errc::failed : page->error);
    case CLEANUP:
      if (out.code != errc::ok) release();
      return go(DONE);
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

void page_load_op::release() {
  if (page != nullptr) pages_->unpin(*page);
  page = nullptr;
  pages_->grants().give_back(grant_);
}

}  // namespace pleach::txn
