// The command line of pleach: which options each command has, and the exit codes. Commands are in
// cmd_*.cc.
//
// The only file that knows CLI11. One parser per command: a tree or a key named like a command is
// no command.
//
// I1 Options stand anywhere, also before the command; "--" ends them.
// I2 Exit codes: 0 done, 1 get/del/select of a key that is not there, compare of different
//    trees, fsck that repaired all, 4 fsck left errors, 8 operational error, 16 bad, no or unknown
//    command or option.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <limits>

#include "tools/command.hh"
#include "tools/signals.hh"
#include "tools/text/hex.hh"
#include "tools/text/size.hh"
#include "tools/tree_words.hh"

namespace pleach::tool {

namespace {

// What the options hold before they are decoded.
struct raw_command {
  std::string cache, device = "auto", size, log_size, mapsize, node, format = "jsonl";
  std::string max_node, key_bytes, value_bytes, offset, length, order;
  std::string key, value, index, from, to, prefix, limit, batch, dump_tree;
  std::string from_place, to_place;
  std::vector<std::string> nodes;
  bool no_bulk = false;
};

struct usage_error {
  std::string sentence;
};

using set_up = void (*)(CLI::App&, raw_command&, command&);

struct entry {
  const char* name;
  const char* summary;
  const char* footer;
  set_up options;
  outcome<int> (*run)(const command&);
};

void add_store(CLI::App& app, command& c) {
  app.add_option("STORE", c.store, "the store: a file or a block device")->required();
}
void add_tree(CLI::App& app, command& c) {
  app.add_option("TREE", c.tree, "name of the tree")->required();
}
void add_key(CLI::App& app, raw_command& raw) {
  app.add_option("KEY", raw.key, "the key; hex digits with --hex")->required();
}
void add_json(CLI::App& app, command& c) {
  app.add_flag("--json", c.json, "print JSON");
}

void set_up_mkfs(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  app.add_option("--size", raw.size,
                 "size of the store (1GiB for a file; a block device's own size)")
      ->type_name("SIZE");
  app.add_option("--log-size", raw.log_size, "size of the log (64MiB; less in a small store)")
      ->type_name("SIZE");
  app.add_option("--max-node", raw.max_node, "largest node of any tree, to 1MiB (64KiB)")
      ->type_name("SIZE");
  app.add_flag("--force", c.force, "overwrite what is there");
}
void set_up_grow(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  app.add_option("--size", raw.size, "the new size")->type_name("SIZE")->required();
}
void set_up_trees(CLI::App& app, raw_command&, command& c) {
  add_store(app, c);
  add_json(app, c);
}
void add_tree_options(CLI::App& app, raw_command& raw, command& c) {
  app.add_option("--key-bytes", raw.key_bytes,
                 "length of all keys of a tree that is made, at most 256 (they vary)")
      ->type_name("N");
  app.add_option("--value-bytes", raw.value_bytes,
                 "length of all values of a tree that is made (they vary)")
      ->type_name("N");
  app.add_option(
         "--order", raw.order,
         "order of the keys of a tree that is made: bytes, or integers of --key-bytes: uint, "
         "int")
      ->type_name("ORDER");
  app.add_flag("--no-prefix-compression", c.whole_keys,
               "a tree that is made stores each key whole");
  app.add_flag("--no-suffix-truncation", c.whole_separators,
               "a tree that is made keeps whole keys as separators");
  app.add_flag("--key-checksums", c.key_checksums, "every key of a tree that is made has one");
  app.add_flag("--value-checksums", c.value_checksums,
               "every value of a tree that is made has one");
}
void set_up_put(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  add_tree(app, c);
  add_key(app, raw);
  app.add_option("VALUE", raw.value, "the value; hex digits with --hex; - reads standard input");
  app.add_option("--value-file", c.value_file, "read the value from a file, as it is")
      ->type_name("FILE");
  CLI::Option* create = app.add_flag("--create", c.create, "make the tree if it is not there");
  app.add_option("--node", raw.node, "largest node of a tree that is made (16KiB)")
      ->type_name("SIZE");
  add_tree_options(app, raw, c);
  app.add_option("--offset", raw.offset,
                 "change the value that is there from this byte on; end: append to it")
      ->type_name("N|end")
      ->excludes(create);
}
void set_up_get(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  add_tree(app, c);
  add_key(app, raw);
  app.add_option("--offset", raw.offset, "only from this byte on (0)")->type_name("N");
  app.add_option("--length", raw.length, "at most so many bytes")->type_name("N");
}
void set_up_record(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  add_tree(app, c);
  add_key(app, raw);
}
void set_up_upgrade(CLI::App& app, raw_command&, command& c) {
  add_store(app, c);
  app.add_option("TREE", c.trees, "only these trees");
  add_json(app, c);
}
void set_up_drop(CLI::App& app, raw_command&, command& c) {
  add_store(app, c);
  add_tree(app, c);
}
void add_range(CLI::App& app, raw_command& raw) {
  app.add_option("--from", raw.from, "first key (inclusive)")->type_name("KEY");
  app.add_option("--to", raw.to, "end (exclusive)")->type_name("KEY");
  app.add_option("--prefix", raw.prefix, "only keys that begin so")->type_name("KEY");
}
void set_up_delete_range(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  add_tree(app, c);
  add_range(app, raw);
  app.add_option("FROM", raw.from_place, "the same as --from")->excludes(app.get_option("--from"));
  app.add_option("TO", raw.to_place, "the same as --to")->excludes(app.get_option("--to"));
}
void set_up_scan(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  add_tree(app, c);
  add_range(app, raw);
  app.add_option("--limit", raw.limit, "at most so many records")->type_name("N");
  app.add_flag("--reverse", c.reverse, "backwards through the same range");
  CLI::Option* keys = app.add_flag("--keys-only", c.keys_only, "leave the values out");
  CLI::Option* count = app.add_flag("--count", c.count, "only say how many records there are");
  for (const char* other : {"--limit", "--reverse"}) count->excludes(app.get_option(other));
  count->excludes(keys);
}
void add_format(CLI::App& app, raw_command& raw) {
  app.add_option("--format", raw.format, "jsonl (default) or dump")->type_name("FORMAT");
}
void set_up_load(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  app.add_option("FILE", c.file, "the input; standard input without it or with -");
  app.add_option("--tree", raw.dump_tree,
                 "tree of records and sections that name none; renames a dump's only section")
      ->type_name("TREE");
  add_format(app, raw);
  app.add_option("--batch", raw.batch, "records of one atomic commit (1000)")->type_name("N");
  app.add_flag("--ack", c.ack, "print 'acked COUNT' after each durable commit");
  app.add_flag("--no-bulk", raw.no_bulk,
               "batches, also where the input is sorted and the tree is empty");
  app.add_flag("--lenient", c.lenient,
               "warn of what a dump says and this store cannot keep, and go on");
  app.add_option("--node", raw.nodes,
                 "largest node of trees that are made (16KiB); TREE=SIZE for one; repeatable")
      ->type_name("[TREE=]SIZE")
      ->allow_extra_args(false);
  add_tree_options(app, raw, c);
}
void set_up_save(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  app.add_option("FILE", c.file,
                 "the output, replaced as a whole; standard output without it or with -");
  app.add_option("--tree", c.trees, "only this tree; repeatable")
      ->type_name("TREE")
      ->allow_extra_args(false);
  add_format(app, raw);
  app.add_flag("--digest", c.digest,
               "jsonl: a last line a tree says how many records it has, and their digest");
  app.add_flag("--print", c.print, "dump: printable characters as they are, not hex");
  app.add_option("--mapsize", raw.mapsize,
                 "dump: add the line that mdb_load needs above 1MiB; db_load refuses it")
      ->type_name("SIZE");
}
void set_up_create(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  add_tree(app, c);
  app.add_option("--node", raw.node, "largest node of the tree (16KiB)")->type_name("SIZE");
  add_tree_options(app, raw, c);
  app.add_flag("--counted", c.counted,
               "keep counts in the nodes: count, rank and select are quick");
  app.add_flag("--digest", c.digest, "keep digests too: compare is quick; implies --counted");
}
void set_up_count(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  add_tree(app, c);
  app.add_option("--from", raw.from, "first key (inclusive)")->type_name("KEY");
  app.add_option("--to", raw.to, "end (exclusive)")->type_name("KEY");
}
void set_up_select(CLI::App& app, raw_command& raw, command& c) {
  add_store(app, c);
  add_tree(app, c);
  app.add_option("N", raw.index, "how many records are below it")->required();
  app.add_flag("--keys-only", c.keys_only, "leave the value out");
}
void set_up_compare(CLI::App& app, raw_command&, command& c) {
  add_store(app, c);
  add_tree(app, c);
  app.add_option("STORE2", c.store2, "the other store; may be the same")->required();
  app.add_option("TREE2", c.tree2, "the tree to compare with")->required();
  CLI::Option* keys = app.add_flag("--keys-only", c.keys_only, "leave the values out");
  app.add_flag("--brief", c.brief, "print nothing: only the exit code says")->excludes(keys);
}
void set_up_fsck(CLI::App& app, raw_command&, command& c) {
  add_store(app, c);
  CLI::Option* no = app.add_flag("-n", c.check_only, "check, change nothing (as without options)");
  CLI::Option* safe = app.add_flag("-p", c.safe_repairs,
                                   "repair what loses nothing; a store that was closed and has "
                                   "sound superblocks is not looked at");
  CLI::Option* all = app.add_flag("-y", c.repair, "repair everything");
  no->excludes(safe)->excludes(all);
  safe->excludes(all);
  app.add_flag("-f", c.check_always, "with -p: look at any store");
  CLI::Option* salvage =
      app.add_flag("--salvage", c.salvage, "with -y: give a log up that is damaged");
  salvage->needs(all);
  CLI::Option* undo =
      app.add_option("--undo", c.undo_file, "save what is overwritten to FILE (pleach undo)")
          ->type_name("FILE");
  undo->excludes(no);
  add_json(app, c);
}
void set_up_undo(CLI::App& app, raw_command&, command& c) {
  app.add_option("FILE", c.undo_file, "what fsck --undo has saved")->required();
  add_store(app, c);
}

constexpr const char* no_footer = "";
constexpr std::array entries{
    entry{"mkfs", "make a store", "Refuses what exists, and a device in use, without --force.",
          set_up_mkfs, run_mkfs},
    entry{"grow", "make a store in a file larger", no_footer, set_up_grow, run_grow},
    entry{"trees", "list the trees: name, records, bytes, height", no_footer, set_up_trees,
          run_trees},
    entry{"put", "insert or replace a record", "Put -- before a key or value that begins with -.",
          set_up_put, run_put},
    entry{"get", "print the value of a key", "Exit 1 if the key is not there.", set_up_get,
          run_get},
    entry{"del", "delete a record", "Exit 1 if the key is not there.", set_up_record, run_del},
    entry{"drop", "remove a tree with its records", no_footer, set_up_drop, run_drop},
    entry{"delete-range", "delete a range of records, print how many",
          "All records of the tree without a range.", set_up_delete_range, run_delete_range},
    entry{"scan", "print a range of records as JSON Lines", no_footer, set_up_scan, run_scan},
    entry{"load", "load JSON Lines or a text dump in atomic batches",
          "The dump format is that of db_dump and mdb_dump.", set_up_load, run_load},
    entry{"save", "save trees as JSON Lines or as a text dump",
          "db_load and mdb_load read the dump format.", set_up_save, run_save},
    entry{"fsck", "check everything, and repair it",
          "Exit 0 clean, 1 errors repaired, 4 errors left, 8 could not check, 16 usage.",
          set_up_fsck, run_fsck},
    entry{"undo", "put back what a repair has changed", "", set_up_undo, run_undo},
    entry{"create", "make a tree", "Exit 8 if it is there.", set_up_create, run_create},
    entry{"count", "print how many records a range has", no_footer, set_up_count, run_count},
    entry{"rank", "print how many records are below a key", no_footer, set_up_record, run_rank},
    entry{"select", "print the record that has N others below it",
          "The tree must be --counted. Exit 1 if there is none.", set_up_select, run_select},
    entry{"compare", "print the records that differ between two trees",
          "Exit 0 same, 1 different, 8 error, 16 usage.", set_up_compare, run_compare},
    entry{"stat", "print size, version, features and all counters", no_footer, set_up_trees,
          run_stat},
    entry{"upgrade", "convert leaves of an old version to the newest one",
          "Programs before that version cannot open the store afterwards.", set_up_upgrade,
          run_upgrade},
};

// Needed to find the command among options that stand before it, and to split --name=value.
constexpr std::array valued_options{
    "--size",      "--log-size",    "--value-file", "--node",   "--from",    "--to",    "--prefix",
    "--limit",     "--tree",        "--format",     "--batch",  "--mapsize", "--cache", "--device",
    "--key-bytes", "--value-bytes", "--max-node",   "--offset", "--length",  "--order"};

bool takes_value(std::string_view option) {
  return std::ranges::find(valued_options, option) != valued_options.end();
}

struct split_line {
  std::string name;  // of the command; empty: there is none
  std::vector<std::string> arguments;
  bool help = false, version = false;  // asked for before any command
};

split_line split(int argc, char** argv) {
  split_line line;
  bool named = false, options_ended = false;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (!options_ended && word == "--") {
      options_ended = true;
      line.arguments.push_back(word);
    } else if (!options_ended && word.size() > 1 && word.front() == '-') {
      if (!named && (word == "--help" || word == "-h")) line.help = true;
      if (!named && word == "--version") line.version = true;
      const std::size_t equals = word.find('=');
      const bool joined =
          equals != std::string::npos && takes_value(std::string_view(word).substr(0, equals));
      if (joined) {
        line.arguments.push_back(word.substr(0, equals));
        line.arguments.push_back(word.substr(equals + 1));
      } else {
        line.arguments.push_back(word);
        if (takes_value(word) && i + 1 < argc) line.arguments.emplace_back(argv[++i]);
      }
    } else if (!named) {
      named = true;
      line.name = word;
    } else {
      line.arguments.push_back(word);
    }
  }
  return line;
}

std::uint64_t size_of(const char* option, const std::string& text) {
  auto bytes = text::parse_size(text);
  if (!bytes) throw usage_error{fmt::format("{}: {}", option, bytes.error().message())};
  return *bytes;
}

std::uint64_t count_of(const char* option, const std::string& text) {
  std::uint64_t n = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (fault != std::errc() || end != text.data() + text.size()) {
    throw usage_error{fmt::format("{}: {} is not a whole number", option, text::quoted(text))};
  }
  return n;
}

std::uint32_t node_of(const std::string& text, const char* option = "--node") {
  const std::uint64_t bytes = size_of(option, text);
  if (bytes < 4096 || bytes > (1 << 20) || !std::has_single_bit(bytes)) {
    throw usage_error{
        fmt::format("{}: {} is no node size: a power of two from 4KiB to 1MiB", option, text)};
  }
  return static_cast<std::uint32_t>(bytes);
}

std::string bytes_of(const char* option, const std::string& text, bool hex) {
  if (!hex) return text;
  std::string bytes;
  if (const auto fault = text::decode_hex(text, bytes); fault != text::hex_fault::none) {
    throw usage_error{fmt::format("{}: {} {}", option, text::quoted(text), text::sentence(fault))};
  }
  return bytes;
}

bool given(const CLI::App& app, const std::string& option) {
  const CLI::Option* found = app.get_option_no_throw(option);
  return found != nullptr && found->count() > 0;
}

void decode_value(const CLI::App& app, const raw_command& raw, command& c) {
  const bool positional = given(app, "VALUE"), in_file = given(app, "--value-file");
  if (positional == in_file) {
    throw usage_error{
        positional ? "VALUE and --value-file exclude each other"
                   : "a value is missing: give VALUE, --value-file FILE, or - for standard input"};
  }
  if (in_file) return;
  if (raw.value == "-") {
    c.value_file = "-";
  } else {
    c.value = bytes_of("VALUE", raw.value, c.hex);
  }
}

void decode_nodes(const CLI::App& app, const raw_command& raw, command& c) {
  if (given(app, "--node") && raw.nodes.empty()) c.node_bytes = node_of(raw.node);
  for (const std::string& each : raw.nodes) {
    const std::size_t equals = each.rfind('=');  // a tree's name may hold '='
    if (equals == std::string::npos) {
      c.node_bytes = node_of(each);
    } else {
      c.node_bytes_of.emplace_back(each.substr(0, equals), node_of(each.substr(equals + 1)));
    }
  }
}

// ERRORS: throws usage_error.
std::uint32_t length_of(const char* option, const std::string& text) {
  const std::uint64_t bytes = count_of(option, text);
  if (bytes > std::numeric_limits<std::uint32_t>::max())
    throw usage_error{fmt::format("{}: {} is too large", option, text)};
  return static_cast<std::uint32_t>(bytes);
}

// ERRORS: throws usage_error.
key_order order_of(const std::string& text) {
  if (const auto order = order_named(text)) return *order;
  throw usage_error{fmt::format("--order: {} is not bytes, uint or int", text::quoted(text))};
}

constexpr std::uint64_t size_max = std::numeric_limits<std::int64_t>::max();  // of a file

// ERRORS: throws usage_error.
void decode(const CLI::App& app, const raw_command& raw, command& c) {
  if (given(app, "--cache")) c.cache_bytes = size_of("--cache", raw.cache);
  if (raw.device == "uring") {
    c.device = device_kind::uring;
  } else if (raw.device == "threads") {
    c.device = device_kind::threads;
  } else if (raw.device != "auto") {
    throw usage_error{
        fmt::format("--device: {} is not auto, uring or threads", text::quoted(raw.device))};
  }
  if (given(app, "--size")) {
    c.size_bytes = size_of("--size", raw.size);
    if (c.size_bytes == 0) throw usage_error{"--size: a store has a size"};
    if (c.size_bytes > size_max)
      throw usage_error{fmt::format("--size: {} is too large for any file", raw.size)};
  }
  if (given(app, "--log-size")) {
    c.log_bytes = size_of("--log-size", raw.log_size);
    if (c.log_bytes == 0) throw usage_error{"--log-size: a log has a size"};
  }
  if (given(app, "--mapsize")) c.mapsize = size_of("--mapsize", raw.mapsize);
  if (raw.format != "jsonl" && raw.format != "dump") {
    throw usage_error{fmt::format("--format: {} is not jsonl or dump", text::quoted(raw.format))};
  }
  c.format = raw.format == "dump" ? text_format::dump : text_format::jsonl;
  if (c.format != text_format::dump && (c.print || c.mapsize)) {
    throw usage_error{"--print and --mapsize need --format dump"};
  }
  if (c.name == "save" && c.format != text_format::jsonl && c.digest)
    throw usage_error{"--digest needs --format jsonl: a dump is what db_load reads"};
  const bool batches = given(app, "--batch");
  c.batch_records = batches ? count_of("--batch", raw.batch) : 1000;
  c.bulk = !raw.no_bulk && !c.ack && !batches;
  if (c.batch_records == 0) throw usage_error{"--batch: a batch has at least one record"};
  if (given(app, "--limit")) c.limit = count_of("--limit", raw.limit);
  if (given(app, "N")) c.index = count_of("N", raw.index);
  c.key = bytes_of("KEY", raw.key, c.hex);
  if (given(app, "--from")) c.from = bytes_of("--from", raw.from, c.hex);
  if (given(app, "--to")) c.to = bytes_of("--to", raw.to, c.hex);
  if (given(app, "FROM")) c.from = bytes_of("FROM", raw.from_place, c.hex);
  if (given(app, "TO")) c.to = bytes_of("TO", raw.to_place, c.hex);
  if (given(app, "--prefix")) c.prefix = bytes_of("--prefix", raw.prefix, c.hex);
  if (c.name == "load" && given(app, "--tree")) c.trees = {raw.dump_tree};
  if (c.name == "put") decode_value(app, raw, c);
  if (given(app, "--offset")) {
    constexpr auto end = static_cast<std::uint64_t>(write_at::end);
    const bool append = c.name == "put" && raw.offset == "end";
    c.offset = append ? end : count_of("--offset", raw.offset);
    if (!append && *c.offset == end) throw usage_error{"--offset: no value is so long"};
  }
  if (given(app, "--length")) c.length = count_of("--length", raw.length);
  decode_nodes(app, raw, c);
  if (given(app, "--max-node")) c.max_node_bytes = node_of(raw.max_node, "--max-node");
  if (given(app, "--order")) c.order = order_of(raw.order);
  if (given(app, "--key-bytes")) c.key_bytes = length_of("--key-bytes", raw.key_bytes);
  if (given(app, "--value-bytes")) c.value_bytes = length_of("--value-bytes", raw.value_bytes);
}

void add_common(CLI::App& app, raw_command& raw, command& c) {
  app.add_option("--cache", raw.cache, "the store's whole memory budget (256MiB)")
      ->type_name("SIZE")
      ->group("Common");
  app.add_flag("--hex", c.hex, "keys and values on the command line are hex digits")
      ->group("Common");
  app.add_option("--device", raw.device, "auto, uring or threads")
      ->type_name("KIND")
      ->group("Common");
  app.add_flag("--quiet", c.quiet, "no progress, no warnings")->group("Common");
  app.set_version_flag("--version", fmt::format("pleach {}", version()), "print the version");
}

std::string general_help() {
  std::string out =
      "Pleach keeps metadata in named, ordered trees in one crash-safe store.\n\n"
      "Usage: pleach COMMAND STORE [ARGUMENTS] [OPTIONS]\n\nCommands:\n";
  for (const entry& e : entries) out += fmt::format("  {:<14}{}\n", e.name, e.summary);
  out +=
      "\nCommon options, anywhere; -- ends options:\n"
      "  --cache SIZE      the store's whole memory budget (256MiB)\n"
      "  --hex             keys and values on the command line are hex digits\n"
      "  --device KIND     auto, uring or threads\n"
      "  --quiet           no progress, no warnings\n"
      "  --version         print the version\n"
      "  --help            this text; `pleach COMMAND --help` for a command\n\n"
      "SIZE is a number of bytes, or has KiB, MiB, GiB or TiB.\n"
      "Exit codes: 0 done, 1 the key is not there (get, del, select), 8 operational error, 16 bad "
      "command or option;\n"
      "compare: 0 same, 1 different, 8 error, 16 usage;\n"
      "fsck: 0 clean, 1 errors repaired, 4 errors left, 8 could not check, 16 usage.\n";
  return out;
}

int complain(const std::string& sentence) {
  std::fputs(fmt::format("pleach: {}\n", sentence).c_str(), stderr);
  return exit_usage;
}

// RETURNS: 0, also if nobody reads on; exit_failed if standard output did not take it.
int print_out(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return exit_done;
  const int number = errno;
  if (number == EPIPE) return exit_done;
  std::fputs(fmt::format("pleach: writing standard output: {}\n", std::strerror(number)).c_str(),
             stderr);
  return exit_failed;
}

// A closed standard descriptor would be given to the store, and messages would be written into it.
// What is opened in place of input and output fails as the closed one would: the wrong way round.
// Messages vanish, as they do (unlike with fmt::print, which throws) where standard error does not
// take them.
void occupy_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    if (open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_WRONLY) < 0)
      return;  // the lowest that is free
  }
}

int execute(const entry& e, command& c) {
  const auto ended = e.run(c);
  if (ended) return *ended;
  const failure& f = ended.error();
  if (!f.sentence.empty())
    std::fputs(fmt::format("pleach {}: {}: {}\n", c.name, c.store, f.sentence).c_str(), stderr);
  return f.code;
}

int run_command(const entry& e, std::vector<std::string> arguments) {
  command c;
  c.name = e.name;
  raw_command raw;
  CLI::App app(e.summary, fmt::format("pleach {}", e.name));
  app.footer(e.footer);
  app.get_formatter()->column_width(24);
  e.options(app, raw, c);
  add_common(app, raw, c);
  try {
    std::ranges::reverse(arguments);  // CLI11 takes them from the back
    app.parse(std::move(arguments));
    decode(app, raw, c);
    if (c.store.empty()) throw usage_error{"STORE is empty"};
  } catch (const CLI::CallForHelp&) {
    return print_out(app.help());
  } catch (const CLI::CallForVersion& v) {
    return print_out(std::string(v.what()) + "\n");
  } catch (const CLI::ParseError& p) {
    return complain(fmt::format("{}: {}; see `pleach {} --help`", e.name, p.what(), e.name));
  } catch (const usage_error& u) {
    return complain(fmt::format("{}: {}; see `pleach {} --help`", e.name, u.sentence, e.name));
  }
  return execute(e, c);
}

int run(int argc, char** argv) {
  occupy_standard_descriptors();
  install_signal_handlers();
  split_line line = split(argc, argv);
  if (line.name.empty()) {
    if (line.help) return print_out(general_help());
    if (line.version) return print_out(fmt::format("pleach {}\n", version()));
    return complain("no command; see `pleach --help`");
  }
  const auto found = std::ranges::find(entries, line.name, &entry::name);
  if (found == entries.end()) {
    return complain(
        fmt::format("unknown command {}; see `pleach --help`", text::quoted(line.name)));
  }
  return run_command(*found, std::move(line.arguments));
}

}  // namespace

}  // namespace pleach::tool

int main(int argc, char** argv) {
  // Ordinary outcomes are no exceptions; these are a want of memory and broken promises of a
  // library.
  try {
    return pleach::tool::run(argc, argv);
  } catch (const std::exception& e) {
    std::fputs(fmt::format("pleach: {}\n", e.what()).c_str(), stderr);
    return pleach::tool::exit_failed;
  }
}
