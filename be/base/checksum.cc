#include "be/base/checksum.hh"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "be/base/assert.hh"

namespace pleach {

u64 hash64(cbytes data) { return XXH3_64bits(data.data(), data.size()); }
u64 hash64(cbytes data, u64 seed) { return XXH3_64bits_withSeed(data.data(), data.size(), seed); }

u64 granule_term(cbytes granule, u64 seed, u32 index) {
  PLEACH_ASSERT(granule.size() == granule_bytes);
  return mix64(XXH3_64bits(granule.data(), granule_bytes) ^ (seed + index * 0x9e3779b97f4a7c15u));
}

}  // namespace pleach
