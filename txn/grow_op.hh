// One logged step of growth: the bits of a group that have become part of the volume are made free,
// or a new group's bitmap is formatted. The device and the superblocks were made larger, durably,
// before.
#pragma once

#include "txn/engine_state.hh"

namespace pleach::txn {

#define PLEACH_GROW_PHASES(X)                \
  X(GRANT, WAIT, PREPARE, CLEANUP)           \
  X(PREPARE, WAIT, PREPARE, CREDIT, CLEANUP) \
  X(CREDIT, WAIT, ACT, CLEANUP)              \
  X(ACT, NOWAIT, DURABLE)                    \
  X(DURABLE, WAIT, DURABLE, CLEANUP)         \
  X(CLEANUP, NOWAIT, DONE)                   \
  X(DONE, NOWAIT)

class grow_op final : public sm::machine<grow_op> {
 public:
  PLEACH_PHASES("grow", PLEACH_GROW_PHASES)

  /// The volume is `from` blocks now; afterwards `to`, which lies in the same group, or in the next
  /// if `from` ends one.
  void prepare(engine& e, engine_state& s, u64 from, u64 to);
  sm::step tick(phase p) noexcept;

 private:
  void act();

  engine* engine_ = nullptr;
  engine_state* e_ = nullptr;
  u64 from_ = 0, to_ = 0, group_ = 0;
  bool new_group_ = false;
  lsn_t lsn_ = 0;
  cache::descriptor* bitmap_ = nullptr;
  cache::spare_frame frame_;
  sm::claim grant_, credit_;
};

}  // namespace pleach::txn
