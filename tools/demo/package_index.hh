// Debian's package index (`apt-cache dumpavail`) as records of three trees.
//
//   packages: name 0x00 version 0x00 architecture -> the stanza, without its closing newline
//   provides: target 0x00 package                 -> 8 digits: the number of the stanza
//   depends:  target 0x00 package                 -> the same, from Depends and Pre-Depends
//
// Not a general parser of control files: it reads what apt prints.
#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

namespace pleach::demo {

struct stanza {
  std::uint64_t number = 0;  // from 1
  std::string text;          // all lines, without the closing newline
  std::string name, version, architecture;
  std::vector<std::string> provides, depends;  // names only

  std::string key() const;
  std::string reference() const;  // the value of the index trees
};

// Calls `each` for every stanza; it returns false to stop. RETURNS: false if a stanza has no name.
bool read_index(std::istream& in, const std::function<bool(const stanza&)>& each);

// RETURNS: the names in a field like "a (>= 1), b:any | c [amd64]".
std::vector<std::string> names_in(std::string_view field);

}  // namespace pleach::demo
