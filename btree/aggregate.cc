#include "btree/aggregate.hh"

#include "be/base/checksum.hh"
#include "btree/value_map.hh"

namespace pleach::btree {

namespace {
constexpr u64 digest_seed = 0x706c65616368'6467;  // part of the format: doc/format.md
constexpr u32 prelude_bytes = 16;

/// `buffer`: 16 free bytes, then the stored key; what the stub of a long key says of its extent is
/// written over.
aggregate sum_at(std::byte* buffer, u32 key_bytes, u64 length, u64 content) {
  store_le<u64>(buffer, length);
  store_le<u64>(buffer + 8, content);
  std::byte* const key = buffer + prelude_bytes;
  if (const cbytes stored{key, key_bytes}; is_stub(stored)) {
    const value_reference extent = reference_of(stored);
    store_le<u64>(key + max_inline_key_bytes, extent.length);
    store_le<u64>(key + max_inline_key_bytes + 8, extent.checksum);
    key_bytes = max_inline_key_bytes + 16;
  }
  const hash128_t h = hash128({buffer, prelude_bytes + key_bytes}, digest_seed);
  return {1, h.low, h.high};
}

struct content_of_value {
  u64 length, hash;
};
content_of_value content_of(const record& r) {
  if (!(r.value_flags & VALUE_INDIRECT)) return {r.value.size(), hash64(r.value)};
  value_reference ref;
  std::memcpy(&ref, r.value.data(), sizeof ref);
  if (has_content(r)) return {ref.length, load_le<u64>(r.value.data() + sizeof ref)};
  return {ref.length, ref.checksum};
}
}  // namespace

aggregate record_sum(cbytes key, u64 length, u64 content) {
  std::byte room[prelude_bytes + max_stored_key_bytes], stub[max_stored_key_bytes];
  if (is_long(key)) {
    value_reference extent{};
    extent.length = key.size();
    extent.checksum = hash64(key);
    key = make_stub(key, extent, stub);
  }
  if (!key.empty()) std::memcpy(room + prelude_bytes, key.data(), key.size());
  return sum_at(room, static_cast<u32>(key.size()), length, content);
}

aggregate record_sum(cbytes stored_key, const record& r, bool digest) {
  if (!digest) return {1, 0, 0};
  const content_of_value c = content_of(r);
  std::byte room[prelude_bytes + max_stored_key_bytes];
  if (!stored_key.empty()) std::memcpy(room + prelude_bytes, stored_key.data(), stored_key.size());
  return sum_at(room, static_cast<u32>(stored_key.size()), c.length, c.hash);
}

aggregate sum_of(const node_view& n, u32 begin, u32 end, bool digest) {
  aggregate sum;
  if (!n.is_leaf()) {
    for (u32 i = begin; i < end; ++i) sum += n.child_sum(i);
    return sum;
  }
  if (!digest) return {end - begin, 0, 0};
  std::byte buffer[prelude_bytes + max_stored_key_bytes];
  for (u32 i = begin; i < end; ++i) {
    const u32 length = n.copy_key(i, buffer + prelude_bytes);
    const content_of_value c = content_of(n.at(i));
    sum += sum_at(buffer, length, c.length, c.hash);
  }
  return sum;
}

}  // namespace pleach::btree
