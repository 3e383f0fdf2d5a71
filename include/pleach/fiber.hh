// The fiber face: straight-line code on its own stack, suspended while an operation is in flight.
#pragma once

#include <functional>
#include <memory>

#include "pleach/pleach.hh"

namespace pleach {

/// Runs `entry` on its own stack until it ends; suspended at each `await` and resumed from the
/// store's poll().
/// REQUIRES: not destroyed between its first await and its end.
class fiber {
 public:
  explicit fiber(std::size_t stack_bytes = 64 * 1024);
  ~fiber();
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;

  /// Runs `entry` until its first await.
  /// RETURNS: false if there is no memory for the stack.
  bool start(std::function<void()> entry);
  bool alive() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// Starts `op`, suspends the current fiber until it is done.
/// REQUIRES: called on a fiber.
answer await(operation& op);
inline answer await(operation&& op) {
  return await(op);
}

}  // namespace pleach
