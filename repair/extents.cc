#include "repair/extents.hh"

namespace pleach::repair {

using namespace btree;

namespace {
constexpr const char* unreadable = "its extent cannot be read";
constexpr const char* damaged = "its extent differs from its checksum";
}  // namespace

/// Appends the first `length` bytes of the run.
bool extents::load_run(page_addr run, u64 length, std::string& to) {
  block_buffer room(run.size());
  if (!read_blocks(store_.loop, store_.dev, run.block(), room.all())) return false;
  to.append(reinterpret_cast<const char*>(room.data()), length);
  return true;
}

const char* extents::read_map(const value_reference& ref, value_map& map) {
  const page_addr run(ref.run);
  std::string blocks;
  if (!load_run(run, run.size(), blocks)) return unreadable;
  if (hash64(as_bytes(blocks)) != ref.checksum) return "the map of its value is damaged";
  if (!map.parse(as_bytes(blocks), ref, store_.vol.store_id(), store_.blocks()))
    return "the map of its value is damaged";
  return nullptr;
}

/// The data of a value with a map, chunk by chunk.
const char* extents::read_data(const value_map& map, const value_reference& ref,
                               std::string* value) {
  const u64 blocks = map.blocks();
  u32 chunk = 0;
  for (u64 at = 0; at < blocks; at += value_chunk_blocks, ++chunk) {
    const u64 end = std::min<u64>(at + value_chunk_blocks, blocks);
    std::string bytes;
    if (!load_run(map.part(at, end), (end - at) * block_bytes, bytes)) return unreadable;
    bytes.resize(std::min<u64>(bytes.size(), ref.length - at * block_bytes));
    if (chunk_checksum(as_bytes(bytes)) != map.sums[chunk]) return damaged;
    if (value != nullptr) *value += bytes;
  }
  return nullptr;
}

const char* extents::claim_runs(const value_map& map, page_addr map_run) {
  if (!reached_.claim(map_run)) return "the map of its value belongs to something else, too";
  for (std::size_t i = 0; i < map.runs.size(); ++i) {
    if (reached_.claim(map.runs[i])) continue;
    while (i-- != 0) reached_.remove(map.runs[i].block(), map.runs[i].blocks());
    reached_.remove(map_run.block(), map_run.blocks());
    return "its extent belongs to something else, too";
  }
  return nullptr;
}

const char* extents::claim(tree_id_t tree, u64 key_hash, const value_reference& ref,
                           std::string* value) {
  if (!sound_reference(ref, store_.blocks())) return "its extent cannot be where it says";
  const page_addr run(ref.run);
  if (has_map(ref)) {
    value_map map;
    if (const char* wrong = read_map(ref, map)) return wrong;
    if (map.tree_id != tree || map.key_hash != key_hash)
      return "the map of its value is another record's";
    if (const char* wrong = read_data(map, ref, value)) return wrong;
    return claim_runs(map, run);
  }
  std::string bytes;
  if (!load_run(run, ref.length, bytes)) return unreadable;
  if (hash64(as_bytes(bytes)) != ref.checksum) return damaged;
  if (!reached_.claim(run)) return "its extent belongs to something else, too";
  if (value != nullptr) *value = std::move(bytes);
  return nullptr;
}

const char* extents::read(const value_reference& ref, std::string& value) {
  if (!sound_reference(ref, store_.blocks())) return "its extent cannot be where it says";
  value.clear();
  if (has_map(ref)) {
    value_map map;
    if (const char* wrong = read_map(ref, map)) return wrong;
    return read_data(map, ref, &value);
  }
  if (!load_run(page_addr(ref.run), ref.length, value)) return unreadable;
  return hash64(as_bytes(value)) == ref.checksum ? nullptr : damaged;
}

}  // namespace pleach::repair
