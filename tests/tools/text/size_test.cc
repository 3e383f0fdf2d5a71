// Sizes: a table of good and bad texts, and that formatting is the inverse of parsing.
#include "tools/text/size.hh"

#include <doctest/doctest.h>

#include <limits>
#include <random>

namespace pleach::text {
namespace {

DOCTEST_TEST_CASE("size: good texts") {
  struct row {
    const char* text;
    std::uint64_t bytes;
  };
  const row rows[] = {{"0", 0},
                      {"1", 1},
                      {"4096", 4096},
                      {"1KiB", 1024},
                      {"8MiB", 8u << 20},
                      {"1GiB", 1u << 30},
                      {"3TiB", std::uint64_t{3} << 40},
                      {"007MiB", 7u << 20},
                      {"16777215TiB", std::uint64_t{16777215} << 40},
                      {"18446744073709551615", std::numeric_limits<std::uint64_t>::max()}};
  for (const row& r : rows) {
    DOCTEST_CAPTURE(r.text);
    const auto got = parse_size(r.text);
    DOCTEST_REQUIRE(got.has_value());
    DOCTEST_CHECK(*got == r.bytes);
  }
}

DOCTEST_TEST_CASE("size: bad texts are refused with a sentence that holds them") {
  const char* const rows[] = {"",
                              " ",
                              "1 GiB",
                              " 1GiB",
                              "1GiB ",
                              "1.5GiB",
                              "-1",
                              "+1",
                              "GiB",
                              "1gib",
                              "1GB",
                              "1G",
                              "0x10",
                              "1KiBx",
                              "1MiBKiB",
                              "1,000",
                              "ten",
                              "18446744073709551616",
                              "16777216TiB",
                              "99999999999999999999TiB",
                              "1B"};
  for (const char* text : rows) {
    DOCTEST_CAPTURE(text);
    const auto got = parse_size(text);
    DOCTEST_REQUIRE(!got.has_value());
    DOCTEST_CHECK(got.error().kind == fault::bad_input);
    DOCTEST_CHECK(got.error().sentence.find(quoted(text)) != std::string::npos);
  }
  DOCTEST_CHECK(parse_size("16777216TiB").error().message().find("2^64") != std::string::npos);
  DOCTEST_CHECK(parse_size("1GB").error().message().find("unknown unit \"GB\"") !=
                std::string::npos);
}

DOCTEST_TEST_CASE("size: format is exact and short") {
  DOCTEST_CHECK(format_size(0) == "0");
  DOCTEST_CHECK(format_size(1023) == "1023");
  DOCTEST_CHECK(format_size(1024) == "1KiB");
  DOCTEST_CHECK(format_size(1536u << 20) == "1536MiB");
  DOCTEST_CHECK(format_size(1u << 30) == "1GiB");
  DOCTEST_CHECK(approximate_size(17) == "17 bytes");
  DOCTEST_CHECK(approximate_size(1536) == "1.5 KiB");
  std::mt19937_64 random(1);
  for (int i = 0; i < 5000; ++i) {
    const std::uint64_t bytes = random() >> (random() % 64) << (random() % 45);
    DOCTEST_REQUIRE(parse_size(format_size(bytes)) == bytes);
  }
}

}  // namespace
}  // namespace pleach::text
