// Moves a cursor for the blocking commands: the record in the same page without an operation, else
// with one.
#pragma once

#include "pleach/pleach.hh"

namespace pleach::tool {

// RETURNS: ok also at the end (`c.valid()` is then false); otherwise the error.
inline answer settled(answer a) {
  if (a.what() == category::not_found) return answer{.code = 0, .lsn = a.lsn};
  return a;
}

inline answer step_forward(store& s, cursor& c) {
  if (c.try_next()) return {};
  return settled(s.run(c.next()));
}

inline answer step_back(store& s, cursor& c) {
  if (c.try_prev()) return {};
  return settled(s.run(c.prev()));
}

}  // namespace pleach::tool
