// Searching a fixed leaf, eight bytes of the keys at a time, without a branch that depends on them.
//
// The eight bytes behind what the fences share tell almost all keys of a leaf apart: they are
// compared as big-endian numbers. The first keys of the segments, several at a time, tell the
// segment (without branches: Khuong and Morin, Array layouts for comparison-based searching, 2017);
// there all keys are compared at once and those below are counted, for which their order, and so
// the turn of the segment, means nothing. Only keys with equal numbers are compared in full.
#include <algorithm>
#include <atomic>

#include "btree/node_fixed.hh"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pleach::btree::fixed {

using namespace detail;

namespace {

constexpr u32 fetched_ahead = 512;  ///< bytes of values

inline u64 number_at(const std::byte* p) {
  return __builtin_bswap64(load_le<u64>(p));
}

/// RETURNS: how many of `n` <= 64 keys (u64, contiguous, in any order) are below `sought`.
using count_below_fn = u32 (*)(const std::byte* keys, u32 n, u64 sought);

u32 count_below_portable(const std::byte* keys, u32 n, u64 sought) {
  u32 below = 0;
  for (u32 i = 0; i < n; ++i) below += number_at(keys + i * 8) < sought;
  return below;
}

#if defined(__x86_64__)
/// Four keys at once. Reads whole vectors: up to 24 bytes behind the last key, which are bytes of
/// the same page (check() sees to it); they are not counted.
__attribute__((target("avx2,popcnt"))) u32 count_below_vector(const std::byte* keys, u32 n,
                                                              u64 sought) {
  const __m256i swap = _mm256_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6,
                                        5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
  const __m256i sign = _mm256_set1_epi64x(static_cast<long long>(u64{1} << 63));
  const __m256i with = _mm256_set1_epi64x(static_cast<long long>(sought ^ u64{1} << 63));
  u64 mask = 0;
  for (u32 i = 0; i < n; i += 4) {
    const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys + i * 8));
    const __m256i number = _mm256_xor_si256(_mm256_shuffle_epi8(raw, swap), sign);
    const __m256i below = _mm256_cmpgt_epi64(with, number);
    mask |= u64{static_cast<u32>(_mm256_movemask_pd(_mm256_castsi256_pd(below)))} << i;
  }
  if (n < 64) mask &= (u64{1} << n) - 1;
  return static_cast<u32>(__builtin_popcountll(mask));
}
bool has_vector() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
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

/// Eight bytes of each key, as numbers, by cell. EIGHT: keys have eight bytes.
template <bool EIGHT>
struct column {
  column(const row& r, u32 at)
      : cells(r.base + r.keys_begin + at),
        stride_(r.key_bytes),
        shift_(r.key_bytes < 8 ? (8 - r.key_bytes) * 8 : 0) {}

  u32 stride() const { return EIGHT ? 8 : stride_; }
  /// Of keys of fewer than eight bytes: bits that do not belong to them.
  u32 shift() const { return EIGHT ? 0 : shift_; }
  u64 operator[](u32 cell) const { return number_at(cells + cell * stride()) >> shift(); }
  /// Of cells [cell, cell + n), how many are below.
  u32 below(u32 cell, u32 n, u64 sought) const {
    const std::byte* p = cells + cell * stride();
    if (EIGHT) return count_below.load(std::memory_order_relaxed)(p, n, sought);
    u32 sum = 0;
    for (u32 i = 0; i < n; ++i, p += stride()) sum += number_at(p) >> shift() < sought;
    return sum;
  }

  const std::byte* cells;

 private:
  u32 stride_, shift_;
};

/// RETURNS: the last of `n` segments from `s` on whose first number is < `sought`; `s` if none
/// behind it. Seven at a time, then all that are left: the loads of a round do not wait for each
/// other, so a leaf that is not in the CPU's caches costs one or two waits for memory here.
template <bool EIGHT>
inline u32 find_segment(const row& r, const column<EIGHT>& c, u32 s, u32 n, u64 sought) {
  const auto below = [&](u32 i) -> u32 { return c[r.first(i) + r.turn(i)] < sought; };
  while (n > 16) {
    const u32 eighth = n / 8;
    u32 steps = 0;
    for (u32 i = 1; i < 8; ++i) steps += below(s + i * eighth);
    s += steps * eighth;
    n -= steps == 7 ? 7 * eighth : n - eighth;
  }
  u32 steps = 0;
  for (u32 i = 1; i < n; ++i) steps += below(s + i);
  return s + steps;
}

/// RETURNS: the first place in [front, end) whose number is >= `sought`, or end.
template <bool EIGHT>
inline u32 lower_place(const row& r, const column<EIGHT>& c, u64 sought) {
  const u32 begin = r.segment(r.front), last = r.segment(r.end() - 1);
  const u32 s = find_segment(r, c, begin, last - begin + 1, sought);
  const u32 first = r.first(s), size = r.size(s), turn = r.turn(s);
  // The value of the key, wherever it is in the segment, comes while the keys are compared.
  const u32 ahead = std::min(size * r.value_bytes, fetched_ahead);
  for (u32 i = 0; i < ahead; i += 64)
    __builtin_prefetch(r.base + r.value_offset(first + size - 1) + i);
  if (s != begin && s != last) [[likely]]
    return first + c.below(first, size, sought);
  // At the ends only some places are taken.
  const u32 from = std::max(first, r.front), to = std::min(first + size, r.end());
  u32 cell = from + turn;
  if (cell >= first + size) cell -= size;
  const u32 n = to - from, straight = std::min(n, first + size - cell);
  u32 below = c.below(cell, straight, sought);
  if (straight < n) below += c.below(first, n - straight, sought);
  return from + below;
}

/// `sought` has key_bytes bytes, readable for at least eight. `same`: bytes at the beginning that
/// equal those of all keys.
template <bool EIGHT>
inline search_result find_whole(const row& r, const std::byte* sought, u32 same) {
  const u32 length = r.key_bytes;
  const u32 at = EIGHT || length < 8 ? 0 : std::min(same, length - 8);
  const column<EIGHT> c(r, at);
  const u64 number = number_at(sought + at) >> c.shift();
  u32 index = lower_place(r, c, number) - r.front;
  if (index == r.count || c[r.cell(r.front + index)] != number) return {index, false};
  if (EIGHT || at + 8 >= length) return {index, true};
  // Equal numbers: mostly one, else as many as share eight bytes more.
  u32 n = r.count - index;
  if (n == 1 || c[r.cell(r.front + index + 1)] != number) n = 1;
  while (n > 0) {
    const u32 half = n / 2;
    if (std::memcmp(r.key(index + half) + at, sought + at, length - at) < 0) {
      index += half + 1;
      n -= half + 1;
    } else {
      n = half;
    }
  }
  const bool found =
      index < r.count && std::memcmp(r.key(index) + at, sought + at, length - at) == 0;
  return {index, found};
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
    return given == 8 ? find_whole<true>(r, key.data(), prefix)
                      : find_whole<false>(r, key.data(), prefix);
  // Shorter: as if it went on with zeros, which is below every key that begins with it. Longer: the
  // first key above its beginning.
  std::byte padded[max_fixed_key_bytes] = {};
  if (compared) std::memcpy(padded, key.data(), compared);
  const search_result found = find_whole<false>(r, padded, prefix);
  if (given == r.key_bytes) return found;
  return {found.index + (given > r.key_bytes && found.found), false};
}

}  // namespace pleach::btree::fixed
