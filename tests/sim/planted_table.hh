// The planted bugs that the simulation must find (be/base/planted.hh), and the class of workload
// that makes each likely.
#pragma once

#include <span>

#include "tests/sim/config.hh"

namespace pleach::sim {

struct planted_bug {
  const char* name;
  hint lean;
  const char* rule;  ///< what it breaks
  bool latches = false;  ///< the latch hooks find it
};

std::span<const planted_bug> planted_bugs();

}  // namespace pleach::sim
