// Changes and checks of leaves with dense arrays. See node_fixed.hh.
#include "btree/node_fixed.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "be/page.hh"

namespace pleach::btree::fixed {

using namespace detail;

namespace {

/// A slide makes room at the wanted end if there are at least so many free places; with fewer it
/// would soon be needed again, and the longer side moves instead.
constexpr u32 slide_pays = 4;

/// Places before the first, count and heap begin: one capture granule.
void put_count(page_writer w, u32 front, u32 count) {
  std::byte* p = w.writable(node_header_offset, 4);
  store_le<u16>(p, static_cast<u16>(front));
  store_le<u16>(p + 2, static_cast<u16>(count));
}

/// Moves the records in `count` places from `place` on by `by` places.
void shift(page_writer w, const row& r, u32 place, u32 count, i32 by) {
  if (count == 0 || by == 0) return;
  const u32 to = static_cast<u32>(static_cast<i32>(place) + by);
  w.move(r.key_offset(to), r.key_offset(place), count * r.key_bytes);
  w.move(r.value_offset(to + count - 1), r.value_offset(place + count - 1), count * r.value_bytes);
}

void slide(page_writer w, u32 front) {
  const row r{node_view(w)};
  shift(w, r, r.front, r.count, static_cast<i32>(front) - static_cast<i32>(r.front));
  put_count(w, front, r.count);
}

/// Copies records [begin, end) of `from` to the places from `place` on of another page.
void put_records(page_writer w, const row& to, u32 place, const row& from, u32 begin, u32 end) {
  const u32 n = end - begin;
  if (n == 0) return;
  w.put(to.key_offset(place), from.key(begin), n * from.key_bytes);
  w.put(to.value_offset(place + n - 1), from.value(end - 1), n * from.value_bytes);
}

/// Everything of the node header up to the right hint. The page has its page header.
void put_header(page_writer w, record_shape s, u32 front, u32 count) {
  const u32 end = node_view(w).payload_end();
  node_header h{};
  h.slot_begin = static_cast<u16>(front);
  h.count = static_cast<u16>(count);
  h.heap_begin = end - 2u * s.key_bytes;
  h.node_flags = NO_HIGH_FENCE;
  w.put(node_header_offset, &h, offsetof(node_header, right_addr));
  put_shape(w, s);
}

struct fence {
  u32 length_at, offset_at, place;
};
fence low_fence_of(const node_view& n) {
  return {offsetof(node_header, low_length), offsetof(node_header, low_offset),
          n.payload_end() - n.node().key_bytes};
}
fence high_fence_of(const node_view& n) {
  return {offsetof(node_header, high_length), offsetof(node_header, high_offset),
          n.payload_end() - 2u * n.node().key_bytes};
}

template <class T>
void put_if_changed(page_writer w, u32 field, T value) {
  if (load_le<T>(w.base() + node_header_offset + field) != value)
    w.put_le<T>(node_header_offset + field, value);
}

void put_fence(page_writer w, const fence& f, cbytes key) {
  PLEACH_ASSERT(key.size() <= node_view(w).node().key_bytes);
  const u32 length = static_cast<u32>(key.size());
  if (length) put_difference(w, f.place, key.data(), length);
  put_if_changed<u16>(w, f.length_at, static_cast<u16>(length));
  put_if_changed<u32>(w, f.offset_at, length ? f.place : 0);
  const node_view n(w);
  const u32 shared = fence_prefix(n.low_fence(), n.high_fence(), n.has_high_fence());
  put_if_changed<u16>(w, offsetof(node_header, prefix_length), static_cast<u16>(shared));
}

u32 half_of_free(const row& r, u32 count) {
  return (r.places() - count) / 2;
}

}  // namespace

u32 used_bytes(const node_view& n) {
  const row r(n);
  return r.count * r.record_bytes() + 2 * r.key_bytes;
}

void format(page_writer w, record_shape s, cbytes low, cbytes high, bool has_high) {
  put_header(w, s, 0, 0);
  set_low_fence(w, low);
  set_high_fence(w, high, has_high);
}

void set_low_fence(page_writer w, cbytes low) {
  put_fence(w, low_fence_of(node_view(w)), low);
}

void set_high_fence(page_writer w, cbytes high, bool has_high) {
  put_if_changed<u16>(w, offsetof(node_header, node_flags), has_high ? 0 : NO_HIGH_FENCE);
  put_fence(w, high_fence_of(node_view(w)), has_high ? high : cbytes{});
}

void insert(page_writer w, u32 index, cbytes key, cbytes value) {
  row r{node_view(w)};
  PLEACH_ASSERT(index <= r.count && r.count < r.places());
  PLEACH_ASSERT(key.size() == r.key_bytes && value.size() == r.value_bytes);
  const u32 behind = r.count - index, free = r.places() - r.count;
  bool to_front = index < behind;
  if (to_front ? r.front == 0 : r.back() == 0) {
    if (free >= slide_pays || index == 0 || behind == 0) {
      // At an end only the room there is of use.
      const u32 front = behind == 0 && r.count != 0 ? 0 : index == 0 ? free : free / 2;
      slide(w, front);
      r = row{node_view(w)};
    } else {
      to_front = !to_front;
    }
  }
  if (to_front)
    shift(w, r, r.front, index, -1);
  else
    shift(w, r, r.front + index, behind, 1);
  const u32 front = to_front ? r.front - 1 : r.front, place = front + index;
  const u32 announced = PLEACH_PLANTED("capture_length_minus_one") && r.value_bytes > 8
                            ? r.value_bytes - 8
                            : r.value_bytes;
  w.put(r.key_offset(place), key.data(), r.key_bytes);
  std::memcpy(w.writable(r.value_offset(place), announced), value.data(), r.value_bytes);
  put_count(w, front, r.count + 1);
}

void replace(page_writer w, u32 index, cbytes value) {
  const row r{node_view(w)};
  PLEACH_ASSERT(index < r.count && value.size() == r.value_bytes);
  put_difference(w, r.value_offset(r.front + index), value.data(), r.value_bytes);
}

void erase(page_writer w, u32 index) {
  const row r{node_view(w)};
  PLEACH_ASSERT(index < r.count);
  const u32 behind = r.count - 1 - index;
  if (r.count == 1) return put_count(w, 0, 0);
  if (index < behind) {
    shift(w, r, r.front, index, 1);
    put_count(w, r.front + 1, r.count - 1);
  } else {
    shift(w, r, r.front + index + 1, behind, -1);
    put_count(w, r.front, r.count - 1);
  }
}

void compact(page_writer w) {
  const row r{node_view(w)};
  slide(w, half_of_free(r, r.count));
}

split_point choose_split(const node_view& n, cbytes key, u32 index, bool ascending) {
  const row r(n);
  if (r.count == 0) return {};
  const auto key_number = [&](u32 number) {
    return number == index ? key : span_of(r.key(number - (number > index)), r.key_bytes);
  };
  // `position` of the count + 1 records go left; each side holds at least one.
  const u32 all = r.count + 1;
  const auto index_of = [&](u32 position) { return position > index ? position - 1 : position; };
  u32 best = 0;
  if (ascending && index == r.count) {
    best = r.count;
  } else {
    // Near the middle (within 10 %) the shortest separator wins.
    const u32 middle = all / 2, reach = std::max(1u, all / 10);
    u32 best_length = ~0u;
    for (u32 d = 0; d <= reach; ++d)
      for (const u32 position : {middle - d, middle + d}) {
        if (position == 0 || position > r.count || index_of(position) == 0) continue;
        const u32 left = position, right = all - position;
        if (left > r.places() || right > r.places()) continue;
        const u32 length = static_cast<u32>(
            shortest_separator(key_number(position - 1), key_number(position)).size());
        if (length < best_length) {
          best = position;
          best_length = length;
        }
      }
  }
  if (best == 0) return {};
  const cbytes separator = shortest_separator(key_number(best - 1), key_number(best));
  split_point s{};
  s.index = index_of(best);
  s.insert_right = best <= index;
  s.separator_length = static_cast<u32>(separator.size());
  std::memcpy(s.separator, separator.data(), separator.size());
  return s;
}

void split(page_writer left, page_writer right, const split_point& at) {
  const node_view n(left);
  const row r(n);
  const cbytes separator = span_of(at.separator, at.separator_length);
  const u32 first = at.index + (PLEACH_PLANTED("split_drops_record") && at.index < r.count ? 1 : 0);
  const u32 moved = r.count - first;
  format(right, n.shape(), separator, n.has_high_fence() ? n.high_fence() : cbytes{},
         n.has_high_fence());
  const row to{node_view(right)};
  const u32 front = moved ? half_of_free(to, moved) : 0;  // none: the first of an ascending run
  put_records(right, to, front, r, first, r.count);
  put_count(right, front, moved);
  put_count(left, r.front, at.index);
  set_high_fence(left, separator, true);
}

void copy(const node_view& from, page_writer to) {
  const row r(from);
  format(to, from.shape(), from.low_fence(), from.has_high_fence() ? from.high_fence() : cbytes{},
         from.has_high_fence());
  const row t{node_view(to)};
  PLEACH_ASSERT(r.count <= t.places());
  // Growth for an ascending run: the room is wanted behind.
  const u32 front = r.front == 0 ? 0 : half_of_free(t, r.count);
  put_records(to, t, front, r, 0, r.count);
  put_count(to, front, r.count);
}

void merge(page_writer a, const node_view& b) {
  row r{node_view(a)};
  const row from(b);
  PLEACH_ASSERT(r.count + from.count <= r.places());
  if (r.back() < from.count) slide(a, half_of_free(r, r.count + from.count));
  r = row{node_view(a)};
  put_records(a, r, r.front + r.count, from, 0, from.count);
  put_count(a, r.front, r.count + from.count);
  if (PLEACH_PLANTED("fence_not_widened")) return;
  set_high_fence(a, b.has_high_fence() ? b.high_fence() : cbytes{}, b.has_high_fence());
}

const char* check(const node_view& n, u32 payload_end) {
  const node_header& h = n.node();
  const u32 key_bytes = h.key_bytes, value_bytes = h.value_bytes;
  if (key_bytes == 0 || key_bytes > max_fixed_key_bytes || value_bytes == 0) return "record shape";
  if (payload_end < slot_area_begin + 2 * key_bytes ||
      h.heap_begin != payload_end - 2 * key_bytes || h.garbage != 0)
    return "heap begin";
  const row r(n);
  const u32 places = r.places();
  // A vector of keys that begins in the last place ends in the page (node_fixed_search.cc).
  if (r.count != 0 && slot_area_begin + (places - 1) * key_bytes + 32 > n.size()) return "places";
  if (r.front > places || r.count > places - r.front) return "places";
  if ((h.node_flags & ~NO_HIGH_FENCE) != 0) return "node flags";
  if (h.low_length > key_bytes ||
      h.low_offset != (h.low_length ? payload_end - key_bytes : 0))
    return "low fence";
  if (h.high_length > key_bytes ||
      h.high_offset != (h.high_length ? payload_end - 2 * key_bytes : 0) ||
      (!n.has_high_fence() && h.high_length != 0))
    return "high fence";
  if (n.has_high_fence() && compare_keys(n.low_fence(), n.high_fence()) >= 0) return "fence order";
  if (h.prefix_offset != 0 ||
      h.prefix_length != fence_prefix(n.low_fence(), n.high_fence(), n.has_high_fence()))
    return "prefix";
  for (u32 i = 1; i < r.count; ++i)
    if (std::memcmp(r.key(i - 1), r.key(i), key_bytes) >= 0) return "key order";
  if (r.count == 0) return nullptr;
  if (compare_keys(span_of(r.key(0), key_bytes), n.low_fence()) < 0)
    return "key below the low fence";
  if (n.has_high_fence() &&
      compare_keys(span_of(r.key(r.count - 1), key_bytes), n.high_fence()) >= 0)
    return "key above the high fence";
  return nullptr;
}

}  // namespace pleach::btree::fixed
