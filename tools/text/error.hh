// The typed error of the text formats: a kind to act on, the line if there is one, and a sentence
// to print.
//
// It is not the error of the store (pleach::error): these files need no store.
//
// I1 message() of an error with a line starts with "line N: "; lines count from 1.
// I2 The sentence contains the word that scripts look for: `truncated`, `too large`, `no space`.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace pleach::text {

enum class fault : std::uint8_t {
  invalid = 0,
  bad_input,    // the text does not follow the format
  truncated,    // the text ends too early
  too_large,    // a line over the limit
  closed_pipe,  // the reader of our output went away: end quietly
  no_space,     // the medium or the quota is full
  interrupted,  // the caller's `stopped` said so during a wait
  io,           // any other failure of a system call
};

struct error {
  fault kind = fault::invalid;
  std::uint64_t line = 0;  // 0: not about a line
  std::string sentence;

  [[nodiscard]] std::string message() const {
    if (line == 0) return sentence;
    return "line " + std::to_string(line) + ": " + sentence;
  }
};

template <class T>
using result = std::expected<T, error>;

[[nodiscard]] inline std::unexpected<error> fail(fault kind, std::string sentence,
                                                 std::uint64_t line = 0) {
  return std::unexpected<error>(error{kind, line, std::move(sentence)});
}

// RETURNS: `text` in double quotes, safe to print on a terminal and at most about 60 characters
// long.
[[nodiscard]] std::string quoted(std::string_view text);

// RETURNS: the error for a failed system call; `what` is "reading FILE", `number` is errno.
[[nodiscard]] error system_error(std::string_view what, int number);

}  // namespace pleach::text
