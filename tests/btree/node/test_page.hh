// A page outside any cache, with the capture state that a descriptor would hold, and a check of the
// capture rule: since the last `settle()` no byte outside the announced granules has changed, and
// the page sum kept up to date granule by granule equals the sum over all bytes.
#pragma once

#include <string>
#include <vector>

#include "be/base/random.hh"
#include "be/page.hh"
#include "btree/node.hh"

namespace pleach::btree::test {

class test_page {
 public:
  explicit test_page(u32 size, u64 block = 1000)
      : ref{page_addr(block, size / block_bytes), 7},
        data(size),
        shadow(size),
        map(size / granule_bytes) {
    capture.map = map.data();
    capture.seed = page_seed(1, ref.addr, ref.gen);
    capture.sum = page_sum(data, capture.seed);
  }
  test_page(const test_page&) = delete;
  test_page& operator=(const test_page&) = delete;

  page_writer writer() { return {data.data(), size(), capture}; }
  node_view view() const { return node_view(page_reader(data.data(), size())); }
  u32 size() const { return static_cast<u32>(data.size()); }

  /// Ends a step.
  /// RETURNS: what rule was broken, or "".
  std::string settle() {
    u32 marked_bytes = 0;
    runs = logged = 0;
    bool inside = false;
    u32 same_since = 0;  // granules since the last change of `inside`
    const auto varint_bytes = [](u32 v) { return v < 128 ? 1u : v < 16384 ? 2u : 3u; };
    for (u32 i = 0; i < size(); i += capture_granule_bytes) {
      const bool announced =
          map[i / granule_bytes] >> (i % granule_bytes / capture_granule_bytes) & 1;
      if (announced && !inside) ++runs;
      if (announced != inside) {
        logged += varint_bytes(same_since);
        same_since = 0;
      }
      ++same_since;
      inside = announced;
      if (announced) marked_bytes += capture_granule_bytes;
      if (!announced && std::memcmp(&data[i], &shadow[i], capture_granule_bytes) != 0)
        return "unannounced change at byte " + std::to_string(i);
    }
    for (u32 g = 0; g < map.size(); ++g)
      if (map[g] != 0)
        capture.sum += granule_term(
            cbytes(data).subspan(std::size_t{g} * granule_bytes, granule_bytes), capture.seed, g);
    if (inside) logged += varint_bytes(same_since);
    logged += marked_bytes;
    if (capture.sum != page_sum(data, capture.seed)) return "incremental page sum";
    marked = marked_bytes;
    shadow = data;
    map.assign(map.size(), 0);
    const char* why = nullptr;
    if (!is_ok(check_node(data, &why))) return std::string("check_node: ") + why;
    return "";
  }

  page_ref ref;
  std::vector<std::byte> data, shadow;
  std::vector<u64> map;
  capture_state capture;
  u32 marked = 0, runs = 0;  ///< bytes and runs announced in the last step
  u32 logged = 0;  ///< the same as a page's record in the log has them, without its header
};

inline std::string text(cbytes b) {
  return std::string(as_text(b));
}

inline std::string full_key(const node_view& n, u32 index) {
  std::byte buffer[max_stored_key_bytes];
  return text({buffer, n.copy_key(index, buffer)});
}

}  // namespace pleach::btree::test
