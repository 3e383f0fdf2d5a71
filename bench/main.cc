// pleach-bench: measures Pleach, and beside it in the same run the peers that were compiled in and
// the ceiling that raw io_uring sets. What the cells mean and how to read the table:
// doc/performance.md.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "bench/cells.hh"
#include "bench/report.hh"

namespace {

namespace bench = pleach::bench;

void list_cells() {
  for (const bench::cell& c : bench::all_cells()) fmt::print("{:<14} {}\n", c.name, c.help);
}

std::vector<std::string> known_engines() {
  std::vector<std::string> names = {"raw", "pleach"};
  if (bench::make_lmdb_engine()) names.emplace_back("lmdb");
  if (bench::make_rocksdb_engine()) names.emplace_back("rocksdb");
  return names;
}

/// A directory of our own under the current one: benchmarks of a RAM-backed /tmp would say nothing.
std::string make_directory(const std::string& parent) {
  std::string name = parent + "/pleach-bench-XXXXXX";
  return ::mkdtemp(name.data()) ? name : std::string();
}

}  // namespace

int main(int argc, char** argv) {
  bench::settings s;
  std::string parent = ".", json;
  bool list = false, same_process = false;
  const std::vector<std::string> engines = known_engines();
  std::vector<std::string> cell_names;
  for (const bench::cell& c : bench::all_cells()) cell_names.emplace_back(c.name);

  CLI::App app{
      "Measures Pleach side by side with raw io_uring and the peers that were compiled in."};
  app.add_flag("--list", list, "list the cells and end");
  app.add_option("--cells", s.cells, "cells to run, separated by commas; default all")
      ->delimiter(',')
      ->check(CLI::IsMember(cell_names));
  app.add_option("--engines", s.engines,
                 fmt::format("of: {}; default all", fmt::join(engines, ",")))
      ->delimiter(',')
      ->check(CLI::IsMember(engines));
  app.add_option("--records", s.records, "records of the cached cells")
      ->check(CLI::Range(1000u, 1u << 31));
  app.add_option("--cold-records", s.cold_records, "records of the cells with data over the cache")
      ->check(CLI::Range(1000u, 1u << 31));
  app.add_option("--cache", s.cache_bytes, "cache of the cached cells")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--cold-cache", s.cold_cache_bytes, "cache of the cold cells")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--log-size", s.log_bytes, "size of Pleach's log")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--seconds", s.seconds, "duration of a cell")->check(CLI::Range(0.01, 3600.0));
  app.add_option("--repeat", s.repeat, "repetitions; the median is reported")
      ->check(CLI::Range(1, 99));
  app.add_option("--dir", parent, "where the data goes, removed afterwards")
      ->check(CLI::ExistingDirectory);
  app.add_option("--json", json, "also write the measurements to this file");
  app.add_flag("--stats", s.stats,
               "print each engine's own counters after each cell, on standard error");
  app.add_flag("--same-process", same_process, "no process per engine: for profilers");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 16;
  }
  if (list) {
    list_cells();
    return 0;
  }
  if (s.engines.empty()) s.engines = engines;
  s.dir = make_directory(parent);
  if (s.dir.empty()) {
    fmt::print(stderr, "pleach-bench: cannot make a directory in {}: choose another with --dir\n",
               parent);
    return 8;
  }

  std::vector<bench::measurement> all;
  const auto report = [&](const bench::measurement& m) {
    bench::print_row(stdout, m);
    all.push_back(m);
  };
  int code = 0;
  bench::print_header(stdout);
  for (const std::string& name : s.engines) {
    if (same_process) {
      bench::run_cells(name, s, report);
    } else if (!bench::run_cells_apart(name, s, report)) {
      fmt::print(stderr, "pleach-bench: {} failed; its other cells are missing\n", name);
      code = 8;
    }
  }
  std::error_code ignored;
  std::filesystem::remove_all(s.dir, ignored);
  if (!json.empty() && !bench::write_json(json, s, all)) {
    fmt::print(stderr, "pleach-bench: cannot write {}\n", json);
    code = 8;
  }
  return code;
}
