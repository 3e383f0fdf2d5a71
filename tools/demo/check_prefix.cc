#include "tools/demo/check_prefix.hh"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <unordered_map>
#include <vector>

#include "tools/text/json_lines.hh"

namespace pleach::demo {

namespace {

struct record_line {
  std::string identity;  // tree and key
  std::string line;
};

bool read_lines(const std::string& path, std::vector<record_line>& out, std::string& sentence) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    sentence = fmt::format("{} cannot be read", path);
    return false;
  }
  text::json_line_parser parser;
  for (std::string line; std::getline(in, line);) {
    auto r = parser.parse(line);
    if (!r) {
      sentence = fmt::format("{}: line {}: {}", path, out.size() + 1, r.error().sentence);
      return false;
    }
    std::string identity(r->tree);
    identity += '\0';
    identity += r->key;
    out.push_back({std::move(identity), std::move(line)});
  }
  return true;
}

using contents = std::unordered_map<std::string_view, std::string_view>;

contents after(const std::vector<record_line>& input, std::uint64_t count) {
  contents held;
  for (std::uint64_t i = 0; i < count; ++i) held[input[i].identity] = input[i].line;
  return held;
}

}  // namespace

prefix_verdict check_prefix(const std::string& input_path, const std::string& saved_path,
                            std::uint64_t acknowledged, std::uint64_t batch) {
  std::vector<record_line> input, saved;
  prefix_verdict v;
  if (!read_lines(input_path, input, v.sentence) || !read_lines(saved_path, saved, v.sentence))
    return v;

  contents held;
  for (const record_line& r : saved) held[r.identity] = r.line;
  if (held.size() != saved.size()) {
    v.sentence = "a key appears twice";
    return v;
  }
  // The first record whose key is missing bounds M from above, the last key seen first from below.
  std::uint64_t least = acknowledged, most = input.size();
  std::unordered_map<std::string_view, bool> seen;
  for (std::uint64_t i = 0; i < input.size(); ++i) {
    if (!seen.emplace(input[i].identity, true).second) continue;
    if (held.contains(input[i].identity)) {
      least = std::max(least, i + 1);
    } else {
      most = std::min(most, i);
    }
  }
  for (std::uint64_t m = (least + batch - 1) / batch * batch;; m += batch) {
    m = std::min<std::uint64_t>(m, input.size());
    if (m > most) break;
    if (after(input, m) == held) {
      v.good = true;
      v.records = m;
      v.sentence = fmt::format("exactly the first {} records, {} acknowledged, in batches of {}", m,
                               acknowledged, batch);
      return v;
    }
    if (m == input.size()) break;
  }
  v.sentence = fmt::format(
      "the {} records held are no whole batches of the input with at least {} records "
      "(the bounds are {} and {})",
      saved.size(), acknowledged, least, most);
  return v;
}

}  // namespace pleach::demo
