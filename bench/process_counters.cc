#include "bench/process_counters.hh"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include <fstream>

namespace pleach::bench {
namespace {

std::uint64_t ns_of(const timeval& t) {
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_usec) * 1'000u;
}

/// The number after `label` in a file of "label number" lines.
std::uint64_t field_of(const char* path, const std::string& label) {
  std::ifstream in(path);
  std::string word;
  while (in >> word) {
    std::uint64_t value = 0;
    if (word == label && in >> value) return value;
    in.clear();
  }
  return 0;
}

void read_device(const std::string& dir, process_counters& out) {
  struct stat st {};
  if (::stat(dir.c_str(), &st) != 0) return;
  std::ifstream in(fmt::format("/sys/dev/block/{}:{}/stat", major(st.st_dev), minor(st.st_dev)));
  std::uint64_t field[7] = {};
  for (auto& f : field) in >> f;
  if (!in) return;
  out.device_read = field[2] * 512;  // reads, merged, SECTORS, ms, writes, merged, SECTORS
  out.device_written = field[6] * 512;
}

}  // namespace

process_counters read_counters(const std::string& dir) {
  process_counters out;
  rusage use{};
  ::getrusage(RUSAGE_SELF, &use);
  out.cpu_ns = ns_of(use.ru_utime) + ns_of(use.ru_stime);
  out.process_read = field_of("/proc/self/io", "read_bytes:");
  out.process_written = field_of("/proc/self/io", "write_bytes:");
  read_device(dir, out);
  return out;
}

memory_use read_memory() {
  return {field_of("/proc/self/status", "VmRSS:") * 1024,
          field_of("/proc/self/status", "VmHWM:") * 1024};
}

void reset_memory_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

std::uint64_t now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace pleach::bench
