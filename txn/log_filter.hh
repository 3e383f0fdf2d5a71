// Read-only opening of a store that was not closed: the log is applied to each page as it is
// loaded, and nothing is written.
//
// I1 The bytes it gives are those that recovery would have written home.
#pragma once

#include "pagecache/page_cache.hh"
#include "txn/log_reader.hh"
#include "txn/recovery_scan.hh"

namespace pleach::txn {

class log_filter final : public cache::load_filter {
 public:
  log_filter(const superblock& super, io::device& dev, u64 index_bytes);

  recovery_index index;
  log_window window;

  bool formats(page_addr addr) override;
  answer apply(page_addr addr, bytes page, u64& sum, lsn_t& lsn) override;

 private:
  superblock super_;  ///< its own copy: the view must not move
  log_area area_;
  immediate_source source_;
  log_reader reader_;
  std::vector<std::byte> body_;
};

/// A page never reaches its home before its log record is durable.
/// RETURNS: whether the home bytes are of a group that the log should have, but has not: its end
/// was durable once, and is damaged.
bool is_newer_than_log(cbytes page, page_addr addr, u64 store_id, const log_window& w);

/// Applies the index entries of one page, in order, and compares the after-image of the last.
/// `page`: home bytes, or anything if the first entry is FORMAT. Checksum and LSN fields are zero
/// afterwards.
/// ERRORS: corrupt (after-image differs), corrupt_log, bad_record, io.
status apply_entries(std::span<const index_entry> entries, log_reader& reader, const log_window& w,
                     u64 store_id, bytes page, std::vector<std::byte>& body, u64& sum, lsn_t& lsn);

}  // namespace pleach::txn
