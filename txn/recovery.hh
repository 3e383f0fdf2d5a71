// Recovery for writing: every page that the log touches is read, brought up to date, compared and
// written home; then one flush.
//
// What it is not: it goes around the page cache, so that it needs nothing but a bounded buffer, and
// it changes nothing of the log: a crash at any moment of it is as safe as the first one.
//
// I1 Records are applied unconditionally and in log order; the home's own LSN is never asked. A
//    home page may be a mixture of sectors of several images, so its checksum is not tested; the
//    after-image of the last record is.
// I2 Nothing refers to a shorter log before all pages are home and flushed.
#pragma once

#include <string>
#include <vector>

#include "txn/log_filter.hh"

namespace pleach::txn {

struct recovery_result {
  u64 next_seq = 0;  ///< of the next log block
  lsn_t last = 0;    ///< newest group
  lsn_t next_lsn =
      0;          ///< of the next group: beyond all numbers that groups of a lost tail may have had
  u64 pages = 0;  ///< brought up to date
  bool anything = false;
};

/// What a recovery that is to save what can be saved had to leave out, a sentence each. A log that
/// is damaged ends before the damage. A page that cannot be brought up to date stays as it is.
using left_out = std::vector<std::string>;

/// Blocking. `report` receives a sentence for the operator, also on failure.
/// ERRORS: corrupt_log, corrupt (after-image differs, page named), io (page named), no_memory. With
/// `salvage` no_memory only, and io of the log.
result<recovery_result> recover(sm::reactor& loop, io::device& dev, volume& v, u64 index_bytes,
                                u64 buffer_bytes, std::string& report, left_out* salvage = nullptr);

/// Words for what pass 1 found.
std::string describe(const log_window& w);

}  // namespace pleach::txn
