#include "btree/value_map.hh"

#include <algorithm>

#include "be/base/assert.hh"
#include "be/base/checksum.hh"

namespace pleach::btree {

u64 chunk_term(cbytes block, u32 index) {
  return mix64(hash64(block) ^ index * 0x9e3779b97f4a7c15u);
}

u64 chunk_checksum(cbytes data) {
  PLEACH_ASSERT(data.size() <= value_chunk_bytes);
  u64 sum = 0;
  u32 index = 0;
  for (; data.size() >= block_bytes; data = data.subspan(block_bytes))
    sum += chunk_term(data.first(block_bytes), index++);
  if (!data.empty()) {
    std::byte padded[block_bytes] = {};
    std::memcpy(padded, data.data(), data.size());
    sum += chunk_term({padded, block_bytes}, index);
  }
  return sum;
}

u32 value_map::map_blocks() const {
  u64 bytes = sizeof(value_map_header) + 8 * (runs.size() + sums.size());
  return static_cast<u32>(ceil_div<u64>(bytes, block_bytes));
}

std::vector<std::byte> value_map::bytes_of(u64 store_id) const {
  std::vector<std::byte> out(u64{map_blocks()} * block_bytes);
  value_map_header h{};
  h.magic = value_map_magic;
  h.version = value_map_version;
  h.chunk_blocks = static_cast<u16>(value_chunk_blocks);
  h.store_id = store_id;
  h.tree_id = tree_id;
  h.key_hash = key_hash;
  h.length = length;
  h.runs = static_cast<u32>(runs.size());
  h.chunks = static_cast<u32>(sums.size());
  std::memcpy(out.data(), &h, sizeof h);
  auto* at = reinterpret_cast<le64*>(out.data() + sizeof h);
  for (page_addr r : runs) *at++ = r.raw;
  for (u64 s : sums) *at++ = s;
  return out;
}

static bool in_volume(page_addr run, u64 volume_blocks) {
  return run && run.block() < volume_blocks && run.blocks() <= volume_blocks - run.block();
}

bool sound_reference(const value_reference& r, u64 volume_blocks) {
  page_addr run(r.run);
  if (r.length > max_value_bytes || !in_volume(run, volume_blocks)) return false;
  if (!has_map(r)) return r.count == 1 && r.length <= run.size();
  return r.length != 0;
}

bool value_map::parse(cbytes blocks, const value_reference& ref, u64 store_id, u64 volume_blocks) {
  value_map_header h;
  if (blocks.size() < sizeof h) return false;
  std::memcpy(&h, blocks.data(), sizeof h);
  bool known = h.magic == value_map_magic && h.version == value_map_version &&
               h.chunk_blocks == value_chunk_blocks && h.store_id == store_id &&
               h.length == ref.length && (h.runs | value_in_map) == ref.count &&
               h.chunks == ceil_div<u64>(h.length, value_chunk_bytes) && h.runs <= h.chunks &&
               std::all_of(std::begin(h.reserved), std::end(h.reserved),
                           [](u8 b) { return b == 0; });
  if (!known) return false;
  tree_id = h.tree_id;
  key_hash = h.key_hash;
  length = h.length;
  runs.resize(h.runs);
  sums.resize(h.chunks);
  if (blocks.size() != u64{map_blocks()} * block_bytes) return false;
  auto* at = reinterpret_cast<const le64*>(blocks.data() + sizeof h);
  u64 total = 0;
  for (page_addr& r : runs) {
    r = page_addr(*at++);
    if (!in_volume(r, volume_blocks)) return false;
    if (&r != &runs.back() && r.blocks() % value_chunk_blocks != 0) return false;
    total += r.blocks();
  }
  for (u64& s : sums) s = *at++;
  return total == this->blocks();
}

page_addr value_map::part(u64 at, u64 end) const {
  u64 first = 0;
  for (page_addr r : runs) {
    if (at < first + r.blocks()) {
      u64 within = at - first;
      u64 count = std::min<u64>(r.blocks() - within, end - at);
      return {r.block() + within, static_cast<u32>(count)};
    }
    first += r.blocks();
  }
  PLEACH_ASSERT(!"the map holds this block");
  __builtin_unreachable();
}

void value_map::parts(u64 first, u64 last, std::vector<page_addr>& to) const {
  while (first < last) {
    to.push_back(part(first, last));
    first += to.back().blocks();
  }
}

value_reference identify(const record& r) {
  value_reference now{};
  if (r.value_flags & VALUE_INDIRECT) {
    std::memcpy(&now, r.value.data(), sizeof now);
  } else {
    now.length = r.value.size();
    now.checksum = hash64(r.value);
  }
  return now;
}

}  // namespace pleach::btree
