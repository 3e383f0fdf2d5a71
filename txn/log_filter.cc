#include "txn/log_filter.hh"

#include "be/base/planted.hh"
#include "txn/record_codec.hh"

namespace pleach::txn {

namespace {

void clear_stamp(bytes page) {
  page_header& h = header_of(page.data());
  h.checksum = 0;
  h.lsn = lsn_none;
}

}  // namespace

bool is_newer_than_log(cbytes page, page_addr addr, u64 store_id, const log_window& w) {
  const page_header& h = header_of(page.data());
  return h.magic == page_magic && h.store_id == store_id && h.address == addr.raw && h.lsn > w.last;
}

status apply_entries(std::span<const index_entry> entries, log_reader& reader, const log_window& w,
                     u64 store_id, bytes page, std::vector<std::byte>& body, u64& sum, lsn_t& lsn) {
  PLEACH_ASSERT(!entries.empty());
  lsn_t home = entries.front().is_format() ? lsn_none : lsn_t{header_of(page.data()).lsn};
  clear_stamp(page);
  page_body last{};
  for (const index_entry& e : entries) {
    u64 group = 0;
    if (status s = reader.copy(w.start + e.block(), e.offset(), sizeof(record_header) + e.length(),
                               w.end, body, group);
        !s)
      return s;
    lsn = group;
    cbytes record = cbytes(body).subspan(sizeof(record_header));
    std::memcpy(&last, record.data(), sizeof last);
    if (last.addr != e.addr) return fail(errc::corrupt_log);
    if (PLEACH_PLANTED("page_lsn_skip") && home >= group) continue;
    if (e.is_format()) std::memset(page.data(), 0, page.size());
    if (status s = apply_page(record, page); !s) return s;
  }
  // Stamped at write-back, never captured: zero in every after-image.
  clear_stamp(page);
  u64 found = page_sum(page, page_seed(store_id, page_addr(entries.front().addr), last.gen));
  sum = last.sum;
  if (PLEACH_PLANTED("after_image_skipped") || PLEACH_PLANTED("page_lsn_skip")) sum = found;
  if (found != sum) return fail(errc::corrupt);
  return {};
}

log_filter::log_filter(const superblock& super, io::device& dev, u64 index_bytes)
    : index(index_bytes),
      super_(super),
      area_(super_),
      source_(dev),
      reader_(area_, load_le<u64>(super_.uuid), super_.salt, source_, 1, 128) {}

bool log_filter::formats(page_addr addr) {
  auto e = index.of(addr);
  return !e.empty() && e.front().is_format();
}

cache::load_filter::answer log_filter::apply(page_addr addr, bytes page, u64& sum, lsn_t& lsn) {
  auto entries = index.of(addr);
  if (entries.empty()) return answer::UNTOUCHED;
  if (!entries.front().is_format() &&
      is_newer_than_log(page, addr, load_le<u64>(super_.uuid), window))
    return answer::CORRUPT;
  status s =
      apply_entries(entries, reader_, window, load_le<u64>(super_.uuid), page, body_, sum, lsn);
  return s ? answer::APPLIED : answer::CORRUPT;
}

}  // namespace pleach::txn
