// Loads one page under a grant of its own and keeps it pinned: for set-up code and for counting.
#pragma once

#include "pagecache/page_cache.hh"

namespace pleach::txn {

#define PLEACH_PAGE_LOAD_PHASES(X) \
  X(GRANT, WAIT, PIN, CLEANUP)     \
  X(PIN, WAIT, PIN, CLEANUP)       \
  X(CLEANUP, NOWAIT, DONE)         \
  X(DONE, NOWAIT)

class page_load_op final : public sm::machine<page_load_op> {
 public:
  PLEACH_PHASES("page_load", PLEACH_PAGE_LOAD_PHASES)

  void prepare(cache::page_cache& pages, page_ref ref) {
    pages_ = &pages;
    ref_ = ref;
  }
  sm::step tick(phase p) noexcept;
  /// Unpins and gives the grant back.
  void release();

  cache::descriptor* page = nullptr;  ///< pinned and resident when the outcome is ok

 private:
  cache::page_cache* pages_ = nullptr;
  page_ref ref_;
  sm::claim grant_;
};

}  // namespace pleach::txn
