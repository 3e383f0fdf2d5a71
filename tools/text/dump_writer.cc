#include "tools/text/dump_writer.hh"

#include "tools/text/hex.hh"
#include "tools/text/utf8.hh"

namespace pleach::text {
namespace {

void append_escape(std::string& out, char c) {
  out += '\\';
  append_hex(out, {&c, 1});
}

bool printable(char c) noexcept {
  return c >= 0x20 && c <= 0x7e && c != '\\';
}

// A backslash is `\5c` and not `\\`, which every reader takes as well: behind another escape in the
// same line, the mdb_load of LMDB 0.9.24 reads `\\` as whatever byte its buffer held there.
void append_print(std::string& out, std::string_view bytes) {
  for (const char c : bytes) {
    if (printable(c)) {
      out += c;
    } else {
      append_escape(out, c);
    }
  }
}

void append_name(std::string& out, std::string_view name) {
  const bool utf8 = utf8_valid(name);
  for (const char c : name) {
    if (printable(c) || (utf8 && static_cast<unsigned char>(c) >= 0x80)) {
      out += c;
    } else if (c == '\\') {
      out += "\\\\";  // as db_dump does; mdb_load takes names raw
    } else {
      append_escape(out, c);
    }
  }
}

void append_data_line(std::string& out, std::string_view bytes, bool print) {
  out += ' ';
  if (print) {
    append_print(out, bytes);
  } else {
    append_hex(out, bytes);
  }
  out += '\n';
}

}  // namespace

void append_dump_header(std::string& out, std::optional<std::string_view> database,
                        const dump_format& format) {
  out += "VERSION=3\nformat=";
  out += format.print ? "print" : "bytevalue";
  if (database) {
    out += "\ndatabase=";
    append_name(out, *database);
  }
  out += "\ntype=btree\n";
  if (format.mapsize) out += "mapsize=" + std::to_string(*format.mapsize) + "\n";
  out += format.more;
  out += "db_pagesize=4096\nHEADER=END\n";
}

void append_dump_record(std::string& out, std::string_view key, std::string_view value,
                        const dump_format& format) {
  append_data_line(out, key, format.print);
  append_data_line(out, value, format.print);
}

void append_dump_footer(std::string& out) {
  out += "DATA=END\n";
}

}  // namespace pleach::text
