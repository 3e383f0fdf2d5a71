// Little-endian integers of on-disk structs: byte arrays, alignment 1, no padding anywhere.
#pragma once

#include <bit>
#include <cstring>

#include "be/base/types.hh"

namespace pleach {

static_assert(std::endian::native == std::endian::little,
              "le<T> copies native bytes; a big-endian port swaps here and nowhere else");

template <class T>
class le {
 public:
  constexpr le() = default;
  le(T v) { std::memcpy(raw_, &v, sizeof v); }  // NOLINT: implicit on purpose, like an integer
  operator T() const {
    T v;
    std::memcpy(&v, raw_, sizeof v);
    return v;
  }
  le& operator=(T v) {
    std::memcpy(raw_, &v, sizeof v);
    return *this;
  }

 private:
  u8 raw_[sizeof(T)] = {};
};

using le16 = le<u16>;
using le32 = le<u32>;
using le64 = le<u64>;
static_assert(sizeof(le16) == 2 && sizeof(le32) == 4 && sizeof(le64) == 8 && alignof(le64) == 1);

template <class T>
T load_le(const void* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
void store_le(void* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

}  // namespace pleach
