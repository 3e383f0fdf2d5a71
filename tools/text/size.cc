#include "tools/text/size.hh"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <limits>

namespace pleach::text {
namespace {

struct unit {
  std::string_view name;
  unsigned shift;
};
constexpr std::array<unit, 4> units = {{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}};

}  // namespace

result<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  // from_chars for an unsigned type takes neither a sign nor leading blanks.
  const auto [after, code] = std::from_chars(text.data(), end, number);
  if (code == std::errc::invalid_argument) {
    return fail(fault::bad_input,
                fmt::format("bad size {}: expected a number of bytes, or one with KiB, MiB, GiB or "
                            "TiB such as 64MiB",
                            quoted(text)));
  }
  const std::string_view suffix(after, static_cast<std::size_t>(end - after));
  unsigned shift = 0;
  bool known = suffix.empty();
  for (const unit& u : units) {
    if (suffix != u.name) continue;
    shift = u.shift;
    known = true;
  }
  if (!known) {
    return fail(fault::bad_input,
                fmt::format("bad size {}: unknown unit {}; use KiB, MiB, GiB or TiB", quoted(text),
                            quoted(suffix)));
  }
  if (code == std::errc::result_out_of_range ||
      number > (std::numeric_limits<std::uint64_t>::max() >> shift)) {
    return fail(fault::bad_input,
                fmt::format("bad size {}: more than 2^64 - 1 bytes", quoted(text)));
  }
  return number << shift;
}

std::string format_size(std::uint64_t bytes) {
  for (const unit& u : units) {
    const std::uint64_t mask = (std::uint64_t{1} << u.shift) - 1;
    if (bytes != 0 && (bytes & mask) == 0) return fmt::format("{}{}", bytes >> u.shift, u.name);
  }
  return fmt::format("{}", bytes);
}

std::string approximate_size(std::uint64_t bytes) {
  for (const unit& u : units) {
    if ((bytes >> u.shift) == 0) continue;
    const double scaled =
        static_cast<double>(bytes) / static_cast<double>(std::uint64_t{1} << u.shift);
    return fmt::format("{:.1f} {}", scaled, u.name);
  }
  return fmt::format("{} bytes", bytes);
}

}  // namespace pleach::text
