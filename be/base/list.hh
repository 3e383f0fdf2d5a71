// Intrusive doubly linked list: no allocation, O(1) unlink, the element knows whether it is linked.
#pragma once

#include "be/base/assert.hh"

namespace pleach {

/// A member of an element; `Tag`-free: an element that is in two lists has two links.
struct list_link {
  list_link* prev = nullptr;
  list_link* next = nullptr;

  list_link() = default;
  list_link(const list_link&) = delete;
  list_link& operator=(const list_link&) = delete;

  bool linked() const { return next != nullptr; }
  void unlink() {
    PLEACH_ASSERT(linked());
    prev->next = next;
    next->prev = prev;
    prev = next = nullptr;
  }
};

/// List of `T` through its member `Link`. Order is insertion order; never by address.
template <class T, list_link T::*Link>
class list {
 public:
  list() { head_.prev = head_.next = &head_; }
  list(const list&) = delete;
  list& operator=(const list&) = delete;

  bool empty() const { return head_.next == &head_; }
  void push_back(T& e) { insert_before(head_, e); }
  void push_front(T& e) { insert_before(*head_.next, e); }
  T& front() { return *owner(head_.next); }
  T& back() { return *owner(head_.prev); }
  T& pop_front() {
    PLEACH_ASSERT(!empty());
    T& e = front();
    (e.*Link).unlink();
    return e;
  }
  /// RETURNS: the element after `e`, or null at the end.
  T* next(T& e) {
    list_link* n = (e.*Link).next;
    return n == &head_ ? nullptr : owner(n);
  }
  /// RETURNS: the element before `e`, or null at the start.
  T* prev(T& e) {
    list_link* n = (e.*Link).prev;
    return n == &head_ ? nullptr : owner(n);
  }
  void insert_after(T& at, T& e) { insert_before(*(at.*Link).next, e); }
  T* first() { return empty() ? nullptr : &front(); }
  /// Moves all of `other` behind our elements.
  void splice_back(list& other) {
    if (other.empty()) return;
    list_link* f = other.head_.next;
    list_link* l = other.head_.prev;
    f->prev = head_.prev;
    head_.prev->next = f;
    l->next = &head_;
    head_.prev = l;
    other.head_.prev = other.head_.next = &other.head_;
  }

 private:
  static void insert_before(list_link& at, T& e) {
    list_link& l = e.*Link;
    PLEACH_ASSERT(!l.linked());
    l.prev = at.prev;
    l.next = &at;
    at.prev->next = &l;
    at.prev = &l;
  }
  static T* owner(list_link* l) {
    // Offset of a pointer-to-member; evaluated at compile time by both compilers.
    alignas(T) static const char probe[sizeof(T)] = {};
    auto* t = reinterpret_cast<const T*>(probe);
    auto offset = reinterpret_cast<const char*>(&(t->*Link)) - reinterpret_cast<const char*>(t);
    return reinterpret_cast<T*>(reinterpret_cast<char*>(l) - offset);
  }

  list_link head_;
};

}  // namespace pleach
