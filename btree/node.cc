// Keys, sizes and the small writes that every change of a node is made of.
#include "btree/node.hh"

#include <algorithm>

#include "btree/node_detail.hh"

namespace pleach::btree {

using namespace detail;

static_assert(offsetof(node_header, slot_begin) == 0 && offsetof(node_header, count) == 2 &&
              offsetof(node_header, heap_begin) == 4 && offsetof(node_header, garbage) == 8 &&
              offsetof(node_header, low_length) == 12 && offsetof(node_header, high_length) == 14 &&
              offsetof(node_header, low_offset) == 16 && offsetof(node_header, high_offset) == 20 &&
              offsetof(node_header, prefix_length) == 24 &&
              offsetof(node_header, node_flags) == 26 &&
              offsetof(node_header, prefix_offset) == 28 &&
              offsetof(node_header, right_addr) == 32 && offsetof(node_header, right_gen) == 40 &&
              offsetof(node_header, key_bytes) == 44 && offsetof(node_header, value_bytes) == 46 &&
              offsetof(node_header, record_count) == 48 && offsetof(node_header, byte_count) == 56);

int compare_registered(const registered_order& order, cbytes a, cbytes b) {
  if (a.empty() || b.empty()) return a.size() < b.size() ? -1 : a.size() > b.size();
  const int c = order.compare(as_text(a), as_text(b), order.datum);
  return c != 0 ? c : compare_keys(a, b);
}

u32 common_prefix(cbytes a, cbytes b) {
  const u32 n = static_cast<u32>(std::min(a.size(), b.size()));
  u32 i = 0;
  for (; i + 8 <= n; i += 8) {
    const u64 x = load_le<u64>(a.data() + i) ^ load_le<u64>(b.data() + i);
    if (x != 0) return i + static_cast<u32>(std::countr_zero(x)) / 8;
  }
  while (i < n && a[i] == b[i]) ++i;
  return i;
}

bool shares_prefix(cbytes stored, cbytes prefix) {
  return starts_with(stored, prefix) && (!is_stub(stored) || prefix.size() <= max_prefix_bytes);
}

cbytes shortest_separator(cbytes left, cbytes right) {
  // left < right, so right is longer than what they share.
  const u32 shared = common_prefix(left, right);
  if (shared >= max_inline_key_bytes) return right;
  return right.first(std::min<std::size_t>(shared + 1, right.size()));
}

u32 record_bytes(u32 key_suffix_length, u32 value_length) {
  return detail::record_bytes(key_suffix_length, value_length, 2);
}

u32 heap_unit(u32 node_bytes) {
  return 1u << unit_shift(node_bytes);
}

u32 node_capacity(u32 node_bytes, u32 tail_bytes) {
  return node_bytes - tail_bytes - slot_area_begin;
}

namespace detail {

u32 wanted_front_slack(u32 node_bytes, u32 free, u32 count, u32 heap) {
  const u32 average = slot_unit + (count ? heap / count : 64);
  const u32 slots_to_come = free / average;
  return std::min(slots_to_come / 2 * slot_unit, node_bytes / 64);
}

void put_extent(page_writer w, u32 slot_begin_bytes, u32 count, u32 heap_begin) {
  std::byte* p = w.writable(node_header_offset, 8);
  store_le<u16>(p, static_cast<u16>(slot_begin_bytes / slot_unit));
  store_le<u16>(p + 2, static_cast<u16>(count));
  store_le<u32>(p + 4, heap_begin);
}

void put_difference(page_writer w, u32 off, const std::byte* src, u32 len) {
  const std::byte* const old = w.base() + off;
  const auto chunk_end = [&](u32 i) {
    return std::min(len, ((off + i) | (capture_granule_bytes - 1)) + 1 - off);
  };
  const auto same = [&](u32 i, u32 e) {
    return e - i == 8 ? load_le<u64>(old + i) == load_le<u64>(src + i)
                      : std::memcmp(old + i, src + i, e - i) == 0;
  };
  for (u32 i = 0; i < len;) {
    u32 e = chunk_end(i);
    if (same(i, e)) {
      i = e;
      continue;
    }
    for (u32 next; e < len && !same(e, next = chunk_end(e)); e = next) {
    }
    w.put(off + i, src + i, e - i);
    i = e;
  }
}

void slide(page_writer w, u32 need) {
  const node_view n(w);
  const u32 front = front_slack(n), have = gap(n), count = n.count();
  if (have >= need) return;
  PLEACH_ASSERT(front + have >= need);
  const u32 rest = front + have - need;
  const u32 heap = n.payload_end() - n.node().heap_begin;
  const u32 keep = std::min(front, wanted_front_slack(n.size(), rest, count, heap));
  w.move(slot_area_begin + keep, slot_area_begin + front, count * slot_unit);
  put_extent(w, slot_area_begin + keep, count, n.node().heap_begin);
}

void reset_heap(page_writer w) {
  const node_view n(w);
  const node_header& h = n.node();
  u32 lowest = n.payload_end(), items = own_prefix_bytes(n);
  const auto item = [&](u32 offset, u32 length) {
    if (length) lowest = std::min(lowest, offset);
  };
  item(h.low_offset, h.low_length);
  item(h.high_offset, h.high_length);
  item(h.prefix_offset, h.prefix_length);
  items += occupied(n.size(), h.low_length) + occupied(n.size(), h.high_length);
  const u32 slack = wanted_front_slack(n.size(), lowest - slot_area_begin, 0, 0);
  put_extent(w, slot_area_begin + slack, 0, lowest);
  put_garbage(w, n.payload_end() - lowest - items);
}

u32 bytes_with_prefix(const node_view& n, u32 prefix_length) {
  const node_header& h = n.node();
  u32 sum = occupied(n.size(), h.low_length) + occupied(n.size(), h.high_length);
  for (u32 i = 0; i < n.count(); ++i) {
    const parsed r = parse_at(n, i);
    sum += slot_unit + occupied(n.size(), record_bytes(n, suffix_length(n, r, i, prefix_length),
                                                       r.value_length));
  }
  return sum;
}

}  // namespace detail
}  // namespace pleach::btree
