// A store below a repair: its blocks, its superblock, and pages read and written one at a time. No
// cache, no log: the log was applied before.
//
// I1 Everything that is written carries the LSN of the repair, which is greater than that of any
//    group before it, and is less than that of any group to come.
#pragma once

#include <optional>

#include "be/volume.hh"
#include "repair/block_set.hh"
#include "repair/page_buffer.hh"

namespace pleach::repair {

class raw_store {
 public:
  raw_store(sm::reactor& on, io::device& device, const volume& v)
      : loop(on), dev(device), vol(v), lsn(v.super.base_lsn + 1) {}

  sm::reactor& loop;
  io::device& dev;
  volume vol;
  lsn_t lsn;
  u64 pages_written = 0;

  u64 blocks() const { return vol.super.blocks; }
  generation_t generation() const { return static_cast<generation_t>(lsn); }
  u32 max_node_blocks() const { return vol.super.max_node_blocks; }
  bool possible(page_addr a) const {
    return a && a.block() < blocks() && a.blocks() <= blocks() - a.block() &&
           a.blocks() <= max_node_blocks();
  }
  /// Reads the bytes, whatever they are.
  /// ERRORS: io.
  status read(page_addr a, page_buffer& to);
  /// Reads a page that must be sound: its identity, its sum, of a node its inside.
  /// `gen`: that it must have; null: any. `lsn_out`: its LSN; may be null.
  /// ERRORS: io, corrupt.
  status read_page(page_addr a, const generation_t* gen, page_buffer& to, lsn_t* lsn_out = nullptr);
  status read_page(page_ref r, page_buffer& to) { return read_page(r.addr, &r.gen, to); }
  /// Before anything else is written: the superblocks say that the log is empty, and take the LSN.
  status begin();
  /// All that was written is durable.
  status end();
  /// Stamps and writes it where its header says.
  status write_page(page_buffer& p);

 private:
  bool begun_ = false;
};

}  // namespace pleach::repair
