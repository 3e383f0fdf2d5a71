// When a page or a value that does not load is damaged, and when it was only looked for too late.
//
// A reference may go stale while its reader waits: the page was freed, its blocks hold something
// else, and the load fails its check. So damage counts only if a descent that started after the
// failure meets the same reference again.
#pragma once

#include "btree/tree.hh"

namespace pleach::btree {

/// `suspect`: the op's own, empty at first; remembers the reference that failed.
/// RETURNS: whether the failure stands: then `bad` names the page, if the failure is about a page
/// and not about the store. Otherwise the op descends anew.
inline bool failure_stands(errc code, page_ref ref, page_ref& suspect, page_addr& bad) {
  const bool of_page = code == errc::corrupt || code == errc::io;
  if (of_page && !(suspect == ref)) {
    suspect = ref;
    return false;
  }
  if (of_page) bad = ref.addr;
  return true;
}

}  // namespace pleach::btree
