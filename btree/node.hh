// Pure functions on the bytes of nodes (node_format.hh): search, read, change, split, merge,
// validate. Callers need not know which layout a page has: each function looks at its `format`.
//
// What it is not: it allocates no page, waits for nothing, knows no tree. Reads go through
// `node_view`, changes through `page_writer`, so every changed byte is announced to capture. Bytes
// passed to views have passed `check_node` once at load: views assert nothing about them in the hot
// path, `check_node` validates everything.
//
// I1 slots are strictly ordered by key; heads agree with the keys (with NO_BYTE_ORDER they are 0).
// I2 every key starts with the prefix; low fence <= every key < high fence (leaf; separators
//    likewise, without '=').
// I3 count * 4 + front slack fit before heap_begin; garbage = heap bytes in no record, fence or
//    prefix.
// I4 the prefix belongs to the stored records: widened fences leave it alone, only a rewrite cuts
//    it anew. A key between the fences that does not share it needs `compact(..., &key)` first;
//    room_for_insert says so. With NO_PREFIX the prefix is empty, always.
// I5 holes are known to nobody: who needs one looks for it (node_hole.cc), best where the last one
//    was. A rewrite closes them.
// I6 all leaves of a tree are slotted, or all are fixed, and all its nodes have the same flags,
//    which each of its pages names by `shape()`; nothing is ever moved between nodes of different
//    shapes.
// I7 slotted leaves of both versions (formats 1 and 3) live in one tree. A leaf becomes one of
//    format 3 only when it is rewritten, never the other way; no record is longer in format 3 than
//    in format 1, so a conversion always fits where the leaf stood.
//
// Spans passed to changes must not lie in the changed page.
#pragma once

#include "be/base/error.hh"
#include "btree/key_order.hh"
#include "btree/long_key.hh"
#include "btree/node_format.hh"
#include "pagecache/page_writer.hh"

namespace pleach::btree {

/// RETURNS: the shortest s with left < s <= right (suffix truncation: Bayer & Unterauer 1977) that
/// a node can store: part of `right`, or all of it if it is a stub and `left` has its stem.
/// REQUIRES: left < right.
cbytes shortest_separator(cbytes left, cbytes right);
u32 common_prefix(cbytes a, cbytes b);
/// May a node that cuts this prefix off hold the stored key?
bool shares_prefix(cbytes stored, cbytes prefix);

/// What all nodes of a tree have in common. Lengths of all keys and values if its leaves are of
/// format 2; both 0: leaves are slotted.
struct record_shape {
  u16 key_bytes = 0;
  u16 value_bytes = 0;
  u16 flags = 0;  ///< of tree_node_flags
  bool fixed() const { return key_bytes != 0; }
  friend bool operator==(const record_shape&, const record_shape&) = default;
};

struct record {
  u8 key_flags = 0;
  u8 value_flags = 0;
  cbytes key_suffix;  ///< without the node's prefix
  cbytes value;       ///< inline bytes: the value, a value_reference or a child_reference
  cbytes attached;    ///< what stands behind the value: user flags, checksums (record_extras.hh)
};

/// May a rewrite change the version of a slotted leaf? Only where the store names the feature
/// (feature_slotted_2). Inner nodes and fixed leaves have one version.
enum class convert : bool { NO, YES };
/// What the records of a subtree, or of a range, add up to (aggregate.hh).
struct aggregate {
  u64 count = 0, digest_low = 0, digest_high = 0;

  aggregate& operator+=(const aggregate& b) {
    count += b.count;
    digest_low += b.digest_low;
    digest_high += b.digest_high;
    return *this;
  }
  aggregate& operator-=(const aggregate& b) {
    count -= b.count;
    digest_low -= b.digest_low;
    digest_high -= b.digest_high;
    return *this;
  }
  friend bool operator==(const aggregate&, const aggregate&) = default;
};

struct search_result {
  u32 index;   ///< first slot whose key >= the sought one; count() if none
  bool found;  ///< the key at index is equal
};

class node_view : public page_reader {
 public:
  /// `order`: of the tree, if it has a comparator. Whoever compares keys gives it: views of
  /// a tree's pages come from tree::view.
  explicit node_view(page_reader r, const registered_order* order = nullptr)
      : page_reader(r), order_(order) {}

  const node_header& node() const {
    return *reinterpret_cast<const node_header*>(base_ + node_header_offset);
  }
  bool is_leaf() const { return header().level == 0; }
  u32 level() const { return header().level; }
  u32 count() const { return node().count; }
  bool fixed() const { return header().format == node_format_fixed; }
  /// A leaf that a rewrite could convert.
  bool old_version() const { return is_leaf() && header().format == node_format_slotted; }
  /// An inner node whose child references carry aggregates?
  bool aggregated() const { return header().format == node_format_aggregated; }
  record_shape shape() const {
    return {node().key_bytes, node().value_bytes,
            static_cast<u16>(node().node_flags & tree_node_flags)};
  }
  bool cuts_prefix() const { return (node().node_flags & NO_PREFIX) == 0; }
  bool truncates() const { return (node().node_flags & NO_TRUNCATION) == 0; }
  u32 payload_end() const { return size_ - u32{header().tail} * 16; }

  cbytes prefix() const;  ///< what stored keys lack at their beginning; empty in fixed leaves
  cbytes low_fence() const;
  cbytes high_fence() const;  ///< REQUIRES: has_high_fence()
  bool has_high_fence() const;
  /// low <= key < high. `probe`, here and below: of the key, if it is long (long_key.hh).
  bool covers(cbytes key, key_probe* probe = nullptr) const;
  /// low < key <= high: the keys just below `key` are here
  bool covers_below(cbytes key, key_probe* probe = nullptr) const;
  record at(u32 index) const;
  /// Writes the key of `index` as it is stored, with its prefix, to `out`: the low fence for record
  /// 0 of an inner node, the stub of a long key.
  /// RETURNS: its length.
  /// REQUIRES: out holds max_stored_key_bytes.
  u32 copy_key(u32 index, std::byte* out) const;
  u32 key_length(u32 index) const;  ///< of what copy_key writes
  bool has_stub(u32 index) const { return key_length(index) > max_inline_key_bytes; }
  /// REQUIRES: has_stub(index).
  value_reference key_extent(u32 index) const;
  /// RETURNS: the length of the whole key.
  u64 full_key_length(u32 index) const {
    return has_stub(index) ? u64{key_extent(index).length} : key_length(index);
  }
  /// key at index <=> key
  int compare(u32 index, cbytes key, key_probe* probe = nullptr) const;
  /// A stored key, such as a fence, <=> key, in the order of the tree.
  int compare_fence(cbytes fence, cbytes key, key_probe* probe) const;
  /// Bytes that deleting the record gives back (its slot included, heap units not counted).
  u32 bytes_of(u32 index) const;

  search_result find(cbytes key, key_probe* probe = nullptr) const;
  /// Hints the CPU at the slot array (about 1 KiB) before the search.
  void prefetch() const;
  /// Hints the CPU at the record that `find(key)` will compare, and at its value. The slot array
  /// should be at hand.
  /// REQUIRES: leaf.
  void fetch_record(cbytes key) const;

  // inner nodes
  page_ref child(u32 index) const;
  /// REQUIRES: aggregated().
  aggregate child_sum(u32 index) const;
  /// Bytes of the value of a record of an inner node.
  u32 child_bytes() const {
    return sizeof(child_reference) + (aggregated() ? sizeof(child_aggregate) : 0);
  }
  /// RETURNS: the index of the child whose range holds `key`.
  /// REQUIRES: inner, count() > 0.
  u32 find_child(cbytes key, key_probe* probe = nullptr) const;
  /// RETURNS: the index of the child at this address; count() if there is none.
  u32 slot_of(page_addr child) const;

  page_ref right_hint() const;

  // room
  /// Bytes that records, fences and prefix need (slots included): what the node would use after
  /// compaction.
  u32 used_bytes() const;
  /// Bytes for further records (slot included) after compaction.
  u32 free_bytes() const;
  /// RETURNS: true if one more record of `record_bytes` (heap bytes, without its slot) fits below
  /// the others.
  bool fits_now(u32 record_bytes) const;

 private:
  cbytes key_of(u32 index, std::byte* room) const;
  search_result find_registered(u32 begin, cbytes key) const;
  void tell(key_probe& probe, u32 begin, const search_result& r) const;

  const registered_order* order_;
};

/// Heap bytes of a record with this suffix and value (header varints included, slot not) in format
/// 1; in format 3 it is one byte less.
u32 record_bytes(u32 key_suffix_length, u32 value_length);

/// Records in slotted nodes of this size occupy multiples of it; 1 up to 64 KiB.
u32 heap_unit(u32 node_bytes);

/// Bytes available to slots and heap in a node of `node_bytes`.
u32 node_capacity(u32 node_bytes, u32 tail_bytes = 0);

// --- changes. Each returns what the node needs captured by itself; none can fail when its REQUIRES
// holds. ---

/// Formats the zeroed bytes of a new page as an empty node. `high` ignored when !has_high. A leaf
/// of a fixed `shape` is of format 2, any other one of `slotted_format`; an inner node with
/// `aggregated` of format 4. `prefix`: empty with NO_PREFIX.
void format_node(page_writer w, page_addr addr, u64 store_id, tree_id_t tree, generation_t gen,
                 u8 level, cbytes low, cbytes high, bool has_high, cbytes prefix,
                 record_shape shape = {}, u16 slotted_format = node_format_slotted,
                 bool aggregated = false);

/// Do `count` inserts or replacements that occupy at most `record_bytes` each all find a place
/// without compaction, whatever their order? (false: perhaps not.)
bool places_for(const node_view& n, u32 record_bytes, u32 count);

enum class room { NOW, AFTER_COMPACTION, NONE };
/// Room for inserting `key` with a value of `value_length` inline bytes at its place; takes into
/// account a key that does not share the prefix (the node must then be rewritten with a shorter
/// one). `attached`: bytes behind the value; a leaf of format 1 must then be converted first:
/// `compact` does. At NOW `*place`, if asked for, is where insert_at will put the record. `near`:
/// an offset near which holes are likely (0: nothing is known); it costs less there.
room room_for_insert(const node_view& n, cbytes key, u32 value_length, u32 attached = 0,
                     u32* place = nullptr, u32 near = 0);
/// Room for replacing the value at `index` by one of `value_length` bytes. The old record counts as
/// in use unless it is the lowest of the heap: at NONE, erase it and insert anew (with its old
/// bytes the room may be there).
room room_for_replace(const node_view& n, u32 index, u32 value_length, u32 attached = 0);

/// `place`: what room_for_insert said of this very node and record, else 0.
/// REQUIRES: room NOW (else call `compact` first), key not present, index = find(key).index.
/// `attached`, which the flags announce, only in a leaf of format 3.
void insert_at(page_writer w, u32 index, cbytes key, u8 key_flags, u8 value_flags, cbytes value,
               cbytes attached = {}, u32 place = 0);
void replace_value(page_writer w, u32 index, u8 key_flags, u8 value_flags, cbytes value,
                   cbytes attached = {});
/// The same in a node whose keys have no flags.
inline void replace_value(page_writer w, u32 index, u8 value_flags, cbytes value) {
  replace_value(w, index, 0, value_flags, value);
}
void erase_at(page_writer w, u32 index);
/// Rewrites the node without garbage, slots centred in their slack, prefix cut anew to what fences
/// (and `extra_key`, if any) share. `scratch` holds a copy: at least size() bytes.
void compact(page_writer w, bytes scratch, const cbytes* extra_key = nullptr,
             convert c = convert::NO);
/// Gives the records of a slotted node a shorter prefix, the first `length` bytes of its low fence,
/// if it then fits with `spare` bytes left.
/// RETURNS: false if it does not; nothing has changed then. `scratch` as in compact.
bool shorten_prefix(page_writer w, u32 length, u32 spare, bytes scratch);

// inner nodes
/// REQUIRES: room NOW; index > 0, or the node is empty (the separator is then ignored: its key is
/// the low fence).
/// `sum`: of the child's records; kept only if the node is `aggregated()`.
void insert_child(page_writer w, u32 index, cbytes separator, page_ref child,
                  const aggregate& sum = {});
/// Its aggregate stays.
void set_child(page_writer w, u32 index, page_ref child);
/// REQUIRES: aggregated().
void set_child_sum(page_writer w, u32 index, const aggregate& sum);
/// Removes child `index`; if it is the first, the next one becomes the first (its key becomes
/// empty).
/// REQUIRES: count() > 1 or index == 0.
void erase_child(page_writer w, u32 index);

void set_right_hint(page_writer w, page_ref right);
/// Room for a fence of this length. At NONE the fence must not be set.
room room_for_fence(const node_view& n, u32 new_length, bool high);
/// Fences are set in place or from the free bytes if room is NOW, else by a rewrite.
/// REQUIRES: room not NONE.
void set_high_fence(page_writer w, cbytes high, bool has_high, bytes scratch);
void set_low_fence(page_writer w, cbytes low, bytes scratch);

/// How inserts have come lately: each behind, or before, the last one.
enum class run_kind : u8 { NONE, UP, DOWN };

/// Where to split for inserting `record_bytes` more at `index`: the first slot of the right node,
/// and its separator.
struct split_point {
  u32 index;  ///< records [index, count) go right; 1 <= index <= count (== count: only the new one
              ///< goes right). 0: no split helps, grow the node
  bool insert_right;
  bool in_run;  ///< at the place of a run
  u32 separator_length;
  std::byte separator[max_stored_key_bytes];
};
/// Both halves fit nodes of the same size, the new record included (perhaps after `compact(...,
/// &key)`: ask room_for_insert again). Always possible if count >= 3 and no record exceeds a
/// quarter of the payload, in nodes from 16 KiB on. Within 10 % of the middle the shortest
/// separator wins. Separators of inner nodes, and of nodes with NO_TRUNCATION, are whole keys, and
/// a new child is never the first of the right node.
///
/// In a run the node is split where the run is, so that what it leaves behind is full. Behind the
/// last record: the new one goes right alone (in an inner node with the last child; where a full
/// leaf has no room for its fence, with a record or two). Before the first: all but one go right.
/// Elsewhere, if the run's side is half of the node at least: the other side goes, and the run goes
/// on where it was.
split_point choose_split(const node_view& n, cbytes key, u32 index, u32 value_length, run_kind r);

/// Moves records [at.index, count) of `left` into `right` (zeroed page, formatted here with the
/// given identity): fences, prefix, right hints of both are set. The records of `left` stay where
/// they are, between the holes of those that left; it is rewritten only where a longer prefix would
/// tell them apart better, its new fence finds no place, or both nodes are converted. `scratch` as
/// in compact.
void split_node(page_writer left, page_writer right, const split_point& at, page_ref left_ref,
                page_ref right_ref, u64 store_id, bytes scratch, convert c = convert::NO);
/// Copies all of `from` into the zeroed page `to` (other size or address): growth, root push-down
/// and pull-up. Identity of `to` as given; fences, level, tail, right hint and records of `from`;
/// record_count and byte_count of `to` stay. Non-zero bytes in `to` do no harm.
/// REQUIRES: used_bytes of `from` <= capacity of `to`.
void copy_node(page_reader from, page_writer to, page_addr addr, u64 store_id, tree_id_t tree,
               generation_t gen, convert c = convert::NO);
/// Bytes `a` followed by its right neighbour `b` would use in one node with a's low and b's high
/// fence, at most.
u32 merged_bytes(const node_view& a, const node_view& b);
/// Appends the records of `b` to `a`, widens a's high fence, takes b's right hint. For inner nodes
/// `separator` is the parent's key of b, which becomes the key of b's first record.
/// Of leaves of two versions the result has the newer one.
/// REQUIRES: merged_bytes <= capacity.
void merge_nodes(page_writer a, const node_view& b, cbytes separator, bytes scratch,
                 convert c = convert::NO);
/// Makes `w` an empty leaf of its tree's layout with the same identity, fences, right hint and
/// counters (root of a tree that lost its last record).
void make_empty_leaf(page_writer w, convert c = convert::NO);

/// Shows each extent that belongs to the leaf (I2 of long_key.hh): of values and long keys; a value
/// may have a map.
template <class Visit>
void each_extent(const node_view& leaf, Visit&& visit);
/// Bytes of the record's value, wherever it lies.
u64 value_bytes_of(const record& r);
/// REQUIRES: a root.
void add_to_counts(page_writer root, i64 records, i64 bytes);

/// Everything that the views rely on: offsets inside, order, heads, prefix, fences, lengths, flags,
/// garbage, no overlap. Never reads outside the page, whatever the bytes.
/// RETURNS: ok, or corrupt with the place of first detection in `*why` (static text).
errc check_node(cbytes page, const char** why = nullptr);
errc check_page_node(cbytes page);  // signature of cache::page_check

template <class Visit>
void each_extent(const node_view& leaf, Visit&& visit) {
  if (leaf.fixed()) return;
  const cbytes low = leaf.low_fence();
  bool low_is_known = !is_stub(low);
  for (u32 i = 0; i < leaf.count(); ++i) {
    const record r = leaf.at(i);
    if (r.value_flags & VALUE_INDIRECT) {
      value_reference ref;
      std::memcpy(&ref, r.value.data(), sizeof ref);
      visit(ref);
    }
    if (!leaf.has_stub(i)) continue;
    const value_reference key = leaf.key_extent(i);
    low_is_known |= i == 0 && is_stub(low) && same_extent(reference_of(low), key);
    visit(key);
  }
  if (!low_is_known) visit(reference_of(low));
}

}  // namespace pleach::btree
