// Writing a whole node anew: what goes in (a `blueprint`), how many bytes that takes, and the
// writing itself.
//
// Used by format, compact, split, merge, copy and by fences that need a rewrite. A blueprint only
// refers to its sources, which must stay as they are until `write_layout` is done: so pages that
// are rewritten in place are written into scratch memory first and the differences put into the
// page afterwards.
#pragma once

#include "btree/node_detail.hh"

namespace pleach::btree::detail {

/// A run of records of one source node.
struct part {
  node_view node;
  u32 begin;
  u32 end;
  const cbytes* first_key =
      nullptr;  ///< full key that replaces the first one's (inner nodes: merge)
};

struct blueprint {
  u32 node_bytes;
  u32 payload_end;
  bool leaf;
  u16 format;  ///< of the node as it is written
  record_shape shape;
  cbytes low;
  cbytes high;  ///< ignored without has_high
  bool has_high;
  cbytes prefix;  ///< shared by all keys; free of cost if `low` starts with it
  const part* parts;
  u32 part_count;

  u32 capacity() const { return payload_end - slot_area_begin; }
  u32 count() const;
  /// Bytes of fences and prefix in the heap.
  u32 fence_bytes() const;
  /// Bytes of slots and heap.
  u32 total_bytes() const;
};

/// Sets `b.prefix` (to nothing with NO_PREFIX): what the fences (and `extra`) share, or `stored`
/// where that is longer and all keys share it. The shorter one is taken if the node then uses no
/// more than `budget` bytes: keys anywhere between the fences then fit without another rewrite. 0:
/// never take more bytes than with `stored`.
void choose_prefix(blueprint& b, cbytes stored, const cbytes* extra, u32 budget);

struct layout {
  u32 slot_begin;
  u32 slot_end;
  u32 heap_begin;
};
/// REQUIRES: total_bytes() <= capacity().
layout plan_layout(const blueprint& b);
/// Writes slots, heap and the first half of the node header (all but right hint and counters) at
/// `base`.
void write_layout(std::byte* base, const blueprint& b, const layout& l);
/// Announces and writes into a page that is none of the sources.
void write_new(page_writer w, const blueprint& b);
/// Sets the format in the page header, where it is another one.
void put_format(page_writer w, u16 format);
/// The format of `n` after a rewrite.
u16 format_after(const node_view& n, convert c);
/// Writes into a page that may be a source, through `scratch`; announces only bytes that differ.
void rewrite(page_writer w, const blueprint& b, bytes scratch);

/// The blueprint of `n` as it is.
blueprint blueprint_of(const node_view& n, const part* whole);

}  // namespace pleach::btree::detail
