// Prints doc/state-machines.md from the tables of all machines of the engine, by name.
//
// Usage: state_machines [--edges]
//   --edges: lines `machine phase next` instead, one per declared edge
//
// It is linked with the whole of every engine library, so no machine can be forgotten.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "be/sm/describe.hh"

namespace {
constexpr const char* opening =
    "# State machines\n"
    "\n"
    "Generated from the tables in the code by `tests/house/state_machines.cc`; a test compares\n"
    "this page with what that program prints, so do not edit it. Each machine has a table: its\n"
    "phases, whether it may wait there, and where it may go next. An edge that is not declared,\n"
    "or a wait in a phase that may not wait, stops the process. A machine with a phase CLEANUP\n"
    "can be cancelled wherever it waits before that; it goes to CLEANUP then.\n"
    "\n"
    "`tests/house/edge_report.sh` says which of these edges the tests have taken.\n"
    "\n";
}  // namespace

int main(int argc, char** argv) {
  auto all = pleach::sm::all_machines();
  std::vector<const pleach::sm::machine_info*> machines(all.begin(), all.end());
  std::sort(machines.begin(), machines.end(), [](const auto* a, const auto* b) {
    return std::strcmp(a->name, b->name) < 0;
  });
  bool edges = argc > 1 && std::strcmp(argv[1], "--edges") == 0;
  std::string out;
  if (edges) {
    std::string lines = pleach::sm::edge_coverage(machines);
    for (std::size_t at = 0; at < lines.size();) {
      std::size_t end = lines.find('\n', at);
      out.append(lines, at, end - at - 2);  // without ` 0`
      out += '\n';
      at = end + 1;
    }
  } else {
    out = opening + pleach::sm::describe_machines_markdown(machines);
  }
  return std::fwrite(out.data(), 1, out.size(), stdout) == out.size() ? 0 : 1;
}
