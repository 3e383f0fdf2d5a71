// Walks the trees of a store from their roots, as far as pages are what their parents expect, and
// marks what they reach.
//
//     visit(place):
//       page = the page that the reference names
//       if it is not sound, or not what its parent expects, or reached before: a gap; done
//       a leaf: each record's lengths, checksums and extents; bad records leave the leaf
//       an inner node: visit each child, between its separators
//
// What it is not: it fills no gap (mend.hh) and looks at no bitmap (space_pass.hh).
//
// I1 A page is changed only where it stands, and only by taking records out.
#pragma once

#include <string>
#include <vector>

#include "btree/aggregate.hh"
#include "repair/extents.hh"
#include "repair/journal.hh"

namespace pleach::repair {

struct tree_facts {
  std::string name;
  tree_id_t id = tree_none;
  btree::tree_record record{};  ///< zeros for the catalogue, but for the size of its nodes
  page_ref root;
  bool found = false;      ///< by its pages: the catalogue has no record of it yet
  bool has_order = false;  ///< a comparator orders its keys, which is not here
};

/// Where a page should be, and is not: a reference that leads to nothing sound.
struct gap {
  const tree_facts* tree = nullptr;
  page_ref ref;
  i32 level = -1;  ///< -1: a root, whose level only it knows
  std::string low, high;
  bool has_high = false;
  page_ref parent;  ///< none: it is a root
  u32 child = 0;    ///< of the parent
  std::string why;
};
/// Keys of a range, as a person reads them.
std::string range_of(const gap& g);

struct tree_totals {
  u64 records = 0, bytes = 0;
  btree::aggregate sum;
  tree_totals& operator+=(const tree_totals& b) {
    records += b.records;
    bytes += b.bytes;
    sum += b.sum;
    return *this;
  }
};

class tree_walk {
 public:
  using record_sink = std::function<void(cbytes key, cbytes value)>;  ///< inline values only

  tree_walk(raw_store& s, block_set& reached, journal& j)
      : store_(s), reached_(reached), journal_(j), extents_(s, reached) {}

  /// The whole tree.
  void walk(const tree_facts& t);
  /// What hangs below a page that was found for a gap.
  void walk_below(const gap& place) { visit(place); }
  /// The records of a tree that has been walked. Changes and marks nothing.
  void each_record(page_ref root, const record_sink& each);
  /// Puts another root into the catalogue's record of a tree.
  /// RETURNS: false if the record is not there, or cannot be written.
  bool set_tree_root(page_ref catalogue, cbytes name, page_ref root);
  /// Adds the flags of a tree_record that only the inside of its nodes shows to `flags`.
  void observe(page_ref root, u32& flags);
  /// Counts and sums up the tree again, which has no gaps now, and puts right what its root and its
  /// inner nodes say of it.
  void recount(const tree_facts& t);

  std::vector<gap> gaps;
  u64 pages = 0;
  bool catalogue_lost_some = false;  ///< records of trees, that may be there all the same
  bool stopped = false;

 private:
  struct suspect;
  tree_totals visit(const gap& place);
  const char* unexpected(const gap& place, btree::node_view n) const;
  tree_totals leaf(const gap& place, page_buffer& page);
  tree_totals inner(const gap& place, page_buffer& page);
  const char* bad_record(const gap& place, const btree::tree& t, btree::node_view n, u32 index,
                         bool& keep_it);
  const char* claim_key(const gap& place, btree::node_view n, u32 index);
  void take_out(const gap& place, page_buffer& page, const std::vector<suspect>& bad);
  bool miscounted_ = false;  ///< a parent says of a child what is not so
  tree_totals recount_below(const tree_facts& t, page_ref ref, bool root);

  raw_store& store_;
  block_set& reached_;
  journal& journal_;
  extents extents_;
};

/// Lengths and digests of the records of a leaf.
tree_totals totals_of(const tree_facts& t, btree::node_view leaf);
/// A tree outside of any opening: for functions that ask only what its record says.
btree::tree detached(const tree_facts& t);

}  // namespace pleach::repair
