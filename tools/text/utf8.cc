#include "tools/text/utf8.hh"

#include <cstring>

namespace pleach::text {
namespace {

// RETURNS: the length of the valid character at `at`, 0 if there is none. The ranges of the second
// byte are those of table 3-7 of the Unicode standard; they exclude overlong forms, surrogates, and
// > U+10FFFF.
std::size_t character_bytes(const unsigned char* at, std::size_t left) noexcept {
  const unsigned lead = at[0];
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const std::size_t need = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (left < need) return 0;
  unsigned low = 0x80;
  unsigned high = 0xbf;
  if (lead == 0xe0) low = 0xa0;
  if (lead == 0xed) high = 0x9f;
  if (lead == 0xf0) low = 0x90;
  if (lead == 0xf4) high = 0x8f;
  if (at[1] < low || at[1] > high) return 0;
  for (std::size_t i = 2; i < need; ++i) {
    if ((at[i] & 0xc0) != 0x80) return 0;
  }
  return need;
}

}  // namespace

std::size_t utf8_valid_prefix(std::string_view text) noexcept {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  const std::size_t size = text.size();
  std::size_t i = 0;
  while (i < size) {
    if (size - i >= 8) {  // most text is ASCII: eight bytes a step
      std::uint64_t word;
      std::memcpy(&word, bytes + i, 8);
      if ((word & 0x8080808080808080u) == 0) {
        i += 8;
        continue;
      }
    }
    const std::size_t length = character_bytes(bytes + i, size - i);
    if (length == 0) return i;
    i += length;
  }
  return size;
}

void append_utf8(std::string& out, std::uint32_t code_point) {
  const auto put = [&out](std::uint32_t byte) { out += static_cast<char>(byte); };
  const auto tail = [&](unsigned shift) { put(0x80 | (code_point >> shift & 0x3f)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | code_point >> 6);
    tail(0);
  } else if (code_point < 0x10000) {
    put(0xe0 | code_point >> 12);
    tail(6);
    tail(0);
  } else {
    put(0xf0 | code_point >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace pleach::text
