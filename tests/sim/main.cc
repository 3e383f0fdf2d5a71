// pleach-sim: the store on a simulated device, clock and scheduler. doc/simulation.md.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "be/sm/describe.hh"
#include "tests/sim/planted_runs.hh"
#include "tests/sim/run.hh"

namespace pleach::sim {
namespace {

struct arguments {
  u64 first = 1, last = 1, until = ~u64{0}, images_target = 0, seconds = 0;
  std::string plant, counters;
  hint lean = hint::ANY;
  bool planted_all = false, once = false, quiet = false, verbose = false, hooks = false;
};

[[noreturn]] void usage() {
  std::fputs(
      "pleach-sim [--seed S | --seeds A..B] [--until OPS] [--images-target N] [--seconds N] "
      "[--plant NAME] [--hint N]\n"
      "           [--planted-all] [--counters FILE] [--once] [--hooks] [--quiet] "
      "[--verbose]\n"
      "  --images-target N  ends the range of seeds when N crash images were checked\n"
      "  --seconds N        ends it after N seconds\n"
      "  --once             runs each seed once: no comparison of trace hashes\n"
      "  --hooks            every access to a page must stand in a bracket (pagecache/latch.hh)\n"
      "  --planted-all      each planted bug: seeds until it is found, then the same seeds without "
      "it\n",
      stderr);
  std::exit(2);
}

arguments parse(int argc, char** argv) {
  arguments a;
  for (int i = 1; i < argc; ++i) {
    std::string o = argv[i];
    auto next = [&]() -> std::string {
      if (++i >= argc) usage();
      return argv[i];
    };
    auto number = [&] { return std::strtoull(next().c_str(), nullptr, 10); };
    if (o == "--seed")
      a.first = a.last = number();
    else if (o == "--seeds") {
      std::string range = next();
      auto dots = range.find("..");
      if (dots == std::string::npos) usage();
      a.first = std::strtoull(range.c_str(), nullptr, 10);
      a.last = std::strtoull(range.c_str() + dots + 2, nullptr, 10);
    } else if (o == "--until")
      a.until = number();
    else if (o == "--images-target")
      a.images_target = number();
    else if (o == "--seconds")
      a.seconds = number();
    else if (o == "--plant")
      a.plant = next();
    else if (o == "--hint")
      a.lean = static_cast<hint>(number());
    else if (o == "--counters")
      a.counters = next();
    else if (o == "--planted-all")
      a.planted_all = true;
    else if (o == "--once")
      a.once = true;
    else if (o == "--hooks")
      a.hooks = true;
    else if (o == "--quiet")
      a.quiet = true;
    else if (o == "--verbose")
      a.verbose = true;
    else
      usage();
  }
  return a;
}

void append_counters(const std::string& path, const totals& t) {
  if (path.empty()) return;
  if (std::FILE* f = std::fopen(path.c_str(), "a")) {
    fmt::print(f, "crash_images={}\nseeds={}\nviolations={}\ntrace_mismatches={}\n", t.images,
               t.seeds, t.violations, t.trace_mismatches);
    std::fclose(f);
  }
}

int run_seeds(const arguments& a) {
  totals t, unchecked;
  auto begin = std::chrono::steady_clock::now();
  auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  for (u64 seed = a.first; seed <= a.last; ++seed) {
    double before = seconds();
    u64 images_before = t.images;
    u64 hash = run_seed(seed, a.lean, {.stop_after = a.until}, t);
    if (!a.once) {
      u64 again = run_seed(seed, a.lean, {.check_images = false, .stop_after = a.until}, unchecked);
      if (again != hash) {
        ++t.trace_mismatches;
        violation(fmt::format("two runs of the seed gave different traces: {:016x} and {:016x}",
                              hash, again));
      }
    }
    if (a.verbose)
      fmt::print("seed {} trace {:016x} images {} in {:.2f} s: {}\n", seed, hash,
                 t.images - images_before, seconds() - before, current_report().config);
    if (!a.quiet && !a.verbose && seed % 25 == 0) {
      fmt::print("  {} seeds, {} crash images, {} operations, {:.0f} s\n", t.seeds, t.images,
                 t.operations, seconds());
      std::fflush(stdout);
    }
    if (a.images_target != 0 && t.images >= a.images_target) break;
    if (a.seconds != 0 && seconds() >= static_cast<double>(a.seconds)) break;
  }
  fmt::print(
      "pleach-sim: {} seeds, {} operations, {} crash images recovered and checked ({} nested), {} "
      "reopens, {} reads checked, "
      "{} no space, {} too large, {} cancelled, {} growths; {:.1f} s; no violation\n",
      t.seeds, t.operations, t.images, t.nested, t.recoveries, t.reads_checked, t.no_space,
      t.too_large, t.cancelled, t.growths, seconds());
  const btree::tree_statistics& n = t.trees;
  fmt::print(
      "  splits {}, growths {}, push-downs {}, compactions {}, merges {} (passing {}), unlinks {}, "
      "pull-ups {}, "
      "empties kept {}; restarts: stale {}, "
      "check {}, grant {}, plan {}; alone {}; cookies: hits {}, misses {}; read ahead {}; "
      "multi-gets {}, counts {}, bulk loads {} of {} records; damaged images {}, refused {}; "
      "sums {}, digests {}; ranges deleted {}, cuts {}, of leaves {}\n",
      n.splits, n.growths, n.push_downs, n.compactions, n.merges, n.merges_passing, n.unlinks,
      n.pull_ups, n.empties_kept, n.restart_stale, n.restart_check, n.restart_grant, n.restart_plan,
      n.lock_all, n.cookie_hits, n.cookie_misses, n.read_ahead, n.multi_gets, n.counts,
      n.bulk_loads, n.bulk_records, t.damaged, t.damage_refused, t.sums_checked, t.digests_checked,
      t.ranges, n.cuts, n.cut_leaves);
  if (const latch_counts* l = watched_latches())
    fmt::print(
        "  latch hooks: {} steps, brackets: {} to read, {} to change, {} ended by eviction or a "
        "move; "
        "guards {}; changes of bytes {}, of structure {}: each with its version\n",
        l->steps, l->reads, l->changes, l->left, l->guards, l->content_versions,
        l->structure_versions);
  append_counters(a.counters, t);
  return 0;
}

}  // namespace
}  // namespace pleach::sim

int main(int argc, char** argv) {
  using namespace pleach::sim;
  arguments a = parse(argc, argv);
  pleach::sm::dump_edge_coverage_at_exit();
  const char* folder = std::getenv("PLEACH_REPORT_DIR");
  if (a.counters.empty() && folder != nullptr) a.counters = std::string(folder) + "/sim.counters";
  const char* effort = std::getenv("PLEACH_EFFORT");
  if (effort != nullptr && std::strcmp(effort, "reduced") == 0) a.images_target /= 20;
  if (a.planted_all) return run_planted(a.plant, a.counters);
  install_signal_reports();
  if (!a.plant.empty() && !plant_bug(a.plant)) {
    std::fputs("pleach-sim: planted bugs are not built in (meson option planted_bugs)\n", stderr);
    return 2;
  }
  current_report().plant = a.plant;
  if (a.hooks) watch_latches();
  current_report().story = a.first == a.last;
  return run_seeds(a);
}
