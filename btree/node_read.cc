// node_view: reading and searching. The bytes passed `check_node` at load, so nothing is checked
// again. Leaves of format 2: node_fixed*.cc.
//
// find(): key against prefix, then a branch-free binary search on the 2-byte heads alone (about 1
// KiB of slots), then full comparisons among equal heads only. "a" and "a\0" have equal heads, so
// equal heads are never equality.
#include <algorithm>

#include "be/base/planted.hh"
#include "btree/node_detail.hh"
#include "btree/node_fixed.hh"

namespace pleach::btree {

using namespace detail;

namespace {

inline u32 head_at(const std::byte* s, u32 index) {
  return load_le<u16>(s + index * slot_unit + 2);
}

/// RETURNS: the first slot in [begin, end) whose head is >= `head`. No branch depends on the heads.
inline u32 lower_head(const std::byte* s, u32 begin, u32 end, u32 head) {
  u32 n = end - begin;
  const std::byte* p = s + begin * slot_unit;
  if (n == 0) return begin;
  while (n > 1) {
    const u32 half = n / 2;
    const u32 step = half * slot_unit;
    p += step & (0u - static_cast<u32>(load_le<u16>(p + step - 2) < head));
    n -= half;
  }
  return static_cast<u32>(p - s) / slot_unit + (load_le<u16>(p + 2) < head);
}

constexpr u32 fetched_at_once = 16;

/// A stub, `stem` of whose bytes are stored in front of the reference, <=> the key with this
/// suffix.
[[gnu::noinline]] int against_stub(const parsed& r, u32 stem, const std::byte* suffix, u32 length,
                                   key_probe* probe) {
  const u32 shared = std::min(stem, length);
  const int c = shared != 0 ? std::memcmp(r.key, suffix, shared) : 0;
  if (c != 0) return c;
  if (length <= stem) return 1;  // the beginning of the long key
  PLEACH_ASSERT(probe != nullptr);
  value_reference extent;
  std::memcpy(&extent, r.key + stem, sizeof extent);
  return probe->against(extent);
}

/// Search of `suffix`, which stands behind `prefix` bytes of the key, among slots [begin, count).
search_result find_suffix(const node_view& n, u32 begin, u32 prefix, const std::byte* suffix,
                          u32 length, key_probe* probe) {
  const std::byte* const s = slots(n);
  const std::byte* const base = n.base();
  const u32 shift = unit_shift(n.size()), count = n.count(), flags = flag_bytes(n);
  const u32 head = head_of(suffix, length);
  u32 low = lower_head(s, begin, count, head);
  if (low == count || head_at(s, low) != head) return {low, false};

  const u32 stem = max_inline_key_bytes - prefix;
  const auto against = [&](u32 index) {
    const parsed r = parse(base + ((slot_word(s, index) & 0xffff) << shift), flags);
    if (r.key_length > stem) [[unlikely]]
      return against_stub(r, stem, suffix, length, probe);
    return compare_bytes(r.key, r.key_length, suffix, length);
  };
  if (low + 1 == count || head_at(s, low + 1) != head) {
    const int only = against(low);
    return {low + (only < 0), only == 0};
  }
  // Several equal heads. Their records are fetched at once, so that the search waits for memory
  // once and not at each step; which way it goes is random, so no branch on it.
  u32 n_left = (head == 0xffff ? count : lower_head(s, low, count, head + 1)) - low;
  for (u32 i = low, end = low + std::min(n_left, fetched_at_once); i < end; ++i)
    __builtin_prefetch(base + ((slot_word(s, i) & 0xffff) << shift));
  while (n_left > 0) {
    const u32 half = n_left / 2;
    const u32 less = static_cast<u32>(against(low + half)) >> 31;
    low += (half + 1) & (0u - less);
    n_left = half - (~n_left & 1 & less);
  }
  return {low, low < count && head_at(s, low) == head && against(low) == 0};
}

/// Slots from `begin` on. Handles keys that do not share the prefix.
inline search_result find_from(const node_view& n, u32 begin, cbytes key, key_probe* probe) {
  const node_header& h = n.node();
  const u32 prefix = h.prefix_length, length = static_cast<u32>(key.size());
  if (prefix != 0) {
    const u32 shared = std::min(prefix, length);
    const int c = shared ? std::memcmp(key.data(), n.base() + h.prefix_offset, shared) : 0;
    if (c < 0 || (c == 0 && length < prefix)) return {std::min(begin, n.count()), false};
    if (c > 0) return {n.count(), false};
  }
  return find_suffix(n, begin, prefix, key.data() + prefix, length - prefix, probe);
}

}  // namespace

cbytes node_view::prefix() const {
  if (fixed()) return {};
  return {base_ + node().prefix_offset, node().prefix_length};
}
cbytes node_view::low_fence() const {
  return {base_ + node().low_offset, node().low_length};
}
cbytes node_view::high_fence() const {
  return {base_ + node().high_offset, node().high_length};
}
bool node_view::has_high_fence() const {
  return (node().node_flags & NO_HIGH_FENCE) == 0;
}

int node_view::compare_fence(cbytes fence, cbytes key, key_probe* probe) const {
  if (order_ != nullptr && !PLEACH_PLANTED("covers_ignores_order")) [[unlikely]]
    return compare_registered(*order_, fence, key);
  return compare_stored(fence, key, probe);
}
bool node_view::covers(cbytes key, key_probe* probe) const {
  return compare_fence(low_fence(), key, probe) <= 0 &&
         (!has_high_fence() || compare_fence(high_fence(), key, probe) > 0);
}
bool node_view::covers_below(cbytes key, key_probe* probe) const {
  return compare_fence(low_fence(), key, probe) < 0 &&
         (!has_high_fence() || compare_fence(high_fence(), key, probe) >= 0);
}

record node_view::at(u32 index) const {
  if (fixed()) {
    const fixed::row r(*this);
    return {0, 0, {r.key(index), r.key_bytes}, {r.value(index), r.value_bytes}, {}};
  }
  const parsed r = parse_at(*this, index);
  const u8 key_flags = r.key_flags(), value_flags = r.value_flags();
  const u32 attached = r.flag_bytes == 1 ? attached_bytes(key_flags, value_flags) : 0;
  const u32 value = r.value_length - attached;
  return {
      key_flags, value_flags, {r.key, r.key_length}, {r.value, value}, {r.value + value, attached}};
}

u32 node_view::bytes_of(u32 index) const {
  if (fixed()) return fixed::row(*this).record_bytes();
  return parse_at(*this, index).bytes() + slot_unit;
}

u32 node_view::copy_key(u32 index, std::byte* out) const {
  if (fixed()) {
    const fixed::row r(*this);
    std::memcpy(out, r.key(index), r.key_bytes);
    return r.key_bytes;
  }
  if (index == 0 && !is_leaf()) {
    std::memcpy(out, low_fence().data(), low_fence().size());
    return node().low_length;
  }
  const parsed r = parse_at(*this, index);
  const u32 prefix = node().prefix_length;
  std::memcpy(out, base_ + node().prefix_offset, prefix);
  std::memcpy(out + prefix, r.key, r.key_length);
  return prefix + r.key_length;
}

u32 node_view::key_length(u32 index) const {
  if (fixed()) return node().key_bytes;
  if (index == 0 && !is_leaf()) return node().low_length;
  return node().prefix_length + parse_at(*this, index).key_length;
}

value_reference node_view::key_extent(u32 index) const {
  if (index == 0 && !is_leaf()) return reference_of(low_fence());
  const parsed r = parse_at(*this, index);
  value_reference extent;
  std::memcpy(&extent, r.key + r.key_length - sizeof extent, sizeof extent);
  return extent;
}

int node_view::compare(u32 index, cbytes key, key_probe* probe) const {
  if (fixed()) {
    const fixed::row r(*this);
    return compare_keys(span_of(r.key(index), r.key_bytes), key);
  }
  if (order_ != nullptr) [[unlikely]] {
    std::byte room[max_stored_key_bytes];
    return compare_registered(*order_, key_of(index, room), key);
  }
  if (index == 0 && !is_leaf()) return compare_stored(low_fence(), key, probe);
  const cbytes p = prefix();
  const std::size_t shared = std::min(p.size(), key.size());
  const int c = shared ? std::memcmp(p.data(), key.data(), shared) : 0;
  if (c != 0) return c;
  if (key.size() < p.size()) return 1;
  const parsed r = parse_at(*this, index);
  const std::byte* const suffix = key.data() + p.size();
  const u32 length = static_cast<u32>(key.size() - p.size());
  const u32 stem = max_inline_key_bytes - static_cast<u32>(p.size());
  if (r.key_length > stem) [[unlikely]]
    return against_stub(r, stem, suffix, length, probe);
  return compare_bytes(r.key, r.key_length, suffix, length);
}

/// The full key of `index`, where it lies or in `room`, which holds max_stored_key_bytes.
cbytes node_view::key_of(u32 index, std::byte* room) const {
  if (index == 0 && !is_leaf()) return low_fence();
  if (node().prefix_length != 0) return span_of(room, copy_key(index, room));
  const parsed r = parse_at(*this, index);
  return span_of(r.key, r.key_length);
}

/// Search by comparisons alone. Whatever the comparator answers, it ends.
search_result node_view::find_registered(u32 begin, cbytes key) const {
  u32 low = begin, n = count() - begin;
  while (n > 0) {
    const u32 half = n / 2;
    if (compare(low + half, key) < 0) {
      low += half + 1;
      n -= half + 1;
    } else {
      n = half;
    }
  }
  return {low, low < count() && compare(low, key) == 0};
}

/// How the stubs from slot `begin` on that have its stem compare with the key of the probe, which
/// has been sought here.
void node_view::tell(key_probe& probe, u32 begin, const search_result& r) const {
  const cbytes key = probe.key(), cut = prefix();
  if (!probe.is_of_write() || probe.asks() || !starts_with(key, cut)) return;
  const u32 stem = max_inline_key_bytes - static_cast<u32>(cut.size());
  for (u32 i = begin; i < count(); ++i) {
    const parsed p = parse_at(*this, i);
    if (p.key_length <= stem || std::memcmp(p.key, key.data() + cut.size(), stem) != 0) continue;
    value_reference extent;
    std::memcpy(&extent, p.key + stem, sizeof extent);
    probe.learn(extent, i < r.index ? -1 : i == r.index && r.found ? 0 : 1);
  }
}

search_result node_view::find(cbytes key, key_probe* probe) const {
  if (fixed()) return fixed::find(*this, key);
  if (order_ != nullptr) [[unlikely]]
    return find_registered(0, key);
  if (is_leaf()) [[likely]] {
    const search_result r = find_from(*this, 0, key, probe);
    if (probe != nullptr) [[unlikely]]
      tell(*probe, 0, r);
    return r;
  }
  // The first key of an inner node is the low fence, whatever its (empty) suffix and head say.
  if (count() == 0) return {0, false};
  const search_result r = find_from(*this, 1, key, probe);
  if (probe != nullptr) tell(*probe, 1, r);
  if (r.index != 1 || r.found) return r;
  const int c = compare_stored(low_fence(), key, probe);
  return c >= 0 ? search_result{0, c == 0} : r;
}

void node_view::prefetch() const {
  for (u32 off = 0; off < std::min(size_, 1152u); off += 64) __builtin_prefetch(base_ + off);
}

void node_view::fetch_record(cbytes key) const {
  if (fixed()) return;            // its search fetches what it needs
  if (order_ != nullptr) return;  // heads tell nothing
  const u32 prefix = node().prefix_length, n = count();
  __builtin_prefetch(base_ + node().prefix_offset);
  if (key.size() < prefix || n == 0) return;  // then `find` looks at the prefix only
  const u32 head = head_of(key.data() + prefix, static_cast<u32>(key.size()) - prefix);
  const std::byte* const s = slots(*this);
  const u32 shift = unit_shift(size_);
  u32 i = lower_head(s, 0, n, head);
  for (u32 end = std::min(n, i + fetched_at_once); i < end && head_at(s, i) == head; ++i) {
    const std::byte* at = base_ + ((slot_word(s, i) & 0xffff) << shift);
    __builtin_prefetch(at);
    __builtin_prefetch(at + 64);
  }
}

page_ref node_view::child(u32 index) const {
  const parsed r = parse_at(*this, index);
  return {page_addr(load_le<u64>(r.value)), load_le<u32>(r.value + 8)};
}

aggregate node_view::child_sum(u32 index) const {
  const std::byte* const at = parse_at(*this, index).value + sizeof(child_reference);
  return {load_le<u64>(at), load_le<u64>(at + 8), load_le<u64>(at + 16)};
}

u32 node_view::find_child(cbytes key, key_probe* probe) const {
  if (count() == 1) return 0;
  const search_result r =
      order_ == nullptr ? find_from(*this, 1, key, probe) : find_registered(1, key);
  if (probe != nullptr) [[unlikely]]
    tell(*probe, 1, r);
  return r.found ? r.index : r.index - 1;
}

u32 node_view::slot_of(page_addr address) const {
  u32 i = 0;
  while (i < count() && child(i).addr != address) ++i;
  return i;
}

page_ref node_view::right_hint() const {
  return {page_addr(u64{node().right_addr}), node().right_gen};
}

u32 node_view::used_bytes() const {
  if (fixed()) return fixed::used_bytes(*this);
  return count() * slot_unit + payload_end() - node().heap_begin - node().garbage;
}
u32 node_view::free_bytes() const {
  return payload_end() - slot_area_begin - used_bytes();
}

bool node_view::fits_now(u32 record_bytes) const {
  if (fixed()) return free_bytes() >= record_bytes;
  return front_slack(*this) + gap(*this) >= occupied(size_, record_bytes) + slot_unit &&
         count() < max_records;
}

}  // namespace pleach::btree
