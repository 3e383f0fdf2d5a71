// Records of the log as bytes: a page's dirty map becomes a PAGE record; a PAGE record is applied
// to a page.
//
// What it is not: it knows no block, group or page cache. Encoding trusts its input; decoding
// trusts nothing.
//
// I1 encode, then apply to the page before, gives the page after in every captured granule and
//    touches no other.
// I2 apply never reads outside the body nor writes outside the page, and accepts a body only if it
//    is used up exactly.
#pragma once

#include <vector>

#include "be/base/error.hh"
#include "txn/log_format.hh"

namespace pleach::txn {

/// Runs of set bits of a dirty map (64 granules of 8 bytes a word).
struct map_measure {
  u32 runs = 0;
  u64 body_bytes = sizeof(page_body);
};
map_measure measure_map(const u64* map, u32 words);

/// Appends one PAGE record to `out`.
/// RETURNS: captured bytes. `omit_last_run` is a planted bug's.
u64 encode_page(std::vector<std::byte>& out, page_ref ref, u8 flags, const std::byte* page,
                const u64* map, u32 words, u64 sum, bool omit_last_run = false);
void encode_free(std::vector<std::byte>& out, page_ref ref);

/// Largest body that a PAGE record of a page of `page_bytes` can have.
constexpr u64 max_page_body(u64 page_bytes) {
  return sizeof(page_body) + 2 * page_bytes;
}

/// Applies the runs of a PAGE record's body to `page` (zero-filled first by the caller if the
/// record says FORMAT).
/// ERRORS: bad_record; the page is then unspecified.
status apply_page(cbytes body, bytes page);

}  // namespace pleach::txn
