// A fiber: straight-line user code on its own stack, that suspends at `await` and goes on in the
// reactor's loop.
//
// What it is not: the engine knows no fiber; `await` is one completion. It is no thread: exactly
// one of loop and fibers runs at a time, all on the polling thread.
//
// I1 A fiber that has begun and not ended is not destroyed (that would leave its stack's objects
//    behind).
// I2 The stack is fixed, with a guard page below it: overflow is a fault, not a corruption.
#pragma once

#include <boost/context/fiber.hpp>

#include "be/sm/reactor.hh"

namespace pleach::sm {

class fiber {
 public:
  static constexpr std::size_t default_stack_bytes = 64 * 1024;

  /// Maps a stack of at least `stack_bytes` usable bytes. `valid()` is false if there is no memory
  /// for it.
  explicit fiber(std::size_t stack_bytes = default_stack_bytes);
  ~fiber();
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;

  bool valid() const { return mapping_ != nullptr; }
  /// Address space that this fiber occupies, guard page included; for a budget of memory.
  std::size_t stack_bytes() const { return mapped_bytes_; }
  /// Begun and not ended.
  bool alive() const { return alive_; }

  /// Runs `entry(datum)` on the fiber until it first awaits or ends; may be called again after its
  /// end.
  /// REQUIRES: valid(), not alive(). `entry` must not throw.
  void start(void (*entry)(void*), void* datum);

  /// Starts `o` on `r`, suspends the current fiber until `o` is DONE; the loop resumes it. Takes
  /// `o`'s completion.
  /// REQUIRES: called on a fiber; o.idle().
  static void await(reactor& r, op& o);
  /// RETURNS: the fiber that runs on this thread, or null.
  static fiber* current();

 private:
  void resume();
  void suspend();
  boost::context::fiber body(boost::context::fiber&& back);

  void* mapping_ = nullptr;
  std::size_t mapped_bytes_ = 0;
  std::byte* stack_ = nullptr;  ///< lowest usable byte
  std::size_t usable_bytes_ = 0;
  boost::context::fiber inside_;   ///< valid while suspended
  boost::context::fiber outside_;  ///< valid while running: who resumed it
  void (*entry_)(void*) = nullptr;
  void* datum_ = nullptr;
  fiber* resumed_from_ = nullptr;  ///< a fiber may start another
  bool alive_ = false;
  // For the sanitizers only.
  void* outer_fake_stack_ = nullptr;
  void* inner_fake_stack_ = nullptr;
  const void* outer_stack_ = nullptr;
  std::size_t outer_bytes_ = 0;
  void* inner_context_ = nullptr;
  void* outer_context_ = nullptr;
};

}  // namespace pleach::sm
