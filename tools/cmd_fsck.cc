// pleach fsck: checks everything, repairs what it is asked to. The report is data: it goes to
// standard output.
//
// I1 Exit bits as fsck(8): 0 clean, 1 errors were repaired, all of them, 4 errors are left, 8 the
//    store could not be checked, 16 usage.
// I2 A store that is damaged so that it cannot be opened is a finding (4), not an operational error
//    (8).
// I3 A repair is believed only after a check that found nothing.
#include <fmt/format.h>

#include "pleach/repair.hh"
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

// What a repair did, and the check behind it.
struct repaired {
  repair_report report;
  std::vector<repair_step> steps;
};

std::string line_of(const repair_step& s) {
  return fmt::format("{}: {}: {}\n", s.where, s.what, s.done.empty() ? "left as it is" : s.done);
}

std::string as_json(const repaired& r, const check_report& checked) {
  std::string out =
      fmt::format("{{\"repaired\":{},\"left\":{},\"lost_and_found\":{},\"given_up\":{},\"steps\":[",
                  r.report.repaired, r.report.left, r.report.lost_and_found, r.report.given_up);
  for (const repair_step& s : r.steps) {
    if (&s != &r.steps.front()) out += ",";
    out += "{\"where\":";
    append_string(out, s.where);
    out += ",\"what\":";
    append_string(out, s.what);
    out += ",\"done\":";
    append_string(out, s.done);
    out += "}";
  }
  std::string check = as_json(checked);
  check.pop_back();  // its line end
  return out + "],\"check\":" + check + "}\n";
}

std::string summary(const repaired& r, const command& c) {
  std::string out;
  if (!r.report.recovery.empty()) out += fmt::format("{}: {}\n", c.store, r.report.recovery);
  out +=
      fmt::format("{}: {} problems repaired, {} left", c.store, r.report.repaired, r.report.left);
  if (r.report.lost_and_found != 0)
    out += fmt::format("; {} records are in tree {}", r.report.lost_and_found, lost_and_found_tree);
  if (r.report.given_up != 0) out += fmt::format("; {} records are lost", r.report.given_up);
  return out + "\n";
}

outcome<repaired> mend(const command& c, text::safe_output& output) {
  repair_options o;
  o.safe_only = c.safe_repairs;
  o.salvage = c.salvage;
  o.undo_file = c.undo_file;
  o.device = c.device;
  o.cache_bytes = c.cache_bytes;
  repaired done;
  text::progress shown(fmt::format("repairing {}", c.store), "steps", {.quiet = c.quiet});
  o.progress = [&](std::uint64_t at, std::uint64_t total) {
    shown.update(at, total);
    return !interrupted();
  };
  o.tell = [&](const repair_step& s) {
    if (c.json)
      done.steps.push_back(s);
    else
      (void)output.write(line_of(s));
  };
  auto report = repair_store(c.store, o);
  shown.finish();
  if (!report) {
    const bool damage = report.error().what() == category::corrupt;
    return fail(with_word(report.error().code,
                          report.error().message +
                              (damage && !c.salvage && !c.safe_repairs
                                   ? "; `--salvage` gives up what cannot be read of the log"
                                   : "")),
                damage ? exit_errors_left : exit_failed);
  }
  done.report = std::move(*report);
  return done;
}

outcome<int> run_check(const command& c) {
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
  return fail(fmt::format("corrupt: checking found {} problems, nothing was changed; `pleach fsck "
                          "-y` repairs them, with `--undo FILE` so that it can be undone",
                          r.problem_count),
              exit_errors_left);
}

outcome<int> run_repair(const command& c) {
  text::safe_output output;
  if (c.safe_repairs && !c.check_always) {
    const auto clean = is_clean(c.store, c.device);
    if (!clean) return fail(clean.error());
    if (*clean) {
      if (auto done = output.write(c.json ? "{\"clean\":true}\n" : c.store + ": clean\n"); !done)
        return fail(done.error());
      if (auto done = output.commit(); !done) return fail(done.error());
      return exit_done;
    }
  }
  auto mended = mend(c, output);
  if (!mended) {
    (void)output.commit();  // what was found until then
    return std::unexpected(mended.error());
  }
  auto checked = examine(c);
  if (!checked) return std::unexpected(checked.error());
  const bool clean = checked->clean && mended->report.left == 0;
  const int code = !clean                         ? exit_errors_left
                   : mended->report.repaired != 0 ? exit_repaired
                                                  : exit_done;
  const std::string text =
      c.json ? as_json(*mended, *checked) : summary(*mended, c) + as_text(*checked, c);
  if (auto done = output.write(text); !done) return fail(done.error(), code);
  if (auto done = output.commit(); !done) return fail(done.error(), code);
  if (clean) return code;
  return fail(fmt::format("corrupt: {} problems are left{}",
                          std::max(mended->report.left, checked->problem_count),
                          c.safe_repairs ? "; `pleach fsck -y` repairs what may lose records" : ""),
              exit_errors_left);
}

}  // namespace

outcome<int> run_fsck(const command& c) {
  return c.repair || c.safe_repairs ? run_repair(c) : run_check(c);
}

outcome<int> run_undo(const command& c) {
  const auto undone = undo_repair(c.undo_file, c.store, c.device);
  if (!undone) return fail(undone.error());
  text::safe_output output;
  if (auto done = output.write(fmt::format("{}: {} blocks are as they were before the repair\n",
                                           c.store, undone->blocks));
      !done)
    return fail(done.error());
  if (auto done = output.commit(); !done) return fail(done.error());
  return exit_done;
}

}  // namespace pleach::tool
