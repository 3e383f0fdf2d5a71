// Proves: the tables of doc/format.md and the structs agree, field by field.
//
// A table is the rows `| offset | size | field | meaning |` under a heading `### struct_name`;
// further columns and other tables are ignored. To add a struct: its fields below with
// PLEACH_FIELD, one line in `structs`. The fields must be in order and without gaps, so a field
// that is missing here or in the page is found.
#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "be/space_policy.hh"
#include "be/volume.hh"
#include "btree/node_format.hh"
#include "btree/value_map_format.hh"
#include "repair/undo_file.hh"
#include "txn/log_format.hh"

namespace {
using namespace pleach;
using namespace pleach::btree;
using namespace pleach::txn;

struct field {
  std::string name;
  u64 offset, size;
};
struct layout {
  const char* name;
  u64 size;
  std::vector<field> fields;
};

#define PLEACH_FIELD(STRUCT, NAME) \
  { #NAME, offsetof(STRUCT, NAME), sizeof(STRUCT::NAME) }

const layout structs[] = {
    {"page_header",
     sizeof(page_header),
     {PLEACH_FIELD(page_header, magic), PLEACH_FIELD(page_header, kind),
      PLEACH_FIELD(page_header, format), PLEACH_FIELD(page_header, checksum),
      PLEACH_FIELD(page_header, address), PLEACH_FIELD(page_header, store_id),
      PLEACH_FIELD(page_header, tree_id), PLEACH_FIELD(page_header, lsn),
      PLEACH_FIELD(page_header, generation), PLEACH_FIELD(page_header, level),
      PLEACH_FIELD(page_header, tail), PLEACH_FIELD(page_header, key_epoch),
      PLEACH_FIELD(page_header, reserved0), PLEACH_FIELD(page_header, flags),
      PLEACH_FIELD(page_header, reserved1)}},
    {"log_segment",
     sizeof(log_segment),
     {PLEACH_FIELD(log_segment, device), PLEACH_FIELD(log_segment, reserved),
      PLEACH_FIELD(log_segment, start), PLEACH_FIELD(log_segment, blocks)}},
    {"lsn_range",
     sizeof(lsn_range),
     {PLEACH_FIELD(lsn_range, first), PLEACH_FIELD(lsn_range, last)}},
    {"superblock",
     sizeof(superblock),
     {PLEACH_FIELD(superblock, magic),        PLEACH_FIELD(superblock, version),
      PLEACH_FIELD(superblock, checksum_id),  PLEACH_FIELD(superblock, block_shift),
      PLEACH_FIELD(superblock, copy),         PLEACH_FIELD(superblock, checksum),
      PLEACH_FIELD(superblock, uuid),         PLEACH_FIELD(superblock, compat),
      PLEACH_FIELD(superblock, ro_compat),    PLEACH_FIELD(superblock, incompat),
      PLEACH_FIELD(superblock, generation),   PLEACH_FIELD(superblock, incarnation),
      PLEACH_FIELD(superblock, blocks),       PLEACH_FIELD(superblock, group_blocks),
      PLEACH_FIELD(superblock, root_block),   PLEACH_FIELD(superblock, max_node_blocks),
      PLEACH_FIELD(superblock, page_tail),    PLEACH_FIELD(superblock, torn_mode),
      PLEACH_FIELD(superblock, device_count), PLEACH_FIELD(superblock, log),
      PLEACH_FIELD(superblock, salt),         PLEACH_FIELD(superblock, first_seq),
      PLEACH_FIELD(superblock, base_lsn),     PLEACH_FIELD(superblock, clean_seq),
      PLEACH_FIELD(superblock, dwb_block),    PLEACH_FIELD(superblock, dwb_blocks),
      PLEACH_FIELD(superblock, lost),         PLEACH_FIELD(superblock, reserved)}},
    {"undo_header",
     sizeof(repair::undo_header),
     {PLEACH_FIELD(repair::undo_header, magic), PLEACH_FIELD(repair::undo_header, version),
      PLEACH_FIELD(repair::undo_header, reserved0), PLEACH_FIELD(repair::undo_header, uuid),
      PLEACH_FIELD(repair::undo_header, store_bytes), PLEACH_FIELD(repair::undo_header, checksum),
      PLEACH_FIELD(repair::undo_header, reserved)}},
    {"undo_entry",
     sizeof(repair::undo_entry),
     {PLEACH_FIELD(repair::undo_entry, magic), PLEACH_FIELD(repair::undo_entry, reserved0),
      PLEACH_FIELD(repair::undo_entry, offset), PLEACH_FIELD(repair::undo_entry, length),
      PLEACH_FIELD(repair::undo_entry, old_sum), PLEACH_FIELD(repair::undo_entry, new_sum),
      PLEACH_FIELD(repair::undo_entry, reserved), PLEACH_FIELD(repair::undo_entry, checksum)}},
    {"root_record",
     sizeof(root_record),
     {PLEACH_FIELD(root_record, header), PLEACH_FIELD(root_record, next_tree_id),
      PLEACH_FIELD(root_record, groups_formatted), PLEACH_FIELD(root_record, volume_blocks),
      PLEACH_FIELD(root_record, host_position), PLEACH_FIELD(root_record, catalogue_root),
      PLEACH_FIELD(root_record, catalogue_gen), PLEACH_FIELD(root_record, reserved0),
      PLEACH_FIELD(root_record, reserved)}},
    {"bitmap_page",
     block_bytes,
     {{"header", 0, page_header_bytes}, {"bits", bitmap_payload_offset, group_blocks_max / 8}}},
    {"node_header",
     sizeof(node_header),
     {PLEACH_FIELD(node_header, slot_begin), PLEACH_FIELD(node_header, count),
      PLEACH_FIELD(node_header, heap_begin), PLEACH_FIELD(node_header, garbage),
      PLEACH_FIELD(node_header, low_length), PLEACH_FIELD(node_header, high_length),
      PLEACH_FIELD(node_header, low_offset), PLEACH_FIELD(node_header, high_offset),
      PLEACH_FIELD(node_header, prefix_length), PLEACH_FIELD(node_header, node_flags),
      PLEACH_FIELD(node_header, prefix_offset), PLEACH_FIELD(node_header, right_addr),
      PLEACH_FIELD(node_header, right_gen), PLEACH_FIELD(node_header, key_bytes),
      PLEACH_FIELD(node_header, value_bytes), PLEACH_FIELD(node_header, record_count),
      PLEACH_FIELD(node_header, byte_count)}},
    {"slot", sizeof(slot), {PLEACH_FIELD(slot, offset), PLEACH_FIELD(slot, head)}},
    {"child_reference",
     sizeof(child_reference),
     {PLEACH_FIELD(child_reference, addr), PLEACH_FIELD(child_reference, gen)}},
    {"child_aggregate",
     sizeof(child_aggregate),
     {PLEACH_FIELD(child_aggregate, count), PLEACH_FIELD(child_aggregate, digest_low),
      PLEACH_FIELD(child_aggregate, digest_high)}},
    {"value_reference",
     sizeof(value_reference),
     {PLEACH_FIELD(value_reference, length), PLEACH_FIELD(value_reference, run),
      PLEACH_FIELD(value_reference, count), PLEACH_FIELD(value_reference, gen),
      PLEACH_FIELD(value_reference, checksum)}},
    {"value_map_header",
     sizeof(value_map_header),
     {PLEACH_FIELD(value_map_header, magic), PLEACH_FIELD(value_map_header, version),
      PLEACH_FIELD(value_map_header, chunk_blocks), PLEACH_FIELD(value_map_header, store_id),
      PLEACH_FIELD(value_map_header, tree_id), PLEACH_FIELD(value_map_header, key_hash),
      PLEACH_FIELD(value_map_header, length), PLEACH_FIELD(value_map_header, runs),
      PLEACH_FIELD(value_map_header, chunks), PLEACH_FIELD(value_map_header, reserved)}},
    {"tree_record",
     sizeof(tree_record),
     {PLEACH_FIELD(tree_record, id), PLEACH_FIELD(tree_record, root_addr),
      PLEACH_FIELD(tree_record, root_gen), PLEACH_FIELD(tree_record, flags),
      PLEACH_FIELD(tree_record, value_bytes), PLEACH_FIELD(tree_record, state),
      PLEACH_FIELD(tree_record, node_blocks), PLEACH_FIELD(tree_record, order),
      PLEACH_FIELD(tree_record, key_bytes), PLEACH_FIELD(tree_record, created_lsn),
      PLEACH_FIELD(tree_record, ttl_default_ms)}},
    {"log_block_header",
     sizeof(log_block_header),
     {PLEACH_FIELD(log_block_header, magic), PLEACH_FIELD(log_block_header, version),
      PLEACH_FIELD(log_block_header, flags), PLEACH_FIELD(log_block_header, store_id),
      PLEACH_FIELD(log_block_header, salt), PLEACH_FIELD(log_block_header, seq),
      PLEACH_FIELD(log_block_header, group), PLEACH_FIELD(log_block_header, log_start),
      PLEACH_FIELD(log_block_header, durable_upto), PLEACH_FIELD(log_block_header, prev_checksum),
      PLEACH_FIELD(log_block_header, index), PLEACH_FIELD(log_block_header, payload_length),
      PLEACH_FIELD(log_block_header, hash_kind), PLEACH_FIELD(log_block_header, reserved0),
      PLEACH_FIELD(log_block_header, host_position), PLEACH_FIELD(log_block_header, reserved1),
      PLEACH_FIELD(log_block_header, checksum)}},
    {"record_header",
     sizeof(record_header),
     {PLEACH_FIELD(record_header, type), PLEACH_FIELD(record_header, flags),
      PLEACH_FIELD(record_header, reserved), PLEACH_FIELD(record_header, length)}},
    {"page_body",
     sizeof(page_body),
     {PLEACH_FIELD(page_body, addr), PLEACH_FIELD(page_body, gen), PLEACH_FIELD(page_body, runs),
      PLEACH_FIELD(page_body, sum)}},
    {"free_body",
     sizeof(free_body),
     {PLEACH_FIELD(free_body, addr), PLEACH_FIELD(free_body, gen),
      PLEACH_FIELD(free_body, reserved)}},
};

std::string trim(std::string s) {
  const char* blank = " \t`";
  std::size_t from = s.find_first_not_of(blank);
  return from == std::string::npos ? "" : s.substr(from, s.find_last_not_of(blank) - from + 1);
}

std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> out;
  for (std::size_t at = 1; at < line.size();) {
    std::size_t end = line.find('|', at);
    if (end == std::string::npos) break;
    out.push_back(trim(line.substr(at, end - at)));
    at = end + 1;
  }
  return out;
}

bool is_number(const std::string& s) {
  return !s.empty() && s.find_first_not_of("0123456789") == std::string::npos;
}

/// The field rows under each `### name`, as written.
std::map<std::string, std::vector<field>> read_tables(const char* path) {
  std::map<std::string, std::vector<field>> tables;
  std::ifstream in(path);
  std::string line, heading;
  while (std::getline(in, line)) {
    if (line.starts_with("#")) heading = line.starts_with("### ") ? trim(line.substr(4)) : "";
    if (heading.empty() || !line.starts_with("|")) continue;
    std::vector<std::string> c = cells(line);
    if (c.size() < 4 || !is_number(c[0]) || !is_number(c[1])) continue;
    tables[heading].push_back({c[2], std::stoull(c[0]), std::stoull(c[1])});
  }
  return tables;
}

std::string text_of(const field& f) {
  return f.name + " at " + std::to_string(f.offset) + " size " + std::to_string(f.size);
}

/// RETURNS: the first difference between the page and the struct, or "".
std::string difference(const layout& s, const std::vector<field>& rows) {
  u64 end = 0;
  for (std::size_t i = 0; i < s.fields.size(); ++i) {
    const field& f = s.fields[i];
    if (f.offset != end) return "this test lacks a field before " + text_of(f);
    end = f.offset + f.size;
    if (i >= rows.size()) return "the page lacks " + text_of(f);
    if (text_of(rows[i]) != text_of(f))
      return "the page says " + text_of(rows[i]) + ", the struct " + text_of(f);
  }
  if (end != s.size) return "this test lacks a field at the end";
  if (rows.size() > s.fields.size())
    return "the page has a field too many: " + text_of(rows.back());
  return "";
}

DOCTEST_TEST_CASE("doc/format.md is the layout of the structs") {
  auto tables = read_tables(PLEACH_FORMAT_DOC);
  for (const layout& s : structs) {
    DOCTEST_CAPTURE(std::string(s.name));
    DOCTEST_CHECK(difference(s, tables[s.name]) == "");
  }
}

DOCTEST_TEST_CASE("a wrong page is found out") {
  const layout& s = structs[0];
  std::vector<field> rows = s.fields;
  DOCTEST_CHECK(difference(s, rows) == "");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::vector<field> bad = rows;
    bad[i].offset += 1;
    DOCTEST_CHECK(difference(s, bad) != "");
    bad = rows;
    bad[i].size += 1;
    DOCTEST_CHECK(difference(s, bad) != "");
    bad = rows;
    bad[i].name += "x";
    DOCTEST_CHECK(difference(s, bad) != "");
    bad = rows;
    bad.erase(bad.begin() + static_cast<std::ptrdiff_t>(i));
    DOCTEST_CHECK(difference(s, bad) != "");
  }
  rows.push_back({"extra", 64, 1});
  DOCTEST_CHECK(difference(s, rows) != "");
}
}  // namespace
