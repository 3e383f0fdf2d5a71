// The registry of machines, and the deaths of those that break their table.
#include "be/sm/machine.hh"

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "be/sm/describe.hh"
#include "be/sm/reactor.hh"

namespace pleach::sm {

namespace {

std::vector<const machine_info*>& registry() {
  static std::vector<const machine_info*> machines;
  return machines;
}

}  // namespace

const machine_info* register_machine(const machine_info* info) {
  auto& machines = registry();
  // After the construction of the registry, so that the dump runs before its destruction.
  if (machines.empty() && std::getenv("PLEACH_EDGE_COVERAGE") != nullptr)
    std::atexit(dump_edge_coverage_at_exit);
  machines.push_back(info);
  return info;
}

std::span<const machine_info* const> all_machines() { return registry(); }

void bad_edge(const op& o, u8 from, u8 to) {
  const machine_info& m = o.machine();
  std::fprintf(stderr, "pleach: machine %s: %s -> %s is not declared\n", m.name, m.rows[from].name,
               to < m.count ? m.rows[to].name : "?");
  std::abort();
}

void bad_wait(const op& o, u8 phase) {
  const machine_info& m = o.machine();
  std::fprintf(stderr, "pleach: machine %s: %s is declared NOWAIT and waits\n", m.name,
               m.rows[phase].name);
  std::abort();
}

}  // namespace pleach::sm
