#include "be/page.hh"

#include "be/base/assert.hh"

namespace pleach {

namespace {
/// The LSN is outside the sum, so that the sum of an image is that of the frame. Its term is added
/// to the stored checksum only, so that a damaged LSN is seen too; mix64 is a bijection.
u64 stored_checksum(u64 sum, lsn_t lsn) { return sum + mix64(lsn); }
}  // namespace

u64 page_sum(cbytes page, u64 seed) {
  PLEACH_ASSERT(page.size() % granule_bytes == 0);
  u64 sum = 0;
  u32 index = 0;
  for (u64 at = 0; at < page.size(); at += granule_bytes)
    sum += granule_term(page.subspan(at, granule_bytes), seed, index++);
  return sum;
}

void format_header(bytes page, page_kind kind, u16 format, page_addr addr, u64 store_id,
                   tree_id_t tree, generation_t gen, u8 level) {
  PLEACH_ASSERT(page.size() == addr.size() && kind != page_kind::invalid);
  page_header& h = header_of(page.data());
  h = {};
  h.magic = page_magic;
  h.kind = static_cast<u16>(kind);
  h.format = format;
  h.address = addr.raw;
  h.store_id = store_id;
  h.tree_id = tree;
  h.generation = gen;
  h.level = level;
}

void stamp(bytes image, u64 sum, lsn_t lsn) {
  page_header& h = header_of(image.data());
  PLEACH_ASSERT(h.checksum == 0 && h.lsn == 0 && lsn != lsn_none);
  h.checksum = stored_checksum(sum, lsn);
  h.lsn = lsn;
}

result<unstamped> unstamp(bytes page, page_addr addr, u64 store_id, const generation_t* gen) {
  PLEACH_ASSERT(page.size() == addr.size());
  page_header& h = header_of(page.data());
  if (h.magic != page_magic || h.address != addr.raw || h.store_id != store_id)
    return fail(errc::corrupt);
  if (gen && h.generation != *gen) return fail(errc::corrupt);
  u64 stored = h.checksum;
  lsn_t lsn = h.lsn;
  h.checksum = 0;
  h.lsn = lsn_none;
  u64 sum = page_sum(page, page_seed(store_id, addr, h.generation));
  if (lsn == lsn_none || stored_checksum(sum, lsn) != stored) return fail(errc::corrupt);
  return unstamped{lsn, sum};
}

}  // namespace pleach
