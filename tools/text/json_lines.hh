// JSON Lines of records: {"tree":"t","key":"k","value":"v"}, one a line.
//
// It is not a general JSON parser: a line is one flat object of strings with exactly these fields.
//
// I1 Reading: fields in any order, `key_hex` for `key` and `value_hex` for `value`, each by itself.
//    Every JSON escape is understood. What is written by append_json_line reads back as the same
//    bytes.
//    A record may have `flags`: two hex digits, those of the value and those of the key.
// I2 Writing is canonical: tree, key, value, flags if any; hex exactly where the bytes are not
//    valid UTF-8; escapes only for '"', '\' and control characters below 0x20. The same record
//    always gives the same line.
// I3 No allocation per record once the buffers have met the largest one.
// I4 An empty line is an error: it is not a record.
//
// A line may be the digest of the records of one tree before it instead:
// {"tree":"t","records":"2","digest":"<32 hex digits>"}. Older readers refuse it by the name of its
// field.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tools/text/error.hh"
#include "tools/text/line_reader.hh"

namespace pleach::text {

// Views into the line or into the parser: valid until the next parse and while the line lives.
struct json_record {
  std::string_view tree;
  std::string_view key;
  std::string_view value;
  bool has_flags = false;
  std::uint8_t key_flags = 0, value_flags = 0;  // four bits each
  std::string_view records;                     // of a digest
  std::string_view digest;                      // not empty: the line is a digest, and no record
};

class json_line_parser {
 public:
  // `default_tree` is the tree of records that name none; without it the field is required.
  explicit json_line_parser(std::optional<std::string> default_tree = {});

  // `line` is without its newline. ERRORS: bad_input, with a column in the sentence and no line
  // number.
  [[nodiscard]] result<json_record> parse(std::string_view line);

 private:
  struct field {
    std::string_view view;
    std::string buffer;  // holds the bytes if they had to be decoded
    bool seen = false;
    bool hex = false;
  };

  bool parse_object();
  bool parse_member();
  bool parse_string(std::string& buffer, std::string_view& out);
  bool parse_escaped(const char* run, const char* stop, std::string& buffer, std::string_view& out);
  bool parse_escape(std::string& buffer);
  bool parse_unicode(std::string& buffer);
  bool parse_four_digits(std::uint32_t& out);
  bool decode_field(field& to, std::string_view name);
  bool expect(char c, std::string_view where);
  void skip_blanks();
  bool refuse(std::string sentence);
  bool refuse_at(const char* at, std::string sentence);

  std::optional<std::string> default_tree_;
  std::array<field, 6> fields_;  // tree, key, value, flags, records, digest
  std::string name_buffer_;
  std::string hex_buffer_;
  const char* begin_ = nullptr;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
  std::string sentence_;
};

// A parser over a line reader: the errors carry the line number, and a bad last line without a
// newline is `truncated`. A good last line without a newline is a record.
class json_lines_reader {
 public:
  explicit json_lines_reader(line_reader& lines, std::optional<std::string> default_tree = {})
      : lines_(lines), parser_(std::move(default_tree)) {}

  // RETURNS: true with a record, false at the end.
  [[nodiscard]] result<bool> next();
  [[nodiscard]] const json_record& record() const noexcept { return record_; }
  [[nodiscard]] std::uint64_t line_number() const noexcept { return lines_.line_number(); }

 private:
  line_reader& lines_;
  json_line_parser parser_;
  json_record record_;
};

// Appends the line with its newline. RETURNS: false, and appends nothing, if `tree` is not valid
// UTF-8 (the format has no hex form for it).
[[nodiscard]] bool append_json_line(std::string& out, std::string_view tree, std::string_view key,
                                    std::string_view value, std::uint8_t key_flags = 0,
                                    std::uint8_t value_flags = 0);
// The same without a value, for listings of keys; such a line cannot be loaded.
[[nodiscard]] bool append_json_key_line(std::string& out, std::string_view tree,
                                        std::string_view key);

// The line of a digest. `digest`: as range_digest::text gives it. RETURNS: as append_json_line.
[[nodiscard]] bool append_json_digest(std::string& out, std::string_view tree,
                                      std::uint64_t records, std::string_view digest);

// Appends `text` as a JSON string with its quotes. REQUIRES: valid UTF-8.
void append_json_string(std::string& out, std::string_view text);

}  // namespace pleach::text
