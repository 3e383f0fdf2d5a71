// Changes of whole nodes: compaction, splitting, copying, merging.
#include <algorithm>

#include "be/base/planted.hh"
#include "be/page.hh"
#include "btree/node_fixed.hh"
#include "btree/node_layout.hh"

namespace pleach::btree {

using namespace detail;

namespace {

/// Shorter prefixes are taken when a rewritten node stays below this: a record of a quarter then
/// still fits.
u32 recut_budget(u32 capacity) {
  return capacity / 8 * 5;
}

/// A left node of a split is written anew for a longer prefix if more records than this share a
/// head on average.
constexpr u32 records_per_head = 4;

/// Searches the split point for one insert. Positions count the records with the new one among
/// them: `position` records go left, the new one is number `index`.
class splitter {
 public:
  splitter(const node_view& n, cbytes key, u32 index, u32 value_length)
      : n_(n), key_(key), index_(index), count_(n.count()), stored_(n.node().prefix_length) {
    const u32 shared = fence_prefix(n.low_fence(), n.high_fence(), n.has_high_fence());
    cut_ =
        shares_prefix(key, n.prefix()) ? stored_ : common_prefix(n.low_fence().first(shared), key);
    const u32 suffix = static_cast<u32>(key.size()) - cut_;
    new_bytes_ = slot_unit + occupied(n.size(), record_bytes(n, suffix, value_length));
    capacity_ = n.payload_end() - slot_area_begin;
    low_ = occupied(n.size(), n.node().low_length) + own_prefix_bytes(n);
    high_ = occupied(n.size(), n.node().high_length) + own_prefix_bytes(n);
    for (u32 i = 0; i < count_; ++i) {
      total_.stored += bytes_of(i, stored_);
      total_.cut += bytes_of(i, cut_);
    }
  }

  split_point search(run_kind r) {
    if (count_ < (n_.is_leaf() ? 1u : 2u)) return {};
    u32 best = r == run_kind::NONE ? 0 : at_run(r);
    if (best != 0) return point(best, true);
    best = scan(true);
    if (best == 0) best = scan(false);
    return best ? point(best, false) : split_point{};
  }

 private:
  /// Sums with the stored prefix and with the one that the new key needs.
  struct sums {
    u32 stored = 0;
    u32 cut = 0;
  };

  u32 bytes_of(u32 i, u32 prefix) const {
    const parsed r = parse_at(n_, i);
    const u32 suffix = suffix_length(n_, r, i, prefix);
    return slot_unit + occupied(n_.size(), record_bytes(n_, suffix, r.value_length));
  }
  sums total_up_to(u32 end) const {
    sums s;
    for (u32 i = 0; i < end; ++i) {
      s.stored += bytes_of(i, stored_);
      s.cut += bytes_of(i, cut_);
    }
    return s;
  }
  u32 index_of(u32 position) const { return position > index_ ? position - 1 : position; }
  bool new_goes_right(u32 position) const { return position <= index_; }
  /// At least one old record stays; in an inner node a new child follows the one it was split from,
  /// so it is never the first of the right node.
  bool allowed(u32 position) const {
    return index_of(position) >= 1 && (n_.is_leaf() || position != index_);
  }

  /// Bytes of the records left and right of a position.
  std::pair<u32, u32> sides(u32 position, const sums& left) const {
    if (new_goes_right(position)) return {left.stored, total_.cut - left.cut + new_bytes_};
    return {left.cut + new_bytes_, total_.stored - left.stored};
  }
  /// Bytes that the first record of a right inner node loses: its key becomes the low fence.
  u32 first_key_bytes(u32 position) const {
    if (n_.is_leaf()) return 0;
    const u32 first = index_of(position), prefix = new_goes_right(position) ? cut_ : stored_;
    const u32 value = parse_at(n_, first).value_length;
    return bytes_of(first, prefix) - slot_unit - occupied(n_.size(), record_bytes(n_, 0, value));
  }
  bool fits(u32 position, const sums& left) const {
    auto [l, r] = sides(position, left);
    r -= first_key_bytes(position);
    std::byte a[max_stored_key_bytes], b[max_stored_key_bytes];
    const u32 fence = occupied(n_.size(), static_cast<u32>(separator(position, a, b).size()));
    return l + low_ + fence <= capacity_ && r + high_ + fence <= capacity_;
  }
  cbytes key_number(u32 number, std::byte* buffer) const {
    if (number == index_) return key_;
    return span_of(buffer, n_.copy_key(number > index_ ? number - 1 : number, buffer));
  }
  cbytes separator(u32 position, std::byte* a, std::byte* b) const {
    const cbytes right = key_number(position, b);
    // Truncating an inner separator would cut it loose from the fences of its children.
    return n_.is_leaf() && (n_.truncates() || PLEACH_PLANTED("truncated_anyway"))
               ? shortest_separator(key_number(position - 1, a), right)
               : right;
  }

  bool possible(u32 position) const {
    return allowed(position) && fits(position, total_up_to(index_of(position)));
  }
  /// RETURNS: the position of the run, 0 if it is none, or nothing fits there.
  u32 at_run(run_kind r) const {
    // A leaf that is full to the last byte has no room for its fence: a record or two make some.
    if (r == run_kind::UP && index_ == count_) {
      const u32 last = n_.is_leaf() ? count_ : count_ - 1;
      for (u32 back = 0; back <= most_moved && back < last; ++back)
        if (possible(last - back)) return last - back;
      return 0;
    }
    if (r == run_kind::DOWN && index_ == (n_.is_leaf() ? 0 : 1)) {
      for (u32 more = 2; more <= 2 + most_moved && more <= count_; ++more)
        if (possible(more)) return more;
      return 0;
    }
    if (!n_.is_leaf()) return 0;
    const u32 position = r == run_kind::UP ? index_ + 1 : index_;
    if (position > count_ || !possible(position)) return 0;
    const auto [left, right] = sides(position, total_up_to(index_of(position)));
    return (r == run_kind::UP ? left : right) >= capacity_ / 2 ? position : 0;
  }

  /// RETURNS: the best position that fits, 0 if none. Near the middle (within 10 %) the shortest
  /// separator wins, elsewhere the most even split.
  u32 scan(bool near_middle) const {
    const i64 all = i64{total_.stored} + new_bytes_;
    u32 best = 0, best_length = ~0u;
    i64 best_distance = all;
    sums left;
    u32 summed = 0;
    for (u32 position = 1; position <= count_; ++position) {
      for (; summed < index_of(position); ++summed) {
        left.stored += bytes_of(summed, stored_);
        left.cut += bytes_of(summed, cut_);
      }
      if (!allowed(position)) continue;
      const auto [l, r] = sides(position, left);
      const i64 distance = l < r ? i64{r} - l : i64{l} - r;
      if (near_middle && distance > all / 5) continue;
      u32 length = 0;
      if (near_middle) {
        std::byte a[max_stored_key_bytes], b[max_stored_key_bytes];
        length = static_cast<u32>(separator(position, a, b).size());
      }
      const bool better =
          length < best_length || (length == best_length && distance < best_distance);
      if (!better || !fits(position, left)) continue;
      best = position;
      best_length = length;
      best_distance = distance;
    }
    return best;
  }

  split_point point(u32 position, bool in_run) const {
    split_point s{};
    s.in_run = in_run;
    std::byte a[max_stored_key_bytes], b[max_stored_key_bytes];
    const cbytes key = separator(position, a, b);
    s.index = index_of(position);
    s.insert_right = new_goes_right(position);
    s.separator_length = static_cast<u32>(key.size());
    if (!key.empty()) std::memcpy(s.separator, key.data(), key.size());
    return s;
  }

  const node_view& n_;
  cbytes key_;
  u32 index_, count_, stored_, cut_, new_bytes_, capacity_, low_, high_;
  sums total_;
};

/// Of a leaf where a run goes on: its records will probably share what those of the full one share,
/// up to the new fence between them. Without the guess the leaf at the edge of the tree would have
/// no prefix, be less full, and be rewritten when it gets one. A key that does not share it has the
/// leaf rewritten (I4 of node.hh).
void guess_prefix(blueprint& b, cbytes guess) {
  if (!b.leaf || (b.shape.flags & NO_PREFIX) || guess.size() <= b.prefix.size()) return;
  const part& from = b.parts[0];
  std::byte key[max_stored_key_bytes];
  for (u32 i = from.begin; i < from.end; ++i)
    if (!shares_prefix(span_of(key, from.node.copy_key(i, key)), guess)) return;
  const cbytes certain = b.prefix;
  b.prefix = guess;
  if (b.total_bytes() > b.capacity() / 2) b.prefix = certain;
}

void format_like(page_writer w, const node_view& n, page_addr addr, u64 store_id, tree_id_t tree,
                 generation_t gen, convert c) {
  const page_header& like = n.header();
  std::byte* const p = w.writable(0, page_header_bytes);
  format_header({p, w.size()}, like.level ? page_kind::inner : page_kind::leaf, format_after(n, c),
                addr, store_id, tree, gen, like.level);
  p[offsetof(page_header, tail)] = static_cast<std::byte>(like.tail);
  put_shape(w, n.shape());
}

blueprint merged(const part (&both)[2], convert c) {
  const node_view &a = both[0].node, &b = both[1].node;
  blueprint m = blueprint_of(a, both);
  m.format = a.is_leaf() && !b.old_version() ? u16{b.header().format} : format_after(a, c);
  m.part_count = 2;
  m.has_high = b.has_high_fence();
  m.high = m.has_high ? b.high_fence() : cbytes{};
  m.prefix = a.cuts_prefix() ? m.low.first(fence_prefix(m.low, m.high, m.has_high)) : cbytes{};
  return m;
}

/// Records [index, count) are elsewhere now: what they occupied is garbage. The slots that stay get
/// slack before them again.
void drop_upper(page_writer w, u32 index) {
  const node_view n(w);
  const node_header& h = n.node();
  u32 lowest = n.payload_end(), gone = 0;
  const auto item = [&](u32 offset, u32 length) {
    if (length) lowest = std::min(lowest, offset);
  };
  item(h.low_offset, h.low_length);
  item(h.high_offset, h.high_length);
  item(h.prefix_offset, h.prefix_length);
  for (u32 i = 0; i < index; ++i) lowest = std::min(lowest, record_offset(n, i));
  for (u32 i = index; i < n.count(); ++i) gone += occupied(n.size(), parse_at(n, i).bytes());
  if (gone == 0) return;
  const u32 raised = lowest - h.heap_begin;
  put_garbage(w, h.garbage + gone - raised);
  u32 begin = u32{h.slot_begin} * slot_unit;
  put_extent(w, begin, index, lowest);
  const u32 heap = n.payload_end() - lowest - h.garbage;
  const u32 wanted = std::min((front_slack(n) + gap(n)) / 2 / slot_unit * slot_unit,
                              wanted_front_slack(n.size(), n.free_bytes(), index, heap));
  if (front_slack(n) >= wanted / 2) return;
  w.move(slot_area_begin + wanted, begin, index * slot_unit);
  put_extent(w, slot_area_begin + wanted, index, lowest);
}

}  // namespace

bool detail::keeps_places(const node_view& n, const split_point& at) {
  const u32 index = at.index;
  if (at.in_run && !at.insert_right && index <= most_moved + 1) return false;
  if (!n.cuts_prefix()) return true;
  const cbytes separator = span_of(at.separator, at.separator_length);
  if (fence_prefix(n.low_fence(), separator, true) <= n.prefix().size()) return true;
  u32 heads = 1;
  const std::byte* const s = slots(n);
  for (u32 i = 1; i < index; ++i) heads += slot_word(s, i) >> 16 != slot_word(s, i - 1) >> 16;
  return heads * records_per_head >= index;
}

void compact(page_writer w, bytes scratch, const cbytes* extra_key, convert c) {
  const node_view n(w);
  if (n.fixed()) return;  // there is nothing between its records
  const part whole{n, 0, n.count()};
  blueprint b = blueprint_of(n, &whole);
  b.format = format_after(n, c);
  choose_prefix(b, n.prefix(), extra_key, 0);
  rewrite(w, b, scratch);
}

split_point choose_split(const node_view& n, cbytes key, u32 index, u32 value_length, run_kind r) {
  if (n.fixed()) return fixed::choose_split(n, key, index, r);
  return splitter(n, key, index, value_length).search(r);
}

void split_node(page_writer left, page_writer right, const split_point& at, page_ref left_ref,
                page_ref right_ref, u64 store_id, bytes scratch, convert c) {
  const node_view n(left);
  PLEACH_ASSERT(at.index >= 1 && at.index <= n.count());
  PLEACH_ASSERT(left_ref.addr != right_ref.addr);
  const cbytes separator = span_of(at.separator, at.separator_length);
  format_like(right, n, right_ref.addr, store_id, n.header().tree_id, right_ref.gen, c);
  if (n.fixed()) {
    fixed::split(left, right, at);
    set_right_hint(right, n.right_hint());
    set_right_hint(left, right_ref);
    return;
  }

  // 1. The right node, while the left one is still whole.
  const u32 first =
      at.index + (PLEACH_PLANTED("split_drops_record") && at.index < n.count() ? 1 : 0);
  const part upper{n, first, n.count()};
  blueprint r = blueprint_of(n, &upper);
  r.format = format_after(n, c);
  r.node_bytes = right.size();
  r.payload_end = node_view(right).payload_end();
  r.low = separator;
  choose_prefix(r, n.prefix(), nullptr, recut_budget(r.capacity()));
  if (at.in_run && at.insert_right)
    guess_prefix(r, separator.first(common_prefix(separator, n.low_fence())));
  write_new(right, r);
  set_right_hint(right, n.right_hint());

  // 2. The left node. One that is converted is rewritten.
  if (r.format == n.header().format && keeps_places(n, at)) {
    drop_upper(left, at.index);
    set_high_fence(left, separator, true, scratch);
  } else {
    const part lower{n, 0, at.index};
    blueprint l = blueprint_of(n, &lower);
    l.format = format_after(n, c);
    l.high = separator;
    l.has_high = true;
    choose_prefix(l, n.prefix(), nullptr, recut_budget(l.capacity()));
    if (at.in_run && !at.insert_right && n.has_high_fence())
      guess_prefix(l, separator.first(common_prefix(separator, n.high_fence())));
    rewrite(left, l, scratch);
  }
  set_right_hint(left, right_ref);
}

void copy_node(page_reader from, page_writer to, page_addr addr, u64 store_id, tree_id_t tree,
               generation_t gen, convert c) {
  const node_view n(from);
  format_like(to, n, addr, store_id, tree, gen, c);
  if (n.fixed()) {
    fixed::copy(n, to);
    set_right_hint(to, n.right_hint());
    return;
  }
  const part whole{n, 0, n.count()};
  blueprint b = blueprint_of(n, &whole);
  b.format = format_after(n, c);
  b.node_bytes = to.size();
  b.payload_end = node_view(to).payload_end();
  choose_prefix(b, n.prefix(), nullptr, recut_budget(b.capacity()));
  write_new(to, b);
  set_right_hint(to, n.right_hint());
}

u32 merged_bytes(const node_view& a, const node_view& b) {
  if (a.fixed()) return a.used_bytes() + b.count() * fixed::row(b).record_bytes();
  const cbytes separator = b.low_fence();
  const part both[2] = {{a, 0, a.count()}, {b, 0, b.count(), b.is_leaf() ? nullptr : &separator}};
  return merged(both, convert::NO).total_bytes();
}

void merge_nodes(page_writer a, const node_view& b, cbytes separator, bytes scratch, convert c) {
  const node_view n(a);
  PLEACH_ASSERT(n.level() == b.level());
  if (n.fixed()) {
    fixed::merge(a, b, scratch);
    set_right_hint(a, b.right_hint());
    return;
  }
  cbytes first = separator;
  const part both[2] = {{n, 0, n.count()}, {b, 0, b.count(), b.is_leaf() ? nullptr : &first}};
  blueprint m = merged(both, c);
  if (PLEACH_PLANTED("merge_loses_separator")) first = m.prefix;
  if (PLEACH_PLANTED("fence_not_widened")) {
    m.has_high = n.has_high_fence();
    m.high = m.has_high ? n.high_fence() : cbytes{};
  }
  rewrite(a, m, scratch);
  set_right_hint(a, b.right_hint());
}

}  // namespace pleach::btree
