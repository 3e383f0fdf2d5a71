// What the command line said, decoded: sizes are bytes, hex is bytes. main.cc fills it, cmd_*.cc
// read it.
//
// One flat struct for all commands: a field that a command has no option for keeps its default.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pleach/pleach.hh"
#include "tools/outcome.hh"

namespace pleach::tool {

enum class text_format : std::uint8_t { jsonl, dump };

struct command {
  std::string name;   // "get"
  std::string store;  // path

  // Common.
  std::uint64_t cache_bytes = 256ull << 20;
  device_kind device = device_kind::automatic;
  bool hex = false;
  bool quiet = false;
  bool json = false;

  // One record.
  std::string tree;
  std::string key;
  std::optional<std::string> value;  // without it, `value_file` says where it is
  std::string value_file;            // "-": standard input
  bool create = false;
  std::optional<std::uint64_t> offset, length;  // of the range of the value

  // create
  bool counted = false, digest = false;
  // select
  std::uint64_t index = 0;
  // compare
  std::string store2, tree2;
  bool brief = false;

  // scan, delete-range
  std::optional<std::string> from, to, prefix;
  std::optional<std::uint64_t> limit;
  bool reverse = false;
  bool keys_only = false;
  bool count = false;

  // load, save
  std::vector<std::string> trees;  // at most one for load; upgrade: none is all
  text_format format = text_format::jsonl;
  std::string file = "-";  // "-": standard input or output
  std::uint64_t batch_records = 1000;
  bool ack = false;
  bool bulk = true;  // load: sorted records into empty trees in bulk
  bool lenient = false;
  bool print = false;
  std::optional<std::uint64_t> mapsize;
  std::uint32_t node_bytes = 16 << 10;  // of trees that are created
  std::vector<std::pair<std::string, std::uint32_t>> node_bytes_of;
  std::uint32_t key_bytes = 0, value_bytes = 0;  // of trees that are created; 0: they vary
  bool key_checksums = false, value_checksums = false;  // of trees that are created
  key_order order = key_order::raw;              // of trees that are created
  bool whole_keys = false, whole_separators = false;

  // What a tree that is made is like.
  tree_options new_tree() const {
    tree_options o{node_bytes, key_bytes, value_bytes};
    o.order = order;
    o.prefix_compression = !whole_keys;
    o.suffix_truncation = !whole_separators;
    o.key_checksums = key_checksums;
    o.value_checksums = value_checksums;
    return o;
  }

  // fsck, undo
  bool check_only = false;  // what it does without options
  bool safe_repairs = false, repair = false;
  bool check_always = false;  // also a clean store, with safe_repairs
  bool salvage = false;
  std::string undo_file;

  // mkfs, grow
  std::uint64_t size_bytes = 0;  // 0: the default
  std::uint64_t log_bytes = 0;
  std::uint32_t max_node_bytes = 64 << 10;
  bool force = false;
};

// RETURNS: the exit code when all went as asked (`get` of a missing key and fsck's bits included).
outcome<int> run_mkfs(const command& c);
outcome<int> run_grow(const command& c);
outcome<int> run_trees(const command& c);
outcome<int> run_put(const command& c);
outcome<int> run_get(const command& c);
outcome<int> run_del(const command& c);
outcome<int> run_drop(const command& c);
outcome<int> run_delete_range(const command& c);
outcome<int> run_scan(const command& c);
outcome<int> run_load(const command& c);
outcome<int> run_save(const command& c);
outcome<int> run_fsck(const command& c);
outcome<int> run_undo(const command& c);
outcome<int> run_stat(const command& c);
outcome<int> run_upgrade(const command& c);
outcome<int> run_create(const command& c);
outcome<int> run_count(const command& c);
outcome<int> run_rank(const command& c);
outcome<int> run_select(const command& c);
outcome<int> run_compare(const command& c);

}  // namespace pleach::tool
