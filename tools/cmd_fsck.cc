// pleach fsck: checks everything, changes nothing. The report is data: it goes to standard output.
//
// I1 Exit bits as fsck(8): 0 clean, 4 the store has errors, 8 it could not be checked, 16 usage.
// I2 A store that is damaged so that it cannot be opened is a finding (4), not an operational error
//    (8).
#include <fmt/format.h>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/signals.hh"
#include "tools/text/json_lines.hh"
#include "tools/text/progress.hh"
#include "tools/text/safe_output.hh"
#include "tools/text/utf8.hh"

namespace pleach::tool {

namespace {

void append_string(std::string& out, const std::string& bytes) {
  text::append_json_string(out, text::utf8_valid(bytes) ? bytes : text::quoted(bytes));
}

std::string as_json(const check_report& r) {
  std::string out =
      fmt::format("{{\"clean\":{},\"problem_count\":{},\"problems\":[", r.clean, r.problem_count);
  for (const problem& p : r.problems) {
    if (&p != &r.problems.front()) out += ",";
    out += "{\"where\":";
    append_string(out, p.where);
    out += ",\"what\":";
    append_string(out, p.what);
    out += "}";
  }
  out += "],\"unchecked\":[";
  for (const problem& p : r.unchecked) {
    if (&p != &r.unchecked.front()) out += ",";
    out += "{\"where\":";
    append_string(out, p.where);
    out += ",\"what\":";
    append_string(out, p.what);
    out += "}";
  }
  out += fmt::format(
      "],\"trees\":{},\"records\":{},\"pages\":{},\"blocks_used\":{},\"blocks_free\":{},"
      "\"log_groups\":{},\"leaves\":{},\"old_leaves\":{},\"leaf_bytes\":{},"
      "\"leaf_bytes_used\":{}}}\n",
      r.trees, r.records, r.pages, r.blocks_used, r.blocks_free, r.log_groups, r.leaves,
      r.old_leaves, r.leaf_bytes, r.leaf_bytes_used);
  return out;
}

std::string as_text(const check_report& r, const command& c) {
  std::string out;
  for (const problem& p : r.problems) out += fmt::format("{}: {}\n", p.where, p.what);
  if (r.problem_count > r.problems.size()) {
    out += fmt::format("... and {} more\n", r.problem_count - r.problems.size());
  }
  for (const problem& p : r.unchecked) out += fmt::format("{}: not checked: {}\n", p.where, p.what);
  if (r.clean) {
    out += fmt::format("{}: clean; {} trees, {} records, {} pages, {} blocks used, {} free\n",
                       c.store, r.trees, r.records, r.pages, r.blocks_used, r.blocks_free);
  } else {
    out += fmt::format("{}: corrupt: {} problems\n", c.store, r.problem_count);
  }
  return out;
}

// RETURNS: the report, also for a store that is too damaged to open.
outcome<check_report> examine(const command& c) {
  open_options options;
  options.cache_bytes = c.cache_bytes;
  options.device = c.device;
  options.read_only = true;
  const auto damaged = [](const error& e) {
    check_report r;
    r.clean = false;
    r.problem_count = 1;
    r.problems.push_back({"store", with_word(e.code, e.message)});
    return r;
  };
  auto s = store::open(c.store, options);
  if (!s)
    return s.error().what() == category::corrupt ? outcome<check_report>(damaged(s.error()))
                                                 : fail(s.error());

  text::progress shown(fmt::format("checking {}", c.store), "pages", {.quiet = c.quiet});
  auto checked = s->check([&](std::uint64_t done, std::uint64_t total) {
    shown.update(done, total);
    return !interrupted();
  });
  shown.finish();
  if (interrupted()) return fail("interrupted; the store is not checked to its end");
  if (checked) return std::move(*checked);
  if (checked.error().what() == category::corrupt) return damaged(checked.error());
  return fail(checked.error());
}

}  // namespace

outcome<int> run_fsck(const command& c) {
  auto report = examine(c);
  if (!report) return std::unexpected(report.error());
  check_report& r = *report;
  r.problem_count = std::max<std::uint64_t>(r.problem_count, r.problems.size());
  r.clean = r.clean && r.problem_count == 0;

  const int code = r.clean ? exit_done : exit_errors_left;
  text::safe_output output;
  if (auto done = output.write(c.json ? as_json(r) : as_text(r, c)); !done)
    return fail(done.error(), code);
  if (auto done = output.commit(); !done) return fail(done.error(), code);
  if (r.clean) return exit_done;
  return fail(
      fmt::format(
          "corrupt: checking found {} problems, nothing was changed; save the sound trees with "
          "`pleach save --tree`, and restore the others from a dump",
          r.problem_count),
      exit_errors_left);
}

}  // namespace pleach::tool
