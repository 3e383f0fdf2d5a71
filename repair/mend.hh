// Fills the gaps of trees: from nodes that are there without a parent, from what can be read of a
// damaged leaf, and where nothing is left with an empty leaf, so that the tree is whole again.
//
//     fill(gap of level L):
//       a node of level L with just this range hangs nowhere: the parent refers to it
//       L = 0: a leaf in place of the damaged one, with the records of it that are proven; the
//              others are kept for lost+found
//       L > 0: nodes of level L - 1 in the range, the newest of those that overlap; what they
//              leave open is filled likewise from the levels below; a node over them in place of
//              the damaged one
//
// I1 A node goes to the place of the one that is damaged, under the same generation, if nothing
//    else is there: then nothing above it changes.
// I2 What is found for a gap is walked in turn; its own gaps are filled later.
#pragma once

#include "repair/page_scan.hh"
#include "repair/salvage.hh"

namespace pleach::repair {

class mender {
 public:
  mender(raw_store& s, block_set& reached, space_map& space, tree_walk& walk, found_nodes& found,
         journal& j)
      : store_(s),
        reached_(reached),
        space_(space),
        walk_(walk),
        found_(found),
        journal_(j),
        extents_(s, reached) {}

  /// RETURNS: the address where the page is now; none if it could not be filled, which the journal
  /// says.
  page_ref fill(const gap& g);

 private:
  struct child {
    std::string low;
    page_ref ref;
  };
  struct range {
    std::string low, high;
    bool has_high;
  };

  page_ref allocate(u32 blocks);
  std::vector<salvaged_record> records_of(const gap& g);
  bool names_a_tree(const salvaged_record& r);
  page_ref place_for(const gap& g, u32 blocks);
  found_node* same_node(const gap& g);
  bool adopt(const gap& g, found_node& node);
  page_ref fill_leaf(const gap& g);
  page_ref fill_inner(const gap& g, u32 level);
  std::vector<child> tiles(const tree_facts& t, u32 level, const range& r);
  std::vector<child> cover(const tree_facts& t, u32 level, const range& r);
  std::vector<child> pack(const tree_facts& t, u32 level, const range& r,
                          const std::vector<child>& below);
  std::size_t write_inner(const tree_facts& t, page_ref at, u32 level, const range& r,
                          std::span<const child> children, bool all_or_nothing);
  using record_list = std::vector<const salvaged_record*>;
  record_list fill_page(page_buffer& page, const gap& g, page_ref at,
                        const std::vector<salvaged_record>& records);
  void format(page_buffer& page, const tree_facts& t, page_ref at, u32 level, const range& r);
  bool read_whole(const gap& g, const salvaged_record& r, lost_record& to);
  bool postpone(const gap& g, const record_list& out);
  bool whole_key(const salvaged_record& r, std::string& key);

  raw_store& store_;
  block_set& reached_;
  space_map& space_;
  tree_walk& walk_;
  found_nodes& found_;
  journal& journal_;
  extents extents_;
  bool failed_ = false;  ///< something of what is being built could not be
};

}  // namespace pleach::repair
