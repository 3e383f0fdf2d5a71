// Reads a value from a file or from standard input, whole and bounded.
#pragma once

#include <cstdint>
#include <string>

#include "tools/outcome.hh"

namespace pleach::tool {

// `path` "-" is standard input. ERRORS: io; `too large` over `bytes_max`.
outcome<std::string> read_whole(const std::string& path, std::uint64_t bytes_max);

}  // namespace pleach::tool
