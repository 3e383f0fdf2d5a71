// Leaves of format 2: dense arrays of keys and values of fixed lengths (node_format.hh). The
// functions behind node.hh for such pages, called by node*.cc and nobody else.
//
// F1 front + count <= places; keys rise strictly; every key begins with the prefix of the fences.
// F2 heap_begin is payload end - 2 * key_bytes for ever: a fence never moves a record.
// F3 a key that is sought may have any length; one that is inserted has exactly key_bytes.
#pragma once

#include "btree/node_detail.hh"

namespace pleach::btree::fixed {

/// Where the arrays of a leaf stand. Built on the spot from the header.
struct row {
  explicit row(const node_view& n)
      : base(n.base()),
        key_bytes(n.node().key_bytes),
        value_bytes(n.node().value_bytes),
        front(n.node().slot_begin),
        count(n.node().count),
        values_end(n.node().heap_begin) {}

  u32 record_bytes() const { return key_bytes + value_bytes; }
  u32 places() const { return (values_end - slot_area_begin) / record_bytes(); }
  u32 back() const { return places() - front - count; }
  u32 key_offset(u32 place) const { return slot_area_begin + place * key_bytes; }
  u32 value_offset(u32 place) const { return values_end - (place + 1) * value_bytes; }
  const std::byte* key(u32 index) const { return base + key_offset(front + index); }
  const std::byte* value(u32 index) const { return base + value_offset(front + index); }

  const std::byte* base;
  u32 key_bytes, value_bytes, front, count, values_end;
};

search_result find(const node_view& n, cbytes key);
u32 used_bytes(const node_view& n);

void format(page_writer w, record_shape s, cbytes low, cbytes high, bool has_high);
void insert(page_writer w, u32 index, cbytes key, cbytes value);
void replace(page_writer w, u32 index, cbytes value);
void erase(page_writer w, u32 index);
void compact(page_writer w);
void set_low_fence(page_writer w, cbytes low);
void set_high_fence(page_writer w, cbytes high, bool has_high);
split_point choose_split(const node_view& n, cbytes key, u32 index, bool ascending);
/// `right` is zeroed but for its page header.
void split(page_writer left, page_writer right, const split_point& at);
/// `to` has its page header.
void copy(const node_view& from, page_writer to);
void merge(page_writer a, const node_view& b);
/// RETURNS: what is wrong with the page behind its page header, or null. Reads nothing outside it.
/// REQUIRES: the page header was checked, `payload_end` lies in the page.
const char* check(const node_view& n, u32 payload_end);

/// The searches of the last block of an array, chosen at run time by what the CPU can do.
enum class search_path : u8 { AUTOMATIC, PORTABLE, VECTOR };
/// For tests and measurements.
/// RETURNS: false if this CPU does not have it; nothing has changed then.
bool choose_search(search_path p);

}  // namespace pleach::btree::fixed
