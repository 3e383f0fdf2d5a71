// Zeroed memory aligned for direct I/O, for set-up code. The engine's own buffers are frames of an
// arena.
#pragma once

#include <cstring>
#include <new>

#include "be/base/types.hh"

namespace pleach {

class block_buffer {
 public:
  explicit block_buffer(u64 size)
      : size_(size),
        data_(static_cast<std::byte*>(::operator new(size, std::align_val_t{block_bytes}))) {
    std::memset(data_, 0, size_);
  }
  ~block_buffer() { ::operator delete(data_, std::align_val_t{block_bytes}); }
  block_buffer(const block_buffer&) = delete;
  block_buffer& operator=(const block_buffer&) = delete;

  std::byte* data() { return data_; }
  u64 size() const { return size_; }
  bytes all() { return {data_, size_}; }
  bytes part(u64 offset, u64 length) { return all().subspan(offset, length); }
  template <class T>
  T& as(u64 offset = 0) {
    return *reinterpret_cast<T*>(data_ + offset);
  }

 private:
  u64 size_;
  std::byte* data_;
};

}  // namespace pleach
