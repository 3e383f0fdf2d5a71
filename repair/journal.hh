// What a repair found and did, a line each, and what it may do.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "be/page_format.hh"

namespace pleach::repair {

enum class policy : u8 {
  SAFE,  ///< only what loses nothing and guesses nothing
  ALL,
};

/// A record that cannot go back to its tree for certain, or not at all.
struct lost_record {
  std::string tree;
  tree_id_t id = 0;
  u64 block = 0;  ///< of the page where it was
  std::string key, value;
};

struct journal {
  policy allowed = policy::ALL;
  /// `where`, what is wrong there, and what was done, empty if it was left as it is.
  std::function<void(const std::string& where, const std::string& what, const std::string& done)>
      tell;
  std::function<void(lost_record&&)> keep;
  /// Bytes read of those to be read; false: stop.
  std::function<bool(u64 done, u64 total)> progress;
  /// Records that leave their pages are in lost+found by now. Until then `keep` gets them, and the
  /// page stays as it is: it is postponed.
  bool losses_saved = false;
  std::vector<std::string> postponed;                  ///< what is wrong, and where
  u64 repaired = 0, left = 0, kept = 0, given_up = 0;  ///< problems; records

  bool may_all() const { return allowed == policy::ALL; }
  void fixed(const std::string& where, const std::string& what, const std::string& done) {
    ++repaired;
    tell(where, what, done);
  }
  void leave(const std::string& where, const std::string& what) {
    ++left;
    tell(where, what, "");
  }
  void keep_record(lost_record&& r) {
    ++kept;
    keep(std::move(r));
  }
};

std::string name_of(page_addr a);
/// A key as a person reads it: quoted, other bytes as \xNN, at most 64 of it.
std::string readable(cbytes key);

}  // namespace pleach::repair
