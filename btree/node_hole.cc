// Where an item goes in the heap of a slotted node: below all others, or into a hole that records
// left which were erased, replaced or moved away by a split.
//
// Nothing on the page says where its holes are. A search throws the beginnings of all items into
// cells no wider than the hole that is sought: such a hole then lies between the last item of one
// cell and the first of the next cell that has any, and only where these are far enough apart is
// the length of a record looked at. The first hole that fits is taken; no record is touched on the
// way but those before large distances. O(records + heap bytes / item bytes).
#include <algorithm>

#include "be/base/planted.hh"
#include "btree/node_detail.hh"

namespace pleach::btree::detail {

namespace {

/// Enough for 16-byte items in 64 KiB. For less, holes inside a cell are not seen.
constexpr u32 max_cells = 4096;
/// Lengths of the shortest record. Items nearer to each other than its bytes and the hole's are not
/// looked at closer. Fences may be shorter; a hole just behind one is missed at times.
constexpr u32 least_lengths = 2;

class hole_search {
 public:
  hole_search(const node_view& n, u32 bytes)
      : n_(n), shift_(unit_shift(n.size())), need_(bytes >> shift_) {}

  /// RETURNS: the offset of a hole of that many bytes, 0 if none was found.
  u32 first() {
    u32 offset = 0;
    run([&](u32 from, u32) { return (offset = from << shift_) != 0; });
    return offset;
  }
  /// RETURNS: how many items of that many bytes the holes take, at most `most`.
  u32 count(u32 most) {
    u32 n = 0;
    run([&](u32 from, u32 to) { return (n += (to - from) / need_) >= most; });
    return std::min(n, most);
  }

 private:
  struct cell {
    u16 first, last;  ///< in heap units; 0: empty
  };

  /// Calls take(from, to) for each hole that is long enough, until it answers true.
  template <class F>
  void run(F&& take) {
    const u32 begin = n_.node().heap_begin >> shift_, end = n_.payload_end() >> shift_;
    set_cells(begin, end);
    const u32 least = occupied(n_.size(), flag_bytes(n_) + least_lengths) >> shift_;
    u32 before = 0;  // beginning of the item before the distance looked at; 0: none
    const auto taken = [&](u32 next) {
      u32 from = begin;
      if (before != 0) {
        if (next - before < need_ + least) return false;
        from = end_of(before);
      }
      const u32 spare = PLEACH_PLANTED("hole_too_short") ? 8 : 0;
      return next + spare >= from + need_ && take(from, next);
    };
    for (u32 c = 0; c < cell_count_; ++c) {
      if (cells_[c].first == 0) continue;
      if (taken(cells_[c].first)) return;
      before = cells_[c].last;
    }
    taken(end);
  }

  void set_cells(u32 begin, u32 end) {
    u32 width = static_cast<u32>(std::bit_width(need_)) - 1;
    while ((end - begin) >> width >= max_cells) ++width;
    cell_count_ = ((end - begin) >> width) + 1;
    std::memset(cells_, 0, cell_count_ * sizeof(cell));
    const auto add = [&](u32 unit) {
      cell& c = cells_[(unit - begin) >> width];
      if (c.first == 0 || unit < c.first) c.first = static_cast<u16>(unit);
      if (unit > c.last) c.last = static_cast<u16>(unit);
    };
    const std::byte* const s = slots(n_);
    for (u32 i = 0, count = n_.count(); i < count; ++i) add(slot_word(s, i) & 0xffff);
    const node_header& h = n_.node();
    if (h.low_length) add(h.low_offset >> shift_);
    if (h.high_length) add(h.high_offset >> shift_);
    if (own_prefix_bytes(n_)) add(h.prefix_offset >> shift_);
  }

  u32 end_of(u32 unit) const {
    const node_header& h = n_.node();
    const u32 offset = unit << shift_;
    u32 bytes;
    if (offset == h.low_offset)
      bytes = h.low_length;
    else if (offset == h.high_offset)
      bytes = h.high_length;
    else if (offset == h.prefix_offset)
      bytes = h.prefix_length;
    else
      bytes = parse(n_.base() + offset, flag_bytes(n_)).bytes();
    return unit + (occupied(n_.size(), bytes) >> shift_);
  }

  const node_view& n_;
  const u32 shift_, need_;
  u32 cell_count_ = 0;
  cell cells_[max_cells];
};

}  // namespace

u32 find_place(const node_view& n, u32 bytes, u32 slot_bytes) {
  const u32 slack = front_slack(n) + gap(n), garbage = n.node().garbage;
  if (slack < slot_bytes) return 0;
  const bool below = slack >= bytes + slot_bytes;
  const u32 lowest = n.node().heap_begin - bytes;
  // What will fill the holes needs slots, and slots can grow only where the heap does not.
  if (below && (garbage < bytes || slack - bytes - slot_bytes >= garbage / bytes * slot_unit))
    return lowest;
  if (garbage >= bytes)
    if (const u32 hole = hole_search(n, bytes).first()) return hole;
  return below ? lowest : 0;
}

}  // namespace pleach::btree::detail

namespace pleach::btree {

/// An item that goes below takes its bytes and those of a slot from the slack, one that goes into a
/// hole takes a slot and at most one of the places counted here.
bool places_for(const node_view& n, u32 record_bytes, u32 count) {
  using namespace detail;
  if (n.fixed()) return count <= n.free_bytes() / std::max(record_bytes, 1u);
  const u64 bytes = occupied(n.size(), record_bytes);
  const u64 slack = front_slack(n) + gap(n);
  if (n.count() + count > max_records || slack < u64{count} * slot_unit) return false;
  const u64 below = (slack - u64{count} * slot_unit) / bytes;
  if (below >= count) return true;
  const u32 rest = static_cast<u32>(count - below);
  return n.node().garbage >= bytes * rest &&
         hole_search(n, static_cast<u32>(bytes)).count(rest) == rest;
}

}  // namespace pleach::btree
