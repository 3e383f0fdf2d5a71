// The life of a public operation: room, start, completion, the callback and coroutine faces.
#include "store/state.hh"

namespace pleach {

namespace internal {

namespace {
#define PLEACH_REFUSED_PHASES(X) \
  X(INIT, NOWAIT, DONE)          \
  X(DONE, NOWAIT)

/// Ends at once with a code: the outcome still comes through the loop, like every other.
class refused_op final : public sm::machine<refused_op> {
 public:
  PLEACH_PHASES("refused", PLEACH_REFUSED_PHASES)
  errc code = errc::ok;
  sm::step tick(phase) noexcept {
    out.code = code;
    return go(DONE);
  }
};

class refused_body final : public body {
 public:
  refused_op op;
  btree::length_fault lengths;
  const char* missing = nullptr;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.wanted_bytes = lengths.wanted;
    a.given_bytes = lengths.given;
    a.missing = missing;
  }
};
}  // namespace

errc store_state::check_caller() {
  return c == nullptr || c->closed ? errc::tree_closed : c->loop.check_thread();
}

errc store_state::check_blocking() {
  errc e = check_caller();
  return is_ok(e) && c->loop.in_callback() ? errc::invalid : e;
}

operation operation_access::refuse(store_state* s, errc code, btree::length_fault lengths,
                                   const char* missing) {
  return with<refused_body>(s, [&](refused_body& b) {
    b.op.code = code;
    b.lengths = lengths;
    b.missing = missing;
  });
}

/// The op is DONE (or was never started): the body's own ending.
void operation_access::complete(operation& o) {
  body_of(o).finish(o.answer_);
  o.at_ = operation::state::done;
}

void operation_access::call_back(operation& o) {
  if (o.fn_ == nullptr) return;
  store_state* s = o.store_;
  try {
    o.fn_(o, o.datum_);  // may destroy the operation
  } catch (...) {
    if (s && s->c) ++s->c->callbacks_failed;
  }
}

errc operation_access::begin(operation& o) {
  PLEACH_ASSERT(o.at_ == operation::state::idle);
  errc e = o.store_ ? o.store_->check_caller() : errc::tree_closed;
  if (is_ok(e) && o.store_->closing) e = errc::closing;
  if (is_ok(e) && o.store_->checking) e = errc::checking;
  if (!is_ok(e)) {
    o.answer_.code = static_cast<u32>(e);
    complete(o);
    return e;
  }
  o.at_ = operation::state::started;
  ++o.store_->in_flight;
  body_of(o).begin();
  return errc::ok;
}

void operation_access::end(operation& o) {
  sm::op& done = body_of(o).engine_op();
  --o.store_->in_flight;
  o.answer_.code = static_cast<u32>(done.out.code);
  o.answer_.lsn = done.out.lsn;
  complete(o);
}

}  // namespace internal

using internal::operation_access;

operation::operation(internal::store_state* s, void (*make)(operation&, void*), void* context)
    : store_(s) {
  make(*this, context);
}

operation::~operation() {
  PLEACH_ASSERT(at_ != state::started && "an operation is destroyed that is not done");
  operation_access::body_of(*this).~body();
}

void operation::start(callback fn, void* datum) {
  fn_ = fn;
  datum_ = datum;
  if (!is_ok(operation_access::begin(*this))) return operation_access::call_back(*this);
  sm::op& o = operation_access::body_of(*this).engine_op();
  o.on_done(
      [](sm::op&, void* self) {
        auto& op = *static_cast<operation*>(self);
        operation_access::end(op);
        operation_access::call_back(op);
      },
      this);
  store_->c->loop.start(o);
}

bool operation::done() const {
  return at_ == state::done;
}

void operation::cancel() {
  if (at_ == state::started) operation_access::body_of(*this).engine_op().cancel();
}

operation& operation::deadline_ns(std::uint64_t at) {
  if (at_ == state::idle) operation_access::body_of(*this).engine_op().deadline(at);
  return *this;
}

const char* operation::waiting_for() const {
  auto& self = const_cast<operation&>(*this);
  return at_ == state::started ? operation_access::body_of(self).engine_op().waiting_for()
                               : nullptr;
}

void operation::await_suspend(std::coroutine_handle<> h) {
  start([](operation&, void* frame) { std::coroutine_handle<>::from_address(frame).resume(); },
        h.address());
}

// --- answers ---

const char* answer::name() const {
  return name_of(static_cast<errc>(code));
}
const char* answer::sentence() const {
  return sentence_of(static_cast<errc>(code));
}
std::string answer::text() const {
  std::string t = sentence();
  if (page != 0) {
    page_addr a(page);
    t += " (page " + std::to_string(a.block()) + "+" + std::to_string(a.blocks()) + ")";
  }
  if (missing != nullptr) t += std::string(": ") + missing;
  if (wanted_bytes != 0)
    t += ": " + std::to_string(wanted_bytes) + " bytes, not " + std::to_string(given_bytes);
  return t;
}

#define PLEACH_SAME(name) \
  static_assert(static_cast<u16>(category::name) == static_cast<u16>(error_class::name))
PLEACH_SAME(ok);
PLEACH_SAME(not_found);
PLEACH_SAME(exists);
PLEACH_SAME(invalid);
PLEACH_SAME(no_space);
PLEACH_SAME(no_credit);
PLEACH_SAME(busy);
PLEACH_SAME(conflict);
PLEACH_SAME(cancelled);
PLEACH_SAME(corrupt);
PLEACH_SAME(io);
PLEACH_SAME(unsupported);
PLEACH_SAME(read_only);
PLEACH_SAME(too_large);
PLEACH_SAME(no_memory);
PLEACH_SAME(failed);
#undef PLEACH_SAME

}  // namespace pleach
