// What a change of a node puts into the log at most: captured granules and the headers of their
// runs, in bytes, without the header of the page's record. A plan adds these up to its credit.
//
// Pure, like node.hh, and for both layouts. C1: the change, made to the node as it is now, never
// captures more; the tests of nodes hold each against what was captured. Bounds are near what
// happens on average, so that credit held and log written do not differ by much.
#pragma once

#include "btree/node.hh"

namespace pleach::btree {

/// Log bytes of a page that is rewritten: each byte once, and the headers of more runs than a page
/// is credited anyway.
inline u64 whole_page(u32 node_bytes) {
  return node_bytes + node_bytes / 8;
}

/// A stretch of `length` bytes anywhere in a node: rounded to granules, with its run's header.
u64 stretch_cost(const node_view& n, u64 length);
/// Header words of a change: slots, count, heap, garbage.
u64 header_cost(const node_view& n);

/// Heap bytes of a record as `n` stores it. `value_length`: with what is attached to the value.
u32 stored_bytes(const node_view& n, u32 key_suffix_length, u32 value_length);

/// insert_at of a record of `record_bytes` at `index`.
/// REQUIRES: room NOW; `place` is what room_for_insert said.
u64 insert_cost(const node_view& n, u32 index, u32 record_bytes, u32 place);
/// replace_value at `index`. `value_length`: with what is attached.
/// REQUIRES: room NOW.
u64 replace_cost(const node_view& n, u32 index, u32 value_length);
u64 erase_cost(const node_view& n, u32 index);

/// Does a replacement at `index` grow, and may it then take so much of the slack that `bytes` more
/// do not fit there? (It grows where it lies if it is the lowest of the heap by then.)
bool growth_takes_slack(const node_view& n, u32 index, u32 value_length, u64 bytes);
/// Bytes of slots (fixed: records) that an insert or delete at `index` moves, if `others` more may
/// happen before it.
u64 moved_cost(const node_view& n, u32 index, u32 others);
/// `changes` inserts, replacements and deletes in one group; `placed` of them bring records, which
/// occupy `added` bytes without the first one, slots included, and none more than `longest`.
/// `cost`: that of the first change and moved_cost of the others. A compaction is in it if it may
/// come to one. All keys share the prefix.
u64 changes_cost(const node_view& n, u32 changes, u32 placed, u64 added, u32 longest, u64 cost);

/// A rewrite of the node with `more` bytes, and its conversion.
u64 rewrite_cost(const node_view& n, u64 more);
/// split_node at this point, both nodes, and then the insert of `key` with a value of
/// `value_length` bytes, with what is attached. The right node's page record is new. A conversion
/// is not in it.
u64 split_cost(const node_view& n, const split_point& at, cbytes key, u32 value_length);
/// merge_nodes of `a` and `b`, and their conversion: what `a` captures.
u64 merge_cost(const node_view& a, const node_view& b);
/// copy_node into a new page.
u64 copy_cost(const node_view& n, u32 page_bytes);

}  // namespace pleach::btree
