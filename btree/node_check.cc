// check_node: the gate between bytes of the device and everything that reads nodes without looking
// twice.
//
// Nothing is used before it was checked; nothing outside the page is read. Overlap is found exactly
// with one bit per heap unit (at most 65,536 units in any node: 8 KiB of stack). O(bytes of the
// node).
#include <algorithm>

#include "btree/node_fixed.hh"

namespace pleach::btree {

using namespace detail;

namespace {

constexpr u8 known_value_flags = VALUE_INDIRECT | VALUE_COMPRESSED | VALUE_EXPIRY | VALUE_CHECKSUM;
constexpr u32 max_level = 63;

class checker {
 public:
  explicit checker(cbytes page) : page_(page), n_(page_reader(page.data(), size())) {}

  const char* run() {
    if (const char* e = check_header()) return e;
    if (n_.fixed()) return fixed::check(n_, payload_end_);
    if (const char* e = check_area()) return e;
    std::memset(taken_, 0, ((payload_end_ >> shift_) / 64 + 1) * sizeof taken_[0]);
    if (const char* e = check_fences()) return e;
    if (const char* e = check_records()) return e;
    const u32 heap = payload_end_ - n_.node().heap_begin;
    return taken_bytes_ + u64{n_.node().garbage} == heap ? nullptr : "garbage does not add up";
  }

 private:
  u32 size() const { return static_cast<u32>(page_.size()); }
  bool bytewise() const { return (n_.node().node_flags & NO_BYTE_ORDER) == 0; }

  const char* check_header() {
    if (page_.size() < block_bytes || page_.size() > max_page_blocks * block_bytes ||
        page_.size() % block_bytes != 0)
      return "page size";
    const page_header& h = n_.header();
    const u16 kind = h.kind;
    if (kind != static_cast<u16>(page_kind::leaf) && kind != static_cast<u16>(page_kind::inner))
      return "page kind";
    leaf_ = h.level == 0;
    const bool of_leaves = h.format == node_format_fixed || h.format == node_format_slotted_2;
    if (h.format != node_format_slotted &&
        !(leaf_ ? of_leaves : h.format == node_format_aggregated))
      return "node format";
    flag_bytes_ = flag_bytes_of(h.format);
    if (leaf_ != (kind == static_cast<u16>(page_kind::leaf)) || h.level > max_level) return "level";
    payload_end_ = n_.payload_end();
    shift_ = unit_shift(size());
    if (payload_end_ < slot_area_begin || payload_end_ > size()) return "page tail";
    return nullptr;
  }

  const char* check_area() const {
    const node_header& h = n_.node();
    const u32 begin = u32{h.slot_begin} * slot_unit, end = begin + h.count * slot_unit;
    if (begin < slot_area_begin || end > h.heap_begin || h.heap_begin > payload_end_)
      return "slot area";
    if (!aligned(h.heap_begin)) return "heap begin";
    if ((h.node_flags & ~(NO_HIGH_FENCE | tree_node_flags)) != 0) return "node flags";
    if (!bytewise() && (n_.cuts_prefix() || n_.truncates())) return "node flags";
    // Only a page whose tree has leaves of format 2 says so, and such a leaf is of format 2 itself.
    const bool says_so = h.key_bytes != 0 || h.value_bytes != 0;
    if (says_so && (leaf_ || h.key_bytes > max_fixed_key_bytes || h.key_bytes == 0 ||
                    h.value_bytes == 0))
      return "record shape";
    if (!leaf_ && h.count == 0) return "inner node without children";
    return nullptr;
  }

  const char* check_fences() {
    const node_header& h = n_.node();
    if (!take_item(h.low_offset, h.low_length)) return "low fence";
    if (!n_.has_high_fence() && h.high_length != 0) return "high fence";
    if (!take_item(h.high_offset, h.high_length)) return "high fence";
    for (cbytes fence : {n_.low_fence(), n_.high_fence()})
      if (is_stub(fence) && (!bytewise() || !sound_key_reference(reference_of(fence))))
        return "key extent";
    if (n_.has_high_fence() &&
        (bytewise() ? !may_precede(n_.low_fence(), n_.high_fence()) : h.high_length == 0))
      return "fence order";
    if ((!n_.cuts_prefix() && h.prefix_length != 0) || h.prefix_length > max_inline_key_bytes)
      return "prefix";
    if (!shares_low(h) && !take_item(h.prefix_offset, h.prefix_length)) return "prefix";
    return nullptr;
  }

  const char* check_records() {
    const u32 count = n_.count(), first = leaf_ ? 0 : 1;
    const u16 flags = n_.shape().flags;
    const std::byte* const words = slots(n_);
    const bool by_bytes = bytewise();
    cbytes before;
    u32 head_before = 0;
    for (u32 i = 0; i < count; ++i) {
      const u32 word = slot_word(words, i), head = word >> 16;
      const u32 offset = (word & 0xffff) << shift_;
      parsed r;
      if (!parse_bounded(offset, r)) return "record bounds";
      if (const char* e = check_key_length(r)) return e;
      if (!take(offset, r.bytes())) return "overlapping records";
      if (stored_head(flags, r.key, r.key_length) != head) return "slot head";
      if (const char* e = check_value(r)) return e;
      const cbytes suffix = span_of(r.key, r.key_length);
      if (!leaf_ && i == 0) {
        if (!suffix.empty()) return "first key of an inner node";
        continue;
      }
      if (!by_bytes) {
        if (suffix.empty()) return "empty key";
        continue;  // its order is for the verifier, who has the comparator
      }
      // Heads are the beginnings of the keys: mostly they tell the order.
      if (i > first && head <= head_before && (head < head_before || !precedes(before, suffix)))
        return "key order";
      if (i == first && !above_low(i)) return "key below the low fence";
      before = suffix;
      head_before = head;
    }
    const bool has_keys = count > first;
    if (has_keys && by_bytes && n_.has_high_fence() &&
        !may_precede(key_at(count - 1u), n_.high_fence()))
      return "key above the high fence";
    return nullptr;
  }

  /// The key at `i` as it is stored; until the next call.
  cbytes key_at(u32 i) { return span_of(room_, n_.copy_key(i, room_)); }

  bool above_low(u32 i) {
    const cbytes key = key_at(i), low = n_.low_fence();
    return (leaf_ && compare_keys(key, low) == 0) || may_precede(low, key);
  }

  const char* check_key_length(const parsed& r) const {
    const u32 prefix = n_.node().prefix_length, length = r.key_length + prefix;
    if (length <= max_inline_key_bytes) return nullptr;
    if (length != max_stored_key_bytes || prefix > max_prefix_bytes || !bytewise())
      return "key length";
    value_reference extent;
    std::memcpy(&extent, r.key + r.key_length - sizeof extent, sizeof extent);
    return sound_key_reference(extent) ? nullptr : "key extent";
  }

  /// Two neighbours, both without the prefix.
  bool precedes(cbytes a, cbytes b) const {
    const u32 stem =
        max_inline_key_bytes - std::min<u32>(n_.node().prefix_length, max_inline_key_bytes);
    if (a.size() <= stem || b.size() <= stem) return compare_keys(a, b) < 0;
    const int c = std::memcmp(a.data(), b.data(), stem);
    return c < 0 || (c == 0 && compare_keys(a, b) != 0);
  }

  const char* check_value(const parsed& r) const {
    const u8 key_flags = r.key_flags(), flags = r.value_flags();
    if (leaf_ && (key_flags | flags) == 0) [[likely]]
      return nullptr;
    const u8 known = flag_bytes_ == 1 ? KEY_CHECKSUM | KEY_USER_FLAGS : 0;
    if ((key_flags & ~known) != 0) return "key flags";
    if (!leaf_) {
      if (flags != 0) return "value flags";
      if (r.value_length != n_.child_bytes()) return "child reference length";
      const page_addr child(load_le<u64>(r.value));
      if (child.block() == 0 || child.block() + child.blocks() > u64{1} << 56)
        return "child address";
      return nullptr;
    }
    if ((flags & ~known_value_flags) != 0) return "value flags";
    const u32 attached = flag_bytes_ == 1 ? attached_bytes(key_flags, flags) : 0;
    const u32 beside = attached + (flags & VALUE_EXPIRY ? 8 : 0);
    if (flags & VALUE_INDIRECT) {
      const u32 length = sizeof(value_reference) + beside;
      if (r.value_length != length && r.value_length != length + value_content_bytes)
        return "value reference length";
    } else if (r.value_length < beside) {
      return "value length";
    }
    return nullptr;
  }

  /// Shortest form only, at most 4 bytes.
  /// RETURNS: null if not.
  static const std::byte* bounded_varint(const std::byte* p, const std::byte* end, u32& v) {
    v = 0;
    for (u32 shift = 0; shift < 28; shift += 7) {
      if (p == end) return nullptr;
      const u32 b = static_cast<u32>(*p++);
      v |= (b & 0x7f) << shift;
      if (b < 0x80) return b == 0 && shift != 0 ? nullptr : p;
    }
    return nullptr;
  }

  bool parse_bounded(u32 offset, parsed& r) const {
    const u32 least = flag_bytes_ + 2;
    if (offset < n_.node().heap_begin || payload_end_ - slot_area_begin < least ||
        offset + least > payload_end_)
      return false;
    const std::byte *const end = page_.data() + payload_end_, *p = page_.data() + offset;
    r.begin = p;
    r.flag_bytes = flag_bytes_;
    p += flag_bytes_;
    r.key_length = static_cast<u32>(p[0]);
    r.value_length = static_cast<u32>(p[1]);
    if ((r.key_length | r.value_length) < 0x80) [[likely]] {
      p += 2;  // of one byte each
    } else {
      p = bounded_varint(p, end, r.key_length);
      if (p == nullptr) return false;
      p = bounded_varint(p, end, r.value_length);
      if (p == nullptr) return false;
    }
    if (static_cast<u64>(end - p) < u64{r.key_length} + r.value_length) return false;
    r.key = p;
    r.value = p + r.key_length;
    return true;
  }

  bool aligned(u32 offset) const { return (offset & ((1u << shift_) - 1)) == 0; }

  bool take_item(u32 offset, u32 length) {
    if (length == 0) return offset == 0;
    const bool possible = length <= max_inline_key_bytes || length == max_stored_key_bytes;
    return possible && take(offset, length);
  }

  /// Marks the units of an item.
  /// RETURNS: false if out of the heap or used already.
  bool take(u32 offset, u32 length) {
    const u32 bytes = occupied(size(), length);
    if (!aligned(offset) || offset < n_.node().heap_begin || offset > payload_end_ ||
        bytes > payload_end_ - offset)
      return false;
    taken_bytes_ += bytes;
    const u32 unit = offset >> shift_, last = unit + (bytes >> shift_) - 1;
    u64 *word = taken_ + unit / 64, *const last_word = taken_ + last / 64;
    const u64 from = ~u64{0} << unit % 64, to = ~u64{0} >> (63 - last % 64);
    u64 twice = 0;
    if (word == last_word) {
      twice = *word & from & to;
      *word |= from & to;
    } else {
      twice = *word & from;
      *word |= from;
      while (++word != last_word) {
        twice |= *word;
        *word = ~u64{0};
      }
      twice |= *word & to;
      *word |= to;
    }
    if (twice != 0) return false;
    return true;
  }

  cbytes page_;
  node_view n_;
  bool leaf_ = false;
  u32 payload_end_ = 0;
  u32 shift_ = 0;
  u32 flag_bytes_ = 2;
  u64 taken_bytes_ = 0;
  u64 taken_[65536 / 64 + 1];
  std::byte room_[max_stored_key_bytes];
};

}  // namespace

errc check_node(cbytes page, const char** why) {
  const char* const reason = checker(page).run();
  if (why != nullptr) *why = reason;
  return reason == nullptr ? errc::ok : errc::corrupt;
}

errc check_page_node(cbytes page) {
  return check_node(page, nullptr);
}

}  // namespace pleach::btree
