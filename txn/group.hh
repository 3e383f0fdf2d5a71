// A group: everything that becomes durable together. One is open, at most one is closed and on its
// way to the log.
//
// What it is not: it holds no bytes; those are in the pages until the drain copies them.
//
// I1 A page is a member of at most one group; of the open one, or of the closing one until it is
//    drained.
// I2 claimed = credit of the transactions that ended in it.
#pragma once

#include <vector>

#include "pagecache/page_cache.hh"

namespace pleach::txn {

struct group {
  using member_list = list<cache::descriptor, &cache::descriptor::member_link>;

  lsn_t lsn = lsn_none;
  member_list members;
  std::vector<page_ref> frees;
  u64 frees_logged = 0;
  u64 claimed = 0;  ///< credit, in bytes of payload
  u64 transactions = 0;
  u64 captured = 0;
  u64 logged = 0;            ///< as engine::end saw it last, where it looks
  bool flush_first = false;  ///< refers to extents that no flush covers yet
  u64 features = 0;          ///< incompat bits: in the superblocks before its first block
  bool aged = false;         ///< the timer of ordered commits has fired

  /// Nothing changed in it.
  bool empty() const { return members_empty() && frees.empty() && transactions == 0 && !touched; }
  /// Becomes the next open group; keeps its memory.
  void reset(lsn_t number);
  /// The page joins.
  /// REQUIRES: it is a member of none.
  void join(cache::descriptor& d);
  /// The page's changes in this group are forgotten (it was freed in the same group).
  static void drop(cache::descriptor& d);

  bool touched = false;  ///< some page joined, drained or not

 private:
  bool members_empty() const { return const_cast<member_list&>(members).empty(); }
};

}  // namespace pleach::txn
