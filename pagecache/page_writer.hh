// Announced capture: the only way to change a byte of a page.
//
// `writable(off, len)` gives the span, sets its bits in the dirty map and takes the 512-byte
// granules that were clean until now out of the page's sum; the drain of the group copies the
// marked bytes into the log, puts the granules' new terms in, and clears the map. One word of the
// map covers exactly one granule, so "granule is out of the sum" is "word != 0".
//
// I1 No byte of a frame changes except inside a span given out by `writable` in the same step.
// I2 sum == page_sum over granules whose word is 0.
#pragma once

#include "be/base/assert.hh"
#include "be/base/checksum.hh"
#include "be/page_format.hh"

namespace pleach {

inline constexpr u32 capture_granule_bytes = 8;

/// Capture state of one page; part of its descriptor. `map` has size/512 words.
struct capture_state {
  u64* map = nullptr;
  u64 sum = 0;
  u64 seed = 0;
};

class page_reader {
 public:
  page_reader(const std::byte* base, u32 size) : base_(base), size_(size) {}
  const std::byte* at(u32 off) const { return base_ + off; }
  const std::byte* base() const { return base_; }
  cbytes page() const { return {base_, size_}; }
  u32 size() const { return size_; }
  const page_header& header() const { return *reinterpret_cast<const page_header*>(base_); }

 protected:
  const std::byte* base_;
  u32 size_;
};

class page_writer : public page_reader {
 public:
  page_writer(std::byte* base, u32 size, capture_state& capture)
      : page_reader(base, size), capture_(&capture) {}

  /// Announces that [off, off + len) will change.
  /// RETURNS: where to write; valid until the step ends.
  std::byte* writable(u32 off, u32 len) {
    PLEACH_ASSERT(u64{off} + len <= size_);
    if (len != 0) [[likely]]
      announce(off, off + len - 1);
    return const_cast<std::byte*>(base_) + off;
  }
  void put(u32 off, const void* data, u32 len) { std::memcpy(writable(off, len), data, len); }
  template <class T>
  void put_le(u32 off, T v) {
    std::memcpy(writable(off, sizeof v), &v, sizeof v);
  }
  /// memmove inside the page; captures the destination.
  void move(u32 to, u32 from, u32 len) {
    std::byte* d = writable(to, len);
    std::memmove(d, base_ + from, len);
  }

 private:
  void announce(u32 first, u32 last) {
    u32 g = first / granule_bytes, g_last = last / granule_bytes;
    u32 b = first % granule_bytes / capture_granule_bytes;
    for (; g <= g_last; ++g, b = 0) {
      u32 e = g == g_last ? last % granule_bytes / capture_granule_bytes : 63;
      u64 mask = (e - b == 63 ? ~u64{0} : ((u64{1} << (e - b + 1)) - 1) << b);
      u64& word = capture_->map[g];
      if (word == 0)
        capture_->sum -= granule_term({base_ + std::size_t{g} * granule_bytes, granule_bytes},
                                      capture_->seed, g);
      word |= mask;
    }
  }

  capture_state* capture_;
};

}  // namespace pleach
