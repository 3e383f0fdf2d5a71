// See engine.hh: reserves space for an op.
#pragma once

#include "txn/engine.hh"

namespace pleach::txn {

#define PLEACH_ALLOC_PHASES(X)                    \
  X(INIT, NOWAIT, FREES, CLEANUP)                 \
  X(FREES, WAIT, FREES, PICK, CLEANUP)            \
  X(PICK, WAIT, LOAD, PICK, CLEANUP)              \
  X(LOAD, WAIT, LOAD, PICK, CLEANUP)              \
  X(CLEANUP, NOWAIT, DONE)                        \
  X(DONE, NOWAIT)

class alloc_op final : public sm::machine<alloc_op> {
 public:
  PLEACH_PHASES("alloc", PLEACH_ALLOC_PHASES)

  /// The spans and the claim live until the op is DONE.
  void prepare(engine& e, space_claim& claim, std::span<const space_need> needs,
               std::span<const page_addr> frees);
  sm::step tick(phase p) noexcept;

 private:
  void load(page_ref bitmap);

  engine* engine_ = nullptr;
  space_claim* claim_ = nullptr;
  std::span<const space_need> needs_;
  std::span<const page_addr> frees_;
  u64 next_ = 0;
  u64 group_ = 0;
  u64 tried_ = 0;             ///< groups that were looked at for the present need
  u64 from_ = 0, first_ = 0;  ///< where that began, though others move the cursor meanwhile
  cache::descriptor* loading_ = nullptr;
};

}  // namespace pleach::txn
