// pleach load: records of JSON Lines or of a text dump, in atomic durable batches.
//
// I1 With --ack, "acked COUNT" appears on standard output only after COUNT records are durable.
// I2 At a bad record everything acknowledged is kept, and nothing of the unfinished batch is
//    committed.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <utility>

#include "tools/batch_loader.hh"
#include "tools/command.hh"
#include "tools/input_file.hh"
#include "tools/open_store.hh"
#include "tools/signals.hh"
#include "tools/text/dump_reader.hh"
#include "tools/text/json_lines.hh"
#include "tools/text/progress.hh"
#include "tools/text/safe_output.hh"
#include "tools/tree_words.hh"

namespace pleach::tool {

namespace {

tree_options options_of(const command& c, std::string_view tree) {
  tree_options o = c.new_tree();
  for (const auto& [name, bytes] : c.node_bytes_of) {
    if (name == tree) o.node_bytes = bytes;
  }
  return o;
}

// The longest line that a record can need: each byte of it as \u00xx, and the names of the fields.
std::size_t line_bytes_max(const limits& most) {
  return static_cast<std::size_t>(6 * (most.value_bytes + most.key_bytes + most.tree_name_bytes) +
                                  (1 << 16));
}

class load_run {
 public:
  load_run(store& s, const command& c, input_file& input)
      : command_(c),
        input_(input),
        lines_(input.fd(), {.line_bytes_max = line_bytes_max(s.limits()),
                            .name = input.name(),
                            .stopped = interrupted}),
        shown_(fmt::format("loading {}", input.name()), "records", {.quiet = c.quiet}),
        loader_(s, {.batch_records = c.batch_records,
                    .bulk = c.bulk,
                    .cache_bytes = c.cache_bytes,
                    .options_of =
                        [this, &c](std::string_view tree) {
                          tree_options o = options_of(c, tree);
                          // What the header says was judged when it was read.
                          if (tree == section_tree_) (void)read_dump_words(section_words_, o);
                          return o;
                        },
                    .acknowledged = [this](std::uint64_t count) { return acknowledge(count); }}) {}

  outcome<void> run(std::uint64_t section_total) {
    outcome<void> read =
        command_.format == text_format::dump ? read_dump(section_total) : read_json_lines();
    if (read) read = loader_.finish();
    if (!read) return stopped(read.error());
    shown_.finish();
    return {};
  }
  std::uint64_t committed() const { return loader_.committed(); }

 private:
  outcome<void> read_json_lines() {
    std::optional<std::string> tree;
    if (!command_.trees.empty()) tree = command_.trees.front();
    text::json_lines_reader reader(lines_, tree);
    for (;;) {
      auto more = reader.next();
      if (!more) return fail(more.error());
      if (!*more) return {};
      const text::json_record& r = reader.record();
      if (!r.digest.empty()) {
        if (auto good = check_digest(r); !good) return good;
        continue;
      }
      sum_of(r.tree) += digest_of(r.key, r.value);
      std::optional<record_flags> flags;
      if (r.has_flags) flags = record_flags{r.key_flags, r.value_flags};
      if (auto added = add(r.tree, r.key, r.value, flags); !added) return added;
    }
  }

  range_digest& sum_of(std::string_view tree) {
    auto found = sums_.find(tree);
    if (found == sums_.end()) found = sums_.emplace(tree, range_digest{}).first;
    return found->second;
  }

  // The line is about all records of its tree before it, since the last such line.
  outcome<void> check_digest(const text::json_record& r) {
    const range_digest sum = std::exchange(sum_of(r.tree), {});
    const std::string count = std::to_string(sum.count);
    if (r.records == count && r.digest == sum.text()) return at_line(loader_.meet_tree(r.tree));
    return fail(fmt::format(
        "line {}: corrupt: the digest of tree {} is {} of {} records, but the records before it "
        "have {} of {}",
        lines_.line_number(), text::quoted(r.tree), text::quoted(r.digest), text::quoted(r.records),
        sum.text(), count));
  }

  outcome<void> read_dump(std::uint64_t section_total) {
    text::dump_reader reader(lines_,
                             {.lenient = command_.lenient,
                              .warn = [this](const std::string& sentence) { warn(sentence); }});
    std::string tree;
    for (;;) {
      auto event = reader.next();
      if (!event) return fail(event.error());
      outcome<void> done;
      switch (*event) {
        case text::dump_event::SECTION_BEGIN: {
          auto name = section_tree(reader.section(), section_total);
          if (!name) return std::unexpected(name.error());
          tree = std::move(*name);
          section_tree_ = tree;
          section_words_ = reader.section().pleach;
          tree_options judged;
          if (auto read = read_dump_words(section_words_, judged); !read)
            return at_line(std::move(read));
          done = at_line(loader_.meet_tree(tree));
          break;
        }
        case text::dump_event::RECORD:
          done = add(tree, reader.key(), reader.value());
          break;
        case text::dump_event::SECTION_END:
          break;
        default:
          return {};
      }
      if (!done) return done;
    }
  }

  // --tree names the sections that name none, and renames the only section of a dump.
  outcome<std::string> section_tree(const text::dump_section& section,
                                    std::uint64_t section_total) {
    if (!command_.trees.empty() && (!section.database || section_total == 1))
      return command_.trees.front();
    if (section.database) return *section.database;
    return fail(fmt::format(
        "line {}: this section names no tree (it has no database= line); name it with --tree",
        section.first_line));
  }

  outcome<void> add(std::string_view tree, std::string_view key, std::string_view value,
                    std::optional<record_flags> flags = {}) {
    if (interrupted()) return fail("interrupted");
    const std::uint64_t before = loader_.committed();
    auto added = loader_.add(tree, key, value, flags);
    shown_.update(++records_, 0, lines_.bytes_read());
    // Only what this record itself did wrong has its line.
    if (!added && loader_.committed() == before) return at_line(std::move(added));
    return added;
  }

  outcome<void> at_line(outcome<void> done) {
    if (done || done.error().sentence.empty()) return done;
    return fail(fmt::format("line {}: {}", lines_.line_number(), done.error().sentence),
                done.error().code);
  }

  outcome<void> acknowledge(std::uint64_t count) {
    if (!command_.ack) return {};
    if (auto done = output_.write(fmt::format("acked {}\n", count)); !done)
      return fail(done.error());
    if (auto done = output_.flush(); !done) return fail(done.error());
    return {};
  }

  // The commit in flight ends and counts; then the first failure is reported with what is
  // committed.
  outcome<void> stopped(failure first) {
    static_cast<void>(loader_.stop());
    shown_.finish();
    if (first.sentence.empty()) return std::unexpected(std::move(first));
    return fail(fmt::format("loading {}: {}; {} records are committed and kept", input_.name(),
                            first.sentence, loader_.committed()),
                first.code);
  }

  void warn(const std::string& sentence) {
    if (command_.quiet) return;
    shown_.finish();
    std::fputs(fmt::format("pleach load: {}: warning: {}\n", input_.name(), sentence).c_str(),
               stderr);
  }

  const command& command_;
  input_file& input_;
  text::line_reader lines_;
  text::progress shown_;
  text::safe_output output_;
  std::uint64_t records_ = 0;
  std::string section_tree_;  // of the section that is read, and what its header says of it
  std::map<std::string, std::string> section_words_;
  std::map<std::string, range_digest, std::less<>> sums_;  // by tree, of the records read
  batch_loader loader_;
};

}  // namespace

outcome<int> run_load(const command& c) {
  auto input = input_file::open(c.file);
  if (!input) return std::unexpected(input.error());
  std::uint64_t section_total = 0;
  if (c.format == text_format::dump && !c.trees.empty()) {
    auto counted = input->count_dump_sections();
    if (!counted) return std::unexpected(counted.error());
    section_total = *counted;
  }
  auto s = open_store(c, access::write);
  if (!s) return std::unexpected(s.error());
  std::uint64_t committed = 0;
  {
    load_run run(*s, c, *input);
    auto loaded = run.run(section_total);
    committed = run.committed();
    if (!loaded) return std::unexpected(loaded.error());
  }
  if (auto closed = close_store(*s); !closed) return std::unexpected(closed.error());
  if (!c.quiet && isatty(STDERR_FILENO))
    std::fputs(fmt::format("{} records loaded\n", committed).c_str(), stderr);
  return exit_done;
}

}  // namespace pleach::tool
