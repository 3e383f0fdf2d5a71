// pleach save: trees by name, their records in key order, as JSON Lines or in the text dump format.
//
// I1 One record is in memory at a time, besides the output buffer.
// I2 Names of trees are checked before a byte is written; FILE appears whole or not at all.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/signals.hh"
#include "tools/text/dump_writer.hh"
#include "tools/text/json_lines.hh"
#include "tools/text/progress.hh"
#include "tools/text/safe_output.hh"
#include "tools/text/utf8.hh"
#include "tools/tree_words.hh"
#include "tools/walk.hh"

namespace pleach::tool {

namespace {

// RETURNS: the names to save, sorted, each once.
outcome<std::vector<tree_info>> chosen_trees(store& s, const command& c) {
  auto all = list_trees(s);
  if (!all || c.trees.empty()) return all;
  for (const std::string& name : c.trees) {
    if (std::ranges::find(*all, name, &tree_info::name) != all->end()) continue;
    return fail_unknown_tree(name, "nothing was written; `pleach trees` lists the trees");
  }
  std::erase_if(*all, [&](const tree_info& t) {
    return std::ranges::find(c.trees, t.name) == c.trees.end();
  });
  return all;
}

class saver {
 public:
  saver(store& s, const command& c, text::safe_output& output, std::uint64_t total)
      : store_(s),
        command_(c),
        output_(output),
        total_(total),
        format_{.print = c.print, .mapsize = c.mapsize},
        shown_(fmt::format("saving {}", c.store), "records", {.quiet = c.quiet}) {}

  outcome<void> save_tree(const tree_info& info) {
    const std::string& name = info.name;
    auto t = open_tree(store_, name);
    if (!t) return std::unexpected(t.error());
    const bool dump = command_.format == text_format::dump;
    buffer_.clear();
    format_.more = dump_lines(info);
    if (dump) text::append_dump_header(buffer_, name, format_);
    if (auto done = put_out(); !done) return done;
    if (auto done = save_records(*t, name); !done) return done;
    if (dump) text::append_dump_footer(buffer_);
    if (flags_lost_ != 0 && !command_.quiet) {
      shown_.finish();
      std::fputs(fmt::format("pleach save: {}: warning: tree {}: the dump format has no flags of "
                             "records: those of {} are left out; JSON Lines keep them\n",
                             command_.store, text::quoted(name), flags_lost_)
                     .c_str(),
                 stderr);
    }
    flags_lost_ = 0;
    return put_out();
  }

 private:
  outcome<void> save_records(const tree& t, const std::string& name) {
    cursor at(t);
    answer a = settled(store_.run(at.first()));
    range_digest sum;
    for (; a.ok() && at.valid(); a = step_forward(store_, at)) {
      if (command_.digest) sum += digest_of(at.key(), at.value());
      if (command_.format == text_format::dump) {
        text::append_dump_record(buffer_, at.key(), at.value(), format_);
        if (at.flags() != record_flags{}) ++flags_lost_;
      } else if (const record_flags f = at.flags();
                 !text::append_json_line(buffer_, name, at.key(), at.value(), f.key, f.value)) {
        return fail(fmt::format("saving tree {}: its name is not valid UTF-8: use --format dump",
                                text::quoted(name)));
      }
      if (auto done = put_out(); !done) return done;
      shown_.update(++records_, total_, output_.bytes_written());
      if (interrupted())
        return ended(fail(fmt::format("saving tree {}: interrupted", text::quoted(name))));
    }
    if (!a.ok()) return ended(fail(fmt::format("saving tree {}", text::quoted(name)), a));
    if (command_.digest && !text::append_json_digest(buffer_, name, sum.count, sum.text()))
      return fail(
          fmt::format("saving tree {}: its name is not valid UTF-8, which a digest's line "
                      "cannot hold",
                      text::quoted(name)));
    return put_out();
  }

  outcome<void> put_out() {
    auto done = output_.write(buffer_);
    buffer_.clear();
    if (!done) return ended(fail(done.error()));
    return {};
  }

  outcome<void> ended(outcome<void> how) {
    shown_.finish();
    return how;
  }

  store& store_;
  const command& command_;
  text::safe_output& output_;
  std::uint64_t total_;
  std::uint64_t records_ = 0, flags_lost_ = 0;
  text::dump_format format_;
  text::progress shown_;
  std::string buffer_;
};

}  // namespace

outcome<int> run_save(const command& c) {
  auto s = open_store(c, access::read);
  if (!s) return std::unexpected(s.error());
  if (c.file != "-" && same_file(c.file, c.store)) {
    return fail(fmt::format("saving to {}: that is the store itself; name another file", c.file));
  }
  auto names = chosen_trees(*s, c);
  if (!names) return std::unexpected(names.error());

  std::optional<text::safe_output> output;
  if (c.file == "-") {
    output.emplace();
  } else if (auto opened = text::safe_output::open_file(c.file, output); !opened) {
    return fail(opened.error());
  }
  std::uint64_t total = 0;
  for (const tree_info& t : *names) total += t.records;
  {
    saver to(*s, c, *output, total);
    for (const tree_info& t : *names) {
      if (auto saved = to.save_tree(t); !saved) return std::unexpected(saved.error());
    }
  }
  if (auto done = output->commit(); !done) return fail(done.error());
  return exit_done;
}

}  // namespace pleach::tool
