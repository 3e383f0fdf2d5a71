#include "be/base/checksum.hh"

#include <xxhash.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h>  // the widest vectors that the machine has: twice the speed of SSE2
#endif

#include <new>

#include "be/base/assert.hh"

namespace pleach {

u64 hash64(cbytes data) { return XXH3_64bits(data.data(), data.size()); }
u64 hash64(cbytes data, u64 seed) { return XXH3_64bits_withSeed(data.data(), data.size(), seed); }
hash128_t hash128(cbytes data, u64 seed) {
  const XXH128_hash_t h = XXH3_128bits_withSeed(data.data(), data.size(), seed);
  return {h.low64, h.high64};
}

hash64_stream::hash64_stream() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  restart();
}
hash64_stream::~hash64_stream() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }
void hash64_stream::restart() { XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_)); }
void hash64_stream::add(cbytes data) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state_), data.data(), data.size());
}
u64 hash64_stream::value() const {
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_));
}

u64 granule_term(cbytes granule, u64 seed, u32 index) {
  PLEACH_ASSERT(granule.size() == granule_bytes);
  return mix64(XXH3_64bits(granule.data(), granule_bytes) ^ (seed + index * 0x9e3779b97f4a7c15u));
}

}  // namespace pleach
