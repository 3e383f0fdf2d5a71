#include "btree/tree.hh"

#include <atomic>

#include "btree/record_extras.hh"

namespace pleach::btree {

u64 next_opening() {
  static std::atomic<u64> openings{0};
  return ++openings;
}

static u32 max_inline_record(u32 node_blocks) {
  return (node_capacity(node_blocks * block_bytes) - 64) / 4;
}

u32 max_inline_record(const tree& t) {
  return max_inline_record(t.node_blocks);
}

bool goes_to_extent(const tree& t, u64 key_bytes, u64 value_bytes) {
  return stored_key_bytes(key_bytes) + value_bytes + sum_bytes(t) > max_inline_record(t) &&
         value_bytes > sizeof(value_reference);
}

errc check_lengths(const tree& t, cbytes key, u64 value_bytes, length_fault& fault) {
  if (t.key_bytes != 0 && key.size() != t.key_bytes) {
    fault = {t.key_bytes, static_cast<u32>(key.size())};
    return errc::wrong_key_length;
  }
  if (t.order != nullptr && key.empty()) return errc::empty_key;
  if (t.value_bytes != 0 && value_bytes != t.value_bytes) {
    fault = {t.value_bytes, static_cast<u32>(value_bytes)};
    return errc::wrong_value_length;
  }
  return errc::ok;
}

u64 max_key_bytes_of(const tree& t) {
  return t.order == nullptr && t.key_bytes == 0 && t.id != tree_catalogue ? max_key_bytes
                                                                          : max_inline_key_bytes;
}

u32 node_class(const tree& t, u32 key_bytes) {
  u32 blocks = t.node_blocks;
  while (blocks < t.ctx->max_node_blocks && node_capacity(blocks * block_bytes) < 8 * key_bytes)
    blocks *= 2;
  return blocks;
}

void format_root(page_writer w, page_addr addr, u64 store_id, tree_id_t id, generation_t gen,
                 record_shape shape, u16 slotted_format) {
  format_node(w, addr, store_id, id, gen, 0, {}, {}, false, {}, shape, slotted_format);
}

u32 sum_bytes(const tree_record& record) {
  return ((record.flags & TREE_KEY_SUMS) ? record_sum_bytes : 0) +
         ((record.flags & TREE_VALUE_SUMS) ? record_sum_bytes : 0);
}

bool lengths_possible(u32 node_blocks, u64 key_bytes, u64 value_bytes, u32 sums) {
  if (key_bytes > max_fixed_key_bytes || value_bytes > max_fixed_value_bytes) return false;
  return value_bytes == 0 || key_bytes + value_bytes + sums <= max_inline_record(node_blocks);
}

bool order_possible(u32 order, u64 key_bytes) {
  if (order == ORDER_BYTES || order == ORDER_REGISTERED) return true;
  return (order == ORDER_UNSIGNED || order == ORDER_SIGNED) && key_bytes != 0 &&
         key_bytes <= max_integer_bytes;
}

void choose_leaf_layout(tree_record& record) {
  const u32 record_bytes = u32{record.key_bytes} + record.value_bytes;
  if (record.order == ORDER_REGISTERED)
    record.flags = record.flags | TREE_NO_PREFIX | TREE_NO_TRUNCATION;
  const bool fixed = record.order != ORDER_REGISTERED && sum_bytes(record) == 0 &&
                     record.key_bytes != 0 && record.value_bytes != 0 &&
                     record_bytes <= max_fixed_record_bytes &&
                     record.node_blocks * block_bytes / record_bytes <= max_fixed_places;
  record.flags =
      static_cast<u16>((record.flags & ~TREE_FIXED_LEAVES) | (fixed ? TREE_FIXED_LEAVES : 0));
}

record_shape leaf_shape(const tree_record& record) {
  record_shape s;
  if (record.flags & TREE_FIXED_LEAVES) s = {record.key_bytes, record.value_bytes};
  if (record.flags & TREE_NO_PREFIX) s.flags |= NO_PREFIX;
  if (record.flags & TREE_NO_TRUNCATION) s.flags |= NO_TRUNCATION;
  if (record.order == ORDER_REGISTERED) s.flags |= NO_BYTE_ORDER;
  return s;
}

bool adopt(tree& t, const tree_record& record, std::string_view comparator) {
  t.id = record.id;
  t.root = {page_addr(record.root_addr), record.root_gen};
  t.node_blocks = record.node_blocks;
  t.key_bytes = record.key_bytes;
  t.value_bytes = record.value_bytes;
  t.order_number = record.order;
  t.counted = (record.flags & TREE_COUNTED) != 0;
  t.digest = (record.flags & TREE_DIGEST) != 0;
  t.fixed_leaves = (record.flags & TREE_FIXED_LEAVES) != 0;
  t.key_sums = (record.flags & TREE_KEY_SUMS) != 0;
  t.value_sums = (record.flags & TREE_VALUE_SUMS) != 0;
  t.order = nullptr;
  if (record.order != ORDER_REGISTERED) return true;
  const auto found = t.ctx->orders.find(comparator);
  if (found == t.ctx->orders.end()) return false;
  t.order = &found->second;
  return true;
}

bool parse_tree_record(cbytes value, tree_record& out, std::string_view* comparator) {
  if (value.size() < sizeof out) return false;
  std::memcpy(&out, value.data(), sizeof out);
  const std::string_view name = as_text(value.subspan(sizeof out));
  if (comparator != nullptr) *comparator = name;
  const bool registered = out.order == ORDER_REGISTERED;
  if (registered ? name.empty() || name.size() > max_comparator_name_bytes : !name.empty())
    return false;
  constexpr u16 whole = TREE_NO_PREFIX | TREE_NO_TRUNCATION;
  if (registered && (out.flags & (whole | TREE_FIXED_LEAVES)) != whole) return false;
  bool state_known = out.state >= TREE_LIVE && out.state <= TREE_CUT;
  page_addr root(out.root_addr);
  return state_known && out.id > tree_catalogue && root && root.blocks() == root_blocks &&
         order_possible(out.order, out.key_bytes) && out.node_blocks >= 1 &&
         out.node_blocks <= max_page_blocks &&
         lengths_possible(out.node_blocks, out.key_bytes, out.value_bytes, sum_bytes(out)) &&
         (out.flags & ~(TREE_FIXED_LEAVES | TREE_COUNTED | TREE_DIGEST | TREE_KEY_SUMS |
                        TREE_VALUE_SUMS | TREE_NO_PREFIX | TREE_NO_TRUNCATION)) == 0 &&
         ((out.flags & TREE_DIGEST) == 0 || (out.flags & TREE_COUNTED) != 0) &&
         ((out.flags & TREE_FIXED_LEAVES) == 0 ||
          (out.key_bytes != 0 && out.value_bytes != 0 && sum_bytes(out) == 0));
}

}  // namespace pleach::btree
