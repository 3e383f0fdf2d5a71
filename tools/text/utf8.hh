// Strict UTF-8 (RFC 3629): no surrogates, no overlong forms, nothing above U+10FFFF.
//
// Not here: normalisation and case; the store compares bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pleach::text {

// RETURNS: the offset of the first byte that is not part of a valid character; text.size() if all
// are.
[[nodiscard]] std::size_t utf8_valid_prefix(std::string_view text) noexcept;

[[nodiscard]] inline bool utf8_valid(std::string_view text) noexcept {
  return utf8_valid_prefix(text) == text.size();
}

// REQUIRES: `code_point` <= U+10FFFF and no surrogate.
void append_utf8(std::string& out, std::uint32_t code_point);

}  // namespace pleach::text
