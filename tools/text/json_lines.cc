#include "tools/text/json_lines.hh"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <utility>

#include "tools/text/hex.hh"
#include "tools/text/utf8.hh"

namespace pleach::text {
namespace {

enum : std::size_t { TREE, KEY, VALUE, FLAGS, RECORDS, DIGEST };

constexpr std::uint64_t each_byte(std::uint64_t byte) {
  return byte * 0x0101010101010101u;
}

// RETURNS: the first '"', '\' or control character, or `end`. Eight bytes a step; the classic "has
// a zero byte" test may mark bytes above a true hit, never below it, so that the lowest mark is
// exact.
const char* find_special(const char* at, const char* end) noexcept {
  static_assert(std::endian::native == std::endian::little);
  while (end - at >= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    const std::uint64_t quote = word ^ each_byte('"');
    const std::uint64_t slash = word ^ each_byte('\\');
    const std::uint64_t marks =
        (((quote - each_byte(1)) & ~quote) | ((slash - each_byte(1)) & ~slash) |
         ((word - each_byte(0x20)) & ~word)) &
        each_byte(0x80);
    if (marks != 0) return at + (std::countr_zero(marks) >> 3);
    at += 8;
  }
  while (at != end && *at != '"' && *at != '\\' && static_cast<unsigned char>(*at) >= 0x20) ++at;
  return at;
}

}  // namespace

json_line_parser::json_line_parser(std::optional<std::string> default_tree)
    : default_tree_(std::move(default_tree)) {}

result<json_record> json_line_parser::parse(std::string_view line) {
  begin_ = at_ = line.data();
  end_ = line.data() + line.size();
  for (field& f : fields_) f.seen = f.hex = false;
  if (!parse_object()) return fail(fault::bad_input, std::exchange(sentence_, {}));

  if (!fields_[TREE].seen && !default_tree_) {
    return fail(fault::bad_input, "missing field \"tree\", and no default tree is given (--tree)");
  }
  const std::string_view tree =
      fields_[TREE].seen ? fields_[TREE].view : std::string_view(*default_tree_);
  if (fields_[RECORDS].seen || fields_[DIGEST].seen) {
    const bool others = fields_[KEY].seen || fields_[VALUE].seen || fields_[FLAGS].seen;
    const bool whole =
        fields_[RECORDS].seen && fields_[DIGEST].seen && !others && !fields_[DIGEST].view.empty();
    if (!whole)
      return fail(fault::bad_input,
                  "a digest has the fields \"tree\", \"records\" and \"digest\", and no other");
    json_record sum;
    sum.tree = tree;
    sum.records = fields_[RECORDS].view;
    sum.digest = fields_[DIGEST].view;
    return sum;
  }
  if (!fields_[KEY].seen) return fail(fault::bad_input, "missing field \"key\" or \"key_hex\"");
  if (!fields_[VALUE].seen) {
    return fail(fault::bad_input, "missing field \"value\" or \"value_hex\"");
  }
  json_record record;
  record.tree = tree;
  record.key = fields_[KEY].view;
  record.value = fields_[VALUE].view;
  if (fields_[FLAGS].seen) {
    if (fields_[FLAGS].view.size() != 1)
      return fail(fault::bad_input, "field \"flags\" has two hex digits");
    const auto byte = static_cast<std::uint8_t>(fields_[FLAGS].view[0]);
    record.has_flags = true;
    record.key_flags = byte & 15;
    record.value_flags = byte >> 4;
  }
  return record;
}

bool json_line_parser::parse_object() {
  skip_blanks();
  if (at_ == end_) return refuse("an empty line is not a record");
  if (!expect('{', "at the start of the record")) return false;
  skip_blanks();
  if (at_ != end_ && *at_ == '}') {
    ++at_;
  } else {
    for (;;) {
      if (!parse_member()) return false;
      skip_blanks();
      if (at_ == end_) return refuse("the record is cut: no closing brace");
      if (*at_ == '}') break;
      if (!expect(',', "or the closing brace after a field")) return false;
      skip_blanks();
    }
    ++at_;
  }
  skip_blanks();
  if (at_ != end_) return refuse("text after the record");
  return true;
}

bool json_line_parser::parse_member() {
  const char* const name_at = at_;
  if (at_ == end_) return refuse("the record is cut: no field name");
  if (*at_ != '"') return refuse("expected a field name in double quotes");
  std::string_view name;
  if (!parse_string(name_buffer_, name)) return false;

  std::size_t index = 0;
  bool hex = false;
  if (name == "tree") {
    index = TREE;
  } else if (name == "key" || name == "key_hex") {
    index = KEY;
    hex = name.size() > 3;
  } else if (name == "value" || name == "value_hex") {
    index = VALUE;
    hex = name.size() > 5;
  } else if (name == "flags") {
    index = FLAGS;
    hex = true;
  } else if (name == "records" || name == "digest") {
    index = name == "records" ? RECORDS : DIGEST;
  } else {
    return refuse_at(name_at, fmt::format("unknown field {}", quoted(name)));
  }
  field& to = fields_[index];
  if (to.seen) {
    return refuse_at(name_at,
                     hex == to.hex
                         ? fmt::format("duplicate field {}", quoted(name))
                         : fmt::format("duplicate field {}: given plain and as hex", quoted(name)));
  }
  to.seen = true;
  to.hex = hex;
  skip_blanks();
  if (!expect(':', "after the field name")) return false;
  skip_blanks();
  if (at_ == end_)
    return refuse(fmt::format("the record is cut: field {} has no value", quoted(name)));
  if (*at_ != '"') return refuse(fmt::format("field {} must be a string", quoted(name)));
  if (!hex) return parse_string(to.buffer, to.view);
  return decode_field(to, name);
}

bool json_line_parser::decode_field(field& to, std::string_view name) {
  const char* const start = at_;
  std::string_view digits;
  if (!parse_string(hex_buffer_, digits)) return false;
  const hex_fault what = decode_hex(digits, to.buffer);
  if (what != hex_fault::none) {
    return refuse_at(start, fmt::format("field {} {}", quoted(name), sentence(what)));
  }
  to.view = to.buffer;
  return true;
}

// A string without escapes is a view into the line; others are decoded into `buffer`.
bool json_line_parser::parse_string(std::string& buffer, std::string_view& out) {
  const char* const start = ++at_;
  const char* const stop = find_special(start, end_);
  if (stop == end_ || *stop != '"') return parse_escaped(start, stop, buffer, out);
  out = {start, static_cast<std::size_t>(stop - start)};
  at_ = stop + 1;
  const std::size_t valid = utf8_valid_prefix(out);
  if (valid == out.size()) return true;
  return refuse_at(start + valid, "bytes that are not UTF-8; such bytes need key_hex or value_hex");
}

bool json_line_parser::parse_escaped(const char* run, const char* stop, std::string& buffer,
                                     std::string_view& out) {
  const char* const start = run;
  buffer.clear();
  for (;;) {
    buffer.append(run, static_cast<std::size_t>(stop - run));
    at_ = stop;
    if (at_ == end_) return refuse("the record is cut: a string is not closed");
    if (*at_ == '"') break;
    if (*at_ != '\\') {
      return refuse(fmt::format("a raw control character 0x{:02x} in a string; escape it",
                                static_cast<unsigned char>(*at_)));
    }
    if (!parse_escape(buffer)) return false;
    run = at_;
    stop = find_special(run, end_);
  }
  ++at_;
  out = buffer;
  // The decoded escapes are whole characters, so checking the result checks the raw runs.
  if (utf8_valid(out)) return true;
  return refuse_at(start, "bytes that are not UTF-8; such bytes need key_hex or value_hex");
}

bool json_line_parser::parse_escape(std::string& buffer) {
  if (end_ - at_ < 2) return refuse("the record is cut: an escape is not finished");
  const char kind = at_[1];
  char plain = 0;
  switch (kind) {
    case '"':
    case '\\':
    case '/':
      plain = kind;
      break;
    case 'b':
      plain = '\b';
      break;
    case 'f':
      plain = '\f';
      break;
    case 'n':
      plain = '\n';
      break;
    case 'r':
      plain = '\r';
      break;
    case 't':
      plain = '\t';
      break;
    case 'u':
      return parse_unicode(buffer);
    default:
      return refuse(fmt::format("bad escape {}", quoted({at_, 2})));
  }
  buffer += plain;
  at_ += 2;
  return true;
}

bool json_line_parser::parse_unicode(std::string& buffer) {
  const char* const start = at_;
  std::uint32_t code = 0;
  if (!parse_four_digits(code)) return false;
  const bool high = code >= 0xd800 && code < 0xdc00;
  if (code >= 0xdc00 && code < 0xe000) return refuse_at(start, "a lone low surrogate");
  if (high) {
    if (end_ - at_ < 2 || at_[0] != '\\' || at_[1] != 'u') {
      return refuse_at(start, "a lone high surrogate");
    }
    std::uint32_t low = 0;
    if (!parse_four_digits(low)) return false;
    if (low < 0xdc00 || low >= 0xe000) return refuse_at(start, "a lone high surrogate");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  append_utf8(buffer, code);
  return true;
}

// REQUIRES: `at_` stands on the backslash of "\u".
bool json_line_parser::parse_four_digits(std::uint32_t& out) {
  if (end_ - at_ < 6) return refuse("bad escape: \\u needs four hex digits");
  int value = 0;
  for (int i = 2; i < 6; ++i) {
    const int digit = hex_digit(at_[i]);
    if (digit < 0) return refuse("bad escape: \\u needs four hex digits");
    value = value * 16 + digit;
  }
  out = static_cast<std::uint32_t>(value);
  at_ += 6;
  return true;
}

bool json_line_parser::expect(char c, std::string_view where) {
  if (at_ != end_ && *at_ == c) {
    ++at_;
    return true;
  }
  if (at_ == end_) return refuse(fmt::format("the record is cut: expected '{}' {}", c, where));
  return refuse(fmt::format("expected '{}' {}", c, where));
}

void json_line_parser::skip_blanks() {
  while (at_ != end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r')) ++at_;
}

bool json_line_parser::refuse(std::string sentence) {
  return refuse_at(at_, std::move(sentence));
}

bool json_line_parser::refuse_at(const char* at, std::string sentence) {
  sentence_ = fmt::format("{} (column {})", sentence, at - begin_ + 1);
  return false;
}

result<bool> json_lines_reader::next() {
  const auto more = lines_.next();
  if (!more || !*more) return more;
  auto parsed = parser_.parse(lines_.line());
  if (!parsed) {
    error e = std::move(parsed.error());
    e.line = lines_.line_number();
    if (!lines_.complete()) {
      e.kind = fault::truncated;
      e.sentence = "truncated: the last line has no newline and does not parse: " + e.sentence;
    }
    return std::unexpected(std::move(e));
  }
  record_ = *parsed;
  return true;
}

namespace {

void append_field(std::string& out, std::string_view name, std::string_view bytes) {
  out += '"';
  out += name;
  if (utf8_valid(bytes)) {
    out += "\":";
    append_json_string(out, bytes);
  } else {
    out += "_hex\":\"";
    append_hex(out, bytes);
    out += '"';
  }
}

bool append_line(std::string& out, std::string_view tree, std::string_view key,
                 const std::string_view* value, std::uint8_t flags = 0) {
  if (!utf8_valid(tree)) return false;
  out += '{';
  append_field(out, "tree", tree);
  out += ',';
  append_field(out, "key", key);
  if (value != nullptr) {
    out += ',';
    append_field(out, "value", *value);
  }
  if (flags != 0) {
    const char byte = static_cast<char>(flags);
    out += ",\"flags\":\"";
    append_hex(out, {&byte, 1});
    out += '"';
  }
  out += "}\n";
  return true;
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (;;) {
    const char* const stop = find_special(at, end);
    out.append(at, static_cast<std::size_t>(stop - at));
    if (stop == end) break;
    switch (*stop) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        out += "\\u00";
        append_hex(out, {stop, 1});
    }
    at = stop + 1;
  }
  out += '"';
}

bool append_json_line(std::string& out, std::string_view tree, std::string_view key,
                      std::string_view value, std::uint8_t key_flags, std::uint8_t value_flags) {
  return append_line(out, tree, key, &value,
                     static_cast<std::uint8_t>(key_flags | value_flags << 4));
}

bool append_json_key_line(std::string& out, std::string_view tree, std::string_view key) {
  return append_line(out, tree, key, nullptr);
}

bool append_json_digest(std::string& out, std::string_view tree, std::uint64_t records,
                        std::string_view digest) {
  if (!utf8_valid(tree)) return false;
  out += "{\"tree\":";
  append_json_string(out, tree);
  out += fmt::format(",\"records\":\"{}\",\"digest\":\"{}\"}}\n", records, digest);
  return true;
}

}  // namespace pleach::text
