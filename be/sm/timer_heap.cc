// The reactor's timers: a binary heap of pointers, ordered by time, then by order of arming.
#include "be/sm/reactor.hh"

namespace pleach::sm {

namespace {

bool before(const timer& a, const timer& b) {
  return a.at_ns != b.at_ns ? a.at_ns < b.at_ns : a.sequence < b.sequence;
}

}  // namespace

void reactor::place(u32 i, timer* t) {
  heap_[i] = t;
  t->heap_index = i;
}

void reactor::sift_up(u32 i) {
  timer* t = heap_[i];
  while (i > 0) {
    u32 above = (i - 1) / 2;
    if (!before(*t, *heap_[above])) break;
    place(i, heap_[above]);
    i = above;
  }
  place(i, t);
}

void reactor::sift_down(u32 i) {
  timer* t = heap_[i];
  u32 count = static_cast<u32>(heap_.size());
  for (;;) {
    u32 below = 2 * i + 1;
    if (below >= count) break;
    if (below + 1 < count && before(*heap_[below + 1], *heap_[below])) ++below;
    if (!before(*heap_[below], *t)) break;
    place(i, heap_[below]);
    i = below;
  }
  place(i, t);
}

void reactor::arm(timer& t) {
  PLEACH_ASSERT(t.fire != nullptr);
  if (t.armed()) disarm(t);
  t.sequence = ++timer_sequence_;
  heap_.push_back(&t);
  sift_up(static_cast<u32>(heap_.size()) - 1);
}

void reactor::disarm(timer& t) {
  if (!t.armed()) return;
  u32 i = t.heap_index;
  PLEACH_ASSERT(i < heap_.size() && heap_[i] == &t);
  t.heap_index = ~0u;
  timer* last = heap_.back();
  heap_.pop_back();
  if (last == &t) return;
  place(i, last);
  sift_up(i);
  sift_down(last->heap_index);
}

u32 reactor::fire_timers() {
  u64 now = env_.mono_ns();
  u64 newest = timer_sequence_;  // a timer that arms itself for the past waits for the next round
  u32 count = 0;
  bool outer = in_callback_;
  in_callback_ = true;
  while (!heap_.empty() && heap_[0]->at_ns <= now && heap_[0]->sequence <= newest) {
    timer& t = *heap_[0];
    disarm(t);
    t.fire(t);
    ++count;
  }
  in_callback_ = outer;
  return count;
}

i64 reactor::next_timeout_ns() {
  if (work_left()) return 0;
  if (heap_.empty()) return -1;
  u64 now = env_.mono_ns();
  u64 at = heap_[0]->at_ns;
  return at <= now ? 0 : static_cast<i64>(at - now);
}

}  // namespace pleach::sm
