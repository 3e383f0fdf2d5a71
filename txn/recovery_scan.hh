// Pass 1 of recovery: finds the end of the log and its live window, checks the chain, fills the
// index.
//
// What it is not: it looks at no page and changes nothing.
//
//   1. The head is the valid block of this incarnation with the highest sequence number.
//   2. Walk from the head's log_start: salt, sequence, chain, group order, FIRST .. LAST, record
//      structure.
//   3. The first block that fails ends the log. It is a torn tail unless something says that it had
//      been durable.
//
// I1 A group counts only if all of its blocks do (no short cut by its first and last).
// I2 Evidence of a lost durable group is `corrupt_log`, never a silent end.
#pragma once

#include <string>

#include "txn/log_reader.hh"
#include "txn/recovery_index.hh"

namespace pleach::txn {

struct log_window {
  bool empty = true;       ///< no block of this incarnation
  u64 start = 0;           ///< first block to be applied
  u64 end = 0;             ///< behind the last complete group; the next block has this number
  lsn_t last = 0;          ///< newest complete group
  lsn_t durable_upto = 0;  ///< newest group of which the log itself says that it was durable
  u64 groups = 0;
  u64 records = 0;
  u64 dropped_blocks = 0;  ///< of a torn tail
};

/// ERRORS: corrupt_log (I2, or records that break their format), no_memory (index full), io. `why`
/// says it in words. `cut_short`, if not null, is for a salvage: instead of corrupt_log the window
/// ends behind the last group before the damage, and it is set.
result<log_window> scan_log(const log_area& area, const superblock& super, block_source& source,
                            recovery_index& index, std::string& why, bool* cut_short = nullptr);

}  // namespace pleach::txn
