#include "tools/outcome.hh"

#include <fmt/format.h>

namespace pleach::tool {

namespace {

bool contains(std::string_view text, std::string_view word) {
  return text.find(word) != std::string_view::npos;
}

// The word that scripts look for, by class and, where a class holds several, by code.
std::string_view word_of(std::uint32_t code) {
  const answer found{.code = code};
  const std::string_view name = found.name();
  switch (found.what()) {
    case category::no_space: return "no space";
    case category::too_large: return "too large";
    case category::read_only: return "read-only";
    case category::corrupt: return "corrupt";
    case category::busy: return name == "mounted" ? "" : "already open";
    case category::not_found: return name == "unknown_tree" ? "unknown tree" : "";
    case category::invalid:
      if (name == "not_a_store") return "not a Pleach store";
      return name == "too_small" ? "too small" : "";
    default: return "";
  }
}

std::string_view advice_for(const answer& found) {
  if (std::string_view(found.name()) == "device_full") return "free space on the file system below";
  switch (found.what()) {
    case category::no_space: return "make the store larger with `pleach grow`, or drop a tree";
    case category::read_only: return "commands that write need a medium that can be written";
    case category::corrupt: return "run `pleach fsck` to see all that is damaged";
    case category::no_memory: return "give more with --cache";
    case category::io: return "look at the kernel's log, then run `pleach fsck`";
    case category::busy: return "try again when the other process is done";
    default: return "";
  }
}

std::string advised(std::uint32_t code, std::string sentence) {
  const std::string_view advice = advice_for(answer{.code = code});
  // A message of the library that has advice of its own keeps it.
  if (advice.empty() || contains(sentence, ";")) return sentence;
  return fmt::format("{}; {}", sentence, advice);
}

}  // namespace

std::string with_word(std::uint32_t code, std::string sentence) {
  const std::string_view word = word_of(code);
  if (word.empty() || contains(sentence, word)) return sentence;
  return fmt::format("{}: {}", word, sentence);
}

std::unexpected<failure> fail(std::string_view doing, const answer& found) {
  const std::string what = with_word(found.code, found.text());
  return fail(advised(found.code, fmt::format("{}: {}", doing, what)));
}

std::unexpected<failure> fail(const error& found) {
  return fail(advised(found.code, with_word(found.code, found.message)));
}

std::unexpected<failure> fail(const text::error& found, int closed_pipe_code) {
  if (found.kind == text::fault::closed_pipe) return fail(std::string(), closed_pipe_code);
  return fail(found.message());
}

std::unexpected<failure> fail_unknown_tree(std::string_view tree, std::string_view advice) {
  return fail(fmt::format("unknown tree {}; {}", text::quoted(tree), advice));
}

}  // namespace pleach::tool
