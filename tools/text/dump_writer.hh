// Writes the text dump format of Berkeley DB so that db_load and mdb_load read it.
//
// The bytes depend only on the arguments: no locale (print format uses the fixed range 0x20-0x7e),
// no time. The section name escapes only what a header line cannot hold or what would be read as an
// escape: control characters, backslashes, and bytes that are not UTF-8. LMDB takes names raw, so
// that a plain name, also a non-ASCII one, reaches it unchanged.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pleach::text {

struct dump_format {
  bool print = false;  // format=print and not bytevalue
  std::optional<std::uint64_t>
      mapsize;         // mdb_load needs it above 1 MiB of data; db_load refuses it
  std::string more{};  // header lines that only pleach understands: mdb_load warns, db_load refuses
};

// Appends VERSION=3 to HEADER=END. Without `database` the line is left out.
void append_dump_header(std::string& out, std::optional<std::string_view> database,
                        const dump_format& format);
// Appends the two data lines of a record.
void append_dump_record(std::string& out, std::string_view key, std::string_view value,
                        const dump_format& format);
// Appends DATA=END.
void append_dump_footer(std::string& out);

}  // namespace pleach::text
