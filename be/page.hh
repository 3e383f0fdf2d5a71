// Identity and sum of a page: pure functions on its bytes. Shared by the cache, recovery and fsck.
//
// In a frame the checksum and LSN fields of the header are always zero; `stamp` fills them into the
// image that is written, `unstamp` verifies and clears them on load. So the sum is over plain bytes
// everywhere.
#pragma once

#include "be/base/checksum.hh"
#include "be/base/error.hh"
#include "be/page_format.hh"

namespace pleach {

/// Sum over all 512-byte granules.
/// REQUIRES: checksum and LSN fields are zero; size multiple of 512.
u64 page_sum(cbytes page, u64 seed);

/// Fills a zeroed frame's header. The caller captures it.
void format_header(bytes page, page_kind kind, u16 format, page_addr addr, u64 store_id,
                   tree_id_t tree, generation_t gen, u8 level);

/// Writes checksum and LSN into an image that is about to go to the device.
void stamp(bytes image, u64 sum, lsn_t lsn);

struct unstamped {
  lsn_t lsn;
  u64 sum;
};
/// Verifies magic, own address, store id, generation (if `gen` != nullptr) and checksum of a page
/// read from the device, and clears checksum and LSN.
/// ERRORS: corrupt; the bytes are then unspecified.
result<unstamped> unstamp(bytes page, page_addr addr, u64 store_id, const generation_t* gen);

inline page_header& header_of(std::byte* page) { return *reinterpret_cast<page_header*>(page); }
inline const page_header& header_of(const std::byte* page) {
  return *reinterpret_cast<const page_header*>(page);
}

}  // namespace pleach
