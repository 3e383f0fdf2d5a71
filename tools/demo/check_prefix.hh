// Does a store hold exactly the first M records of its input, after a kill?
#pragma once

#include <cstdint>
#include <string>

namespace pleach::demo {

struct prefix_verdict {
  bool good = false;
  std::uint64_t records = 0;  // M
  std::string sentence;
};

// `input` and `saved` are JSON Lines as `pleach save` writes them; later records of a key replace
// earlier ones. RETURNS: good if some M >= `acknowledged`, a multiple of `batch` or all, gives
// exactly `saved`.
prefix_verdict check_prefix(const std::string& input, const std::string& saved,
                            std::uint64_t acknowledged, std::uint64_t batch);

}  // namespace pleach::demo
