// The dump format: what is written reads back in both formats (random bytes, random names), the
// written form byte by byte, sections as the three peers print them, and a table of malformed dumps
// with the line and sentence that each must give. Every cut of a dump is `truncated` or an earlier
// whole section.
#include <doctest/doctest.h>

#include <vector>

#include "tests/tools/text/support.hh"
#include "tools/text/dump_reader.hh"
#include "tools/text/dump_writer.hh"

namespace pleach::text {
namespace {

using testing::input_file;

struct read_section {
  std::optional<std::string> database;
  std::vector<std::pair<std::string, std::string>> records;
  bool operator==(const read_section&) const = default;
};

struct outcome {
  std::vector<read_section> sections;  // whole ones
  std::vector<std::string> warnings;
  std::optional<error> failure;
};

outcome read_dump(std::string_view text, bool lenient = false) {
  input_file in(text);
  line_reader lines(in.fd(), {.chunk_bytes = 64});
  outcome out;
  dump_reader reader(lines, {.lenient = lenient, .warn = [&](const std::string& sentence) {
                               out.warnings.push_back(sentence);
                             }});
  read_section current;
  for (;;) {
    const auto got = reader.next();
    if (!got) {
      out.failure = got.error();
      return out;
    }
    switch (*got) {
      case dump_event::SECTION_BEGIN:
        current = {reader.section().database, {}};
        break;
      case dump_event::RECORD:
        current.records.emplace_back(reader.key(), reader.value());
        break;
      case dump_event::SECTION_END:
        DOCTEST_REQUIRE(reader.section().record_count == current.records.size());
        out.sections.push_back(current);
        break;
      case dump_event::END:
        DOCTEST_REQUIRE(reader.section_count() == out.sections.size());
        return out;
      case dump_event::invalid:
        DOCTEST_FAIL("an invalid event");
        return out;
    }
  }
}

std::string written(const std::vector<read_section>& sections, const dump_format& format) {
  std::string out;
  for (const read_section& s : sections) {
    append_dump_header(out, s.database, format);
    for (const auto& [key, value] : s.records) append_dump_record(out, key, value, format);
    append_dump_footer(out);
  }
  return out;
}

DOCTEST_TEST_CASE("dump: the written form") {
  const std::vector<read_section> sections = {{"t", {{"k", "a\\b\n\x7f\xc3\xa9"}, {"", ""}}},
                                              {{}, {}}};
  DOCTEST_CHECK(
      written(sections, {}) ==
      "VERSION=3\nformat=bytevalue\ndatabase=t\ntype=btree\ndb_pagesize=4096\nHEADER=END\n"
      " 6b\n 615c620a7fc3a9\n \n \nDATA=END\n"
      "VERSION=3\nformat=bytevalue\ntype=btree\ndb_pagesize=4096\nHEADER=END\nDATA=END\n");
  DOCTEST_CHECK(
      written({sections[0]}, {.print = true, .mapsize = 1u << 30}) ==
      "VERSION=3\nformat=print\ndatabase=t\ntype=btree\nmapsize=1073741824\ndb_pagesize=4096\n"
      "HEADER=END\n k\n a\\5cb\\0a\\7f\\c3\\a9\n \n \nDATA=END\n");
}

DOCTEST_TEST_CASE("dump: names keep plain UTF-8 and escape the rest") {
  std::string out;
  append_dump_header(out, "gr\xc3\xbc\xc3\x9f \\\n=\x7f", {});
  DOCTEST_CHECK(out.find("\ndatabase=gr\xc3\xbc\xc3\x9f \\\\\\0a=\\7f\n") != std::string::npos);
  out.clear();
  append_dump_header(out, "\xc3\xbc\xff", {});
  DOCTEST_CHECK(out.find("\ndatabase=\\c3\\bc\\ff\n") != std::string::npos);
}

DOCTEST_TEST_CASE("dump: random sections round trip in both formats, twice to the same bytes") {
  testing::random_engine random(5);
  for (int round = 0; round < 150; ++round) {
    std::vector<read_section> sections(random() % 4);
    for (read_section& s : sections) {
      if (random() % 5 != 0) s.database = testing::random_bytes(random, 20);
      s.records.resize(random() % 20);
      for (auto& [key, value] : s.records) {
        key = testing::random_bytes(random, 30);
        value = testing::random_bytes(random, 200);
      }
    }
    const dump_format format{.print = round % 2 == 0, .mapsize = {}};
    const std::string text = written(sections, format);
    const outcome got = read_dump(text);
    DOCTEST_REQUIRE_MESSAGE(!got.failure, got.failure->message());
    DOCTEST_REQUIRE(got.warnings.empty());
    DOCTEST_REQUIRE(got.sections == sections);
    DOCTEST_REQUIRE(written(got.sections, format) == text);
  }
}

constexpr const char* bdb_header =
    "VERSION=3\nformat=print\ndatabase=x\\0ay\ntype=btree\nbt_minkey=4\nchksum=1\ndb_lorder=1234\n"
    "db_pagesize=8192\nduplicates=0\ndupsort=0\nextentsize=1\nh_ffactor=1\nh_nelem=9\nkeys=1\nre_"
    "len=1\n"
    "re_pad=0x20\nrecnum=1\nrenumber=0\nHEADER=END\n";

DOCTEST_TEST_CASE("dump: sections as the peers print them") {
  outcome got = read_dump(std::string(bdb_header) + " k\n v \\5C\\\\ \\00\nDATA=END\n");
  DOCTEST_REQUIRE(!got.failure);
  using namespace std::string_literals;
  DOCTEST_CHECK(got.sections == std::vector<read_section>{{"x\ny", {{"k", "v \\\\ \0"s}}}});

  got = read_dump("VERSION=3\nsubdatabase=s\ntype=hash\nHEADER=END\n 6B\n FFfe\nDATA=END\n");
  DOCTEST_REQUIRE(!got.failure);
  DOCTEST_CHECK(got.sections == std::vector<read_section>{{"s", {{"k", "\xff\xfe"}}}});

  // LMDB prints the name raw.
  got = read_dump(
      "VERSION=3\nformat=bytevalue\ndatabase=a\\b\\\\\ntype=btree\nmapsize=1048576\nmaxreaders="
      "126\n"
      "mapaddr=0x7f0000000000\nreversekey=0\nintegerkey=0\ndb_pagesize=4096\nHEADER=END\nDATA="
      "END\n");
  DOCTEST_REQUIRE(!got.failure);
  DOCTEST_CHECK(got.sections == std::vector<read_section>{{"a\\b\\\\", {}}});

  // libmdbx
  got = read_dump(
      "VERSION=3\ngeometry=l12288,c65536,u1048576,s4096,g4096\ncanary=v0,x0,y0,z0\ntxnid="
      "3\nsequence=1\n"
      "mapsize=1048576\nmaxreaders=120\nformat=bytevalue\ntype=btree\ndb_pagesize=4096\nHEADER="
      "END\n"
      " 61\n 62\nDATA=END\n");
  DOCTEST_REQUIRE(!got.failure);
  DOCTEST_CHECK(got.sections == std::vector<read_section>{{{}, {{"a", "b"}}}});

  // No section at all, and a last line without its newline.
  DOCTEST_CHECK(!read_dump("").failure);
  got = read_dump("VERSION=2\nHEADER=END\n 61\n \nDATA=END");
  DOCTEST_CHECK(!got.failure);
  DOCTEST_CHECK(got.sections.size() == 1);
}

DOCTEST_TEST_CASE("dump: one warning for backslashes in print sections of LMDB") {
  const std::string lmdb = "VERSION=3\nformat=print\nmapsize=1048576\nmaxreaders=126\nHEADER=END\n";
  outcome got = read_dump(lmdb + " k\n v\nDATA=END\n");
  DOCTEST_CHECK(got.warnings.empty());
  got = read_dump(lmdb + " k\n v\\00\n l\\00\n v\nDATA=END\n" + lmdb + " k\\01\n v\nDATA=END\n");
  DOCTEST_CHECK(!got.failure);
  DOCTEST_REQUIRE(got.warnings.size() == 1);
  DOCTEST_CHECK(
      got.warnings[0].starts_with("line 7: this print-format section may come from an mdb_dump"));
  got = read_dump(lmdb + " k\n a\\qb\nDATA=END\n");
  DOCTEST_CHECK(got.warnings.size() == 1);
  DOCTEST_REQUIRE(got.failure);
  DOCTEST_CHECK(got.failure->message().starts_with("line 7: bad escape \"\\qb\""));
  got = read_dump("VERSION=3\nformat=print\nHEADER=END\n k\\01\n v\nDATA=END\n");
  DOCTEST_CHECK(got.warnings.empty());
}

DOCTEST_TEST_CASE("dump: malformed dumps, each with its line and sentence") {
  const std::string head = "VERSION=3\nformat=bytevalue\ntype=btree\n";
  const std::string open = head + "HEADER=END\n";
  const std::string print = "VERSION=3\nformat=print\nHEADER=END\n";
  struct row {
    std::string text, message;
    fault kind = fault::bad_input;
  };
  const row rows[] = {
      {"x\n", "line 1: expected VERSION= at the start of a section, found \"x\""},
      {"\n", "line 1: expected VERSION="},
      {R"({"tree":"t"})"
       "\n",
       "line 1: expected VERSION="},
      {"format=print\nVERSION=3\n", "line 1: expected VERSION="},
      {"VERSION=4\nHEADER=END\n", "line 1: VERSION=4 is not supported"},
      {"VERSION=0\nHEADER=END\n", "line 1: VERSION=0 is not supported"},
      {"VERSION=\nHEADER=END\n", "line 1: VERSION= is not supported"},
      {"VERSION=3x\nHEADER=END\n", "line 1: VERSION=3x is not supported"},
      {"VERSION=99999999999999\n", "line 1: VERSION=99999999999999 is not supported"},
      {"VERSION=3\nVERSION=3\n", "line 2: duplicate keyword \"VERSION\""},
      {"VERSION=3\nformat=xml\n", "line 2: format \"xml\" is not supported"},
      {head + "type=btree\n", "line 4: duplicate keyword \"type\""},
      {head + "database=a\nsubdatabase=b\n", "line 5: duplicate keyword \"subdatabase\""},
      {head + "junk\n", "line 4: expected keyword=value in the header, found \"junk\""},
      {head + "=x\n", "line 4: expected keyword=value"},
      {head + " 61\n", "line 4: expected keyword=value in the header, found \" 61\""},
      {head + "\n", "line 4: expected keyword=value in the header, found \"\""},
      {head + "DATA=END\n", "line 4: unknown keyword \"DATA\""},
      {head + "color=red\n", "line 4: unknown keyword \"color\"; with --lenient it is ignored"},
      {head + "dupsort=1\n", "line 4: dupsort=1 is not supported"},
      {head + "duplicates=1\n", "line 4: duplicates=1 is not supported"},
      {head + "dupfixed=1\n", "line 4: dupfixed=1 is not supported"},
      {head + "integerdup=1\n", "line 4: integerdup=1 is not supported"},
      {head + "reversedup=1\n", "line 4: reversedup=1 is not supported"},
      {head + "reversekey=1\n", "line 4: reversekey=1 is not supported: keys are ordered as bytes"},
      {head + "integerkey=1\n", "line 4: integerkey=1 is not supported"},
      {"VERSION=3\ntype=recno\n", "line 2: type=recno is not supported"},
      {"VERSION=3\ntype=queue\n", "line 2: type=queue is not supported"},
      {"VERSION=3\ntype=heap\n", "line 2: type=\"heap\" is not supported"},
      {"VERSION=3\ndatabase=a\\q\nHEADER=END\n", "line 2: bad escape \"\\q\" in the name"},
      {open + "61\n", "line 5: expected a data line, which starts with one space, or DATA=END"},
      {open + "\n", "line 5: expected a data line"},
      {open + "DATA=END \n", "line 5: expected a data line"},
      {open + " 61\n 62\nVERSION=3\n", "line 7: expected a data line"},
      {open + " 61\nVERSION=3\n", "line 6: expected a data line"},
      {open + " 61\nDATA=END\n", "line 6: key without a value before DATA=END"},
      {open + " 61\n 6\n", "line 6: the data line has an odd number of hex digits"},
      {open + " 616\n 61\n", "line 5: the data line has an odd number"},
      {open + " 6g\n 61\n", "line 5: the data line has a character that is not a hex digit"},
      {open + "  61\n 61\n", "line 5: the data line has a character that is not a hex digit"},
      {open + " 61\r\n 61\r\n", "line 5: the data line has a character that is not a hex digit"},
      {print + " a\\n\n b\n", "line 4: bad escape \"\\n\": only \\\\ and \\hh (two hex digits)"},
      {print + " a\\\n b\n", "line 4: bad escape \"\\\""},
      {print + " a\n b\\0\n", "line 5: bad escape \"\\0\""},
      {print + " a\n b\\0g\n", "line 5: bad escape \"\\0g\""},
      {print + " a\n b\\\\\\x41\n", "line 5: bad escape \"\\x4\""},
      {open + "DATA=END\njunk\n", "line 6: expected VERSION= at the start of a section"},
      {open + "DATA=END\n\n", "line 6: expected VERSION="},
      {"VERS", "line 1: truncated: no HEADER=END", fault::truncated},
      {"VERSION=3", "line 1: truncated: no HEADER=END", fault::truncated},
      {head, "line 3: truncated: no HEADER=END", fault::truncated},
      {head + "HEADER=END", "line 4: truncated: no HEADER=END", fault::truncated},
      {open, "line 4: truncated: no DATA=END", fault::truncated},
      {open + " 61\n", "line 5: truncated: no DATA=END", fault::truncated},
      {open + " 61\n 62\n", "line 6: truncated: no DATA=END", fault::truncated},
      {open + " 61\n 6", "line 6: truncated: no DATA=END", fault::truncated},
      {open + " 61\n 62\nDATA=EN", "line 7: truncated: no DATA=END", fault::truncated},
      {open + " 61\nDATA=END", "line 6: key without a value before DATA=END"},
  };
  for (const row& r : rows) {
    DOCTEST_CAPTURE(r.text);
    const outcome got = read_dump(r.text);
    DOCTEST_REQUIRE(got.failure);
    const bool as_expected = got.failure->message().starts_with(r.message);
    DOCTEST_CHECK_MESSAGE(as_expected, got.failure->message());
    DOCTEST_CHECK(got.failure->kind == r.kind);
  }
}

DOCTEST_TEST_CASE("dump: lenient warns of what it can pass over, and of nothing else") {
  const outcome got = read_dump(
      "VERSION=3\ncolor=red\ndupsort=1\nreversekey=1\nHEADER=END\n 61\n 62\n 61\n 63\nDATA=END\n",
      true);
  DOCTEST_CHECK(!got.failure);
  DOCTEST_REQUIRE(got.warnings.size() == 3);
  DOCTEST_CHECK(got.warnings[0] == "line 2: unknown keyword \"color\": it is ignored");
  DOCTEST_CHECK(
      got.warnings[1] ==
      "line 3: dupsort=1 is not supported: a key has one value here: the last value of a key wins");
  DOCTEST_CHECK(got.warnings[2].starts_with("line 4: reversekey=1 is not supported"));
  DOCTEST_REQUIRE(got.sections.size() == 1);
  DOCTEST_CHECK(got.sections[0].records.size() == 2);
  DOCTEST_CHECK(read_dump("VERSION=3\ntype=recno\nHEADER=END\nDATA=END\n", true).failure);
  DOCTEST_CHECK(read_dump("VERSION=4\nHEADER=END\nDATA=END\n", true).failure);
  DOCTEST_CHECK(read_dump("VERSION=3\nHEADER=END\n 6\n 6\nDATA=END\n", true).failure);
}

DOCTEST_TEST_CASE("dump: every cut is `truncated`, or ends after a whole section") {
  for (const bool print : {false, true}) {
    const std::vector<read_section> sections = {{"one", {{"key", "val\\ue\n"}}},
                                                {"two", {{"a", "b"}}}};
    const std::string text = written(sections, {.print = print, .mapsize = {}});
    const std::size_t first_size = written({sections[0]}, {.print = print, .mapsize = {}}).size();
    for (std::size_t size = 0; size < text.size(); ++size) {
      const outcome got = read_dump(std::string(text, 0, size));
      const bool whole =
          size == 0 || size == first_size || size + 1 == first_size || size + 1 == text.size();
      DOCTEST_CAPTURE(size);
      DOCTEST_REQUIRE(got.failure.has_value() == !whole);
      if (!whole) DOCTEST_REQUIRE(got.failure->kind == fault::truncated);
      if (!whole) DOCTEST_REQUIRE(got.sections.size() == (size > first_size ? 1u : 0u));
    }
  }
}

}  // namespace
}  // namespace pleach::text
