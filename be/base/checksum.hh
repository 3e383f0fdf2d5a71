// Checksums: XXH3-64 and XXH3-128 of byte ranges, and the per-granule term of a page sum.
//
// Page sum = sum over 512-byte granules of mix(XXH3-64(granule) ^ seed(identity, index)), modulo
// 2^64. Being a sum it can be kept up to date granule by granule; being seeded by identity and
// index it sees swapped granules and pages at the wrong place. (XXH3 with a seed rebuilds its
// secret on each call for inputs over 240 bytes; hashing unseeded and mixing the seed in afterwards
// costs a third less and is what the format defines.)
#pragma once

#include "be/base/types.hh"

namespace pleach {

u64 hash64(cbytes data);
u64 hash64(cbytes data, u64 seed);

/// The two halves of an XXH3-128.
struct hash128_t {
  u64 low, high;
};
hash128_t hash128(cbytes data, u64 seed);

/// hash64 of bytes that come in pieces. Owns a little memory.
class hash64_stream {
 public:
  hash64_stream();
  hash64_stream(const hash64_stream&) = delete;
  ~hash64_stream();
  void restart();
  void add(cbytes data);
  u64 value() const;

 private:
  void* state_;
};

inline constexpr u32 granule_bytes = 512;

/// The avalanche of XXH3 / murmur3: a bijection of u64.
constexpr u64 mix64(u64 x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdu;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53u;
  x ^= x >> 33;
  return x;
}

/// Seed of a page's granules; constant while the page has its identity.
constexpr u64 page_seed(u64 store_id, page_addr addr, generation_t gen) {
  return mix64(store_id ^ mix64(addr.raw ^ mix64(gen)));
}

/// Term of granule `index`; `granule` has exactly 512 bytes.
u64 granule_term(cbytes granule, u64 seed, u32 index);

}  // namespace pleach
