// Blueprints: sizing and writing whole nodes. See node_layout.hh.
#include "btree/node_layout.hh"

#include "be/base/planted.hh"

namespace pleach::btree::detail {

namespace {

/// A record to write: its suffix in two pieces, since a shorter prefix gives bytes back to each
/// key.
struct piece {
  parsed source;
  cbytes first, second;
  u32 suffix_length() const { return static_cast<u32>(first.size() + second.size()); }
};

template <class F>
void for_each_record(const blueprint& b, F&& f) {
  const std::size_t prefix = b.prefix.size();
  u32 written = 0;
  for (u32 p = 0; p < b.part_count; ++p) {
    const part& from = b.parts[p];
    const cbytes old_prefix = from.node.prefix();
    for (u32 i = from.begin; i < from.end; ++i, ++written) {
      piece r{parse_at(from.node, i), {}, {}};
      if (!b.leaf && written == 0) {
        // the first key of an inner node is empty
      } else if (from.first_key != nullptr && i == from.begin) {
        r.first = from.first_key->subspan(prefix);
      } else {
        const cbytes suffix = span_of(r.source.key, r.source.key_length);
        if (prefix < old_prefix.size()) {
          r.first = old_prefix.subspan(prefix);
          r.second = suffix;
        } else {
          r.first = suffix.subspan(prefix - old_prefix.size());
        }
      }
      f(r);
    }
  }
}

}  // namespace

u32 blueprint::count() const {
  u32 n = 0;
  for (u32 p = 0; p < part_count; ++p) n += parts[p].end - parts[p].begin;
  return n;
}

u32 blueprint::fence_bytes() const {
  return occupied(node_bytes, static_cast<u32>(low.size())) +
         (has_high ? occupied(node_bytes, static_cast<u32>(high.size())) : 0) +
         (starts_with(low, prefix) ? 0 : occupied(node_bytes, static_cast<u32>(prefix.size())));
}

u32 blueprint::total_bytes() const {
  u32 sum = fence_bytes();
  for_each_record(*this, [&](const piece& r) {
    sum += slot_unit + occupied(node_bytes, record_bytes(r.suffix_length(), r.source.value_length,
                                                         flag_bytes_of(format)));
  });
  return sum;
}

void choose_prefix(blueprint& b, cbytes stored, const cbytes* extra, u32 budget) {
  b.prefix = {};
  if (b.shape.flags & NO_PREFIX) return;
  u32 shared = fence_prefix(b.low, b.high, b.has_high);
  if (extra != nullptr) shared = std::min(shared, common_prefix(b.low.first(shared), *extra));
  b.prefix = b.low.first(shared);
  if (shared >= stored.size() || (extra != nullptr && !shares_prefix(*extra, stored))) return;
  const u32 with_shorter = b.total_bytes();
  if (with_shorter <= budget && with_shorter <= b.capacity()) return;
  b.prefix = stored;
  if (b.total_bytes() >= with_shorter) b.prefix = b.low.first(shared);
}

layout plan_layout(const blueprint& b) {
  const u32 count = b.count(), total = b.total_bytes();
  PLEACH_ASSERT(total <= b.capacity() && count <= max_records);
  const u32 heap = total - count * slot_unit;
  const u32 slack = wanted_front_slack(b.node_bytes, b.capacity() - total, count, heap);
  const u32 begin = slot_area_begin + slack;
  return {begin, begin + count * slot_unit, b.payload_end - heap};
}

void write_layout(std::byte* base, const blueprint& b, const layout& l) {
  const u32 shift = unit_shift(b.node_bytes), flags = flag_bytes_of(b.format);
  u32 heap = b.payload_end;
  const auto put_item = [&](cbytes item) -> u32 {
    if (item.empty()) return 0;
    heap -= occupied(b.node_bytes, static_cast<u32>(item.size()));
    put_bytes(base + heap, item);
    return heap;
  };
  node_header h{};
  h.low_offset = put_item(b.low);
  h.low_length = static_cast<u16>(b.low.size());
  if (b.has_high) {
    h.high_offset = put_item(b.high);
    h.high_length = static_cast<u16>(b.high.size());
  }
  h.node_flags = flags_of(b.shape, b.has_high);
  h.prefix_length = static_cast<u16>(b.prefix.size());
  if (!b.prefix.empty())
    h.prefix_offset = starts_with(b.low, b.prefix) ? u32{h.low_offset} : put_item(b.prefix);

  std::byte* s = base + l.slot_begin;
  u32 count = 0;
  for_each_record(b, [&](const piece& r) {
    const u32 key = r.suffix_length(), value = r.source.value_length;
    heap -= occupied(b.node_bytes, record_bytes(key, value, flags));
    u8 value_flags = r.source.value_flags();
    if (flags != r.source.flag_bytes && PLEACH_PLANTED("conversion_forgets_flags")) value_flags = 0;
    std::byte* p = put_flags(base + heap, flags, r.source.key_flags(), value_flags);
    std::byte* const suffix = put_varint(put_varint(p, key), value);
    p = put_bytes(put_bytes(suffix, r.first), r.second);
    put_bytes(p, span_of(r.source.value, value));
    store_le<u32>(s, heap >> shift | stored_head(b.shape.flags, suffix, key) << 16);
    s += slot_unit;
    ++count;
  });
  PLEACH_ASSERT(heap == l.heap_begin);
  h.slot_begin = static_cast<u16>(l.slot_begin / slot_unit);
  h.count = static_cast<u16>(count);
  h.heap_begin = heap;
  std::memcpy(base + node_header_offset, &h, offsetof(node_header, right_addr));
}

void write_new(page_writer w, const blueprint& b) {
  const layout l = plan_layout(b);
  w.writable(node_header_offset, offsetof(node_header, right_addr));
  w.writable(l.heap_begin, b.payload_end - l.heap_begin);
  std::byte* const base = w.writable(l.slot_begin, l.slot_end - l.slot_begin) - l.slot_begin;
  write_layout(base, b, l);
}

void put_format(page_writer w, u16 format) {
  if (node_view(w).header().format != format) w.put_le<u16>(offsetof(page_header, format), format);
}

u16 format_after(const node_view& n, convert c) {
  return c == convert::YES && n.old_version() ? node_format_slotted_2 : u16{n.header().format};
}

void rewrite(page_writer w, const blueprint& b, bytes scratch) {
  PLEACH_ASSERT(scratch.size() >= w.size());
  const layout l = plan_layout(b);
  // Bytes that nothing uses keep their old content: they need no capture.
  std::memcpy(scratch.data(), w.base(), w.size());
  write_layout(scratch.data(), b, l);
  put_format(w, b.format);  // not before the sources, which may be this page, have been read
  put_difference(w, node_header_offset, scratch.data() + node_header_offset,
                 w.size() - node_header_offset);
}

blueprint blueprint_of(const node_view& n, const part* whole) {
  return {n.size(),
          n.payload_end(),
          n.is_leaf(),
          n.header().format,
          n.shape(),
          n.low_fence(),
          n.has_high_fence() ? n.high_fence() : cbytes{},
          n.has_high_fence(),
          n.prefix(),
          whole,
          1};
}

}  // namespace pleach::btree::detail
