// An operation that runs while its owner does something else (parses the next batch).
//
// I1 At most one operation at a time; it is done or cancelled and done before this object dies.
// I2 The reactor turns only inside poll(), turn() and wait(): whoever parses calls poll() now and
//    then.
#pragma once

#include <cstddef>
#include <new>

#include "pleach/pleach.hh"
#include "tools/outcome.hh"

namespace pleach::tool {

class pending {
 public:
  explicit pending(store& s) : store_(s) {}
  ~pending();
  pending(const pending&) = delete;
  pending& operator=(const pending&) = delete;

  // `make` returns the operation, as in start([&] { return batch.commit(); }). REQUIRES: !active().
  template <class Make>
  void start(Make&& make) {
    op_ = ::new (static_cast<void*>(room_)) operation(make());
    op_->start([](operation&, void*) {}, nullptr);
  }
  bool active() const { return op_ != nullptr; }
  bool done() const { return op_ != nullptr && op_->done(); }

  // One bounded round of the reactor.
  outcome<void> poll();
  // One round, and sleep if there is nothing to do before something happens (a signal too).
  outcome<void> turn();
  // Until the operation is done. ERRORS: only those of the reactor.
  outcome<void> wait();
  // REQUIRES: done(). RETURNS: the result; nothing is active then.
  answer take();

 private:
  store& store_;
  operation* op_ = nullptr;
  alignas(operation) std::byte room_[sizeof(operation)];
};

}  // namespace pleach::tool
