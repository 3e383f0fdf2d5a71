// The measure of the tests' own power: each planted bug must be found in a bounded number of seeds,
// and the same seeds be clean without it.
#pragma once

#include <string>

#include "tests/sim/run.hh"

namespace pleach::sim {

/// Draws the configuration and runs one seed.
/// RETURNS: its trace hash.
u64 run_seed(u64 seed, hint lean, const run_options& options, totals& t);
/// RETURNS: false if planted bugs are not built in.
bool plant_bug(const std::string& name);
/// All of the table, or `only`.
/// RETURNS: exit code: 0 if every one was found and its seeds are clean; 77 without the build
/// option.
int run_planted(const std::string& only, const std::string& counters);

}  // namespace pleach::sim
