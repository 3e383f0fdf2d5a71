// The repair of a store that nobody has open: pass after pass, over what the passes before made
// sound.
//
//     1  the log is applied; what cannot be applied is given up only with `salvage`
//     2  the root block
//     3  the catalogue, and every tree in it, as far as pages are what their parents expect
//     4  gaps: the pages that belong there are looked for in the whole volume; the rest is built
//     5  records are counted, in trees that had gaps
//     6  the bitmaps are made to say what is reached
//     7  all superblock copies
//
// What it is not: it adds no record to a tree. Those that are kept for lost+found are given to the
// caller, who opens the store for that.
//
// I1 The superblocks are written before anything else is: from then on the log is empty, and an
//    undo file can tell whether the store was written since.
// I2 Cut short at any moment it can be run again: each page that it writes is right by itself, and
//    what it has not come to is as damaged as before. A page of which records would be lost is
//    overwritten only when they are saved (journal::losses_saved): by another run.
// I3 With policy::SAFE nothing is written that loses a record or rests on a guess.
#pragma once

#include <deque>

#include "repair/mend.hh"

namespace pleach::repair {

struct repair_options {
  bool salvage = false;                                ///< give the log up if it is damaged
  u64 index_bytes = 32 << 20, buffer_bytes = 8 << 20;  ///< for the recovery
};

struct repair_totals {
  u64 trees = 0, pages = 0, pages_written = 0;
  std::string recovery;  ///< what recovery did, in words; empty if nothing
};

/// A tree that the catalogue lost, and that was put together again.
struct found_tree {
  std::string name;
  btree::tree_record record;
};

class repairer {
 public:
  /// `dev` is a poller of `loop`.
  repairer(sm::reactor& loop, io::device& dev, journal& j, const repair_options& o)
      : loop_(loop), dev_(dev), journal_(j), options_(o) {}

  /// ERRORS: those of read_volume; corrupt_log, corrupt, io of the recovery; cancelled (progress
  /// said so; what was repaired until then stays), io (a superblock cannot be written).
  result<repair_totals> run(std::string& why);
  /// Trees to be entered into the catalogue again.
  std::vector<found_tree> trees_found() const;

 private:
  status apply_log(volume& v, std::string& why);
  void check_root_block();
  void rebuild_root_block(const char* why);
  page_ref empty_catalogue();
  void walk_catalogue();
  void walk_trees();
  void fill_gaps(const std::set<tree_id_t>& wanted);
  void refer(const gap& g, page_ref to);
  void set_root(const gap& g, page_ref to);
  void find_lost_trees();
  bool describe_tree(tree_id_t id, const tree_nodes& nodes, tree_facts& out);
  void recount();

  sm::reactor& loop_;
  io::device& dev_;
  journal& journal_;
  repair_options options_;
  repair_totals totals_;
  std::unique_ptr<raw_store> store_;
  block_set reached_;
  std::unique_ptr<space_map> space_;
  std::unique_ptr<tree_walk> walk_;
  std::unique_ptr<page_buffer> root_;  ///< the root block
  std::deque<tree_facts> trees_;
  std::set<const tree_facts*> mended_;
  bool catalogue_lost_ = false;
};

}  // namespace pleach::repair
