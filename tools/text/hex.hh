// Bytes as hexadecimal digits: lower case out, either case in.
//
// Not here: prefixes (0x), blanks and separators; they are errors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pleach::text {

// Appends two digits a byte to `out`.
void append_hex(std::string& out, std::string_view bytes);
[[nodiscard]] std::string to_hex(std::string_view bytes);

enum class hex_fault : std::uint8_t { none, odd, bad_digit };

// Replaces `out` with the bytes. RETURNS: what is wrong; `out` is then unspecified.
// REQUIRES: `digits` does not lie in `out`.
[[nodiscard]] hex_fault decode_hex(std::string_view digits, std::string& out);

// RETURNS: 0-15, or -1 if `c` is not a digit.
[[nodiscard]] int hex_digit(char c) noexcept;

// RETURNS: the sentence for a fault, to stand after the name of what was read: "has an odd number
// ...".
[[nodiscard]] std::string_view sentence(hex_fault what) noexcept;

}  // namespace pleach::text
