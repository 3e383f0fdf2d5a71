#include "btree/long_key.hh"

#include <algorithm>

#include "be/base/assert.hh"
#include "btree/key_order.hh"

namespace pleach::btree {

value_reference reference_of(cbytes stub) {
  PLEACH_ASSERT(stub.size() == max_stored_key_bytes);
  value_reference r;
  std::memcpy(&r, stub.data() + max_inline_key_bytes, sizeof r);
  return r;
}

cbytes make_stub(cbytes key, const value_reference& extent, std::byte* out) {
  std::memcpy(out, key.data(), max_inline_key_bytes);
  std::memcpy(out + max_inline_key_bytes, &extent, sizeof extent);
  return {out, max_stored_key_bytes};
}

bool sound_key_reference(const value_reference& r) {
  const page_addr run(r.run);
  return r.length > max_inline_key_bytes && r.length <= max_key_bytes && r.count == 1 &&
         run.block() != 0 && run.blocks() == ceil_div<u64>(r.length, block_bytes);
}

bool may_precede(cbytes a, cbytes b) {
  if (is_stub(a) && is_stub(b)) {
    const int c = std::memcmp(a.data(), b.data(), max_inline_key_bytes);
    return c < 0 || (c == 0 && !same_extent(reference_of(a), reference_of(b)));
  }
  return compare_keys(a, b) < 0;
}

bool new_extents::compare(const value_reference& r, u32 rank, int& sign) const {
  const auto at = extents_.find(r.run);
  if (at == extents_.end() || !same_extent(at->second.extent, r)) return false;
  PLEACH_ASSERT(at->second.rank <= rank);  // a key that is still to come
  sign = at->second.below || at->second.rank < rank ? -1 : 0;
  return true;
}

void key_probe::begin(cbytes key, const new_extents* others, u32 rank) {
  key_ = key;
  others_ = others;
  rank_ = rank;
  known_.clear();
  question_ = {};
}

void key_probe::answer(int sign) {
  learn(question_, sign);
  question_ = {};
}

void key_probe::learn(const value_reference& r, int sign) {
  const auto [at, is_new] = known_.try_emplace(r.run, known{r, sign});
  if (!is_new && !same_extent(at->second.extent, r)) at->second = {r, sign};
}

int key_probe::against(const value_reference& r) {
  const auto at = known_.find(r.run);
  if (at != known_.end() && same_extent(at->second.extent, r)) return at->second.sign;
  int sign;
  if (others_ != nullptr && others_->compare(r, rank_, sign)) return sign;
  if (!asks()) question_ = r;
  return 1;  // whatever: the search has no result
}

int compare_stored(cbytes stored, cbytes key, key_probe* probe) {
  if (!is_stub(stored)) return compare_keys(stored, key);
  const std::size_t n = std::min<std::size_t>(max_inline_key_bytes, key.size());
  const int c = n != 0 ? std::memcmp(stored.data(), key.data(), n) : 0;
  if (c != 0) return c;
  if (!is_long(key)) return 1;  // the beginning of the long key
  PLEACH_ASSERT(probe != nullptr);
  return probe->against(reference_of(stored));
}

}  // namespace pleach::btree
