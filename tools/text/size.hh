// Sizes as people write them: plain bytes, or a whole number with KiB, MiB, GiB, TiB.
//
// Not here: fractions, decimal units (kB), blanks. They are errors and not guesses, because a size
// that is read wrongly makes a store of the wrong size.
//
// I1 parse_size(format_size(n)) == n for every n.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/text/error.hh"

namespace pleach::text {

// RETURNS: bytes. ERRORS: bad_input for junk, an unknown unit, or more than 2^64 - 1 bytes.
[[nodiscard]] result<std::uint64_t> parse_size(std::string_view text);

// RETURNS: the shortest exact form: "1GiB", "1536MiB", "4097".
[[nodiscard]] std::string format_size(std::uint64_t bytes);

// RETURNS: a form to read, rounded, for progress and tables: "1.5 GiB", "17 bytes".
[[nodiscard]] std::string approximate_size(std::uint64_t bytes);

}  // namespace pleach::text
