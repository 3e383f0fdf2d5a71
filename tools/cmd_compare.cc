// pleach compare: which records differ between two trees, of one store or of two.
//
// I1 Exit 0: none; 1: some; above: an error, whatever was printed before.
#include <fmt/format.h>

#include "pleach/compare.hh"
#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/signals.hh"
#include "tools/text/json_lines.hh"
#include "tools/text/safe_output.hh"

namespace pleach::tool {

namespace {

class printer {
 public:
  explicit printer(const command& c) : command_(c) {}

  // RETURNS: false if the line cannot be written: `fault` says why.
  bool operator()(const differing_record& r) {
    line_.clear();
    const bool first = r.what != difference::second_only, changed = r.what == difference::changed;
    bool good = true;
    if (command_.keys_only) {
      line_ += changed ? "! " : first ? "< " : "> ";
      good = text::append_json_key_line(line_, first ? command_.tree : command_.tree2, r.key);
    } else {
      if (first) good = append(changed ? "!< " : "< ", command_.tree, r.key, r.first_value);
      if (r.what != difference::first_only)
        good = good && append(changed ? "!> " : "> ", command_.tree2, r.key, r.second_value);
    }
    if (!good) {
      fault = failure{
          "comparing trees: a tree's name is not valid UTF-8, which JSON Lines cannot "
          "hold; use --brief"};
      return false;
    }
    if (auto done = output_.write(line_); !done) {
      fault = fail(done.error(), exit_different).error();
      return false;
    }
    return true;
  }
  outcome<int> finish(bool same) {
    if (fault) return std::unexpected(*fault);
    const int code = same ? exit_done : exit_different;
    if (auto done = output_.commit(); !done) return fail(done.error(), code);
    return code;
  }
  // What was found before an error is good: print it.
  void give_up() { static_cast<void>(output_.commit()); }

  std::optional<failure> fault;

 private:
  bool append(std::string_view mark, std::string_view tree, std::string_view key,
              std::string_view value) {
    line_ += mark;
    return text::append_json_line(line_, tree, key, value);
  }

  const command& command_;
  text::safe_output output_;
  std::string line_;
};

}  // namespace

outcome<int> run_compare(const command& c) {
  const bool one_store = same_file(c.store, c.store2);
  command second_command = c;
  second_command.store = c.store2;
  // The budget is for both.
  command first_command = c;
  if (!one_store) first_command.cache_bytes = second_command.cache_bytes = c.cache_bytes / 2;

  auto s = open_store(first_command, access::read);
  if (!s) return fail(s.error().sentence + (one_store ? "" : " (each store has half of --cache)"));
  std::optional<store> other;
  if (!one_store) {
    auto opened = open_store(second_command, access::read);
    if (!opened) return fail(fmt::format("{}: {}", c.store2, opened.error().sentence));
    other.emplace(std::move(*opened));
  }
  store& s2 = one_store ? *s : *other;
  auto first = open_tree(*s, c.tree);
  if (!first) return std::unexpected(first.error());
  auto second = open_tree(s2, c.tree2);
  if (!second) return fail(fmt::format("{}: {}", c.store2, second.error().sentence));

  printer print(c);
  compare_options options;
  options.stop = [] { return interrupted(); };
  std::function<bool(const differing_record&)> tell;
  if (!c.brief) tell = std::ref(print);
  auto found = compare(*s, *first, s2, *second, tell, options);
  if (!found) {
    print.give_up();
    if (found.error().what() == category::cancelled) return fail("comparing trees: interrupted");
    return fail(found.error());
  }
  return print.finish(found->same);
}

}  // namespace pleach::tool
