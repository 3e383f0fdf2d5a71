// Leaves of format 2: keys and values of fixed lengths in a row of turned segments
// (node_format.hh). The functions behind node.hh for such pages, called by node*.cc and nobody
// else.
//
// F1 front + count <= places; keys rise strictly with their places; every key begins with the
//    prefix of the fences.
// F2 places, segment size and heap_begin follow from page size and lengths alone.
// F3 a turn is less than the places of its segment.
// F4 a key that is sought may have any length; one that is inserted has exactly key_bytes.
#pragma once

#include <algorithm>

#include "btree/node_detail.hh"

namespace pleach::btree::fixed {

/// Where the records of a leaf stand. Built on the spot from the header.
struct row {
  explicit row(const node_view& n)
      : base(n.base()),
        key_bytes(n.node().key_bytes),
        value_bytes(n.node().value_bytes),
        front(n.node().slot_begin),
        count(n.node().count),
        places(n.node().garbage),
        shift(n.node().prefix_offset),
        values_end(n.node().heap_begin),
        keys_begin(slot_area_begin + turn_bytes(places, shift)) {}

  /// Bytes of the turns of so many places, padded so that keys begin aligned.
  static u32 turn_bytes(u32 places, u32 shift) {
    return (((places + (1u << shift) - 1) >> shift) + 7) & ~7u;
  }
  u32 record_bytes() const { return key_bytes + value_bytes; }
  u32 end() const { return front + count; }
  u32 back() const { return places - end(); }

  u32 segment(u32 place) const { return place >> shift; }
  u32 first(u32 segment) const { return segment << shift; }
  u32 size(u32 segment) const { return std::min(1u << shift, places - (segment << shift)); }
  u32 turn(u32 segment) const { return static_cast<u32>(base[slot_area_begin + segment]); }
  u32 cell(u32 place) const {
    const u32 s = segment(place), n = size(s), k = place - first(s) + turn(s);
    return first(s) + (k >= n ? k - n : k);
  }

  u32 key_offset(u32 cell) const { return keys_begin + cell * key_bytes; }
  u32 value_offset(u32 cell) const { return values_end - (cell + 1) * value_bytes; }
  const std::byte* key(u32 index) const { return base + key_offset(cell(front + index)); }
  const std::byte* value(u32 index) const { return base + value_offset(cell(front + index)); }

  const std::byte* base;
  u32 key_bytes, value_bytes, front, count, places, shift, values_end, keys_begin;
};

search_result find(const node_view& n, cbytes key);
/// What the node has no room for, too: free_bytes() is whole records.
u32 used_bytes(const node_view& n);

void format(page_writer w, record_shape s, cbytes low, cbytes high, bool has_high);
void insert(page_writer w, u32 index, cbytes key, cbytes value);
void replace(page_writer w, u32 index, cbytes value);
void erase(page_writer w, u32 index);
void set_low_fence(page_writer w, cbytes low);
void set_high_fence(page_writer w, cbytes high, bool has_high);
split_point choose_split(const node_view& n, cbytes key, u32 index, run_kind how);
/// `right` has its page header.
void split(page_writer left, page_writer right, const split_point& at);
/// `to` has its page header.
void copy(const node_view& from, page_writer to);
void merge(page_writer a, const node_view& b, bytes scratch);
/// RETURNS: what is wrong with the page behind its page header, or null. Reads nothing outside it.
/// REQUIRES: the page header was checked, `payload_end` lies in the page.
const char* check(const node_view& n, u32 payload_end);

/// The searches of one segment, chosen at run time by what the CPU can do.
enum class search_path : u8 { AUTOMATIC, PORTABLE, VECTOR };
/// For tests and measurements.
/// RETURNS: false if this CPU does not have it; nothing has changed then.
bool choose_search(search_path p);

}  // namespace pleach::btree::fixed
