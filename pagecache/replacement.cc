#include "pagecache/replacement.hh"

#include <algorithm>

#include "be/base/planted.hh"

namespace pleach::cache {

u8 replacement::cap_of(page_kind kind, u8 level) {
  if (kind == page_kind::leaf) return 3;
  return kind == page_kind::inner ? static_cast<u8>(std::min(4 + level, 7)) : u8{7};
}

void replacement::classify(descriptor& d) {
  const page_header& h = d.header();
  d.heat_cap = cap_of(static_cast<page_kind>(u16{h.kind}), h.level);
  if (d.heat_cap > 3) d.heat = std::max<u8>(d.heat, 2);
}

bool replacement::evictable(const descriptor& d) {
  bool dirty = d.rec_lsn != 0 && !PLEACH_PLANTED("evict_dirty");
  return d.pins == 0 && d.state == page_state::RESIDENT && !dirty && d.member_lsn == 0 &&
         d.image == 0 && !d.member_link.linked();
}

descriptor* replacement::victim(u32& steps, bool urgent) {
  const frame_allocator& f = core_.frames;
  u32 barren = 0;  // units since the last page that could have been evicted
  while (steps > 0 && barren < f.count()) {
    if (hand_ < f.first() || hand_ >= f.end()) hand_ = f.first();
    const unit_info& i = core_.memory.info(hand_);
    if (i.use == unit_use::INSIDE) {  // frames merged under the hand
      ++hand_;
      continue;
    }
    --steps;
    hand_ += 1u << i.order;
    barren += 1u << i.order;
    if (i.use != unit_use::USED || i.owner == 0) continue;
    descriptor& d = core_.descriptors[i.owner];
    if (!evictable(d)) continue;
    barren = 0;
    if (d.heat == 0) return &d;
    d.heat = static_cast<u8>(urgent ? d.heat / 2 : d.heat - 1);
  }
  return nullptr;
}

}  // namespace pleach::cache
