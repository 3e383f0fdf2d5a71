#include "tools/text/dump_reader.hh"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <utility>

#include "tools/text/hex.hh"

namespace pleach::text {
namespace {

enum class keyword_kind : std::uint8_t {
  UNKNOWN,
  PLAIN,  // describes the other store; means nothing here
  VERSION,
  FORMAT,
  TYPE,
  DATABASE,
  LMDB,        // PLAIN, and only LMDB and libmdbx write it
  DUPLICATES,  // =1: keys repeat
  ORDER,       // =1: keys are not ordered as bytes
};

struct known_keyword {
  std::string_view name;
  keyword_kind kind;
};

// Berkeley DB 5.3, then LMDB 0.9, then libmdbx.
constexpr std::array<known_keyword, 31> known_keywords = {{
    {"VERSION", keyword_kind::VERSION},
    {"format", keyword_kind::FORMAT},
    {"type", keyword_kind::TYPE},
    {"database", keyword_kind::DATABASE},
    {"subdatabase", keyword_kind::DATABASE},
    {"db_pagesize", keyword_kind::PLAIN},
    {"db_lorder", keyword_kind::PLAIN},
    {"bt_minkey", keyword_kind::PLAIN},
    {"chksum", keyword_kind::PLAIN},
    {"extentsize", keyword_kind::PLAIN},
    {"h_ffactor", keyword_kind::PLAIN},
    {"h_nelem", keyword_kind::PLAIN},
    {"keys", keyword_kind::PLAIN},
    {"re_len", keyword_kind::PLAIN},
    {"re_pad", keyword_kind::PLAIN},
    {"recnum", keyword_kind::PLAIN},
    {"renumber", keyword_kind::PLAIN},
    {"duplicates", keyword_kind::DUPLICATES},
    {"dupsort", keyword_kind::DUPLICATES},
    {"mapsize", keyword_kind::LMDB},
    {"mapaddr", keyword_kind::LMDB},
    {"maxreaders", keyword_kind::LMDB},
    {"reversekey", keyword_kind::ORDER},
    {"integerkey", keyword_kind::ORDER},
    {"dupfixed", keyword_kind::DUPLICATES},
    {"integerdup", keyword_kind::DUPLICATES},
    {"reversedup", keyword_kind::DUPLICATES},
    {"geometry", keyword_kind::PLAIN},
    {"canary", keyword_kind::PLAIN},
    {"txnid", keyword_kind::PLAIN},
    {"sequence", keyword_kind::PLAIN},
}};

keyword_kind kind_of(std::string_view name) noexcept {
  for (const known_keyword& known : known_keywords) {
    if (known.name == name) return known.kind;
  }
  return keyword_kind::UNKNOWN;
}

// Replaces `out` with the bytes of print-format text. RETURNS: the offset of the first bad escape,
// npos if there is none. Every other byte stands for itself: which ones a writer escapes depends on
// its locale.
std::size_t decode_print(std::string_view text, std::string& out) {
  out.clear();
  std::size_t at = 0;
  for (;;) {
    const std::size_t slash = text.find('\\', at);
    if (slash == std::string_view::npos) {
      out.append(text.substr(at));
      return std::string_view::npos;
    }
    out.append(text.substr(at, slash - at));
    if (slash + 1 < text.size() && text[slash + 1] == '\\') {
      out += '\\';
      at = slash + 2;
      continue;
    }
    if (text.size() - slash < 3) return slash;
    const int value = hex_digit(text[slash + 1]) * 16 | hex_digit(text[slash + 2]);
    if (value < 0) return slash;
    out += static_cast<char>(value);
    at = slash + 3;
  }
}

}  // namespace

dump_reader::dump_reader(line_reader& lines, dump_reader_options options)
    : lines_(lines), options_(std::move(options)) {}

result<dump_event> dump_reader::next() {
  return in_data_ ? read_record() : begin_section();
}

result<dump_event> dump_reader::begin_section() {
  const auto more = lines_.next();
  if (!more) return std::unexpected(more.error());
  if (!*more) return dump_event::END;
  constexpr std::string_view opening = "VERSION=";
  if (!lines_.complete() && opening.starts_with(lines_.line())) {
    return fail(fault::truncated, "truncated: no HEADER=END", lines_.line_number());
  }
  if (!lines_.line().starts_with(opening)) {
    return refuse(fmt::format("expected VERSION= at the start of a section, found {}",
                              quoted(lines_.line())));
  }
  section_ = {};
  seen_ = {};
  raw_name_.clear();
  section_.first_line = lines_.line_number();
  while (lines_.line() != "HEADER=END") {
    if (!lines_.complete())
      return fail(fault::truncated, "truncated: no HEADER=END", line_number());
    if (auto good = header_line(lines_.line()); !good)
      return std::unexpected(std::move(good.error()));
    if (auto got = next_line("no HEADER=END"); !got) return std::unexpected(std::move(got.error()));
  }
  if (auto good = finish_header(); !good) return std::unexpected(std::move(good.error()));
  in_data_ = true;
  ++section_count_;
  return dump_event::SECTION_BEGIN;
}

result<dump_event> dump_reader::read_record() {
  if (auto got = next_line("no DATA=END"); !got) return std::unexpected(std::move(got.error()));
  if (lines_.line() == "DATA=END") {
    in_data_ = false;
    return dump_event::SECTION_END;
  }
  if (auto good = decode_data(lines_.line(), key_); !good) {
    return std::unexpected(std::move(good.error()));
  }
  if (auto got = next_line("no DATA=END"); !got) return std::unexpected(std::move(got.error()));
  if (lines_.line() == "DATA=END") return refuse("key without a value before DATA=END");
  if (auto good = decode_data(lines_.line(), value_); !good) {
    return std::unexpected(std::move(good.error()));
  }
  ++section_.record_count;
  return dump_event::RECORD;
}

result<void> dump_reader::header_line(std::string_view line) {
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return refuse(fmt::format("expected keyword=value in the header, found {}", quoted(line)));
  }
  return keyword(line.substr(0, equals), line.substr(equals + 1));
}

result<void> dump_reader::keyword(std::string_view name, std::string_view value) {
  constexpr std::string_view own = "pleach.";
  if (name.starts_with(own)) {
    if (section_.pleach.emplace(name.substr(own.size()), value).second) return {};
    return refuse(fmt::format("duplicate keyword {}", quoted(name)));
  }
  const auto said = [&] { return fmt::format("{}={}", name, value.substr(0, 40)); };
  switch (kind_of(name)) {
    case keyword_kind::PLAIN:
      return {};
    case keyword_kind::VERSION: {
      unsigned version = 0;
      const auto [after, code] =
          std::from_chars(value.data(), value.data() + value.size(), version);
      if (code != std::errc{} || after != value.data() + value.size() || version < 1 ||
          version > 3) {
        return refuse(fmt::format("VERSION={} is not supported: versions 1 to 3 can be read",
                                  value.substr(0, 40)));
      }
      return once(seen_.version, name);
    }
    case keyword_kind::FORMAT:
      if (value != "bytevalue" && value != "print") {
        return refuse(
            fmt::format("format {} is not supported: only bytevalue and print", quoted(value)));
      }
      section_.print = value == "print";
      return once(seen_.format, name);
    case keyword_kind::TYPE:
      return read_type(value);
    case keyword_kind::DATABASE:
      raw_name_ = value;
      name_line_ = lines_.line_number();
      return once(seen_.database, name);
    case keyword_kind::LMDB:
      section_.from_lmdb = section_.from_lmdb || name != "mapaddr";
      seen_.maxreaders = seen_.maxreaders || name == "maxreaders";
      return {};
    case keyword_kind::DUPLICATES:
      if (value == "0") return {};
      section_.duplicates = true;
      return refuse_or_warn(fmt::format("{} is not supported: a key has one value here", said()),
                            "the last value of a key wins");
    case keyword_kind::ORDER:
      if (value == "0") return {};
      return refuse_or_warn(
          fmt::format("{} is not supported: keys are ordered as bytes here", said()),
          "the keys will be in another order");
    case keyword_kind::UNKNOWN:
      break;
  }
  return refuse_or_warn(fmt::format("unknown keyword {}", quoted(name)), "it is ignored");
}

// Hash sections hold plain keys and values in no order, which is all that loading needs. Records of
// recno and queue have numbers for keys, which need not be in the dump at all.
result<void> dump_reader::read_type(std::string_view value) {
  if (value != "btree" && value != "hash") {
    const bool numbered = value == "recno" || value == "queue";
    return refuse(numbered ? fmt::format("type={} is not supported: its keys are record numbers; "
                                         "btree and hash can be read",
                                         value)
                           : fmt::format("type={} is not supported: btree and hash can be read",
                                         quoted(value)));
  }
  section_.type = value;
  return once(seen_.type, "type");
}

result<void> dump_reader::finish_header() {
  if (!seen_.database) return {};
  section_.database.emplace();
  if (seen_.maxreaders) {
    *section_.database = raw_name_;
    return {};
  }
  const std::size_t bad = decode_print(raw_name_, *section_.database);
  if (bad == std::string_view::npos) return {};
  return fail(fault::bad_input,
              fmt::format("bad escape {} in the name of the database: only \\\\ and \\hh",
                          quoted(std::string_view(raw_name_).substr(bad, 3))),
              name_line_);
}

result<void> dump_reader::decode_data(std::string_view line, std::string& out) {
  if (line.empty() || line.front() != ' ') {
    return refuse(fmt::format(
        "expected a data line, which starts with one space, or DATA=END; found {}", quoted(line)));
  }
  const std::string_view text = line.substr(1);
  if (!section_.print) {
    const hex_fault what = decode_hex(text, out);
    if (what == hex_fault::none) return {};
    return refuse(fmt::format("the data line {}", sentence(what)));
  }
  if (section_.from_lmdb && !warned_of_backslash_) warn_of_lmdb_backslash(text);
  const std::size_t bad = decode_print(text, out);
  if (bad == std::string_view::npos) return {};
  return refuse(
      fmt::format("bad escape {}: only \\\\ and \\hh (two hex digits) are escapes in print format",
                  quoted(text.substr(bad, 3))));
}

void dump_reader::warn_of_lmdb_backslash(std::string_view text) {
  if (text.find('\\') == std::string_view::npos) return;
  warned_of_backslash_ = true;
  warn(
      "this print-format section may come from an mdb_dump that does not escape backslashes; data "
      "with "
      "backslashes may be read wrongly, dump again without -p to be sure");
}

// A line that the end of the input cuts is only good if it is the closing one.
result<bool> dump_reader::next_line(std::string_view missing) {
  auto more = lines_.next();
  if (!more) return more;
  if (!*more || (!lines_.complete() && !(in_data_ && lines_.line() == "DATA=END"))) {
    return fail(fault::truncated, fmt::format("truncated: {}", missing), lines_.line_number());
  }
  return more;
}

result<void> dump_reader::once(bool& seen, std::string_view name) {
  if (std::exchange(seen, true)) return refuse(fmt::format("duplicate keyword {}", quoted(name)));
  return {};
}

result<void> dump_reader::refuse_or_warn(std::string refusal, std::string_view lenient_effect) {
  if (!options_.lenient) {
    return refuse(fmt::format("{}; with --lenient {}", refusal, lenient_effect));
  }
  warn(fmt::format("{}: {}", refusal, lenient_effect));
  return {};
}

void dump_reader::warn(std::string sentence) {
  if (!options_.warn) return;
  options_.warn(error{fault::bad_input, lines_.line_number(), std::move(sentence)}.message());
}

std::unexpected<error> dump_reader::refuse(std::string sentence) {
  return fail(fault::bad_input, std::move(sentence), lines_.line_number());
}

}  // namespace pleach::text
