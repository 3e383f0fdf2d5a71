#include "tools/text/hex.hh"

#include <array>

namespace pleach::text {
namespace {

constexpr std::string_view digit_chars = "0123456789abcdef";

consteval std::array<signed char, 256> make_digits() {
  std::array<signed char, 256> table{};
  for (auto& entry : table) entry = -1;
  for (int i = 0; i < 10; ++i)
    table[static_cast<std::size_t>('0' + i)] = static_cast<signed char>(i);
  for (int i = 0; i < 6; ++i) {
    table[static_cast<std::size_t>('a' + i)] = static_cast<signed char>(10 + i);
    table[static_cast<std::size_t>('A' + i)] = static_cast<signed char>(10 + i);
  }
  return table;
}
constexpr std::array<signed char, 256> digits_of = make_digits();

}  // namespace

int hex_digit(char c) noexcept {
  return digits_of[static_cast<unsigned char>(c)];
}

void append_hex(std::string& out, std::string_view bytes) {
  const std::size_t old_size = out.size();
  out.resize(old_size + bytes.size() * 2);
  char* to = out.data() + old_size;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    *to++ = digit_chars[byte >> 4];
    *to++ = digit_chars[byte & 15];
  }
}

std::string to_hex(std::string_view bytes) {
  std::string out;
  append_hex(out, bytes);
  return out;
}

hex_fault decode_hex(std::string_view digits, std::string& out) {
  // A bad digit is reported before an odd count: it is usually the cause of both.
  out.resize(digits.size() / 2);
  int bad = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int value = hex_digit(digits[2 * i]) * 16 | hex_digit(digits[2 * i + 1]);
    bad |= value;  // negative as soon as one digit is bad
    out[i] = static_cast<char>(value);
  }
  if (digits.size() % 2 != 0) bad |= hex_digit(digits.back());
  if (bad < 0) return hex_fault::bad_digit;
  return digits.size() % 2 != 0 ? hex_fault::odd : hex_fault::none;
}

std::string_view sentence(hex_fault what) noexcept {
  switch (what) {
    case hex_fault::none:
      return "is good";
    case hex_fault::odd:
      return "has an odd number of hex digits";
    case hex_fault::bad_digit:
      return "has a character that is not a hex digit";
  }
  return "is bad";
}

}  // namespace pleach::text
