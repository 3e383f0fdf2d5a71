#include "be/sm/fiber.hh"

#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PLEACH_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define PLEACH_TSAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define PLEACH_ASAN 1
#endif
#ifdef __SANITIZE_THREAD__
#define PLEACH_TSAN 1
#endif
#ifdef PLEACH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef PLEACH_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace pleach::sm {

namespace {

thread_local fiber* current_fiber = nullptr;

/// The stack is the fiber's and outlives its runs.
struct borrowed_stack {
  void deallocate(boost::context::stack_context&) noexcept {}
};

// The sanitizers must be told before and after every change of stack.
void leave_stack([[maybe_unused]] void** fake, [[maybe_unused]] const void* to,
                 [[maybe_unused]] std::size_t bytes, [[maybe_unused]] void* context) {
#ifdef PLEACH_ASAN
  __sanitizer_start_switch_fiber(fake, to, bytes);
#endif
#ifdef PLEACH_TSAN
  __tsan_switch_to_fiber(context, 0);
#endif
}

void reach_stack([[maybe_unused]] void* fake, [[maybe_unused]] const void** from,
                 [[maybe_unused]] std::size_t* bytes) {
#ifdef PLEACH_ASAN
  __sanitizer_finish_switch_fiber(fake, from, bytes);
#endif
}

}  // namespace

fiber::fiber(std::size_t stack_bytes) {
  auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::size_t usable = round_up(stack_bytes, page);
  void* m = mmap(nullptr, usable + page, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (m == MAP_FAILED) return;
  if (mprotect(m, page, PROT_NONE) != 0) {
    munmap(m, usable + page);
    return;
  }
  mapping_ = m;
  mapped_bytes_ = usable + page;
  stack_ = static_cast<std::byte*>(m) + page;
  usable_bytes_ = usable;
}

fiber::~fiber() {
  PLEACH_ASSERT(!alive_);
  if (mapping_ == nullptr) return;
#ifdef PLEACH_ASAN
  __asan_unpoison_memory_region(stack_, usable_bytes_);
#endif
  munmap(mapping_, mapped_bytes_);
}

void fiber::start(void (*entry)(void*), void* datum) {
  PLEACH_ASSERT(valid() && !alive_);
  entry_ = entry;
  datum_ = datum;
  alive_ = true;
  boost::context::stack_context stack;
  stack.sp = stack_ + usable_bytes_;
  stack.size = usable_bytes_;
  inside_ = boost::context::fiber(
      std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack),
      borrowed_stack{},
      [this](boost::context::fiber&& back) { return body(std::move(back)); });
#ifdef PLEACH_TSAN
  inner_context_ = __tsan_create_fiber(0);
#endif
  resume();
}

/// Runs the fiber until it suspends or ends. On the stack of the loop, or of another fiber.
void fiber::resume() {
  resumed_from_ = current_fiber;
  current_fiber = this;
#ifdef PLEACH_TSAN
  outer_context_ = __tsan_get_current_fiber();
#endif
  leave_stack(&outer_fake_stack_, stack_, usable_bytes_, inner_context_);
  boost::context::fiber rest = std::move(inside_).resume();
  reach_stack(outer_fake_stack_, nullptr, nullptr);
  current_fiber = resumed_from_;
  if (rest) {
    inside_ = std::move(rest);
    return;
  }
#ifdef PLEACH_TSAN
  __tsan_destroy_fiber(inner_context_);
#endif
}

void fiber::suspend() {
  leave_stack(&inner_fake_stack_, outer_stack_, outer_bytes_, outer_context_);
  outside_ = std::move(outside_).resume();
  reach_stack(inner_fake_stack_, &outer_stack_, &outer_bytes_);
}

boost::context::fiber fiber::body(boost::context::fiber&& back) {
  reach_stack(nullptr, &outer_stack_, &outer_bytes_);
  outside_ = std::move(back);
  entry_(datum_);
  alive_ = false;
  leave_stack(nullptr, outer_stack_, outer_bytes_, outer_context_);
  return std::move(outside_);
}

void fiber::await(reactor& r, op& o) {
  fiber* me = current_fiber;
  PLEACH_ASSERT(me != nullptr);
  o.on_done([](op&, void* datum) { static_cast<fiber*>(datum)->resume(); }, me);
  r.start(o);
  me->suspend();
}

fiber* fiber::current() { return current_fiber; }

}  // namespace pleach::sm
