#include "btree/tree.hh"

namespace pleach::btree {

u32 max_inline_record(const tree& t) {
  return (node_capacity(t.node_blocks * block_bytes) - 64) / 4;
}

u32 node_class(const tree& t, u32 key_bytes) {
  u32 blocks = t.node_blocks;
  while (blocks < t.ctx->max_node_blocks && node_capacity(blocks * block_bytes) < 8 * key_bytes)
    blocks *= 2;
  return blocks;
}

void format_root(page_writer w, page_addr addr, u64 store_id, tree_id_t id, generation_t gen) {
  format_node(w, addr, store_id, id, gen, 0, {}, {}, false, {});
}

bool parse_tree_record(cbytes value, tree_record& out) {
  if (value.size() != sizeof out) return false;
  std::memcpy(&out, value.data(), sizeof out);
  bool state_known = out.state == TREE_LIVE || out.state == TREE_DROPPING;
  page_addr root(out.root_addr);
  return state_known && out.id > tree_catalogue && root && root.blocks() == root_blocks &&
         out.order == 1 && out.node_blocks >= 1 && out.node_blocks <= max_page_blocks;
}

}  // namespace pleach::btree
