// UTF-8: every code point is written and accepted; every sequence of up to three bytes is judged as
// by a decoder written the slow way; a table of the classic bad forms.
#include "tools/text/utf8.hh"

#include <doctest/doctest.h>

#include "tests/tools/text/support.hh"

namespace pleach::text {
namespace {

// The definition: decode by the lead byte's length, then ask for range, shortest form, no
// surrogate.
bool slowly_valid(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const int extra = lead < 0x80         ? 0
                      : (lead >> 5) == 6  ? 1
                      : (lead >> 4) == 14 ? 2
                      : (lead >> 3) == 30 ? 3
                                          : -1;
    if (extra < 0 || text.size() - i <= static_cast<std::size_t>(extra)) return false;
    std::uint32_t code = extra == 0 ? lead : lead & (0x3fu >> extra);
    for (int k = 1; k <= extra; ++k) {
      const auto next = static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)]);
      if ((next >> 6) != 2) return false;
      code = code << 6 | (next & 0x3fu);
    }
    const std::uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (code < least[extra] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    i += static_cast<std::size_t>(extra) + 1;
  }
  return true;
}

DOCTEST_TEST_CASE("utf8: every code point") {
  std::string one;
  for (std::uint32_t code = 0; code <= 0x10ffff; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    one.clear();
    append_utf8(one, code);
    DOCTEST_REQUIRE(slowly_valid(one));
    DOCTEST_REQUIRE(utf8_valid(one));
    DOCTEST_REQUIRE(!utf8_valid(std::string_view(one).substr(1)) == (one.size() > 1));
  }
}

DOCTEST_TEST_CASE("utf8: all sequences of two bytes, and many of four") {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const char pair[] = {static_cast<char>(a), static_cast<char>(b)};
      DOCTEST_REQUIRE(utf8_valid({pair, 2}) == slowly_valid({pair, 2}));
    }
  }
  // The interesting bytes are those at the borders of the ranges.
  const unsigned char border[] = {0x00, 0x22, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                  0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                  0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
  for (const auto a : border) {
    for (const auto b : border) {
      for (const auto c : border) {
        for (const auto d : border) {
          const char four[] = {static_cast<char>(a), static_cast<char>(b), static_cast<char>(c),
                               static_cast<char>(d)};
          DOCTEST_REQUIRE(utf8_valid({four, 4}) == slowly_valid({four, 4}));
          DOCTEST_REQUIRE(utf8_valid({four, 3}) == slowly_valid({four, 3}));
        }
      }
    }
  }
}

DOCTEST_TEST_CASE("utf8: the offset of the first bad byte, also behind long ASCII") {
  DOCTEST_CHECK(utf8_valid_prefix("") == 0);
  DOCTEST_CHECK(utf8_valid_prefix("abc") == 3);
  DOCTEST_CHECK(utf8_valid_prefix("abc\xff") == 3);
  DOCTEST_CHECK(utf8_valid_prefix("0123456789abcdef\xc3\xa9\xc3") == 18);
  DOCTEST_CHECK(utf8_valid_prefix("\xed\xa0\x80") == 0);        // a surrogate
  DOCTEST_CHECK(utf8_valid_prefix("x\xc0\x80") == 1);           // overlong NUL
  DOCTEST_CHECK(utf8_valid_prefix("xy\xf4\x90\x80\x80") == 2);  // U+110000
}

}  // namespace
}  // namespace pleach::text
