#include "repair/raw_store.hh"

#include "be/page.hh"

namespace pleach::repair {

status raw_store::read(page_addr a, page_buffer& to) {
  PLEACH_ASSERT(possible(a));
  to.set_blocks(a.blocks());
  return read_blocks(loop, dev, a.block(), to.all());
}

status raw_store::read_page(page_addr a, const generation_t* gen, page_buffer& to, lsn_t* lsn_out) {
  if (!possible(a)) return fail(errc::corrupt);
  if (status s = read(a, to); !s) return s;
  result<unstamped> u = unstamp(to.all(), a, vol.store_id(), gen);
  if (!u) return fail(u.error());
  if (u->lsn > lsn || is_lost(vol.super, u->lsn)) return fail(errc::corrupt);
  if (lsn_out != nullptr) *lsn_out = u->lsn;
  const u16 kind = to.header().kind;
  const bool node =
      kind == static_cast<u16>(page_kind::leaf) || kind == static_cast<u16>(page_kind::inner);
  if (node && !is_ok(btree::check_node(to.all()))) return fail(errc::corrupt);
  return {};
}

status raw_store::begin() {
  if (begun_) return {};
  vol.super.base_lsn = lsn;
  if (status s = write_superblocks(loop, dev, vol); !s) return s;
  begun_ = true;
  return {};
}

status raw_store::end() {
  return begun_ ? flush_device(loop, dev) : status{};
}

status raw_store::write_page(page_buffer& p) {
  if (status s = begin(); !s) return s;
  page_header& h = p.header();
  const page_addr a(h.address);
  h.checksum = 0;
  h.lsn = lsn_none;
  stamp(p.all(), page_sum(p.all(), page_seed(vol.store_id(), a, h.generation)), lsn);
  ++pages_written;
  status s = write_blocks(loop, dev, a.block(), p.all(), false);
  h.checksum = 0;
  h.lsn = lsn_none;
  return s;
}

}  // namespace pleach::repair
