#include "be/sm/fiber.hh"
#include "pleach/fiber.hh"
#include "store/state.hh"

namespace pleach {

using internal::operation_access;

struct fiber::state {
  explicit state(std::size_t stack_bytes) : f(stack_bytes) {}
  sm::fiber f;
  std::function<void()> entry;
};

fiber::fiber(std::size_t stack_bytes) : state_(std::make_unique<state>(stack_bytes)) {}
fiber::~fiber() = default;

bool fiber::start(std::function<void()> entry) {
  if (!state_->f.valid()) return false;
  state_->entry = std::move(entry);
  state_->f.start([](void* s) { static_cast<state*>(s)->entry(); }, state_.get());
  return true;
}

bool fiber::alive() const { return state_->f.alive(); }

answer await(operation& op) {
  if (!is_ok(operation_access::begin(op))) return op.result();
  internal::store_state& s = *operation_access::store_of(op);
  sm::op& o = operation_access::body_of(op).engine_op();
  sm::fiber::await(s.c->loop, o);
  operation_access::end(op);
  return op.result();
}

}  // namespace pleach
