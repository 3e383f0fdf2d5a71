// A violation ends the program: seed, configuration, what, last events of the device, and the
// command that replays it.
#pragma once

#include <string>

#include "be/io/sim.hh"
#include "btree/tree.hh"
#include "tests/support/latch_checker.hh"

namespace pleach::sim {

struct totals {
  btree::tree_statistics trees{};
  void add(const btree::tree_statistics& s);
  u64 damaged = 0, damage_refused = 0;
  u64 images = 0, seeds = 0, violations = 0, trace_mismatches = 0, operations = 0,
      reads_checked = 0, recoveries = 0, nested = 0;
  u64 sums_checked = 0, digests_checked = 0;
  u64 no_space = 0, too_large = 0, cancelled = 0, growths = 0, ranges = 0;
};

struct report {
  u64 seed = 0;
  std::string config;
  std::string plant;  ///< of a planted run
  u32 hint = 0;
  std::string phase;  ///< what was under way
  io::sim_device* device = nullptr;
  bool quiet = false;
  bool story = false;  ///< keep the operations' story (replay of one seed)
  std::string last;    ///< its text, cut at the front
  void tell(const std::string& line);
};
report& current_report();

/// Prints everything and exits with 1.
[[noreturn]] void violation(const std::string& what);
/// From here on every access to a page must stand in a bracket, else it is a violation.
void watch_latches();
/// RETURNS: what was counted; null if nobody watches.
const latch_counts* watched_latches();
/// An assertion or a signal in the engine ends in the same report.
void install_signal_reports();

}  // namespace pleach::sim
