// Runs the cells of one engine. Requests are drawn before the clock starts; every cell's counters
// are differences over the cell alone, fills with settling counted in the bytes but not in the
// time.
#include "bench/cells.hh"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "bench/process_counters.hh"

namespace pleach::bench {

void die(const std::string& what) {
  fmt::print(stderr, "pleach-bench: {}\n", what);
  std::fflush(nullptr);
  ::_exit(8);
}

namespace {

constexpr std::uint64_t request_count =
    1 << 21;  // about 2 s of cached reads; then the ring starts again

std::unique_ptr<engine> make_engine(const std::string& name) {
  if (name == "pleach") return make_pleach_engine();
  if (name == "lmdb") return make_lmdb_engine();
  if (name == "rocksdb") return make_rocksdb_engine();
  return make_raw_engine();
}

class runner {
 public:
  runner(const std::string& name, const settings& s,
         const std::function<void(const measurement&)>& report)
      : name_(name),
        settings_(s),
        report_(report),
        base_memory_(read_memory().resident),
        engine_(make_engine(name)) {}

  void run_section(section where) {
    std::vector<const cell*> chosen;
    for (const cell& c : all_cells())
      if (c.where == where && wanted(c)) chosen.push_back(&c);
    if (chosen.empty()) return;
    bool ready = false;
    for (const cell* c : chosen) {
      // A fill needs no data and leaves other data than the reads want, except the sequential one.
      if (c->what != activity::FILL && !ready) {
        prepare(where);
        ready = true;
      }
      std::vector<measurement> all;
      for (unsigned r = 0; r < settings_.repeat; ++r) all.push_back(measure(*c));
      std::ranges::sort(all, {}, &measurement::operations_per_s);
      report_(all[all.size() / 2]);
      if (settings_.stats) fmt::print(stderr, "--- {} {}\n{}\n", name_, c->name, engine_->stats());
    }
  }

 private:
  bool wanted(const cell& c) const {
    if (c.raw_only && name_ != "raw") return false;
    // Cached reads on many threads are another question than cached reads in flight on one.
    if (c.where == section::CACHED && c.callbacks && !engine_->asynchronous()) return false;
    const auto& names = settings_.cells;
    const bool named = names.empty() || std::ranges::find(names, c.name) != names.end();
    return named && engine_->supports(c.what, options(c.where));
  }

  engine_options options(section where) const {
    engine_options o;
    o.dir = settings_.dir;
    o.cold = where == section::COLD;
    o.durable = where == section::DURABLE;
    o.cache_bytes = o.cold ? settings_.cold_cache_bytes : settings_.cache_bytes;
    o.records = o.cold ? settings_.cold_records : settings_.records;
    o.log_bytes = settings_.log_bytes;
    return o;
  }

  /// Data in key order for `where`, opened with its options, and as warm as its cache can be.
  void prepare(section where) {
    const engine_options o = options(where);
    const bool raw = name_ == "raw";
    if (raw) {
      engine_->create(o);
      return;
    }
    if (filled_ != o.records) {
      engine_options load = o;
      load.durable = false;
      load.cache_bytes = std::max(o.cache_bytes, settings_.cache_bytes);
      engine_->create(load);
      run_fill(order::SEQUENTIAL, o.records);
      engine_->settle();
    }
    engine_->reopen(o);
    reset_memory_peak();
    if (o.cold)
      warm(activity::READ, 2.0);
    else
      warm(activity::SCAN_FORWARD, 0);
  }

  void warm(activity what, double seconds) {
    const auto ids = make_requests(order::UNIFORM, filled_, 1 << 18, 99);
    work w;
    w.what = what;
    w.ids = ids;
    w.in_flight = what == activity::READ ? 16 : 1;
    w.callbacks = true;
    w.duration_ns = static_cast<std::uint64_t>(seconds * 1e9);
    engine_->run(w);
  }

  outcome run_fill(order how, std::uint64_t records) {
    const auto ids = make_requests(how, records, records, 7);
    work w;
    w.what = activity::FILL;
    w.ids = ids;
    filled_ = how == order::SEQUENTIAL ? records : 0;
    return engine_->run(w);
  }

  measurement measure(const cell& c) {
    const engine_options o = options(c.where);
    if (c.what == activity::FILL) {
      engine_->create(o);
      reset_memory_peak();
      const process_counters before = read_counters(o.dir);
      const outcome result = run_fill(c.requests, o.records);
      engine_->settle();
      return summary(c, result, before);
    }
    const auto ids =
        make_requests(c.requests, o.records, std::min(request_count, 4 * o.records), ++seed_);
    work w;
    w.what = c.what;
    w.ids = ids;
    w.in_flight = c.in_flight;
    w.callbacks = c.callbacks;
    w.page_bytes = c.raw_page_bytes;
    w.duration_ns = static_cast<std::uint64_t>(settings_.seconds * 1e9);
    const process_counters before = read_counters(o.dir);
    return summary(c, engine_->run(w), before);
  }

  measurement summary(const cell& c, const outcome& result, const process_counters& before) const {
    const process_counters after = read_counters(settings_.dir);
    measurement m;
    std::strncpy(m.engine, name_.c_str(), sizeof m.engine - 1);
    std::strncpy(m.cell, c.name, sizeof m.cell - 1);
    const double operations = static_cast<double>(std::max<std::uint64_t>(result.operations, 1));
    m.in_flight = c.in_flight;
    m.operations = result.operations;
    m.operations_per_s =
        operations * 1e9 / static_cast<double>(std::max<std::uint64_t>(result.elapsed_ns, 1));
    m.p50_us = result.latency.percentile_ns(0.50) / 1e3;
    m.p99_us = result.latency.percentile_ns(0.99) / 1e3;
    m.p999_us = result.latency.percentile_ns(0.999) / 1e3;
    m.cpu_us = static_cast<double>(after.cpu_ns - before.cpu_ns) / 1e3 / operations;
    if (c.what == activity::FILL || c.what == activity::DURABLE_PUT)
      m.user_bytes = result.operations * record_bytes;
    m.process_read = after.process_read - before.process_read;
    m.process_written = after.process_written - before.process_written;
    m.device_read = after.device_read - before.device_read;
    m.device_written = after.device_written - before.device_written;
    m.peak_memory = read_memory().peak;
    m.base_memory = base_memory_;
    return m;
  }

  std::string name_;
  const settings& settings_;
  const std::function<void(const measurement&)>& report_;
  std::uint64_t base_memory_;
  std::unique_ptr<engine> engine_;
  std::uint64_t filled_ = 0;  ///< records there, in key order; 0 if none or otherwise
  std::uint64_t seed_ = 1000;
};

bool write_all(int fd, const void* data, std::size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes != 0) {
    const ssize_t n = ::write(fd, at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

bool read_all(int fd, void* data, std::size_t bytes) {
  char* at = static_cast<char*>(data);
  while (bytes != 0) {
    const ssize_t n = ::read(fd, at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

void run_cells(const std::string& engine_name, const settings& s,
               const std::function<void(const measurement&)>& report) {
  settings own = s;
  own.dir = s.dir + "/" + engine_name;
  std::filesystem::create_directories(own.dir);
  {
    runner r(engine_name, own, report);
    for (const section where : {section::CACHED, section::DURABLE, section::COLD})
      r.run_section(where);
  }
  std::error_code ignored;
  std::filesystem::remove_all(own.dir, ignored);
}

bool run_cells_apart(const std::string& engine_name, const settings& s,
                     const std::function<void(const measurement&)>& report) {
  int ends[2];
  if (::pipe(ends) != 0) die("pipe failed");
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) die("fork failed");
  if (child == 0) {
    ::close(ends[0]);
    run_cells(engine_name, s, [&](const measurement& m) {
      if (!write_all(ends[1], &m, sizeof m)) ::_exit(8);
    });
    std::fflush(nullptr);
    ::_exit(0);
  }
  ::close(ends[1]);
  measurement m;
  while (read_all(ends[0], &m, sizeof m)) report(m);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace pleach::bench
