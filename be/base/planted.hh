// Planted bugs: rules of the design, each broken on purpose where the code keeps it, to measure
// whether the tests and the simulation would notice. Compiled in only with -DPLEACH_PLANTED_BUGS.
#pragma once

#ifdef PLEACH_PLANTED_BUGS

#include <cstring>

namespace pleach {

inline const char*& planted_name() {
  static const char* name = nullptr;
  return name;
}
/// Makes the bug `name` active, null for none. For tests, before the store is opened.
inline void plant(const char* name) {
  planted_name() = name;
}
inline bool planted(const char* name) {
  return planted_name() != nullptr && std::strcmp(planted_name(), name) == 0;
}

}  // namespace pleach
#define PLEACH_PLANTED(name) (::pleach::planted(name))

#else

#define PLEACH_PLANTED(name) false

#endif
