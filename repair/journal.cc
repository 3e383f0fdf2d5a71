#include "repair/journal.hh"

#include <fmt/format.h>

namespace pleach::repair {

std::string name_of(page_addr a) {
  return fmt::format("page {}+{}", a.block(), a.blocks());
}

std::string readable(cbytes key) {
  constexpr std::size_t most = 64;
  std::string out = "\"";
  for (const std::byte b : key.first(std::min(key.size(), most))) {
    const char c = static_cast<char>(b);
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (c >= ' ' && c <= '~')
      out += c;
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(b));
  }
  return out + (key.size() > most ? "...\"" : "\"");
}

}  // namespace pleach::repair
