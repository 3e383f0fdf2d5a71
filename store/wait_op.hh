// Waits until a watermark reaches an LSN.
#pragma once

#include "txn/engine.hh"

namespace pleach::store_layer {

#define PLEACH_WAIT_PHASES(X)    \
  X(INIT, NOWAIT, LOOK, CLEANUP) \
  X(LOOK, WAIT, LOOK, CLEANUP)   \
  X(CLEANUP, NOWAIT, DONE)       \
  X(DONE, NOWAIT)

class wait_op final : public sm::machine<wait_op> {
 public:
  PLEACH_PHASES("wait", PLEACH_WAIT_PHASES)

  /// `lsn` 0: everything visible at the start.
  void prepare(txn::engine& e, lsn_t lsn, txn::watermark w) {
    engine_ = &e;
    lsn_ = lsn;
    watermark_ = w;
  }
  sm::step tick(phase p) noexcept {
    switch (p) {
      case INIT:
        if (lsn_ == 0) lsn_ = engine_->reached(txn::watermark::VISIBLE);
        if (lsn_ > engine_->reached(txn::watermark::VISIBLE)) return fail(errc::bad_argument);
        return go(LOOK);
      case LOOK:
        out.lsn = lsn_;
        if (engine_->reached(watermark_) >= lsn_) return go(CLEANUP);
        if (!is_ok(engine_->health())) return fail(errc::outcome_unknown);
        engine_->want_durable(lsn_);
        if (watermark_ == txn::watermark::PLACED)
          engine_->pages().write_all(engine_->waiters(watermark_));
        return wait_in(engine_->waiters(watermark_), LOOK);
      case CLEANUP:
        return go(DONE);
      case DONE:
      case phase_count_:
        break;
    }
    return go(DONE);
  }

 private:
  txn::engine* engine_ = nullptr;
  lsn_t lsn_ = 0;
  txn::watermark watermark_ = txn::watermark::DURABLE;
};

}  // namespace pleach::store_layer
