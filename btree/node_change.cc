// Changes of one node: records, children, fences. Each announces exactly the bytes that it changes.
#include <algorithm>

#include "be/base/planted.hh"
#include "be/page.hh"
#include "btree/node_fixed.hh"
#include "btree/node_layout.hh"

namespace pleach::btree {

using namespace detail;

namespace {

/// The value as it is stored, in two pieces.
struct stored_value {
  cbytes value, attached;
  u32 size() const { return static_cast<u32>(value.size() + attached.size()); }
};

void put_record(page_writer w, u32 offset, cbytes suffix, u8 key_flags, u8 value_flags,
                const stored_value& value) {
  const u32 flags = flag_bytes(node_view(w));
  const u32 key_length = static_cast<u32>(suffix.size());
  const u32 value_length = value.size();
  const u32 length = record_bytes(key_length, value_length, flags);
  const u32 announced = PLEACH_PLANTED("capture_length_minus_one") ? length - 1 : length;
  std::byte* p = put_flags(w.writable(offset, announced), flags, key_flags, value_flags);
  p = put_varint(put_varint(p, key_length), value_length);
  put_bytes(put_bytes(put_bytes(p, suffix), value.value), value.attached);
}

void put_slot(page_writer w, u32 offset_in_page, u32 record, u32 head) {
  w.put_le<u32>(offset_in_page, record >> unit_shift(w.size()) | head << 16);
}

/// `place`: what find_place said, 0 if nobody asked it yet.
void insert_record(page_writer w, u32 index, cbytes suffix, u8 key_flags, u8 value_flags,
                   const stored_value& value, u32 place) {
  const node_view n(w);
  const u32 count = n.count();
  const u32 length = record_bytes(n, static_cast<u32>(suffix.size()), value.size());
  const u32 heap_need = occupied(n.size(), length);
  if (place == 0) place = find_place(n, heap_need, slot_unit);
  PLEACH_ASSERT(index <= count && count < max_records && place != 0);
  const bool in_hole = place >= n.node().heap_begin;
  const u32 gap_need = in_hole ? 0 : heap_need;
  const bool front = front_slack(n) >= slot_unit && gap(n) >= gap_need;
  const bool back = gap(n) >= gap_need + slot_unit;
  if (!front && !back) slide(w, gap_need + slot_unit);

  const u32 begin = u32{n.node().slot_begin} * slot_unit;
  const bool to_front = front && (!back || index < count - index);
  const u32 new_begin = to_front ? begin - slot_unit : begin;
  const u32 slot_at = new_begin + index * slot_unit;
  if (to_front)
    w.move(new_begin, begin, index * slot_unit);
  else
    w.move(slot_at + slot_unit, slot_at, (count - index) * slot_unit);

  put_record(w, place, suffix, key_flags, value_flags, value);
  put_slot(w, slot_at, place,
           stored_head(n.shape().flags, suffix.data(), static_cast<u32>(suffix.size())));
  const u32 heap_begin = in_hole ? u32{n.node().heap_begin} : place;
  if (PLEACH_PLANTED("capture_misses_header")) {
    node_header& h = const_cast<node_header&>(n.node());
    h.slot_begin = static_cast<u16>(new_begin / slot_unit);
    h.count = static_cast<u16>(count + 1);
    h.heap_begin = heap_begin;
    if (in_hole) h.garbage = h.garbage - heap_need;
    return;
  }
  put_extent(w, new_begin, count + 1, heap_begin);
  if (in_hole) put_garbage(w, n.node().garbage - heap_need);
}

/// Puts a record of at most the same occupied size where the old one lies. `suffix` may be the old
/// one.
void rewrite_record(page_writer w, u32 offset, cbytes suffix, u8 key_flags, u8 value_flags,
                    const stored_value& value) {
  const node_view n(w);
  const parsed old = parse(n.base() + offset, flag_bytes(n));
  const u32 key_length = static_cast<u32>(suffix.size());
  const u32 before = occupied(n.size(), old.bytes());
  const u32 after = occupied(n.size(), record_bytes(n, key_length, value.size()));
  PLEACH_ASSERT(after <= before);
  std::byte start[12];
  const std::byte* const end =
      put_varint(put_varint(put_flags(start, old.flag_bytes, key_flags, value_flags), key_length),
                 value.size());
  const u32 start_length = static_cast<u32>(end - start);
  std::byte key[max_stored_key_bytes];
  if (!suffix.empty()) std::memcpy(key, suffix.data(), suffix.size());
  put_difference(w, offset, start, start_length);
  put_difference(w, offset + start_length, key, key_length);
  const u32 at = offset + start_length + key_length, length = static_cast<u32>(value.value.size());
  put_difference(w, at, value.value.data(), length);
  put_difference(w, at + length, value.attached.data(), static_cast<u32>(value.attached.size()));
  if (after != before) put_garbage(w, n.node().garbage + before - after);
}

}  // namespace

void format_node(page_writer w, page_addr addr, u64 store_id, tree_id_t tree, generation_t gen,
                 u8 level, cbytes low, cbytes high, bool has_high, cbytes prefix,
                 record_shape shape, u16 slotted_format, bool aggregated) {
  const bool fixed_leaf = level == 0 && shape.fixed();
  const u16 format = fixed_leaf   ? node_format_fixed
                     : level == 0 ? slotted_format
                     : aggregated ? node_format_aggregated
                                  : node_format_slotted;
  std::byte* const p = w.writable(0, slot_area_begin);
  format_header({p, w.size()}, level == 0 ? page_kind::leaf : page_kind::inner, format, addr,
                store_id, tree, gen, level);
  if (fixed_leaf) return fixed::format(w, shape, low, high, has_high);
  put_shape(w, shape);
  const node_view n(w);
  write_new(w, {n.size(), n.payload_end(), level == 0, n.header().format, shape, low, high,
                has_high, prefix, nullptr, 0});
}

// --- room ---

room room_for_insert(const node_view& n, cbytes key, u32 value_length, u32 attached, u32* place,
                     u32 near) {
  if (n.fixed()) return n.count() < fixed::row(n).places ? room::NOW : room::NONE;
  if (n.count() >= max_records) return room::NONE;
  const bool must_convert = attached != 0 && n.old_version();
  value_length += attached;
  const u32 key_length = static_cast<u32>(key.size());
  const cbytes prefix = n.prefix();
  if (shares_prefix(key, prefix)) [[likely]] {
    const u32 length = record_bytes(n, key_length - static_cast<u32>(prefix.size()), value_length);
    const u32 need = occupied(n.size(), length);
    if (n.free_bytes() < need + slot_unit) return room::NONE;
    const u32 at = must_convert ? 0 : find_place(n, need, slot_unit, near);
    if (place != nullptr) *place = at;
    return at != 0 ? room::NOW : room::AFTER_COMPACTION;
  }
  const cbytes low = n.low_fence();
  const u32 shared = fence_prefix(low, n.high_fence(), n.has_high_fence());
  const u32 cut = common_prefix(low.first(shared), key);
  const u32 need = slot_unit + occupied(n.size(), record_bytes(n, key_length - cut, value_length));
  return bytes_with_prefix(n, cut) + need <= n.payload_end() - slot_area_begin
             ? room::AFTER_COMPACTION
             : room::NONE;
}

room room_for_replace(const node_view& n, u32 index, u32 value_length, u32 attached) {
  if (n.fixed()) return room::NOW;
  const parsed old = parse_at(n, index);
  const u32 before = occupied(n.size(), old.bytes());
  const u32 after = occupied(n.size(), record_bytes(n, old.key_length, value_length + attached));
  if (attached != 0 && n.old_version())
    return after <= before || n.free_bytes() >= after ? room::AFTER_COMPACTION : room::NONE;
  if (after <= before) return room::NOW;
  const bool lowest = record_offset(n, index) == n.node().heap_begin;
  if (lowest && front_slack(n) + gap(n) + before >= after) return room::NOW;
  if (find_place(n, after, 0) != 0) return room::NOW;
  return n.free_bytes() >= after ? room::AFTER_COMPACTION : room::NONE;
}

room room_for_fence(const node_view& n, u32 new_length, bool high) {
  if (n.fixed()) return new_length <= n.node().key_bytes ? room::NOW : room::NONE;
  const node_header& h = n.node();
  const u32 before = occupied(n.size(), high ? h.high_length : h.low_length);
  const u32 after = occupied(n.size(), new_length);
  const bool carries_prefix = !high && shares_low(h);
  if (after <= before && !carries_prefix) return room::NOW;
  if (after == 0 || find_place(n, after, 0) != 0) return room::NOW;
  const u32 prefix = carries_prefix ? occupied(n.size(), h.prefix_length) : 0;
  return n.used_bytes() - before + after + prefix <= n.payload_end() - slot_area_begin
             ? room::AFTER_COMPACTION
             : room::NONE;
}

// --- records ---

void insert_at(page_writer w, u32 index, cbytes key, u8 key_flags, u8 value_flags, cbytes value,
               cbytes attached, u32 place) {
  const node_view n(w);
  if (n.fixed()) return fixed::insert(w, index, key, value);
  PLEACH_ASSERT(shares_prefix(key, n.prefix()) && (attached.empty() || !n.old_version()));
  insert_record(w, index, key.subspan(n.node().prefix_length), key_flags, value_flags,
                {value, attached}, place);
}

void replace_value(page_writer w, u32 index, u8 key_flags, u8 value_flags, cbytes value,
                   cbytes attached) {
  const node_view n(w);
  if (n.fixed()) return fixed::replace(w, index, value);
  PLEACH_ASSERT(index < n.count() && (attached.empty() || !n.old_version()));
  const u32 offset = record_offset(n, index);
  const parsed old = parse_at(n, index);
  const stored_value stored{value, attached};
  const u32 before = occupied(n.size(), old.bytes());
  const u32 after = occupied(n.size(), record_bytes(n, old.key_length, stored.size()));
  if (after <= before) {
    rewrite_record(w, offset, span_of(old.key, old.key_length), key_flags, value_flags, stored);
    return;
  }
  std::byte key[max_stored_key_bytes];
  std::memcpy(key, old.key, old.key_length);
  const cbytes suffix = span_of(key, old.key_length);
  u32 heap_begin = n.node().heap_begin, garbage = n.node().garbage, place;
  if (offset == heap_begin && front_slack(n) + gap(n) + before >= after) {
    heap_begin += before;
    place = heap_begin - after;
  } else {
    place = find_place(n, after, 0);
    garbage += before - (place >= heap_begin ? after : 0);
  }
  PLEACH_ASSERT(place != 0);
  if (place < heap_begin) {
    put_extent(w, u32{n.node().slot_begin} * slot_unit, n.count(), heap_begin);
    slide(w, after);
    heap_begin = place;
  }
  const u32 begin = u32{n.node().slot_begin} * slot_unit;
  put_record(w, place, suffix, key_flags, value_flags, stored);
  put_slot(w, begin + index * slot_unit, place, stored_head(n.shape().flags, key, old.key_length));
  if (heap_begin != n.node().heap_begin) put_extent(w, begin, n.count(), heap_begin);
  if (garbage != n.node().garbage) put_garbage(w, garbage);
}

void erase_at(page_writer w, u32 index) {
  const node_view n(w);
  if (n.fixed()) return fixed::erase(w, index);
  const u32 count = n.count();
  PLEACH_ASSERT(index < count);
  if (count == 1) return reset_heap(w);
  const u32 offset = record_offset(n, index);
  const u32 before = occupied(n.size(), parse_at(n, index).bytes());
  const u32 begin = u32{n.node().slot_begin} * slot_unit, behind = count - 1 - index;
  const bool from_front = index < behind && begin < max_slot_begin;
  const u32 slot_at = begin + index * slot_unit;
  if (from_front)
    w.move(begin + slot_unit, begin, index * slot_unit);
  else
    w.move(slot_at, slot_at + slot_unit, behind * slot_unit);
  const bool lowest = offset == n.node().heap_begin;
  if (!lowest) put_garbage(w, n.node().garbage + before);
  put_extent(w, from_front ? begin + slot_unit : begin, count - 1,
             lowest ? offset + before : u32{n.node().heap_begin});
}

bool shorten_prefix(page_writer w, u32 length, u32 spare, bytes scratch) {
  const node_view n(w);
  PLEACH_ASSERT(!n.fixed() && length < n.prefix().size());
  if (bytes_with_prefix(n, length) + spare > n.payload_end() - slot_area_begin) return false;
  const part whole{n, 0, n.count()};
  blueprint b = blueprint_of(n, &whole);
  b.prefix = n.low_fence().first(length);
  rewrite(w, b, scratch);
  return true;
}

// --- children ---

namespace {
struct child_value {
  child_reference child;
  child_aggregate sum;
};
static_assert(sizeof(child_value) == sizeof(child_reference) + sizeof(child_aggregate));
}  // namespace

void insert_child(page_writer w, u32 index, cbytes separator, page_ref child,
                  const aggregate& sum) {
  const node_view n(w);
  PLEACH_ASSERT(!n.is_leaf() && (index > 0 || n.count() == 0));
  const child_value value{{child.addr.raw, child.gen},
                          {sum.count, sum.digest_low, sum.digest_high}};
  const cbytes raw = {reinterpret_cast<const std::byte*>(&value), n.child_bytes()};
  if (index == 0) return insert_record(w, 0, {}, 0, 0, {raw, {}}, 0);
  insert_at(w, index, separator, 0, 0, raw);
}

void set_child(page_writer w, u32 index, page_ref child) {
  const node_view n(w);
  PLEACH_ASSERT(!n.is_leaf() && index < n.count());
  const child_reference value{child.addr.raw, child.gen};
  const u32 at = static_cast<u32>(parse_at(n, index).value - n.base());
  put_difference(w, at, reinterpret_cast<const std::byte*>(&value), sizeof value);
}

void set_child_sum(page_writer w, u32 index, const aggregate& sum) {
  const node_view n(w);
  PLEACH_ASSERT(n.aggregated() && index < n.count());
  const child_aggregate value{sum.count, sum.digest_low, sum.digest_high};
  const u32 at = static_cast<u32>(parse_at(n, index).value - n.base()) + sizeof(child_reference);
  put_difference(w, at, reinterpret_cast<const std::byte*>(&value), sizeof value);
}

void erase_child(page_writer w, u32 index) {
  const node_view n(w);
  PLEACH_ASSERT(!n.is_leaf());
  erase_at(w, index);
  if (index != 0 || n.count() == 0) return;
  const u32 offset = record_offset(n, 0);
  const parsed first = parse_at(n, 0);
  std::byte value[sizeof(child_value)];
  std::memcpy(value, first.value, first.value_length);
  rewrite_record(w, offset, {}, 0, 0, {{value, first.value_length}, {}});
  put_slot(w, u32{n.node().slot_begin} * slot_unit, offset, 0);
}

// --- links, fences ---

void set_right_hint(page_writer w, page_ref right) {
  std::byte raw[12];
  store_le<u64>(raw, right.addr.raw);
  store_le<u32>(raw + 8, right.gen);
  put_difference(w, node_header_offset + offsetof(node_header, right_addr), raw, sizeof raw);
}

namespace {

/// Where the header keeps a fence.
struct fence_fields {
  u32 offset_at;
  u32 length_at;
};
constexpr fence_fields low_fields = {node_header_offset + offsetof(node_header, low_offset),
                                     node_header_offset + offsetof(node_header, low_length)};
constexpr fence_fields high_fields = {node_header_offset + offsetof(node_header, high_offset),
                                      node_header_offset + offsetof(node_header, high_length)};

/// Puts a fence without a rewrite. `kept`: bytes of the old fence that stay in use (it carries the
/// prefix).
/// RETURNS: false if there is no room now; nothing has changed then.
bool put_fence(page_writer w, const fence_fields& f, cbytes fence, bool in_place, u32 kept) {
  const node_view n(w);
  const u32 before = occupied(n.size(), load_le<u16>(n.base() + f.length_at));
  const u32 length = static_cast<u32>(fence.size()), after = occupied(n.size(), length);
  u32 garbage = n.node().garbage;
  if (in_place && after <= before) {
    put_difference(w, load_le<u32>(n.base() + f.offset_at), fence.data(), length);
    garbage += before - after;
    if (length == 0) w.put_le<u32>(f.offset_at, 0);
  } else {
    const u32 offset = length ? find_place(n, after, 0) : 0;
    if (length != 0 && offset == 0) return false;
    garbage += before - kept;
    if (length != 0 && offset < n.node().heap_begin) {
      slide(w, after);
      put_extent(w, u32{n.node().slot_begin} * slot_unit, n.count(), offset);
    } else {
      garbage -= after;
    }
    if (length) w.put(offset, fence.data(), length);
    w.put_le<u32>(f.offset_at, offset);
  }
  if (garbage != n.node().garbage) put_garbage(w, garbage);
  w.put_le<u16>(f.length_at, static_cast<u16>(length));
  return true;
}

}  // namespace

void set_high_fence(page_writer w, cbytes high, bool has_high, bytes scratch) {
  if (PLEACH_PLANTED("fence_not_widened")) return;
  const node_view n(w);
  if (n.fixed()) return fixed::set_high_fence(w, high, has_high);
  if (put_fence(w, high_fields, has_high ? high : cbytes{}, true, 0)) {
    const u16 flags = flags_of(n.shape(), has_high);
    if (n.node().node_flags != flags)
      w.put_le<u16>(node_header_offset + offsetof(node_header, node_flags), flags);
    return;
  }
  const part whole{n, 0, n.count()};
  blueprint b = blueprint_of(n, &whole);
  b.high = high;
  b.has_high = has_high;
  choose_prefix(b, n.prefix(), nullptr, 0);
  rewrite(w, b, scratch);
}

void set_low_fence(page_writer w, cbytes low, bytes scratch) {
  const node_view n(w);
  if (n.fixed()) return fixed::set_low_fence(w, low);
  const bool carries = shares_low(n.node());
  // In place only if the prefix, which may lie inside the old fence, survives.
  const bool in_place = !carries || starts_with(low, n.prefix());
  const u32 kept = carries ? occupied(n.size(), n.node().prefix_length) : 0;
  if (put_fence(w, low_fields, low, in_place, kept)) return;
  const part whole{n, 0, n.count()};
  blueprint b = blueprint_of(n, &whole);
  b.low = low;
  choose_prefix(b, n.prefix(), nullptr, 0);
  rewrite(w, b, scratch);
}

u64 value_bytes_of(const record& r) {
  if (!(r.value_flags & VALUE_INDIRECT)) return r.value.size();
  value_reference ref;
  std::memcpy(&ref, r.value.data(), sizeof ref);
  return ref.length;
}

void add_to_counts(page_writer root, i64 records, i64 bytes) {
  const node_view n(root);
  const u64 r = n.node().record_count + static_cast<u64>(records);
  const u64 b = n.node().byte_count + static_cast<u64>(bytes);
  root.put_le<u64>(node_header_offset + offsetof(node_header, record_count), r);
  root.put_le<u64>(node_header_offset + offsetof(node_header, byte_count), b);
}

void make_empty_leaf(page_writer w, convert c) {
  const node_view n(w);
  if (!n.is_leaf()) {
    w.put_le<u16>(offsetof(page_header, kind), static_cast<u16>(page_kind::leaf));
    w.put_le<u8>(offsetof(page_header, level), 0);
    if (n.aggregated()) w.put_le<u16>(offsetof(page_header, format), node_format_slotted);
  }
  if (!n.shape().fixed()) {
    const bool newer = c == convert::YES || n.header().format == node_format_slotted_2;
    put_format(w, newer ? node_format_slotted_2 : node_format_slotted);
    return reset_heap(w);
  }
  // The fences are copied: those of an inner node stand where they will not be looked for.
  std::byte low[max_stored_key_bytes], high[max_stored_key_bytes];
  const cbytes l = n.low_fence(), h = n.high_fence();
  const bool has_high = n.has_high_fence();
  put_bytes(low, l);
  put_bytes(high, h);
  const cbytes low_copy = span_of(low, static_cast<u32>(l.size()));
  const cbytes high_copy = span_of(high, static_cast<u32>(h.size()));
  w.put_le<u16>(offsetof(page_header, format), node_format_fixed);
  fixed::format(w, n.shape(), low_copy, high_copy, has_high);
}

}  // namespace pleach::btree
