// pleach trees: name, records, bytes and height of every tree, by name.
//
// Text: one line a tree, fields separated by tabs. A name that cannot stand in a line is shown in
// quotes.
#include <fmt/format.h>

#include <algorithm>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/text/hex.hh"
#include "tools/text/json_lines.hh"
#include "tools/text/safe_output.hh"
#include "tools/text/utf8.hh"
#include "tools/tree_words.hh"

namespace pleach::tool {

namespace {

std::string shown_name(const std::string& name) {
  const bool control =
      std::ranges::any_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  return control || name.empty() || !text::utf8_valid(name) ? text::quoted(name) : name;
}

void append_json(std::string& out, const tree_info& t) {
  if (text::utf8_valid(t.name)) {
    out += "{\"name\":";
    text::append_json_string(out, t.name);
  } else {
    out += fmt::format("{{\"name_hex\":\"{}\"", text::to_hex(t.name));
  }
  out += fmt::format(
      ",\"records\":{},\"bytes\":{},\"height\":{},\"node_bytes\":{},"
      "\"key_bytes\":{},\"value_bytes\":{},\"order\":\"{}\"",
      t.records, t.bytes, t.height, t.node_bytes, t.key_bytes, t.value_bytes, word_of(t.order));
  if (t.order == key_order::registered) {
    const bool utf8 = text::utf8_valid(t.comparator);
    out += utf8 ? ",\"comparator\":" : ",\"comparator_hex\":";
    text::append_json_string(out, utf8 ? t.comparator : text::to_hex(t.comparator));
  }
  out += fmt::format(
      ",\"prefix_compression\":{},\"suffix_truncation\":{},\"key_checksums\":{},"
      "\"value_checksums\":{},\"counted\":{},\"digest\":{}}}",
      t.prefix_compression, t.suffix_truncation, t.key_checksums, t.value_checksums, t.counted,
      t.digest);
}

}  // namespace

outcome<int> run_trees(const command& c) {
  auto s = open_store(c, access::read);
  if (!s) return std::unexpected(s.error());
  auto all = list_trees(*s);
  if (!all) return std::unexpected(all.error());

  std::string out;
  if (c.json) out += "[";
  for (const tree_info& t : *all) {
    if (c.json) {
      if (&t != &all->front()) out += ",";
      append_json(out, t);
    } else {
      out += fmt::format("{}\t{}\t{}\t{}", shown_name(t.name), t.records, t.bytes, t.height);
      if (t.key_bytes != 0) out += fmt::format("\tkeys of {}", t.key_bytes);
      if (t.value_bytes != 0) out += fmt::format("\tvalues of {}", t.value_bytes);
      if (t.order == key_order::registered)
        out += fmt::format("\tby comparator {}", shown_name(t.comparator));
      else if (t.order != key_order::raw)
        out += fmt::format("\torder {}", word_of(t.order));
      if (!t.prefix_compression) out += "\twhole keys";
      if (!t.suffix_truncation) out += "\twhole separators";
      if (t.key_checksums) out += "\tkey checksums";
      if (t.value_checksums) out += "\tvalue checksums";
      if (t.counted) out += t.digest ? "\tdigest" : "\tcounted";
      out += '\n';
    }
  }
  if (c.json) out += "]\n";

  text::safe_output output;
  if (auto done = output.write(out); !done) return fail(done.error(), exit_done);
  if (auto done = output.commit(); !done) return fail(done.error(), exit_done);
  return exit_done;
}

}  // namespace pleach::tool
