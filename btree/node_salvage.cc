#include "btree/node_salvage.hh"

#include <algorithm>

#include "btree/node_detail.hh"

namespace pleach::btree {

using namespace detail;

namespace {

class leaf_parser {
 public:
  leaf_parser(cbytes page, u16 format)
      : page_(page),
        node_(*reinterpret_cast<const node_header*>(page.data() + node_header_offset)),
        flag_bytes_(flag_bytes_of(format)),
        shift_(unit_shift(static_cast<u32>(page.size()))) {
    const u64 at = node_.prefix_offset, length = node_.prefix_length;
    if (length <= max_prefix_bytes && at + length <= page.size())
      prefix_ = page.subspan(at, length);
    has_prefix_ = prefix_.size() == length;
  }

  /// RETURNS: false if slot `i` names no possible record.
  bool take(u32 i, possible_record& out) const {
    const u64 at = u64{node_.slot_begin} * slot_unit + i * slot_unit;
    if (!has_prefix_ || at + slot_unit > page_.size()) return false;
    const u32 word = load_le<u32>(page_.data() + at);
    u64 pos = u64{word & 0xffff} << shift_;
    if (pos < slot_area_begin || pos + flag_bytes_ + 2 > page_.size()) return false;
    const std::byte* const begin = page_.data() + pos;
    pos += flag_bytes_;
    u32 key = 0, value = 0;
    if (!varint(pos, key) || !varint(pos, value)) return false;
    if (u64{key} + value > page_.size() - pos) return false;
    parsed r{begin, page_.data() + pos, page_.data() + pos + key, key, value, flag_bytes_};
    if (stored_head(node_.node_flags, r.key, key) != word >> 16) return false;
    out.key_flags = r.key_flags();
    out.value_flags = r.value_flags();
    const u32 attached = flag_bytes_ == 1 ? attached_bytes(out.key_flags, out.value_flags) : 0;
    if (attached > value) return false;
    out.key = std::string(as_text(prefix_)) + std::string(as_text({r.key, key}));
    out.value = std::string(as_text({r.value, value - attached}));
    out.attached = std::string(as_text({r.value + value - attached, attached}));
    const bool stub = out.key.size() == max_stored_key_bytes;
    return out.key.size() <= max_inline_key_bytes || stub;
  }
  u32 count() const {
    const u64 begin = u64{node_.slot_begin} * slot_unit;
    if (begin >= page_.size()) return 0;
    return static_cast<u32>(std::min<u64>(node_.count, (page_.size() - begin) / slot_unit));
  }

 private:
  bool varint(u64& pos, u32& v) const {
    v = 0;
    for (u32 shift = 0; shift < 28 && pos < page_.size(); shift += 7) {
      const u32 b = static_cast<u32>(page_[pos++]);
      v |= (b & 0x7f) << shift;
      if (b < 0x80) return true;
    }
    return false;
  }

  cbytes page_, prefix_;
  const node_header& node_;
  u32 flag_bytes_, shift_;
  bool has_prefix_ = false;
};

}  // namespace

void each_possible_record(cbytes page, u16 format,
                          const std::function<void(possible_record&&)>& visit) {
  const leaf_parser leaf(page, format);
  for (u32 i = 0; i < leaf.count(); ++i)
    if (possible_record r; leaf.take(i, r)) visit(std::move(r));
}

}  // namespace pleach::btree
