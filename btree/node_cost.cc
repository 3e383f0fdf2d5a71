// Bounds of what changes capture. See node_cost.hh; each function stands beside the change that it
// bounds in node_change.cc, node_split.cc and node_fixed.cc, and must be changed with it.
#include "btree/node_cost.hh"

#include <algorithm>

#include "btree/node_fixed.hh"

namespace pleach::btree {

using namespace detail;

namespace {

/// Page header and node header of a node that is made anew.
constexpr u64 new_headers = slot_area_begin;
/// Header words of a node whose fence, prefix and hint change.
constexpr u64 old_headers = sizeof(node_header) - 16;

/// Varints of a run: granules since the last one, and its own.
u64 run_cost(const node_view& n, u64 length) {
  return (n.size() <= 128u << 10 ? 2u : 3u) +
         varint_bytes(static_cast<u32>(length / capture_granule_bytes));
}
u64 stretch_at(const node_view& n, u64 offset, u64 length) {
  const u64 begin = offset & ~u64{capture_granule_bytes - 1};
  const u64 bytes = round_up(offset + length, u64{capture_granule_bytes}) - begin;
  return bytes + run_cost(n, bytes);
}

/// What a stretch costs beside its own bytes: the granules at its ends and its run's header.
u64 ends_cost(const node_view& n) {
  return 2 * (capture_granule_bytes - 1) + run_cost(n, n.size());
}

/// Bytes by which records grow if the prefix has to be cut anew (fences were widened since).
u64 prefix_growth(const node_view& n) {
  const u32 stored = static_cast<u32>(n.prefix().size());
  const u32 shared = fence_prefix(n.low_fence(), n.high_fence(), n.has_high_fence());
  // A length may need a longer varint.
  return stored > shared ? u64{stored - shared + heap_unit(n.size())} * (n.count() + 1) : 0;
}

/// The format in the page header, which no other change of a node comes near.
u64 format_cost(const node_view& n) {
  return n.old_version() ? stretch_cost(n, sizeof(u16)) : 0;
}

/// A part of a leaf of format 2.
class row_cost {
 public:
  explicit row_cost(const node_view& n) : n_(n), r_(n) {}

  /// `segments` give one record each to the next, `records` move within one.
  u64 moves(u32 segments, u32 records) const {
    u64 sum = segments * (column(1, r_.key_bytes) + column(1, r_.value_bytes));
    if (segments != 0) sum += stretch_cost(n_, segments);
    // A turned segment wraps once, so both columns are in two pieces at most.
    return sum + 2 * (column(records, r_.key_bytes) + column(records, r_.value_bytes));
  }
  u64 insert(u32 index) const {
    const bool to_front = r_.back() == 0 || (r_.front != 0 && index < r_.count - index);
    u32 place = r_.front + index;
    u32 crossed, within;
    if (to_front) {
      const u32 begin = r_.front - 1, first = r_.segment(begin), last = r_.segment(--place);
      crossed = last - first;
      within = place - (crossed == 0 ? begin : r_.first(last));
    } else {
      const u32 first = r_.segment(place), last = r_.segment(r_.end());
      crossed = last - first;
      within = (crossed == 0 ? r_.end() : r_.first(first + 1) - 1) - place;
    }
    return whole(crossed, within + 1);
  }
  u64 erase(u32 index) const {
    const u32 place = r_.front + index, at = r_.segment(place);
    u32 crossed, within;
    if (index < r_.count - 1 - index) {
      const u32 first = r_.segment(r_.front);
      crossed = at - first;
      within = place - (crossed == 0 ? r_.front : r_.first(at));
    } else {
      const u32 last = r_.segment(r_.end() - 1);
      crossed = last - at;
      within = (crossed == 0 ? r_.end() : r_.first(at + 1)) - (place + 1);
    }
    return whole(crossed, within);
  }
  /// Of a row to which `others` more came or went.
  u64 any(u32 index, u32 others) const {
    const bool both = r_.front > others && r_.back() > others;
    const u32 near = std::min(index, r_.count - index), far = std::max(index, r_.count - index);
    const u32 segment = 1u << r_.shift;
    return whole(((both ? near : far) + others) / segment + 2, segment + 1);
  }
  /// Records as they stand in a row without turns, with its turns and fences.
  u64 new_row(u32 records) const {
    return 2 * stretch_cost(n_, 2 * r_.key_bytes) + stretch_cost(n_, r_.keys_begin) +
           column(records, r_.key_bytes) + column(records, r_.value_bytes);
  }
  const fixed::row& row() const { return r_; }

 private:
  u64 column(u64 records, u64 length) const {
    const u64 bytes = records * length;
    if (bytes == 0) return 0;
    const bool aligned = r_.key_bytes % 8 == 0 && r_.value_bytes % 8 == 0;
    return aligned ? bytes + run_cost(n_, bytes) : stretch_cost(n_, bytes);
  }
  /// The two pieces share the records of one segment.
  u64 whole(u32 crossed, u32 within) const {
    const u64 once = moves(crossed, within);
    const u64 twice = u64{within} * r_.record_bytes();
    return stretch_at(n_, node_header_offset, 4) + once - twice;
  }

  const node_view& n_;
  const fixed::row r_;
};

/// Slots of `moved` records and the new one; of all of them if the array has to slide first.
u64 slots_cost(const node_view& n, u32 index, u32 gap_need) {
  const u32 count = n.count();
  const bool front = front_slack(n) >= slot_unit && gap(n) >= gap_need;
  const bool back = gap(n) >= gap_need + slot_unit;
  if (!front && !back) return stretch_cost(n, (u64{count} + 2) * slot_unit);
  const u32 begin = u32{n.node().slot_begin} * slot_unit;
  if (front && (!back || index < count - index))
    return stretch_at(n, begin - slot_unit, (u64{index} + 1) * slot_unit);
  return stretch_at(n, begin + index * slot_unit, (u64{count - index} + 1) * slot_unit);
}

}  // namespace

u64 stretch_cost(const node_view& n, u64 length) {
  return stretch_at(n, capture_granule_bytes - 1, length);
}

u64 header_cost(const node_view& n) {
  return stretch_at(n, node_header_offset, 12);
}

u32 stored_bytes(const node_view& n, u32 key_suffix_length, u32 value_length) {
  return detail::record_bytes(n, key_suffix_length, value_length);
}

u64 insert_cost(const node_view& n, u32 index, u32 length, u32 place) {
  if (n.fixed()) return row_cost(n).insert(index);
  const bool in_hole = place >= n.node().heap_begin;
  return header_cost(n) + slots_cost(n, index, in_hole ? 0 : occupied(n.size(), length)) +
         stretch_at(n, place, length);
}

bool growth_takes_slack(const node_view& n, u32 index, u32 value_length, u64 bytes) {
  if (n.fixed()) return false;
  const parsed old = parse_at(n, index);
  const u32 before = occupied(n.size(), old.bytes());
  const u32 after = occupied(n.size(), stored_bytes(n, old.key_length, value_length));
  return after > before && u64{front_slack(n)} + gap(n) < after - before + bytes;
}

u64 replace_cost(const node_view& n, u32 index, u32 value_length) {
  if (n.fixed()) {
    const fixed::row r(n);
    return stretch_at(n, r.value_offset(r.cell(r.front + index)), r.value_bytes);
  }
  const parsed old = parse_at(n, index);
  const u32 length = stored_bytes(n, old.key_length, value_length);
  const u32 offset = record_offset(n, index);
  if (occupied(n.size(), length) > occupied(n.size(), old.bytes())) {
    // Elsewhere; the slots may have to slide for it.
    const bool slides = gap(n) < occupied(n.size(), length);
    return header_cost(n) + stretch_cost(n, length) +
           (slides ? stretch_cost(n, u64{n.count()} * slot_unit) : stretch_cost(n, slot_unit));
  }
  // Where it is: flags and lengths, the key if the length of the value's length changes, the value.
  const u64 start = old.value_length == value_length ? 1 : length - value_length;
  const u64 value = stretch_at(n, offset + length - value_length, value_length);
  return value + stretch_at(n, offset, start + 1) +
         (occupied(n.size(), length) == occupied(n.size(), old.bytes()) ? 0 : header_cost(n));
}

u64 erase_cost(const node_view& n, u32 index) {
  if (n.fixed()) return row_cost(n).erase(index);
  const u32 count = n.count(), behind = count - 1 - index;
  const u32 begin = u32{n.node().slot_begin} * slot_unit;
  const bool from_front = index < behind && begin < max_slot_begin;
  return header_cost(n) + (from_front
                               ? stretch_at(n, begin + slot_unit, u64{index} * slot_unit)
                               : stretch_at(n, begin + index * slot_unit, u64{behind} * slot_unit));
}

u64 moved_cost(const node_view& n, u32 index, u32 others) {
  if (n.fixed()) return row_cost(n).any(index, others);
  const u32 count = n.count();
  const u32 room = (others + 1) * slot_unit;
  const bool both = front_slack(n) >= room && gap(n) >= room;
  const u32 near = std::min(index, count - index), far = std::max(index, count - index);
  return stretch_cost(n, (u64{both ? near : far} + others + 2) * slot_unit);
}

u64 changes_cost(const node_view& n, u32 changes, u32 placed, u64 added, u32 longest, u64 cost) {
  const u64 most = u64{n.size()} + n.size() / 8;
  const u64 first = header_cost(n) + stretch_cost(n, longest);
  if (n.fixed()) return std::min(most, header_cost(n) + cost + first + added + changes * 16);
  // Once below, and once more where the compaction puts it.
  if (placed != 0 && !places_for(n, longest, placed)) {
    const u64 bytes = added + longest + placed * n.prefix().size();
    return std::min(most, rewrite_cost(n, 2 * bytes + n.size() / 32));
  }
  const u64 records = added + u64{placed} * (ends_cost(n) + stretch_cost(n, slot_unit));
  const u64 array = (u64{n.count()} + placed + 2) * slot_unit;
  const u64 slots = std::min(stretch_cost(n, array) + first, cost);
  // When they slide they have been moved where they were, and will be where they are then.
  const bool slides = gap(n) < added + longest + (placed + 1) * slot_unit;
  const u64 anew = slides ? stretch_cost(n, array + n.size() / 64) : 0;
  return std::min(most, header_cost(n) + records + slots + anew);
}

u64 rewrite_cost(const node_view& n, u64 more) {
  const u64 most = u64{n.size()} + n.size() / 8;
  if (n.fixed()) return std::min(most, new_headers + row_cost(n).new_row(n.count()) + more);
  return std::min(most, old_headers + n.used_bytes() + prefix_growth(n) + more + format_cost(n) +
                            3 * ends_cost(n));
}

namespace {

u64 fixed_split_cost(const node_view& n, const split_point& at) {
  const row_cost r(n);
  const u32 moved = n.count() - at.index;
  const u32 half = std::max(at.index, moved);
  return 2 * new_headers + r.new_row(moved) + stretch_cost(n, r.row().key_bytes) +
         r.any(half / 2, half / 2) + 2 * stretch_cost(n, r.row().record_bytes());
}

}  // namespace

u64 split_cost(const node_view& n, const split_point& at, cbytes key, u32 value_length) {
  if (n.fixed()) return fixed_split_cost(n, at);
  const u64 page = u64{n.size()} + n.size() / 8;
  // The right node may take a shorter prefix, or the new record cut it anew.
  // Behind a run the left node stays as it is.
  const bool behind = at.in_run && at.insert_right && n.count() - at.index <= most_moved;
  if ((prefix_growth(n) != 0 && !behind) || !starts_with(key, n.prefix())) return 2 * page;
  const u32 prefix = n.node().prefix_length, count = n.count();
  const u32 record =
      occupied(n.size(), stored_bytes(n, static_cast<u32>(key.size()) - prefix, value_length));
  const u32 fence = occupied(n.size(), at.separator_length);
  u64 lower = 0, upper = 0;
  u32 for_record = 0, for_fence = 0;
  for (u32 i = 0; i < count; ++i) {
    const u32 bytes = occupied(n.size(), parse_at(n, i).bytes());
    (i < at.index ? lower : upper) += bytes + slot_unit;
    if (i < at.index) continue;
    for_record += bytes >= record;
    for_fence += bytes >= fence;
  }
  const u64 fences = u64{fence} + n.node().low_length + n.node().high_length +
                     3 * heap_unit(n.size()) + own_prefix_bytes(n);
  // The new record stands next to others that are new, or in the left node.
  u64 sum = new_headers + upper + fences + 3 * ends_cost(n) + old_headers +
            run_cost(n, old_headers) + stretch_cost(n, record) + 2 * stretch_cost(n, slot_unit);
  // The prefix that is guessed for the run may be wrong: then it is written twice.
  if (at.in_run) {
    const u64 few = behind ? upper + u64{count - at.index} * prefix : lower;
    sum += std::min(page, few + record + 2 * fences + 128);
  }
  const bool stays = keeps_places(n, at);
  // A record that moves away leaves a hole; the fence may take one, and only one.
  const bool fence_placed = fence <= occupied(n.size(), n.node().high_length) ||
                            front_slack(n) + gap(n) >= fence || for_fence >= 1;
  const bool record_placed = at.insert_right || for_record >= 2;
  if (stays && fence_placed)
    sum += stretch_cost(n, fence) + stretch_cost(n, (u64{at.index} + 2) * slot_unit);
  else
    sum += lower + fences + 3 * ends_cost(n);
  if (!record_placed) sum += std::min(page, lower + record + fences + 128);
  return std::min(2 * page, sum);
}

u64 merge_cost(const node_view& a, const node_view& b) {
  const u64 most = u64{a.size()} + a.size() / 8;
  if (a.fixed())
    return std::min(most, old_headers + row_cost(a).new_row(a.count() + b.count()) + 64);
  return std::min(most, old_headers + merged_bytes(a, b) + format_cost(a) + 4 * ends_cost(a));
}

u64 copy_cost(const node_view& n, u32 page_bytes) {
  const u64 most = u64{page_bytes} + page_bytes / 8;
  if (n.fixed()) return std::min(most, new_headers + row_cost(n).new_row(n.count()) + 64);
  const u64 units = u64{heap_unit(page_bytes) - heap_unit(n.size())} * n.count();
  return std::min(most, new_headers + n.used_bytes() + prefix_growth(n) + units + 4 * ends_cost(n));
}

}  // namespace pleach::btree
