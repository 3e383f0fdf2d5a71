// Searching a dense array of keys, eight bytes at a time, without a branch that depends on them.
//
// The eight bytes behind what the fences share tell almost all keys of a leaf apart: they are
// compared as big-endian numbers, first by halving, the last block of at most 16 all at once. Equal
// numbers narrow the range, and the next eight bytes decide. Halving without branches: Khuong and
// Morin, Array layouts for comparison-based searching, 2017 (their layouts other than the sorted
// one do not survive inserts in place).
#include <algorithm>
#include <atomic>

#include "btree/node_fixed.hh"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pleach::btree::fixed {

using namespace detail;

namespace {

constexpr u32 block = 16;

inline u64 number_at(const std::byte* p) {
  return __builtin_bswap64(load_le<u64>(p));
}

/// RETURNS: how many of `n` <= block keys (u64, contiguous) are below `sought`.
using count_below_fn = u32 (*)(const std::byte* keys, u32 n, u64 sought);

u32 count_below_portable(const std::byte* keys, u32 n, u64 sought) {
  u32 below = 0;
  for (u32 i = 0; i < n; ++i) below += number_at(keys + i * 8) < sought;
  return below;
}

#if defined(__x86_64__)
/// Four keys at once. Reads whole vectors: up to 24 bytes behind the last key, which are bytes of
/// the same page (check() sees to it); they are not counted.
__attribute__((target("avx2"))) u32 count_below_vector(const std::byte* keys, u32 n, u64 sought) {
  const __m256i swap = _mm256_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6,
                                        5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
  const __m256i sign = _mm256_set1_epi64x(static_cast<long long>(u64{1} << 63));
  const __m256i with = _mm256_set1_epi64x(static_cast<long long>(sought ^ u64{1} << 63));
  u32 mask = 0;
  for (u32 i = 0; i < n; i += 4) {
    const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys + i * 8));
    const __m256i number = _mm256_xor_si256(_mm256_shuffle_epi8(raw, swap), sign);
    const __m256i below = _mm256_cmpgt_epi64(with, number);
    mask |= static_cast<u32>(_mm256_movemask_pd(_mm256_castsi256_pd(below))) << i;
  }
  return static_cast<u32>(__builtin_popcount(mask & ((1u << n) - 1)));
}
bool has_vector() {
  return __builtin_cpu_supports("avx2");
}
#else
u32 count_below_vector(const std::byte* keys, u32 n, u64 sought) {
  return count_below_portable(keys, n, sought);
}
bool has_vector() {
  return false;
}
#endif

// Stores on different threads of one process share it; it only ever names equivalent functions.
std::atomic<count_below_fn> count_below = has_vector() ? count_below_vector : count_below_portable;

/// A column of eight bytes of consecutive keys, as numbers.
struct column {
  const std::byte* at;  ///< of key 0
  u32 stride;
  u32 shift;  ///< keys of fewer than eight bytes: bits that do not belong to them

  u64 operator[](u32 i) const { return number_at(at + i * stride) >> shift; }

  /// RETURNS: the first i in [begin, end) whose number is >= `sought`, or end.
  u32 lower(u32 begin, u32 end, u64 sought) const {
    u32 n = end - begin;
    const std::byte* p = at + begin * stride;
    while (n > block) {
      const u32 half = n / 2;
      // Both places where the next step may look.
      __builtin_prefetch(p + half / 2 * stride);
      __builtin_prefetch(p + (half + half / 2) * stride);
      const u32 step = half * stride;
      p += step & (0u - static_cast<u32>(number_at(p + step - stride) >> shift < sought));
      n -= half;
    }
    const u32 i = static_cast<u32>(p - at) / stride;
    if (stride == 8) return i + count_below.load(std::memory_order_relaxed)(p, n, sought);
    u32 below = 0;
    for (u32 k = 0; k < n; ++k) below += number_at(p + k * stride) >> shift < sought;
    return i + below;
  }
};

/// `sought` has key_bytes bytes, readable for at least eight. `same`: bytes at the beginning that
/// equal those of all keys.
search_result find_whole(const row& r, const std::byte* sought, u32 same) {
  const u32 length = r.key_bytes;
  const std::byte* const keys = r.key(0);
  u32 begin = 0, end = r.count;
  for (u32 at = same;; at += 8) {
    at = length < 8 ? 0 : std::min(at, length - 8);
    const column c{keys + at, length, length < 8 ? (8 - length) * 8 : 0};
    const u64 number = number_at(sought + at) >> c.shift;
    begin = c.lower(begin, end, number);
    if (begin == end || c[begin] != number) return {begin, false};
    if (at + 8 >= length) return {begin, true};
    if (begin + 1 == end || c[begin + 1] != number) {
      const int order = std::memcmp(keys + begin * length + at + 8, sought + at + 8,
                                    length - at - 8);
      return {begin + (order < 0), order == 0};
    }
    end = number == ~u64{0} ? end : c.lower(begin + 1, end, number + 1);
  }
}

}  // namespace

bool choose_search(search_path p) {
  if (p == search_path::VECTOR && !has_vector()) return false;
  const bool vector = p != search_path::PORTABLE && has_vector();
  count_below = vector ? count_below_vector : count_below_portable;
  return true;
}

search_result find(const node_view& n, cbytes key) {
  const row r(n);
  if (r.count == 0) return {0, false};
  const u32 given = static_cast<u32>(key.size()), compared = std::min(given, r.key_bytes);
  const u32 prefix = n.node().prefix_length;
  if (prefix != 0) {
    // Any key tells the common beginning; the search looks at the middle one anyway.
    const u32 shared = std::min(prefix, compared);
    const int order = shared ? std::memcmp(key.data(), r.key(r.count / 2), shared) : 0;
    if (order != 0) return {order < 0 ? 0 : r.count, false};
    if (given < prefix) return {0, false};
  }
  if (given == r.key_bytes && given >= 8) [[likely]]
    return find_whole(r, key.data(), prefix);
  // Shorter: as if it went on with zeros, which is below every key that begins with it. Longer: the
  // first key above its beginning.
  std::byte padded[max_fixed_key_bytes] = {};
  if (compared) std::memcpy(padded, key.data(), compared);
  const search_result found = find_whole(r, padded, prefix);
  if (given == r.key_bytes) return found;
  return {found.index + (given > r.key_bytes && found.found), false};
}

}  // namespace pleach::btree::fixed
