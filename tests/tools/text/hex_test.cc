// Hex: round trips of all bytes, both cases in, and each kind of bad text.
#include "tools/text/hex.hh"

#include <doctest/doctest.h>

#include "tests/tools/text/support.hh"

namespace pleach::text {
namespace {

DOCTEST_TEST_CASE("hex: every byte there and back, lower case out, either case in") {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  std::string digits = to_hex(all);
  DOCTEST_CHECK(digits.starts_with("000102030405060708090a0b"));
  DOCTEST_CHECK(digits.ends_with("fdfeff"));
  std::string back;
  DOCTEST_CHECK(decode_hex(digits, back) == hex_fault::none);
  DOCTEST_CHECK(back == all);
  for (char& c : digits) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  DOCTEST_CHECK(decode_hex(digits, back) == hex_fault::none);
  DOCTEST_CHECK(back == all);
  DOCTEST_CHECK(decode_hex("", back) == hex_fault::none);
  DOCTEST_CHECK(back.empty());
}

DOCTEST_TEST_CASE("hex: bad texts") {
  std::string out;
  DOCTEST_CHECK(decode_hex("a", out) == hex_fault::odd);
  DOCTEST_CHECK(decode_hex("abc", out) == hex_fault::odd);
  for (const char* bad :
       {"g0", "0g00", "zz00", "0x", " 0", "zz", "00-1", "abz", "\xff\xff", "6@", "6`"}) {
    DOCTEST_CAPTURE(bad);
    DOCTEST_CHECK(decode_hex(bad, out) == hex_fault::bad_digit);
  }
}

DOCTEST_TEST_CASE("hex: every pair of characters decodes exactly if both are digits") {
  const std::string_view good = "0123456789abcdefABCDEF";
  std::string out;
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const char pair[] = {static_cast<char>(a), static_cast<char>(b)};
      const bool expected = good.find(pair[0]) != good.npos && good.find(pair[1]) != good.npos;
      DOCTEST_REQUIRE((decode_hex({pair, 2}, out) == hex_fault::none) == expected);
    }
  }
}

}  // namespace
}  // namespace pleach::text
