// Reads the text dump format of Berkeley DB (db_dump), which LMDB (mdb_dump) and libmdbx follow.
//
// A pull parser: next() gives SECTION_BEGIN, RECORD..., SECTION_END for each section, then END. It
// knows no store. What cannot be loaded without loss is refused by name; `lenient` turns what only
// loses something known (repeated keys, a foreign order, an unknown keyword) into a warning.
//
// I1 A section is complete only with DATA=END; SECTION_END is never given for a cut one.
// I2 An input without any section gives END at once: it is the dump of a store without trees.
// I3 No allocation per record once the buffers have met the largest one.
// I4 A section's name is escaped (`\\`, `\hh`) as Berkeley DB does in both formats, except where
//    LMDB or libmdbx wrote it (`maxreaders` in the header): they print names raw.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "tools/text/error.hh"
#include "tools/text/line_reader.hh"

namespace pleach::text {

enum class dump_event : std::uint8_t { invalid = 0, SECTION_BEGIN, RECORD, SECTION_END, END };

struct dump_section {
  std::optional<std::string> database;  // any bytes; may be empty
  std::string type = "btree";           // or "hash"
  bool print = false;                   // format=print
  bool from_lmdb = false;               // mapsize or maxreaders seen
  bool duplicates = false;              // only with lenient: keys may repeat, the last value wins
  std::map<std::string, std::string> pleach;  // of keywords "pleach.NAME"; the caller judges them
  std::uint64_t first_line = 0;
  std::uint64_t record_count = 0;  // so far
};

struct dump_reader_options {
  bool lenient = false;
  std::function<void(const std::string&)> warn;  // gets whole sentences with "line N: "
};

class dump_reader {
 public:
  explicit dump_reader(line_reader& lines, dump_reader_options options = {});

  // ERRORS: bad_input, truncated, and those of the line reader. After an error nothing more may be
  // read.
  [[nodiscard]] result<dump_event> next();

  // Valid from SECTION_BEGIN to the next SECTION_BEGIN.
  [[nodiscard]] const dump_section& section() const noexcept { return section_; }
  // Valid after RECORD until the next call.
  [[nodiscard]] std::string_view key() const noexcept { return key_; }
  [[nodiscard]] std::string_view value() const noexcept { return value_; }
  // Sections begun so far.
  [[nodiscard]] std::uint64_t section_count() const noexcept { return section_count_; }
  [[nodiscard]] std::uint64_t line_number() const noexcept { return lines_.line_number(); }

 private:
  struct seen_keywords {
    bool version = false;
    bool format = false;
    bool type = false;
    bool database = false;
    bool maxreaders = false;
  };

  result<dump_event> begin_section();
  result<dump_event> read_record();
  result<void> header_line(std::string_view line);
  result<void> keyword(std::string_view name, std::string_view value);
  result<void> read_type(std::string_view value);
  result<void> finish_header();
  result<void> decode_data(std::string_view line, std::string& out);
  result<bool> next_line(std::string_view where);
  result<void> once(bool& seen, std::string_view name);
  result<void> refuse_or_warn(std::string refusal, std::string_view lenient_effect);
  void warn_of_lmdb_backslash(std::string_view line);
  void warn(std::string sentence);
  std::unexpected<error> refuse(std::string sentence);

  line_reader& lines_;
  dump_reader_options options_;
  dump_section section_;
  seen_keywords seen_;
  std::string raw_name_;
  std::uint64_t name_line_ = 0;
  std::string key_;
  std::string value_;
  std::uint64_t section_count_ = 0;
  bool in_data_ = false;
  bool warned_of_backslash_ = false;
};

}  // namespace pleach::text
