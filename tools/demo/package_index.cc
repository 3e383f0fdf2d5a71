#include "tools/demo/package_index.hh"

#include <fmt/format.h>

#include <iterator>

namespace pleach::demo {

namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t' || text.front() == '\n'))
    text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\n'))
    text.remove_suffix(1);
  return text;
}

void take_field(stanza& s, std::string_view name, std::string_view value) {
  if (name == "Package") s.name = value;
  if (name == "Version") s.version = value;
  if (name == "Architecture") s.architecture = value;
  if (name == "Provides") s.provides = names_in(value);
  if (name == "Depends" || name == "Pre-Depends") {
    auto names = names_in(value);
    s.depends.insert(s.depends.end(), std::make_move_iterator(names.begin()),
                     std::make_move_iterator(names.end()));
  }
}

// A field reaches to the next line that does not begin with a blank.
void take_fields(stanza& s) {
  std::string_view rest = s.text;
  while (!rest.empty()) {
    std::size_t end = rest.find('\n');
    while (end != rest.npos && end + 1 < rest.size() &&
           (rest[end + 1] == ' ' || rest[end + 1] == '\t')) {
      end = rest.find('\n', end + 1);
    }
    const std::string_view field = rest.substr(0, end);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    const std::size_t colon = field.find(':');
    if (colon != field.npos)
      take_field(s, field.substr(0, colon), trimmed(field.substr(colon + 1)));
  }
}

}  // namespace

std::string stanza::key() const {
  std::string k = name;
  k += '\0';
  k += version;
  k += '\0';
  k += architecture;
  return k;
}

std::string stanza::reference() const {
  return fmt::format("{:08}", number);
}

std::vector<std::string> names_in(std::string_view field) {
  std::vector<std::string> names;
  while (!field.empty()) {
    const std::size_t end = field.find_first_of(",|");
    const std::string_view item = trimmed(field.substr(0, end));
    field.remove_prefix(end == field.npos ? field.size() : end + 1);
    const std::string_view name = item.substr(0, item.find_first_of(" (:[<\t\n"));
    if (!name.empty()) names.emplace_back(name);
  }
  return names;
}

bool read_index(std::istream& in, const std::function<bool(const stanza&)>& each) {
  stanza s;
  std::uint64_t number = 0;
  const auto end_of_stanza = [&](bool& go_on) {
    if (s.text.empty()) return true;
    s.text.pop_back();  // the closing newline
    s.number = ++number;
    take_fields(s);
    if (s.name.empty()) return false;
    go_on = each(s);
    s = {};
    return true;
  };
  bool go_on = true;
  for (std::string line; go_on && std::getline(in, line);) {
    if (line.empty()) {
      if (!end_of_stanza(go_on)) return false;
    } else {
      s.text += line;
      s.text += '\n';
    }
  }
  return !go_on || end_of_stanza(go_on);
}

}  // namespace pleach::demo
