#include "bench/report.hh"

#include <fmt/format.h>

namespace pleach::bench {
namespace {

/// 1234567 -> "1.23M".
std::string short_number(double v) {
  if (v >= 1e6) return fmt::format("{:.2f}M", v / 1e6);
  if (v >= 1e5) return fmt::format("{:.0f}k", v / 1e3);
  if (v >= 1e3) return fmt::format("{:.1f}k", v / 1e3);
  return fmt::format("{:.0f}", v);
}

double ratio(std::uint64_t a, std::uint64_t b) {
  return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b);
}

/// Bytes written per byte of user data, "-" where nothing was to be written.
std::string amplification(std::uint64_t written, std::uint64_t user) {
  return user == 0 ? "-" : fmt::format("{:.2f}", ratio(written, user));
}

}  // namespace

void print_header(std::FILE* out) {
  fmt::print(out, "{:<8} {:<14} {:>8} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9}\n", "engine",
             "cell", "ops/s", "p50 us", "p99 us", "p99.9 us", "cpu us", "w/user", "dev/user",
             "read B/op", "peak MiB");
  std::fflush(out);
}

void print_row(std::FILE* out, const measurement& m) {
  fmt::print(
      out, "{:<8} {:<14} {:>8} {:>9.1f} {:>9.1f} {:>9.1f} {:>8.2f} {:>8} {:>8} {:>9.0f} {:>9}\n",
      m.engine, m.cell, short_number(m.operations_per_s), m.p50_us, m.p99_us, m.p999_us, m.cpu_us,
      amplification(m.process_written, m.user_bytes), amplification(m.device_written, m.user_bytes),
      ratio(m.process_read, m.operations), m.peak_memory >> 20);
  std::fflush(out);
}

bool write_json(const std::string& path, const settings& s, const std::vector<measurement>& all) {
  std::FILE* out = std::fopen(path.c_str(), "w");
  if (!out) return false;
  fmt::print(
      out,
      "{{\"records\": {}, \"cold_records\": {}, \"cache_bytes\": {}, \"cold_cache_bytes\": {},\n"
      " \"seconds\": {}, \"repeat\": {}, \"cells\": [\n",
      s.records, s.cold_records, s.cache_bytes, s.cold_cache_bytes, s.seconds, s.repeat);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const measurement& m = all[i];
    fmt::print(
        out,
        "  {{\"engine\": \"{}\", \"cell\": \"{}\", \"in_flight\": {}, \"operations\": {}, "
        "\"operations_per_s\": {:.1f}, \"p50_us\": {:.2f}, \"p99_us\": {:.2f}, \"p999_us\": "
        "{:.2f}, "
        "\"cpu_us\": {:.3f}, \"user_bytes\": {}, \"process_read\": {}, \"process_written\": {}, "
        "\"device_read\": {}, \"device_written\": {}, \"peak_memory\": {}, \"base_memory\": "
        "{}}}{}\n",
        m.engine, m.cell, m.in_flight, m.operations, m.operations_per_s, m.p50_us, m.p99_us,
        m.p999_us, m.cpu_us, m.user_bytes, m.process_read, m.process_written, m.device_read,
        m.device_written, m.peak_memory, m.base_memory, i + 1 < all.size() ? "," : "");
  }
  fmt::print(out, "]}}\n");
  return std::fclose(out) == 0;
}

}  // namespace pleach::bench
