// The layouts of nodes; the page header's `format` says which one a page has. doc/format.md
// describes each byte.
//
// Format 1, slotted: all inner nodes, and the leaves of trees whose keys or values vary in length
// or are long.
//
//     | page header 64 | node header 64 | front slack | slots | gap | heap (grows down) | page tail
//     |
//
// Slot = {u16 offset, u16 head}: offset of the record in heap units; head = first two bytes of the
// key after the prefix, big-endian, zero-padded. Equal heads always mean a full comparison ("a" and
// "a\0" have equal heads). The slot array has slack on both sides; an insert moves the shorter
// side.
//
// Heap unit: 1 byte in nodes up to 64 KiB, above it node bytes / 64 KiB rounded up to a power of
// two (16 bytes at 1 MiB). Records, fences and prefix start at multiples of it and occupy whole
// units.
//
// Record = u8 key flags, u8 value flags, varint key length (after the prefix), varint value length,
// key, value. Varints are LEB128 in their shortest form. In an inner node the value is a 12-byte
// child reference and the key is the least key of the child's range (a separator); the first
// record's key is empty and stands for the low fence.
//
// Format 3, slotted, second version: leaves only. As format 1, but the flags of key and value share
// one byte, and the value of a record may be followed by attachments, which its flags announce: the
// user's flags (1 byte), the checksums of key and value (4 bytes each). The value length counts
// them.
//
// Heap items without a slot: low fence, high fence, prefix; the header refers to each by {offset,
// length}, offset 0 if empty. The prefix may be the beginning of the low fence (same offset) and
// then occupies nothing. Flag NO_HIGH_FENCE means +infinity; the low fence of the leftmost node is
// the empty key.
//
// Format 2, fixed: leaves of trees whose keys all have `key_bytes` bytes and whose values all have
// `value_bytes`, few together. No slots, no heap of records, no record headers:
//
//     | page header 64 | node header 64 | turns | keys, rising | values, falling | fences | tail |
//
// A row of places, `garbage` of them, in segments of 2^prefix_offset places (the last may be
// shorter). Records stand in the places [slot_begin, slot_begin + count) in key order, without a
// hole. A segment is turned: its place k lies in cell (k + turn) mod its size, one byte of turn a
// segment. So an insert moves records within one segment, and from each further one only one record
// to the next, whose turn changes (tiered vectors: Goodrich and Kloss 1999): what moves, and is
// logged, is about the root of what a plain array would move. Cell c of the row has its key at
// keys + c * key_bytes and its value at heap_begin - (c + 1) * value_bytes. Each fence has its own
// key_bytes at the end of the payload, low one last, so that a fence never moves a record.
// `prefix_length` is what the fences share: every key begins with it, and stores it all the same,
// whether the tree cuts prefixes off or not.
//
// A key over 1024 bytes is stored as its stub: the first 1024 bytes and a value_reference to the
// extent that holds all of it (count 1; checksum: XXH3-64 of the key). Keys, separators and fences
// of exactly 1056 bytes (prefix included) are stubs; there are none of 1025 to 1055. In a node with
// a stub the prefix has 1022 bytes at most.
//
// Format 4, inner with aggregates: as format 1, for the inner nodes of trees with TREE_COUNTED; the
// value of a record is a 12-byte child reference and a 24-byte child_aggregate.
//
// Fixed and variable parts of a tree's leaves are told by `key_bytes` and `value_bytes` in every
// page of the tree, inner ones too: a root that becomes a leaf again must know its layout.
#pragma once

#include "be/page_format.hh"

namespace pleach::btree {

struct node_header {
  le16 slot_begin;  ///< byte offset / 4 of the first slot; fixed leaf: places free in front
  le16 count;       ///< records. (slot_begin, count, heap_begin: one capture granule)
  le32 heap_begin;  ///< byte offset of the lowest heap byte in use
  le32 garbage;     ///< bytes of the heap that belong to no record, fence or prefix; fixed: places
  le16 low_length;
  le16 high_length;
  le32 low_offset;
  le32 high_offset;
  le16 prefix_length;
  le16 node_flags;
  le32 prefix_offset;  ///< fixed leaf: log2 of the places of a segment
  le64 right_addr;  ///< right sibling: a hint, trusted only if generation and fence agree
  le32 right_gen;
  le16 key_bytes;     ///< leaves of this tree are of format 2, with keys of this length; else 0
  le16 value_bytes;   ///< and with values of this length
  le64 record_count;  ///< root pages only: records of the whole tree
  le64 byte_count;    ///< root pages only: key and value bytes of the whole tree
};
static_assert(sizeof(node_header) == 64 && alignof(node_header) == 1);

inline constexpr u32 node_header_offset = page_header_bytes;
inline constexpr u32 slot_area_begin = page_header_bytes + sizeof(node_header);  // 128

struct slot {
  le16 offset;
  le16 head;
};
static_assert(sizeof(slot) == 4);

/// All but NO_HIGH_FENCE are the same in all nodes of a tree.
enum node_flag : u16 {
  NO_HIGH_FENCE = 1,
  NO_PREFIX = 2,      ///< slotted nodes store whole keys: the prefix is empty
  NO_TRUNCATION = 4,  ///< separators are whole keys
  NO_BYTE_ORDER = 8,  ///< keys are in the order of a comparator, heads are 0; with 2 and 4
};
inline constexpr u16 tree_node_flags = NO_PREFIX | NO_TRUNCATION | NO_BYTE_ORDER;
enum key_flag : u8 {
  // 1 is reserved: the length of what is stored says whether it is a stub
  KEY_CHECKSUM = 2,   ///< format 3: 4 bytes are attached
  KEY_USER_FLAGS = 4  ///< format 3: 1 byte is attached
};
enum value_flag : u8 {
  VALUE_INDIRECT = 1,
  VALUE_COMPRESSED = 2,
  VALUE_EXPIRY = 4,
  VALUE_CHECKSUM = 8  ///< format 3: 4 bytes are attached
};

/// The value of an inner record.
struct child_reference {
  le64 addr;
  le32 gen;
};
static_assert(sizeof(child_reference) == 12);

/// Behind the child reference in nodes of format 4: of all records below the child.
struct child_aggregate {
  le64 count;
  le64 digest_low;   ///< sums of the records' digests, modulo 2^64 each; zero in trees without
  le64 digest_high;  ///< TREE_DIGEST
};
static_assert(sizeof(child_aggregate) == 24);

/// The value of a record with VALUE_INDIRECT: an immutable extent of raw bytes, or the map of
/// several (value_map_format.hh).
struct value_reference {
  le64 length;    ///< bytes of the value
  le64 run;       ///< page_addr of the run: data, or the map
  le32 count;     ///< 1: `run` is the data itself; value_in_map | n: it is the map of n runs
  le32 gen;       ///< of the group that wrote the reference, for the logged free
  le64 checksum;  ///< XXH3-64 of the value, or of all blocks of the map
};
inline constexpr u32 value_in_map = 1u << 31;
/// In a tree with digests XXH3-64 of the value stands behind the reference to one with a map. The
/// length says whether it does.
inline constexpr u32 value_content_bytes = 8;
static_assert(sizeof(value_reference) == 32);

inline constexpr u16 node_format_slotted = 1;
inline constexpr u16 node_format_fixed = 2;
inline constexpr u16 node_format_slotted_2 = 3;
/// What a record of format 3 may have behind its value: user flags, two checksums.
inline constexpr u32 record_sum_bytes = 4;
inline constexpr u32 max_attached_bytes = 1 + 2 * record_sum_bytes;
inline constexpr u16 node_format_aggregated = 4;
inline constexpr u32 max_fixed_key_bytes = 256;
inline constexpr u32 max_fixed_value_bytes = 65535;
inline constexpr u32 max_fixed_places = 65535;
/// Longer records stay slotted: their headers are little beside them, and moving them costs more
/// log than moving slots (doc/performance.md).
inline constexpr u32 max_fixed_record_bytes = 48;
inline constexpr u32 max_key_bytes = 1u << 20;
inline constexpr u32 max_inline_key_bytes =
    1024;  ///< of longer keys nodes store stubs (long_key.hh)
inline constexpr u32 max_stored_key_bytes = max_inline_key_bytes + sizeof(value_reference);
/// So that the heads of stubs are bytes of their keys.
inline constexpr u32 max_prefix_bytes = max_inline_key_bytes - 2;
inline constexpr u32 max_integer_bytes = 16;      ///< keys of trees of integers
inline constexpr u32 max_value_bytes = 64u << 20;
inline constexpr u32 root_blocks = 1;             ///< a root keeps its address and its 4 KiB

/// The value of a catalogue record; the key is the tree's name. Of branches that were cut off a
/// tree (TREE_CUT) the key is longer than any name, `id` and the layout are those of the tree, and
/// the root is the holder: a page whose children they are.
struct tree_record {
  le64 id;
  le64 root_addr;
  le32 root_gen;
  le16 flags;        ///< tree_flag
  le16 value_bytes;  ///< length of all values, 0 variable
  le16 state;        ///< tree_state
  le16 node_blocks;  ///< nodes grow to this before they split
  le16 order;        ///< tree_order
  le16 key_bytes;    ///< length of all keys, 0 variable
  le64 created_lsn;
  le64 ttl_default_ms;
};
static_assert(sizeof(tree_record) == 48);
enum tree_flag : u16 {
  TREE_FIXED_LEAVES = 1,  ///< its leaves are of format 2
  TREE_KEY_SUMS = 8,      ///< its records have checksums of their keys: its leaves are of format 3
  TREE_VALUE_SUMS = 16,   ///< the same of their values
  TREE_COUNTED = 2,       ///< its inner nodes are of format 4
  TREE_DIGEST = 4,        ///< and carry digests too; only with TREE_COUNTED
  TREE_NO_PREFIX = 32,
  TREE_NO_TRUNCATION = 64,
};
/// How the caller's keys are ordered. Nodes compare bytes: integers are turned above (store/).
enum tree_order : u16 {
  ORDER_BYTES = 1,
  ORDER_UNSIGNED = 2,
  ORDER_SIGNED = 3,
  ORDER_REGISTERED = 4,  ///< by a comparator whose name follows the tree_record
};
enum tree_state : u16 { TREE_LIVE = 1, TREE_DROPPING = 2, TREE_CUT = 3 };
inline constexpr u32 max_tree_name_bytes = 255;
inline constexpr u32 max_comparator_name_bytes = 64;

}  // namespace pleach::btree
