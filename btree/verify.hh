// The whole check of an open store's trees and space: what `pleach fsck` runs. Reads only.
//
// Every page that is reachable from the root block is loaded (so identity, sum and `check_node` are
// verified), and compared with what its parent says: level, both fences, tree. Records are
// recounted; extents of large values are read against their checksums, aggregates are compared with
// what the child adds up to. What is reachable is marked, one bit a block, and compared with the
// bitmap pages both ways.
//
// Blocking; runs the reactor. REQUIRES: nobody writes meanwhile. Memory: one bit per block of the
// volume (32 MiB a TiB), one page, and the references and fences in the pages of one path.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "btree/tree.hh"

namespace pleach::btree {

struct verify_totals {
  u64 pages = 0, records = 0, trees = 0, blocks_used = 0, blocks_free = 0;
  u64 leaves = 0, old_leaves = 0;  ///< all, and those that an upgrade would convert
  u64 leaf_bytes = 0, leaf_bytes_used = 0;  ///< what leaves have for records and fences; of that
};

class verifier {
 public:
  using problem_sink = std::function<void(std::string where, std::string what)>;
  using progress_sink = std::function<bool(u64 done, u64 total)>;
  verifier(context& c, problem_sink problems, progress_sink progress);

  /// RETURNS: totals; `cancelled` if progress said stop.
  result<verify_totals> run();
  /// Before `run`: who is told what cannot be checked, which is no problem of the store.
  void on_unchecked(problem_sink sink) { unchecked_ = std::move(sink); }

 private:
  struct expectation;
  /// Of a tree that is being freed not all edges have matching fences.
  enum class going : u8 { NO, DROPPED, CUT };
  void check_tree(const std::string& name, tree_id_t id, page_ref root, going how,
                  const std::function<void(cbytes key, cbytes value)>& each);
  void check_page(const expectation& e);
  void check_order(const node_view& n, const std::string& where);
  void check_sum(const expectation& e, const node_view& n, const std::string& where);
  void check_extent(const expectation& e, cbytes key, u64 key_hash, const value_reference& ref,
                    const u64* content);
  void check_long_keys(const expectation& e, const std::vector<std::string>& stubs, bool has_low,
                       bool has_high);
  bool check_content(const value_reference& ref, u64 content);
  void check_space();
  void check_group(u64 group, cbytes page, u64 volume_blocks);
  bool mark(u64 block, u64 blocks, const std::string& where);
  void problem(const std::string& where, const std::string& what);
  void step_progress();

  context& ctx_;
  problem_sink problems_, unchecked_;
  progress_sink progress_;
  verify_totals totals_;
  std::vector<bool> reached_;
  bool stopped_ = false;
  tree_record record_{};  ///< of the tree that is checked; zeros for the catalogue
  const registered_order* order_ = nullptr;  ///< its comparator, if it has one that is there
  u64 tree_records_ = 0, tree_bytes_ = 0;
  struct counts {
    u64 records = 0, bytes = 0;
  };
  std::map<tree_id_t, counts>
      cut_;  ///< in branches that were cut off: still in their trees' counts
};

}  // namespace pleach::btree
