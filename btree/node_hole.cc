// Where an item goes in the heap of a slotted node: below all others, or into a hole that records
// left which were erased, replaced or moved away by a split.
//
// Nothing on the page says where its holes are. A search throws the beginnings of all items into
// cells no wider than the hole that is sought: such a hole then lies between the last item of one
// cell and the first of the next cell that has any, and only where these are far enough apart is
// the length of a record looked at. The first hole that fits is taken; no record is touched on the
// way but those before large distances. O(records + heap bytes / item bytes).
//
// Who fills one hole after another (inserts into the left node of a split) says where the last one
// was, and the stretch that follows is looked at first: half the work, as most cells fall away.
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
      : n_(n),
        shift_(unit_shift(n.size())),
        need_(bytes >> shift_),
        heap_begin_(n.node().heap_begin >> shift_),
        heap_end_(n.payload_end() >> shift_),
        begin_(heap_begin_),
        end_(heap_end_) {}
  /// Only behind the first item from `offset` on, and before the last one in so many bytes.
  void limit(u32 offset, u32 bytes) {
    begin_ = std::max(offset >> shift_, heap_begin_);
    end_ = std::min(begin_ + (bytes >> shift_), heap_end_);
  }

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
    if (begin_ >= end_) return;
    set_cells();
    const u32 least = occupied(n_.size(), flag_bytes(n_) + least_lengths) >> shift_;
    u32 before = 0;  // beginning of the item before the distance looked at; 0: none
    const auto taken = [&](u32 next) {
      u32 from = heap_begin_;
      if (before != 0) {
        if (next - before < need_ + least) return false;
        from = end_of(before);
      } else if (begin_ != heap_begin_) {
        return false;  // nobody knows the item before it
      }
      const u32 spare = PLEACH_PLANTED("hole_too_short") ? 8 : 0;
      return next + spare >= from + need_ && take(from, next);
    };
    for (u32 c = 0; c < cell_count_; ++c) {
      if (cells_[c].first == 0) continue;
      if (taken(cells_[c].first)) return;
      before = cells_[c].last;
    }
    if (end_ == heap_end_) taken(end_);
  }

  void set_cells() {
    const u32 span = end_ - begin_;
    u32 width = static_cast<u32>(std::bit_width(need_)) - 1;
    while (span >> width >= max_cells) ++width;
    cell_count_ = (span >> width) + 1;
    std::memset(cells_, 0, cell_count_ * sizeof(cell));
    const auto add = [&](u32 unit) {
      if (unit - begin_ >= span) return;
      cell& c = cells_[(unit - begin_) >> width];
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
  const u32 shift_, need_, heap_begin_, heap_end_;
  u32 begin_, end_;  ///< what is searched
  u32 cell_count_ = 0;
  cell cells_[max_cells];
};

}  // namespace

namespace {

/// A stretch of so many items is looked at for a hole before the whole heap is. (16: a third of the
/// searches of a random fill go on through the heap.)
constexpr u32 items_near = 48;
/// Not if less than this part of the heap is holes: there are too few in a stretch.
constexpr u32 least_holes = 16;

u32 find_hole(const node_view& n, u32 bytes, u32 near) {
  const u32 heap = n.payload_end() - n.node().heap_begin;
  hole_search search(n, bytes);
  if (near != 0 && n.node().garbage >= heap / least_holes) {
    search.limit(near, items_near * bytes);
    if (const u32 hole = search.first()) return hole;
    search.limit(0, heap);
  }
  return search.first();
}

}  // namespace

u32 find_place(const node_view& n, u32 bytes, u32 slot_bytes, u32 near) {
  const u32 slack = front_slack(n) + gap(n), garbage = n.node().garbage;
  if (slack < slot_bytes) return 0;
  const bool below = slack >= bytes + slot_bytes;
  const u32 lowest = n.node().heap_begin - bytes;
  // What will fill the holes needs slots, and slots can grow only where the heap does not.
  if (below && (garbage < bytes || slack - bytes - slot_bytes >= garbage / bytes * slot_unit))
    return lowest;
  if (garbage >= bytes)
    if (const u32 hole = find_hole(n, bytes, near)) return hole;
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
