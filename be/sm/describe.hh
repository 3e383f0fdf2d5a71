// Machines in words: the generated documentation, and which declared edges this process has taken.
//
// What it is not: it knows no particular machine; a program describes those that are linked into
// it.
#pragma once

#include <string>

#include "be/sm/machine.hh"

namespace pleach::sm {

/// RETURNS: Markdown, per machine in the given order: a table of phases (may it wait, where it
/// goes) and a Mermaid state diagram.
std::string describe_machines_markdown(std::span<const machine_info* const> machines);

struct edge_counts {
  u32 declared = 0;
  u32 taken = 0;
};
edge_counts count_edges(const machine_info& m);

/// RETURNS: lines `machine phase next taken`, `taken` being 0 or 1; one per declared edge.
std::string edge_coverage(std::span<const machine_info* const> machines);

/// RETURNS: per machine `name: taken of declared edges`, followed by the edges never taken.
std::string edge_coverage_report(std::span<const machine_info* const> machines);

/// Appends `edge_coverage(all_machines())` to the file that the environment variable
/// PLEACH_EDGE_COVERAGE names, with one write, so that test programs that run side by side do not
/// mix lines.
void dump_edge_coverage_at_exit();

}  // namespace pleach::sm
