#include "tools/text/error.hh"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace pleach::text {

std::string quoted(std::string_view text) {
  constexpr std::size_t shown_max = 40;
  std::string out = "\"";
  for (const char c : text.substr(0, shown_max)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7e) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  out += text.size() > shown_max ? "\"..." : "\"";
  return out;
}

error system_error(std::string_view what, int number) {
  if (number == EPIPE) return {fault::closed_pipe, 0, fmt::format("{}: the pipe is closed", what)};
  if (number == ENOSPC || number == EDQUOT || number == EFBIG) {
    return {fault::no_space, 0, fmt::format("no space: {}: {}", what, std::strerror(number))};
  }
  return {fault::io, 0, fmt::format("{}: {}", what, std::strerror(number))};
}

}  // namespace pleach::text
