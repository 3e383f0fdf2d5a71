// A vector of trivially copyable elements whose first N live inside it: no heap for ordinary
// operations, the heap for large batches. Not thread-safe, not copyable.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

#include "be/base/assert.hh"
#include "be/base/types.hh"

namespace pleach {

template <class T, u32 N>
class inline_vector {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  inline_vector() = default;
  inline_vector(const inline_vector&) = delete;
  inline_vector& operator=(const inline_vector&) = delete;
  ~inline_vector() { release(); }

  u32 size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  T& operator[](u32 i) {
    PLEACH_ASSERT(i < size_);
    return data_[i];
  }
  T& back() { return (*this)[size_ - 1]; }
  std::span<const T> span() const { return {data_, size_}; }

  void push_back(const T& v) {
    if (size_ == capacity_) [[unlikely]]
      grow();
    data_[size_++] = v;
  }
  void pop_back() {
    PLEACH_ASSERT(size_ > 0);
    --size_;
  }
  void clear() { size_ = 0; }
  /// Gives heap memory back.
  void release() {
    if (heap()) std::free(static_cast<void*>(data_));
    data_ = inline_data();
    capacity_ = N;
    size_ = 0;
  }
  u64 heap_bytes() const { return heap() ? u64{capacity_} * sizeof(T) : 0; }

 private:
  T* inline_data() { return reinterpret_cast<T*>(room_); }
  bool heap() const { return static_cast<const void*>(data_) != static_cast<const void*>(room_); }
  void grow() {
    u32 capacity = capacity_ * 2;
    void* p = std::malloc(sizeof(T) * capacity);
    if (p == nullptr) throw std::bad_alloc();
    std::memcpy(p, static_cast<void*>(data_), sizeof(T) * size_);
    if (heap()) std::free(static_cast<void*>(data_));
    data_ = static_cast<T*>(p);
    capacity_ = capacity;
  }

  alignas(T) std::byte room_[sizeof(T) * N];
  T* data_ = inline_data();
  u32 size_ = 0;
  u32 capacity_ = N;
};

}  // namespace pleach
