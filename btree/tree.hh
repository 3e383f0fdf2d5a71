// What the engine knows of an open tree, and of all trees of a store. In memory only.
//
// I1 A tree's root keeps its address and generation for life, so a put never touches the catalogue.
// I2 `dropped` is set before the first page of a dropped tree is freed; every op looks at it when
//    it starts, and again before it goes to a root or changes anything.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "be/sm/gate.hh"
#include "btree/node.hh"
#include "txn/engine.hh"

namespace pleach::btree {

inline constexpr u32 max_height = 16;

/// Counters of one store's trees; restarts by cause (each is bounded: see write_op.hh).
struct tree_statistics {
  u64 reads = 0, multi_gets = 0, counts = 0, sums = 0, read_ahead = 0, writes = 0, inserts = 0,
      replaces = 0, deletes = 0;
  u64 cookie_hits = 0, cookie_misses = 0;
  u64 splits = 0, growths = 0, push_downs = 0, compactions = 0, merges = 0, unlinks = 0,
      pull_ups = 0;
  u64 conversions = 0;  ///< leaves that a rewrite made of the newest version
  u64 key_reads = 0;    ///< of extents of long keys
  u64 bad_sums = 0;     ///< records read whose checksums do not agree
  u64 empties_kept = 0;
  u64 splits_in_run = 0;   ///< of leaves, at the place of a run: what it leaves is full
  u64 merges_absent = 0;   ///< left out: a neighbour was not resident, and is not read for that
  u64 merges_passing = 0;  ///< of merges: by a write that only passed a sparse leaf
  u64 right_hints = 0;     ///< steps of reads to the next leaf without a descent
  u64 ahead_grown = 0, ahead_shrunk = 0;  ///< changes of windows of read-ahead
  u64 bulk_loads = 0, bulk_records = 0;
  u64 cuts = 0;        ///< of branches
  u64 cut_leaves = 0;  ///< transactions that took whole leaves out
  u64 edits = 0;  ///< calls of editors: more than modifies if records changed under them
  u64 restart_stale = 0, restart_check = 0, restart_grant = 0, restart_plan = 0, lock_all = 0;
};

/// RETURNS: a number that no other context of this process has, nor had.
u64 next_opening();

/// What every op of a store needs.
struct context {
  txn::engine& engine;
  cache::page_cache& pages;
  sm::reactor& loop;
  tree_statistics stats{};
  u32 max_node_blocks = 16;
  /// Longest run of a value; a longer value has a map. Tests make it short.
  u32 max_run_blocks = max_page_blocks;
  u64 batch_units_hint = 0;  ///< frames that the last batch needed
  /// Holders (cut_op.hh) that are not reclaimed yet: what hangs on them may still be in memory.
  u32 cut_branches = 0;
  /// Of the program, by name. Filled before the first tree is opened, and left alone.
  std::map<std::string, registered_order, std::less<>> orders{};
  sm::gate gate{
      "write gate"};  ///< writers share it; one that restarted too often holds it alone (LOCKALL)
  std::byte* scratch = nullptr;  ///< one largest page; used within a tick only
  u32 scratch_bytes = 0;
  /// Tells cookies of this opening of this store from all others. A cut renews it: whoever
  /// remembers a page from before, or waits for one, asks the tree again (cut_op.hh).
  u64 opening = next_opening();
  u64 holders = 0;  ///< made in this opening: tells their names apart
};

struct tree {
  context* ctx = nullptr;
  tree_id_t id = tree_none;
  page_ref root;
  u32 node_blocks = 4;  ///< nodes grow to this before they split
  u32 height_hint = 1;
  u32 key_bytes = 0;                        ///< length of all keys, 0 variable
  u32 value_bytes = 0;                      ///< length of all values, 0 variable
  u16 order_number = ORDER_BYTES;           ///< tree_order
  const registered_order* order = nullptr;  ///< of ORDER_REGISTERED; the context's
  bool fixed_leaves = false;  ///< of format 2: records have no flags and no attachments
  bool key_sums = false, value_sums = false;  ///< its records have checksums (record_extras.hh)
  bool counted = false;                       ///< its child references carry aggregates
  bool digest = false;                        ///< with digests
  bool dropped = false;
  std::string name;

  tree() = default;  ///< outside of any opening
  explicit tree(context& c) : ctx(&c) {}
  /// A node of this tree, which compares as the tree does.
  node_view view(const cache::descriptor& d) const { return node_view(d.reader(), order); }
  int compare(cbytes a, cbytes b) const { return compare_in(order, a, b); }
};

/// Largest inline record (key and value bytes) of a tree; a larger value goes to an extent.
u32 max_inline_record(const tree& t);
/// RETURNS: true if a value of this length goes to an extent: its record is too large for a leaf,
/// and the reference is smaller than the value.
bool goes_to_extent(const tree& t, u64 key_bytes, u64 value_bytes);
/// A length that a tree of fixed lengths does not take; `wanted` 0: none.
struct length_fault {
  u32 wanted = 0;
  u32 given = 0;
};
/// ERRORS: wrong_key_length, wrong_value_length, with the lengths in `fault`; empty_key.
errc check_lengths(const tree& t, cbytes key, u64 value_bytes, length_fault& fault);
/// RETURNS: the length of the longest key that the tree takes: only trees whose keys vary in length
/// and are ordered by their bytes have long ones.
u64 max_key_bytes_of(const tree& t);
/// Blocks of the node class for records with keys of up to `key_bytes` stored bytes: the tree's
/// own, or larger so that at least eight such keys fit.
u32 node_class(const tree& t, u32 key_bytes);

/// Formats the image of an empty root leaf (mkfs, create).
void format_root(page_writer w, page_addr addr, u64 store_id, tree_id_t id, generation_t gen,
                 record_shape shape = {}, u16 slotted_format = node_format_slotted);
/// Sets the layout of the leaves of a tree that is to be made, by its lengths, order, node size and
/// checksums; its other flags stay, but that with a comparator keys are whole.
void choose_leaf_layout(tree_record& record);
/// RETURNS: the shape of the pages of the tree: fixed if its leaves are of format 2, and the flags
/// of all its nodes.
record_shape leaf_shape(const tree_record& record);
/// RETURNS: false if no tree with this node size can have these lengths (0: variable), with so many
/// bytes of checksums a record.
bool lengths_possible(u32 node_blocks, u64 key_bytes, u64 value_bytes, u32 sums = 0);
/// Bytes of checksums of each record.
u32 sum_bytes(const tree_record& record);
/// RETURNS: false if no tree can have this order with keys of this length.
bool order_possible(u32 order, u64 key_bytes);
/// A tree of the record, not open through any handle. `name` stays empty. `comparator`: its name,
/// behind the record.
/// RETURNS: false if the context lacks that comparator; the tree may then be dropped or reclaimed,
/// which compare nothing, but neither read nor written.
bool adopt(tree& t, const tree_record& record, std::string_view comparator = {});

inline page_ref catalogue_root(const cache::descriptor& root_block) {
  sm::step_scope step;
  auto& r = *reinterpret_cast<const root_record*>(root_block.reader().base());
  return {page_addr(r.catalogue_root), r.catalogue_gen};
}

/// The catalogue's view of one tree. `comparator` (may be null): its name, in `value`; or empty.
/// RETURNS: false if the bytes are no sound tree_record.
bool parse_tree_record(cbytes value, tree_record& out, std::string_view* comparator = nullptr);

}  // namespace pleach::btree
