// What is left of a request's buffers. Shared by the devices; no interface for anybody else.
//
// After a short transfer the entries are advanced in place: a consumed entry keeps its place with
// length 0, so `request::vec` and `vec_count` stay as the caller set them.
#pragma once

#include "be/io/device.hh"

namespace pleach::io {

/// RETURNS: the part of a READ or WRITE that is not transferred yet; never empty while progress <
/// length.
inline std::span<iovec> remaining(request& r) {
  if (!r.vec) {
    r.single = {r.data + r.progress, r.length - r.progress};
    return {&r.single, 1};
  }
  u32 first = 0;
  while (first + 1 < r.vec_count && r.vec[first].iov_len == 0) ++first;
  return {r.vec + first, r.vec_count - first};
}

/// Records that `n` more bytes were transferred.
inline void advance(request& r, u64 n) {
  r.progress += n;
  if (!r.vec) return;
  for (u32 i = 0; i < r.vec_count && n != 0; ++i) {
    iovec& v = r.vec[i];
    u64 step = n < v.iov_len ? n : v.iov_len;
    v.iov_base = static_cast<std::byte*>(v.iov_base) + step;
    v.iov_len -= step;
    n -= step;
  }
}

}  // namespace pleach::io
