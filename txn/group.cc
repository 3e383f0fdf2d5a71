#include "txn/group.hh"

#include <cstring>

namespace pleach::txn {

void group::reset(lsn_t number) {
  PLEACH_ASSERT(members.empty());
  lsn = number;
  frees.clear();
  frees_logged = claimed = transactions = captured = logged = 0;
  features = 0;
  flush_first = aged = touched = false;
}

void group::join(cache::descriptor& d) {
  PLEACH_ASSERT(d.member_lsn == lsn_none && !d.member_link.linked());
  d.member_lsn = lsn;
  members.push_back(d);
  touched = true;
}

void group::drop(cache::descriptor& d) {
  d.member_link.unlink();
  d.member_lsn = lsn_none;
  d.format = false;
  std::memset(d.capture.map, 0, d.size() / granule_bytes * sizeof(u64));
}

}  // namespace pleach::txn
