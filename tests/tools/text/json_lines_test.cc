// JSON Lines: what is written reads back (random bytes of all flavours), the canonical form byte by
// byte, a table of good lines, and a table of bad lines with the sentence that each must give.
// Every cut of a good line is an error.
#include "tools/text/json_lines.hh"

#include <doctest/doctest.h>

#include "tests/tools/text/support.hh"
#include "tools/text/utf8.hh"

namespace pleach::text {
namespace {

using namespace std::string_literals;
using testing::input_file;

std::string written(std::string_view tree, std::string_view key, std::string_view value) {
  std::string out;
  DOCTEST_REQUIRE(append_json_line(out, tree, key, value));
  return out;
}

DOCTEST_TEST_CASE("flags of records") {
  std::string out;
  DOCTEST_REQUIRE(append_json_line(out, "t", "k", "v", 0xc, 3));
  DOCTEST_CHECK(out == "{\"tree\":\"t\",\"key\":\"k\",\"value\":\"v\",\"flags\":\"3c\"}\n");
  json_line_parser parser;
  out.pop_back();
  auto r = parser.parse(out);
  DOCTEST_REQUIRE(r);
  DOCTEST_CHECK(r->has_flags);
  DOCTEST_CHECK(r->key_flags == 0xc);
  DOCTEST_CHECK(r->value_flags == 3);
  r = parser.parse("{\"tree\":\"t\",\"key\":\"k\",\"value\":\"v\"}");
  DOCTEST_REQUIRE(r);
  DOCTEST_CHECK(!r->has_flags);
  for (const char* bad : {"", "3", "3cc", "3c3c", "xx"})
    DOCTEST_CHECK(!parser.parse("{\"tree\":\"t\",\"key\":\"k\",\"value\":\"v\",\"flags\":\"" +
                                std::string(bad) + "\"}"));
}

DOCTEST_TEST_CASE("json: the canonical form") {
  DOCTEST_CHECK(written("t", "k", "v") == R"({"tree":"t","key":"k","value":"v"})"
                                          "\n");
  DOCTEST_CHECK(written("t", "", "") == R"({"tree":"t","key":"","value":""})"
                                        "\n");
  DOCTEST_CHECK(written("t", "\xff", "v") == R"({"tree":"t","key_hex":"ff","value":"v"})"
                                             "\n");
  DOCTEST_CHECK(written("t", "k", "\xed\xa0\x80") ==
                R"({"tree":"t","key":"k","value_hex":"eda080"})"
                "\n");
  DOCTEST_CHECK(
      written("t", "a\0b"s, "\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9\xf0\x9f\x8c\xb3") ==
      "{\"tree\":\"t\",\"key\":\"a\\u0000b\",\"value\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f"
      "\x7f\xc3\xa9\xf0\x9f\x8c\xb3\"}\n");
  std::string out = "before";
  DOCTEST_CHECK(!append_json_line(out, "\xff", "k", "v"));  // no hex form for trees
  DOCTEST_CHECK(out == "before");
  DOCTEST_CHECK(append_json_key_line(out, "t", "\x80"));
  DOCTEST_CHECK(out == R"(before{"tree":"t","key_hex":"80"})"
                       "\n");
}

DOCTEST_TEST_CASE("json: random records round trip, alone and as a stream") {
  testing::random_engine random(11);
  std::string stream;
  struct kept {
    std::string tree, key, value;
  };
  std::vector<kept> records;
  json_line_parser parser;
  for (int i = 0; i < 4000; ++i) {
    kept r{"", testing::random_bytes(random, 40), testing::random_bytes(random, 300)};
    do r.tree = testing::random_bytes(random, 12);
    while (!utf8_valid(r.tree));
    const std::string line = written(r.tree, r.key, r.value);
    DOCTEST_REQUIRE(line.find('\n') == line.size() - 1);
    DOCTEST_REQUIRE(utf8_valid(line));
    const auto got = parser.parse(std::string_view(line).substr(0, line.size() - 1));
    DOCTEST_REQUIRE(got.has_value());
    DOCTEST_REQUIRE(got->tree == r.tree);
    DOCTEST_REQUIRE(got->key == r.key);
    DOCTEST_REQUIRE(got->value == r.value);
    stream += line;
    records.push_back(std::move(r));
  }
  stream.pop_back();  // the last line may lack its newline
  input_file in(stream);
  line_reader lines(in.fd(), {.chunk_bytes = 512});
  json_lines_reader reader(lines);
  for (const kept& r : records) {
    DOCTEST_REQUIRE(reader.next() == true);
    DOCTEST_REQUIRE(reader.record().tree == r.tree);
    DOCTEST_REQUIRE(reader.record().key == r.key);
    DOCTEST_REQUIRE(reader.record().value == r.value);
  }
  DOCTEST_CHECK(reader.next() == false);
}

DOCTEST_TEST_CASE("json: good lines in other forms") {
  struct row {
    std::string line, tree, key, value;
  };
  const row rows[] = {
      {R"({"value":"v","key":"k","tree":"t"})", "t", "k", "v"},
      {"\t{ \"tree\" : \"t\" ,\"key\":\"k\",\t\"value\":\"v\" } \r", "t", "k", "v"},
      {R"({"tree":"t","key_hex":"6B","value_hex":"fFfE"})", "t", "k", "\xff\xfe"},
      {R"({"tree":"t","key":"k","value_hex":""})", "t", "k", ""},
      {R"({"tree":"\u0074\/","key":"\u00e9\u20AC","value":"\ud83c\udf33 \uD83C\uDF33"})", "t/",
       "\xc3\xa9\xe2\x82\xac", "\xf0\x9f\x8c\xb3 \xf0\x9f\x8c\xb3"},
      {R"({"tr\u0065e":"t","k\u0065y_hex":"\u0036b","value":"\u0000\uffff"})", "t", "k",
       "\0\xef\xbf\xbf"s},
      {R"({"tree":"t","key":"\"\\\/\b\f\n\r\t","value":"a}b"})", "t", "\"\\/\b\f\n\r\t", "a}b"},
      {"{\"tree\":\"\xc3\xa9\",\"key\":\"\x7f\",\"value\":\"\xf4\x8f\xbf\xbf\"}", "\xc3\xa9",
       "\x7f", "\xf4\x8f\xbf\xbf"},
  };
  json_line_parser parser;
  for (const row& r : rows) {
    DOCTEST_CAPTURE(r.line);
    const auto got = parser.parse(r.line);
    DOCTEST_REQUIRE_MESSAGE(got.has_value(), got.error().message());
    DOCTEST_CHECK(got->tree == r.tree);
    DOCTEST_CHECK(got->key == r.key);
    DOCTEST_CHECK(got->value == r.value);
  }
}

DOCTEST_TEST_CASE("json: the default tree names only records that name none") {
  json_line_parser parser("d");
  DOCTEST_CHECK(parser.parse(R"({"key":"k","value":"v"})")->tree == "d");
  DOCTEST_CHECK(parser.parse(R"({"tree":"t","key":"k","value":"v"})")->tree == "t");
  DOCTEST_CHECK(parser.parse(R"({"tree":"","key":"k","value":"v"})")->tree.empty());
}

DOCTEST_TEST_CASE("json: bad lines, each with its sentence") {
  struct row {
    std::string line, sentence;
  };
  const row rows[] = {
      {"", "an empty line is not a record (column 1)"},
      {"   ", "an empty line is not a record (column 4)"},
      {"x", "expected '{' at the start of the record (column 1)"},
      {"[]", "expected '{' at the start of the record"},
      {"VERSION=3", "expected '{' at the start of the record"},
      {"\xef\xbb\xbf{}", "expected '{' at the start"},
      {"{", "the record is cut: no field name"},
      {"{}", "missing field \"tree\""},
      {"{,}", "expected a field name in double quotes"},
      {R"({'tree':"t"})", "expected a field name in double quotes"},
      {R"({"tree":"t"})", "missing field \"key\""},
      {R"({"tree":"t","key":"k"})", "missing field \"value\""},
      {R"({"key":"k","value":"v"})", "missing field \"tree\""},
      {R"({"tree":"t","key":"k","value":"v","x":"y"})", "unknown field \"x\" (column 35)"},
      {R"({"tree_hex":"74","key":"k","value":"v"})", "unknown field \"tree_hex\" (column 2)"},
      {R"({"":"t","key":"k","value":"v"})", "unknown field \"\""},
      {R"({"Tree":"t","key":"k","value":"v"})", "unknown field \"Tree\""},
      {R"({"tree":"t","tree":"t","key":"k","value":"v"})", "duplicate field \"tree\""},
      {R"({"tree":"t","key":"k","key_hex":"6b","value":"v"})", "given plain and as hex"},
      {R"({"tree":"t","key":"k","value_hex":"","value_hex":""})", "duplicate field \"value_hex\""},
      {R"({"tree":"t","key":"k","value":1})", "field \"value\" must be a string (column 31)"},
      {R"({"tree":"t","key":null,"value":"v"})", "field \"key\" must be a string"},
      {R"({"tree":{},"key":"k","value":"v"})", "field \"tree\" must be a string"},
      {R"({"tree" "t"})", "expected ':' after the field name"},
      {R"({"tree":"t" "key":"k"})", "expected ',' or the closing brace after a field"},
      {R"({"tree":"t","key":"k","value":"v",})", "expected a field name"},
      {R"({"tree":"t","key":"k","value":"v"}x)", "text after the record (column 35)"},
      {R"({"tree":"t","key":"k","value":"v"}{)", "text after the record"},
      {R"({"tree":"t","key":"k","value":"v"},)", "text after the record"},
      {R"({"tree":"t","key":"k","value":"v)", "the record is cut: a string is not closed"},
      {R"({"tree":"t","key":"k","value":"v")", "the record is cut: no closing brace"},
      {R"({"tree":"t","key":"k","value":)", "the record is cut: field \"value\" has no value"},
      {R"({"tree":"t","key":"k","value":"v\)", "the record is cut: an escape is not finished"},
      {R"({"tree":"t","key_hex":"6","value":"v"})",
       "field \"key_hex\" has an odd number of hex digits (column 23)"},
      {R"({"tree":"t","key":"k","value_hex":"0x"})", "is not a hex digit"},
      {R"({"tree":"t","key_hex":"6b ","value":"v"})", "is not a hex digit"},
      {R"({"tree":"t","key":"\q","value":"v"})", "bad escape \"\\q\""},
      {R"({"tree":"t","key":"\x41","value":"v"})", "bad escape"},
      {R"({"tree":"t","key":"\u12g4","value":"v"})", "\\u needs four hex digits"},
      {R"({"tree":"t","key":"\u12)", "\\u needs four hex digits"},
      {R"({"tree":"t","key":"\ud800","value":"v"})", "a lone high surrogate (column 20)"},
      {R"({"tree":"t","key":"\ud800x","value":"v"})", "a lone high surrogate"},
      {R"({"tree":"t","key":"\ud800\n","value":"v"})", "a lone high surrogate"},
      {R"({"tree":"t","key":"\ud800\ud800","value":"v"})", "a lone high surrogate"},
      {R"({"tree":"t","key":"\ud800\u0041","value":"v"})", "a lone high surrogate"},
      {R"({"tree":"t","key":"\ud800\ue000","value":"v"})", "a lone high surrogate"},
      {R"({"tree":"t","key":"\udc00","value":"v"})", "a lone low surrogate"},
      {R"({"tree":"t","key":"\udfff\ud800","value":"v"})", "a lone low surrogate"},
      {R"({"tree":"t","key":"k","value":"\ud83c)", "a lone high surrogate"},
      {"{\"tree\":\"t\",\"key\":\"a\tb\",\"value\":\"v\"}", "a raw control character 0x09"},
      {"{\"tree\":\"t\",\"key\":\"a\0b\",\"value\":\"v\"}"s, "a raw control character 0x00"},
      {"{\"tree\":\"t\",\"key\":\"ab\xff\",\"value\":\"v\"}", "bytes that are not UTF-8"},
      {"{\"tree\":\"\xed\xa0\x80\",\"key\":\"k\",\"value\":\"v\"}", "bytes that are not UTF-8"},
      {"{\"tree\":\"t\",\"key\":\"k\",\"value\":\"\\n\xc3\"}", "bytes that are not UTF-8"},
      {"{\"tree\":\"t\",\"key\":\"k\",\"value\":\"\xc3\\u00a9\"}", "bytes that are not UTF-8"},
      {"{\"tree\":\"t\"\n,\"key\":\"k\",\"value\":\"v\"}", "expected ','"},
  };
  json_line_parser parser;
  for (const row& r : rows) {
    DOCTEST_CAPTURE(r.line);
    const auto got = parser.parse(r.line);
    DOCTEST_REQUIRE(!got.has_value());
    DOCTEST_CHECK(got.error().kind == fault::bad_input);
    const bool as_expected = got.error().sentence.find(r.sentence) != std::string::npos;
    DOCTEST_CHECK_MESSAGE(as_expected, got.error().sentence);
    // The parser is good for the next line.
    DOCTEST_CHECK(parser.parse(R"({"tree":"t","key":"k","value":"v"})").has_value());
  }
}

DOCTEST_TEST_CASE("json: every cut of a line, and every line with one byte more, is an error") {
  const std::string line = R"({"tree":"t","key":"\ud83c\udf33\n","value_hex":"00ff"})";
  json_line_parser parser;
  DOCTEST_REQUIRE(parser.parse(line).has_value());
  for (std::size_t size = 0; size < line.size(); ++size) {
    const std::string cut(line, 0, size);  // a heap copy: the sanitizer sees a read behind it
    DOCTEST_REQUIRE(!parser.parse(cut).has_value());
  }
  DOCTEST_CHECK(!parser.parse(line + "}").has_value());
}

DOCTEST_TEST_CASE("json: damaged lines never crash and never give a record that was not there") {
  testing::random_engine random(3);
  json_line_parser parser("d");
  for (int i = 0; i < 20000; ++i) {
    std::string line = R"({"tree":"t\n","key_hex":"6b6c","value":"\u20ac\ud83c\udf33 text"})";
    for (auto n = random() % 4 + 1; n > 0; --n) {
      line[random() % line.size()] = testing::random_bytes(random, 1).append("\"").front();
    }
    const auto got = parser.parse(line);
    if (!got.has_value()) continue;
    std::string again;
    DOCTEST_REQUIRE(append_json_line(again, got->tree, got->key, got->value));
    again.pop_back();
    json_line_parser second;
    const auto back = second.parse(again);
    DOCTEST_REQUIRE(back.has_value());
    DOCTEST_REQUIRE(back->key == got->key);
    DOCTEST_REQUIRE(back->value == got->value);
  }
}

DOCTEST_TEST_CASE("json reader: line numbers, cut and blank lines") {
  const std::string good = R"({"tree":"t","key":"k","value":"v"})";
  struct row {
    std::string text, message;
    fault kind;
  };
  const row rows[] = {
      {good + "\n" + good + "\nxyz\n", "line 3: expected '{' at the start of the record (column 1)",
       fault::bad_input},
      {good + "\n\n" + good + "\n", "line 2: an empty line is not a record (column 1)",
       fault::bad_input},
      {good + "\n" + good.substr(0, 20),
       "line 2: truncated: the last line has no newline and does not parse: the record is cut: a "
       "string "
       "is not closed (column 21)",
       fault::truncated},
  };
  for (const row& r : rows) {
    input_file in(r.text);
    line_reader lines(in.fd());
    json_lines_reader reader(lines);
    auto got = reader.next();
    while (got.has_value() && *got) got = reader.next();
    DOCTEST_REQUIRE(!got.has_value());
    DOCTEST_CHECK(got.error().message() == r.message);
    DOCTEST_CHECK(got.error().kind == r.kind);
  }
}

}  // namespace
DOCTEST_TEST_CASE("json: a line may be a digest, and then nothing else") {
  std::string line;
  DOCTEST_REQUIRE(pleach::text::append_json_digest(line, "t\"", 12, "00ff"));
  DOCTEST_CHECK(line == "{\"tree\":\"t\\\"\",\"records\":\"12\",\"digest\":\"00ff\"}\n");
  DOCTEST_CHECK(!pleach::text::append_json_digest(line, "\xff", 12, "00ff"));
  line.pop_back();
  pleach::text::json_line_parser parser;
  auto parsed = parser.parse(line);
  DOCTEST_REQUIRE(parsed.has_value());
  DOCTEST_CHECK(parsed->tree == "t\"");
  DOCTEST_CHECK(parsed->records == "12");
  DOCTEST_CHECK(parsed->digest == "00ff");
  auto record = parser.parse(R"({"tree":"t","key":"k","value":"v"})");
  DOCTEST_REQUIRE(record.has_value());
  DOCTEST_CHECK(record->digest.empty());
  for (const char* bad :
       {R"({"tree":"t","records":"1"})", R"({"tree":"t","digest":"00"})",
        R"({"tree":"t","records":"1","digest":""})", R"({"records":"1","digest":"00"})",
        R"({"tree":"t","records":"1","digest":"00","key":"k"})",
        R"({"tree":"t","records":1,"digest":"00"})"})
    DOCTEST_CHECK_MESSAGE(!parser.parse(bad).has_value(), bad);
}

}  // namespace pleach::text
