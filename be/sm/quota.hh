// A counted resource that ops take once and give back: frames, log credit, free blocks.
//
// First come, first served, with hand-over: a woken op already holds what it asked for, so a large
// claim is never overtaken for ever by small ones. A claim is owned by its op and given back in
// CLEANUP whether it was granted, still queued, or never made, which makes cancellation at any wait
// safe.
//
// I1 held by claims + available == total (total may change by `resize`).
// I2 The queue is not empty only if its first claim is larger than `available`.
#pragma once

#include "be/base/planted.hh"
#include "be/sm/reactor.hh"

namespace pleach::sm {

struct claim {
  u64 amount = 0;
  bool held = false;
  op* owner = nullptr;
  list_link link;

  claim() = default;
  ~claim() { PLEACH_ASSERT(!held && !link.linked()); }
};

class quota {
 public:
  quota(reactor& loop, const char* what, u64 total)
      : loop_(loop), what_(what), total_(total), available_(static_cast<i64>(total)) {}

  /// Takes `amount` if it is there and nobody waits.
  /// REQUIRES: !c.held, amount <= total().
  bool try_take(claim& c, u64 amount) {
    PLEACH_ASSERT(!c.held && !c.link.linked() && amount <= total_);
    if (!queue_.empty() || static_cast<i64>(amount) > available_) [[unlikely]]
      return false;
    c.amount = amount;
    available_ -= static_cast<i64>(amount);
    return c.held = true;
  }
  /// Takes `amount` for the running op.
  /// RETURNS: true if `c` is held now; else the op must return `wait(...)`, and holds it when it
  /// resumes.
  /// REQUIRES: !c.held, amount <= total().
  bool take(claim& c, op& owner, u64 amount) {
    if (try_take(c, amount)) return true;
    c.amount = amount;
    c.owner = &owner;
    queue_.push_back(c);
    ++waits_;
    return false;
  }
  /// Gives back what `c` holds, or leaves the queue; no effect on an empty claim.
  void give_back(claim& c) {
    if (c.link.linked()) c.link.unlink();
    if (c.held) available_ += static_cast<i64>(c.amount);
    c.held = false;
    c.amount = 0;
    if (!PLEACH_PLANTED("wakeup_lost")) hand_out();
  }
  /// Gives back a part.
  /// REQUIRES: c.held, amount <= c.amount.
  void give_back_part(claim& c, u64 amount) {
    PLEACH_ASSERT(c.held && amount <= c.amount);
    c.amount -= amount;
    available_ += amount;
    hand_out();
  }
  /// Turns a held claim into plain use of the resource (returned later by `put`).
  void consume(claim& c) {
    PLEACH_ASSERT(c.held);
    c.held = false;
    c.amount = 0;
  }
  /// More (or less, below zero is allowed to be owed) of the resource became available.
  void put(i64 amount) {
    available_ += amount;
    hand_out();
  }
  void resize(u64 total) {
    available_ += static_cast<i64>(total) - static_cast<i64>(total_);
    total_ = total;
    hand_out();
  }

  u64 total() const { return total_; }
  i64 available() const { return available_; }
  bool contended() { return !queue_.empty(); }
  /// RETURNS: what the first waiting claim asks for, 0 if none waits.
  u64 wanted() { return queue_.empty() ? 0 : queue_.front().amount; }
  u64 wait_count() const { return waits_; }
  const char* what() const { return what_; }
  /// Fails every waiting op with `code` (store failed or closing).
  void fail_all(errc code) {
    while (!queue_.empty()) {
      claim& c = queue_.pop_front();
      c.owner->cancel(code);
    }
  }

 private:
  void hand_out() {
    while (!queue_.empty() && static_cast<i64>(queue_.front().amount) <= available_) {
      claim& c = queue_.pop_front();
      available_ -= static_cast<i64>(c.amount);
      c.held = true;
      loop_.make_ready(*c.owner);
    }
  }

  reactor& loop_;
  const char* what_;
  u64 total_;
  i64 available_;
  u64 waits_ = 0;
  list<claim, &claim::link> queue_;
};

}  // namespace pleach::sm
