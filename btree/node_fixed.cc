// Changes and checks of leaves of format 2. See node_fixed.hh.
#include "btree/node_fixed.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "be/page.hh"

namespace pleach::btree::fixed {

using namespace detail;

namespace {

struct geometry {
  u32 places;
  u32 shift;
};
/// F2. Segments grow with the row, so that the records of a segment and the segments of a row stay
/// in proportion.
geometry geometry_of(u32 payload_end, u32 key_bytes, u32 value_bytes) {
  const u32 area = payload_end - 2 * key_bytes - slot_area_begin;
  const u64 record = key_bytes + value_bytes;
  const u64 most = area / record;
  const u32 shift = most <= 192 ? 3 : most <= 2048 ? 4 : most <= 8192 ? 5 : 6;
  u32 places = static_cast<u32>((u64{area} << shift) / ((record << shift) + 1));
  while (places > 0 && row::turn_bytes(places, shift) + places * record > area) --places;
  return {places, shift};
}

/// Places before the first, and count.
void put_count(page_writer w, u32 front, u32 count) {
  std::byte* p = w.writable(node_header_offset, 4);
  store_le<u16>(p, static_cast<u16>(front));
  store_le<u16>(p + 2, static_cast<u16>(count));
}

/// Records of one leaf on the move. Whole records, by cell; turns.
class mover {
 public:
  explicit mover(page_writer w) : r(node_view(w)), w_(w) {}

  void put(u32 place, cbytes key, const std::byte* value) {
    const u32 c = r.cell(place);
    w_.put(r.key_offset(c), key.data(), r.key_bytes);
    w_.put(r.value_offset(c), value, r.value_bytes);
  }
  /// Place `to` becomes what `from` is.
  void carry(u32 to, u32 from) { move_cells(r.cell(to), r.cell(from), 1); }
  /// All of the segment goes one place up; what was in its last place is lost, its first is free.
  void turn_up(u32 segment) {
    const u32 t = r.turn(segment);
    put_turn(segment, t == 0 ? r.size(segment) - 1 : t - 1);
  }
  void turn_down(u32 segment) {
    const u32 t = r.turn(segment) + 1;
    put_turn(segment, t == r.size(segment) ? 0 : t);
  }
  /// Places [from, to) of one segment go one up.
  /// REQUIRES: `to` lies in the segment.
  void up(u32 from, u32 to) {
    if (from == to) return;
    const u32 s = r.segment(from), begin = r.first(s), end = begin + r.size(s);
    const u32 c = r.cell(from), n = to - from;
    if (c + n < end) return move_cells(c + 1, c, n);
    const u32 wrapped = c + n - end;
    move_cells(begin + 1, begin, wrapped);
    move_cells(begin, end - 1, 1);
    move_cells(c + 1, c, end - 1 - c);
  }
  /// Places [from, to) of one segment go one down.
  /// REQUIRES: `from` - 1 lies in the segment.
  void down(u32 from, u32 to) {
    if (from == to) return;
    const u32 s = r.segment(from), begin = r.first(s), end = begin + r.size(s);
    const u32 c = r.cell(from), n = to - from, straight = std::min(n, end - c);
    if (c == begin) {
      move_cells(end - 1, begin, 1);
      return move_cells(begin, begin + 1, n - 1);
    }
    move_cells(c - 1, c, straight);
    if (straight == n) return;
    move_cells(end - 1, begin, 1);
    move_cells(begin, begin + 1, n - straight - 1);
  }

  const row r;

 private:
  void move_cells(u32 to, u32 from, u32 n) {
    if (n == 0) return;
    w_.move(r.key_offset(to), r.key_offset(from), n * r.key_bytes);
    w_.move(r.value_offset(to + n - 1), r.value_offset(from + n - 1), n * r.value_bytes);
  }
  void put_turn(u32 segment, u32 turn) {
    w_.put_le<u8>(slot_area_begin + segment, static_cast<u8>(turn));
  }

  page_writer w_;
};

/// Copies records [begin, end) of `from` to the places from `place` on of a row without turns.
void write_records(std::byte* base, const row& to, u32 place, const row& from, u32 begin, u32 end) {
  for (; begin < end; ++begin, ++place) {
    std::memcpy(base + to.key_offset(place), from.key(begin), from.key_bytes);
    std::memcpy(base + to.value_offset(place), from.value(begin), from.value_bytes);
  }
}
/// The same into a page that was just formatted.
void put_records(page_writer w, u32 place, const row& from, u32 begin, u32 end) {
  const u32 n = end - begin;
  if (n == 0) return;
  const row to{node_view(w)};
  std::byte* const base = w.writable(to.key_offset(place), n * to.key_bytes) - to.key_offset(place);
  w.writable(to.value_offset(place + n - 1), n * to.value_bytes);
  write_records(base, to, place, from, begin, end);
}

/// Everything of the node header up to the right hint, for no records. The page has its page
/// header.
void put_header(page_writer w, record_shape s) {
  const u32 end = node_view(w).payload_end();
  const geometry g = geometry_of(end, s.key_bytes, s.value_bytes);
  node_header h{};
  h.garbage = g.places;
  h.prefix_offset = g.shift;
  h.heap_begin = end - 2u * s.key_bytes;
  h.node_flags = flags_of(s, false);
  w.put(node_header_offset, &h, offsetof(node_header, right_addr));
  const u32 turns = row::turn_bytes(g.places, g.shift);
  std::memset(w.writable(slot_area_begin, turns), 0, turns);
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
  return (r.places - count) / 2;
}

}  // namespace

u32 used_bytes(const node_view& n) {
  const row r(n);
  return n.payload_end() - slot_area_begin - (r.places - r.count) * r.record_bytes();
}

void format(page_writer w, record_shape s, cbytes low, cbytes high, bool has_high) {
  put_header(w, s);
  set_low_fence(w, low);
  set_high_fence(w, high, has_high);
}

void set_low_fence(page_writer w, cbytes low) {
  put_fence(w, low_fence_of(node_view(w)), low);
}

void set_high_fence(page_writer w, cbytes high, bool has_high) {
  put_if_changed<u16>(w, offsetof(node_header, node_flags),
                      flags_of(node_view(w).shape(), has_high));
  put_fence(w, high_fence_of(node_view(w)), has_high ? high : cbytes{});
}

void insert(page_writer w, u32 index, cbytes key, cbytes value) {
  mover m(w);
  const row& r = m.r;
  PLEACH_ASSERT(index <= r.count && r.count < r.places);
  PLEACH_ASSERT(key.size() == r.key_bytes && value.size() == r.value_bytes);
  const bool to_front = r.back() == 0 || (r.front != 0 && index < r.count - index);
  u32 place = r.front + index;
  if (to_front) {
    // [front, place) goes one down; the record takes what is free then.
    --place;
    const u32 begin = r.front - 1, first = r.segment(begin), last = r.segment(place);
    for (u32 s = first; s < last; ++s) {
      m.turn_down(s);
      m.carry(r.first(s) + r.size(s) - 1, r.first(s + 1));
    }
    m.down((first == last ? begin : r.first(last)) + 1, place + 1);
  } else {
    // [place, end) goes one up.
    const u32 first = r.segment(place), last = r.segment(r.end());
    for (u32 s = last; s > first; --s) {
      m.turn_up(s);
      m.carry(r.first(s), r.first(s) - 1);
    }
    m.up(place, first == last ? r.end() : r.first(first + 1) - 1);
  }
  m.put(place, key, value.data());
  if (PLEACH_PLANTED("capture_misses_header")) {
    const_cast<node_header&>(node_view(w).node()).count = static_cast<u16>(r.count + 1);
    return;
  }
  put_count(w, to_front ? r.front - 1 : r.front, r.count + 1);
}

void replace(page_writer w, u32 index, cbytes value) {
  const row r{node_view(w)};
  PLEACH_ASSERT(index < r.count && value.size() == r.value_bytes);
  put_difference(w, r.value_offset(r.cell(r.front + index)), value.data(), r.value_bytes);
}

void erase(page_writer w, u32 index) {
  mover m(w);
  const row& r = m.r;
  PLEACH_ASSERT(index < r.count);
  if (r.count == 1) return put_count(w, 0, 0);
  const u32 place = r.front + index, at = r.segment(place);
  if (index < r.count - 1 - index) {
    // [front, place) goes one up.
    const u32 first = r.segment(r.front);
    m.up(first == at ? r.front : r.first(at), place);
    for (u32 s = at; s > first; --s) {
      m.carry(r.first(s), r.first(s) - 1);
      m.turn_up(s - 1);
    }
    put_count(w, r.front + 1, r.count - 1);
  } else {
    // (place, end) goes one down.
    const u32 last = r.segment(r.end() - 1);
    m.down(place + 1, at == last ? r.end() : r.first(at + 1));
    for (u32 s = at; s < last; ++s) {
      m.carry(r.first(s + 1) - 1, r.first(s + 1));
      m.turn_down(s + 1);
    }
    put_count(w, r.front, r.count - 1);
  }
}

split_point choose_split(const node_view& n, cbytes key, u32 index, run_kind how) {
  const row r(n);
  if (r.count == 0) return {};
  const auto key_number = [&](u32 number) {
    return number == index ? key : span_of(r.key(number - (number > index)), r.key_bytes);
  };
  const auto separator_at = [&](u32 position) {
    const cbytes right = key_number(position);
    return n.truncates() ? shortest_separator(key_number(position - 1), right) : right;
  };
  // `position` of the count + 1 records go left; each side holds at least one.
  const u32 all = r.count + 1;
  const auto index_of = [&](u32 position) { return position > index ? position - 1 : position; };
  const auto at_run = [&]() -> u32 {
    if (how == run_kind::UP && index == r.count) return r.count;
    if (how == run_kind::DOWN && index == 0) return r.count > 1 ? 2 : 0;
    const u32 position = how == run_kind::UP ? index + 1 : index;
    const u32 of_run = how == run_kind::UP ? position : all - position;
    return position <= r.count && of_run >= r.places / 2 ? position : 0;
  };
  u32 best = how == run_kind::NONE ? 0 : at_run();
  const bool in_run = best != 0;
  if (!in_run) {
    // Near the middle (within 10 %) the shortest separator wins.
    const u32 middle = all / 2, reach = std::max(1u, all / 10);
    u32 best_length = ~0u;
    for (u32 d = 0; d <= reach; ++d)
      for (const u32 position : {middle - d, middle + d}) {
        if (position == 0 || position > r.count || index_of(position) == 0) continue;
        const u32 left = position, right = all - position;
        if (left > r.places || right > r.places) continue;
        const u32 length = static_cast<u32>(separator_at(position).size());
        if (length < best_length) {
          best = position;
          best_length = length;
        }
      }
  }
  if (best == 0) return {};
  const cbytes separator = separator_at(best);
  split_point s{};
  s.in_run = in_run;
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
  // None moved: the new record is the first of an ascending run.
  const u32 front = moved ? half_of_free(row{node_view(right)}, moved) : 0;
  put_records(right, front, r, first, r.count);
  put_count(right, front, moved);
  put_count(left, r.front, at.index);
  set_high_fence(left, separator, true);
}

void copy(const node_view& from, page_writer to) {
  const row r(from);
  format(to, from.shape(), from.low_fence(), from.has_high_fence() ? from.high_fence() : cbytes{},
         from.has_high_fence());
  const row t{node_view(to)};
  PLEACH_ASSERT(r.count <= t.places);
  // Growth for an ascending run: the room is wanted behind.
  const u32 front = r.front == 0 ? 0 : half_of_free(t, r.count);
  put_records(to, front, r, 0, r.count);
  put_count(to, front, r.count);
}

void merge(page_writer a, const node_view& b, bytes scratch) {
  mover m(a);
  const row& r = m.r;
  const row from(b);
  const u32 count = r.count + from.count;
  PLEACH_ASSERT(count <= r.places && scratch.size() >= a.size());
  if (r.back() >= from.count) {
    for (u32 i = 0; i < from.count; ++i)
      m.put(r.end() + i, span_of(from.key(i), from.key_bytes), from.value(i));
    put_count(a, r.front, count);
  } else {
    const u32 front = half_of_free(r, count);
    std::memcpy(scratch.data(), a.base(), a.size());
    std::memset(scratch.data() + slot_area_begin, 0, r.keys_begin - slot_area_begin);
    write_records(scratch.data(), r, front, r, 0, r.count);
    write_records(scratch.data(), r, front + r.count, from, 0, from.count);
    put_difference(a, slot_area_begin, scratch.data() + slot_area_begin,
                   r.values_end - slot_area_begin);
    put_count(a, front, count);
  }
  if (PLEACH_PLANTED("fence_not_widened")) return;
  set_high_fence(a, b.has_high_fence() ? b.high_fence() : cbytes{}, b.has_high_fence());
}

const char* check(const node_view& n, u32 payload_end) {
  const node_header& h = n.node();
  const u32 key_bytes = h.key_bytes, value_bytes = h.value_bytes;
  if (key_bytes == 0 || key_bytes > max_fixed_key_bytes || value_bytes == 0) return "record shape";
  if (payload_end < slot_area_begin + 2 * key_bytes || h.heap_begin != payload_end - 2 * key_bytes)
    return "heap begin";
  const geometry g = geometry_of(payload_end, key_bytes, value_bytes);
  if (h.garbage != g.places || h.prefix_offset != g.shift || g.places > max_fixed_places)
    return "places";
  const row r(n);
  if (r.front > r.places || r.count > r.places - r.front) return "places";
  // A vector of keys that begins in the last cell ends in the page (node_fixed_search.cc).
  if (r.count != 0 && r.key_offset(r.places - 1) + 32 > n.size()) return "places";
  const u32 segments = r.places == 0 ? 0 : r.segment(r.places - 1) + 1;
  for (u32 s = 0; s < segments; ++s)
    if (r.turn(s) >= r.size(s)) return "turn";
  if ((h.node_flags & ~(NO_HIGH_FENCE | NO_PREFIX | NO_TRUNCATION)) != 0) return "node flags";
  if (h.low_length > key_bytes || h.low_offset != (h.low_length ? payload_end - key_bytes : 0))
    return "low fence";
  if (h.high_length > key_bytes ||
      h.high_offset != (h.high_length ? payload_end - 2 * key_bytes : 0) ||
      (!n.has_high_fence() && h.high_length != 0))
    return "high fence";
  if (n.has_high_fence() && compare_keys(n.low_fence(), n.high_fence()) >= 0) return "fence order";
  if (h.prefix_length != fence_prefix(n.low_fence(), n.high_fence(), n.has_high_fence()))
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
