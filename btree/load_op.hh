// Holds one page for blocking walks (check, statistics): grant, pin, load. Given back by `release`.
#pragma once

#include "btree/tree.hh"

namespace pleach::btree {

#define PLEACH_LOAD_PHASES(X)    \
  X(INIT, NOWAIT, ADMIT)         \
  X(ADMIT, WAIT, LOAD, CLEANUP)  \
  X(LOAD, WAIT, LOADED, CLEANUP) \
  X(LOADED, NOWAIT, CLEANUP)     \
  X(CLEANUP, NOWAIT, DONE)       \
  X(DONE, NOWAIT)

class load_op final : public sm::machine<load_op> {
 public:
  PLEACH_PHASES("load", PLEACH_LOAD_PHASES)

  ~load_op() { release(); }
  void prepare(context& c, page_ref ref) {
    release();
    reset();
    ctx_ = &c;
    ref_ = ref;
  }
  /// Loads and pins; runs the reactor.
  /// RETURNS: the page, pinned until `release`; null with `out.code` set.
  cache::descriptor* fetch(context& c, page_ref ref);
  void release();
  sm::step tick(phase p) noexcept;

 private:
  context* ctx_ = nullptr;
  page_ref ref_;
  cache::descriptor* d_ = nullptr;
  sm::claim grant_;
};

}  // namespace pleach::btree
