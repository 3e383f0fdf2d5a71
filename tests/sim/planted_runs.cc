#include "tests/sim/planted_runs.hh"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "be/base/planted.hh"
#include "tests/sim/planted_table.hh"

namespace pleach::sim {

u64 run_seed(u64 seed, hint lean, const run_options& options, totals& t) {
  config c = config::draw(seed, lean);
  report& r = current_report();
  r.seed = seed;
  r.config = c.words();
  r.hint = static_cast<u32>(lean);
  r.device = nullptr;
  run one(c, options, t);
  return one.go();
}

bool plant_bug([[maybe_unused]] const std::string& name) {
#ifdef PLEACH_PLANTED_BUGS
  static std::string kept;
  kept = name;
  plant(kept.empty() ? nullptr : kept.c_str());
  return true;
#else
  return false;
#endif
}

namespace {

constexpr u64 seeds_limit = 120;
constexpr unsigned patience_seconds = 240;
constexpr u32 images_per_seed = 25;

/// In a child: seeds 1..limit.
/// RETURNS: the seed that found something, 0: none.
u64 seeds_until_found(const planted_bug& bug, bool planted, u64 limit) {
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) return 0;
  std::fflush(stdout);
  pid_t child = ::fork();
  if (child == 0) {
    ::close(pipe_ends[0]);
    install_signal_reports();
    ::alarm(patience_seconds * (planted ? 1 : 3));
    current_report().quiet = true;
    plant_bug(planted ? bug.name : "");
    if (bug.latches) watch_latches();
    for (u64 seed = 1; seed <= limit; ++seed) {
      if (::write(pipe_ends[1], &seed, sizeof seed) != sizeof seed) ::_exit(2);
      totals t;
      run_seed(seed, bug.lean, {.images_cap = images_per_seed}, t);
    }
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  u64 seed = 0, last = 0;
  while (::read(pipe_ends[0], &seed, sizeof seed) == sizeof seed) last = seed;
  ::close(pipe_ends[0]);
  int state = 0;
  ::waitpid(child, &state, 0);
  // Out of time proves nothing of a planted bug, but must not happen without one.
  if (planted && WIFSIGNALED(state) && WTERMSIG(state) == SIGALRM) return 0;
  return WIFEXITED(state) && WEXITSTATUS(state) == 0 ? 0 : last;
}

}  // namespace

int run_planted(const std::string& only, const std::string& counters) {
  if (!plant_bug("")) {
    std::fputs("pleach-sim: planted bugs are not built in (meson option planted_bugs)\n", stderr);
    return 77;
  }
  u32 found = 0, total = 0, dirty = 0;
  for (const planted_bug& bug : planted_bugs()) {
    if (!only.empty() && only != bug.name) continue;
    ++total;
    u64 seed = seeds_until_found(bug, true, seeds_limit);
    u64 clean = seed != 0 ? seeds_until_found(bug, false, seed) : 0;
    if (seed != 0 && clean == 0) ++found;
    if (clean != 0) ++dirty;
    fmt::print("{:<32} {} ({})\n", bug.name,
               seed == 0 ? fmt::format("NOT FOUND in {} seeds", seeds_limit)
               : clean != 0
                   ? fmt::format("seed {} fails WITHOUT it", clean)
                   : fmt::format("found by seed {}, seeds 1..{} clean without it", seed, seed),
               bug.rule);
    std::fflush(stdout);
  }
  fmt::print("planted bugs: found {} of {}\n", found, total);
  if (!counters.empty()) {
    if (std::FILE* f = std::fopen(counters.c_str(), "a")) {
      fmt::print(f, "planted_found={}\nplanted_total={}\n", found, total);
      std::fclose(f);
    }
  }
  return dirty == 0 && (found >= 20 || !only.empty()) && found != 0 ? 0 : 1;
}

}  // namespace pleach::sim
