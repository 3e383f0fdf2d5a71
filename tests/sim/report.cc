#include "tests/sim/report.hh"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PLEACH_SIM_ASAN  // its own report of a bad access says more
#endif
#endif

namespace pleach::sim {

report& current_report() {
  static report r;
  return r;
}

void totals::add(const btree::tree_statistics& s) {
  trees.splits += s.splits, trees.growths += s.growths, trees.push_downs += s.push_downs,
      trees.compactions += s.compactions;
  trees.splits_in_run += s.splits_in_run, trees.merges_absent += s.merges_absent,
      trees.merges_passing += s.merges_passing;
  trees.merges += s.merges, trees.unlinks += s.unlinks, trees.pull_ups += s.pull_ups,
      trees.empties_kept += s.empties_kept;
  trees.cuts += s.cuts;
  trees.cut_leaves += s.cut_leaves;
  trees.restart_stale += s.restart_stale, trees.restart_check += s.restart_check,
      trees.restart_grant += s.restart_grant;
  trees.restart_plan += s.restart_plan, trees.lock_all += s.lock_all;
  trees.cookie_hits += s.cookie_hits, trees.cookie_misses += s.cookie_misses;
  trees.read_ahead += s.read_ahead;
  trees.multi_gets += s.multi_gets, trees.counts += s.counts;
  trees.bulk_loads += s.bulk_loads, trees.bulk_records += s.bulk_records;
}

void report::tell(const std::string& line) {
  last += "     " + line + '\n';
  if (last.size() > 64 << 10) last.erase(0, last.find('\n', 16 << 10) + 1);
}

namespace {
latch_checker* latches = nullptr;
}

/// Until the process ends: stores may be open then.
void watch_latches() {
  latches = new latch_checker([](const std::string& what) { violation("latch hooks: " + what); });
}
const latch_counts* watched_latches() {
  return latches == nullptr ? nullptr : &latches->counts();
}

namespace {
void print_run(const char* kind, const std::string& what) {
  report& r = current_report();
  if (r.quiet) {
    std::fprintf(stderr, "  %s: %s (seed %llu; %s)\n", kind, what.c_str(),
                 static_cast<unsigned long long>(r.seed), r.phase.c_str());
    return;
  }
  if (r.story) std::fprintf(stderr, "operations:\n%s", r.last.c_str());
  if (r.device != nullptr)
    std::fprintf(stderr, "last events of the device:\n%s\n", r.device->last_events(60).c_str());
  std::string replay = "--seed " + std::to_string(r.seed);
  if (r.hint != 0) replay += " --hint " + std::to_string(r.hint);
  if (!r.plant.empty()) replay += " --plant " + r.plant;
  if (latches != nullptr) replay += " --hooks";
  std::fprintf(stderr,
               "pleach-sim: %s: %s\n  while: %s\n  seed %llu: %s\n"
               "  replay: build/tests/sim/pleach-sim %s\n",
               kind, what.c_str(), r.phase.c_str(), static_cast<unsigned long long>(r.seed),
               r.config.c_str(), replay.c_str());
}

extern "C" void on_signal(int number) {
  std::signal(number, SIG_DFL);
  print_run("the engine stopped", "signal " + std::to_string(number));
  std::fflush(stderr);
  ::_exit(1);
}
}  // namespace

void violation(const std::string& what) {
  std::fflush(stdout);
  print_run("violation", what);
  std::fflush(stderr);
  ::_exit(1);
}

void install_signal_reports() {
  std::signal(SIGABRT, on_signal);
#if !defined(__SANITIZE_ADDRESS__) && !defined(PLEACH_SIM_ASAN)
  std::signal(SIGSEGV, on_signal);
  std::signal(SIGBUS, on_signal);
#endif
  std::signal(SIGFPE, on_signal);
}

}  // namespace pleach::sim
