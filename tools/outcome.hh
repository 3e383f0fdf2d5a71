// How a command ends: an exit code, or a failure with a sentence for standard error.
//
// I1 A sentence says what was done, what was found, and what to do; main.cc puts "pleach COMMAND:
//    STORE: " before it and prints it once.
// I2 It contains the word that scripts look for (`no space`, `too large`, `corrupt`, ...), whatever
//    the library's own text says.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include "pleach/pleach.hh"
#include "tools/text/error.hh"

namespace pleach::tool {

enum exit_code : int {
  exit_done = 0,
  exit_missing = 1,      // get, del, select: the key is not there
  exit_different = 1,    // compare: the trees differ
  exit_repaired = 1,     // fsck: the store had errors, all are repaired
  exit_errors_left = 4,  // fsck: the store has errors
  exit_failed = 8,       // operational error
  exit_usage = 16,       // bad, no or unknown command or option
};

struct failure {
  std::string sentence;  // empty: end quietly
  int code = exit_failed;
};

template <class T = void>
using outcome = std::expected<T, failure>;

[[nodiscard]] inline std::unexpected<failure> fail(std::string sentence, int code = exit_failed) {
  return std::unexpected<failure>(failure{std::move(sentence), code});
}

// The failure of an operation; `doing` is "getting key \"a\" from tree \"t\"".
[[nodiscard]] std::unexpected<failure> fail(std::string_view doing, const answer& found);
// The failure of a set-up call, whose message says itself what was done.
[[nodiscard]] std::unexpected<failure> fail(const error& found);
// The failure of a text format. A closed pipe ends quietly with `closed_pipe_code`.
[[nodiscard]] std::unexpected<failure> fail(const text::error& found,
                                            int closed_pipe_code = exit_failed);

// "unknown tree "x"; ..."
[[nodiscard]] std::unexpected<failure> fail_unknown_tree(std::string_view tree,
                                                         std::string_view advice);

// RETURNS: `sentence`, with the word of its class before it if it lacks that word. `code` as in
// answer.
[[nodiscard]] std::string with_word(std::uint32_t code, std::string sentence);

}  // namespace pleach::tool
