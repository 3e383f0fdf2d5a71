#include "txn/recovery_index.hh"

#include <algorithm>

namespace pleach::txn {

void recovery_index::seal() {
  drop();
  std::sort(entries_.begin(), entries_.end(), [](const index_entry& a, const index_entry& b) {
    return a.addr != b.addr ? a.addr < b.addr : a.position < b.position;
  });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries_.size();) {
    std::size_t end = i;
    std::size_t first = i;
    for (; end < entries_.size() && entries_[end].addr == entries_[i].addr; ++end) {
      if (entries_[end].is_free()) first = end + 1;
      if (entries_[end].is_format()) first = end;
    }
    for (std::size_t k = first; k < end; ++k) entries_[kept++] = entries_[k];
    i = end;
  }
  entries_.resize(kept);
  committed_ = kept;
}

std::span<const index_entry> recovery_index::of(page_addr addr) const {
  auto less = [](const index_entry& e, u64 a) { return e.addr < a; };
  auto from = std::lower_bound(entries_.begin(), entries_.end(), addr.raw, less);
  auto to = from;
  while (to != entries_.end() && to->addr == addr.raw) ++to;
  return {from, to};
}

}  // namespace pleach::txn
