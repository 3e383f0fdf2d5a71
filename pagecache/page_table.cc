#include "pagecache/page_table.hh"

#include <new>

namespace pleach::cache {

u32 page_table::bits_for(u32 capacity) {
  u32 bits = 4;
  while ((u64{3} << bits) / 4 < capacity) ++bits;
  return bits;
}

status page_table::make(descriptor* descriptors, u32 capacity) {
  u32 bits = bits_for(capacity);
  memory_.reset(new (std::nothrow) entry[u64{1} << bits]());
  if (!memory_) return fail(errc::no_memory);
  slots_ = memory_.get();
  descriptors_ = descriptors;
  shift_ = 32 - bits;
  mask_ = (1u << bits) - 1;
  return {};
}

void page_table::insert(descriptor& d) {
  u32 tag = tag_of(d.addr.block());
  u32 i = tag >> shift_;
  while (slots_[i].key != 0) i = (i + 1) & mask_;
  slots_[i] = {u64{tag} << 32 | static_cast<u32>(&d - descriptors_),
               reinterpret_cast<std::uintptr_t>(d.data)};
  ++size_;
}

u32 page_table::slot_of(const descriptor& d) const {
  u32 tag = tag_of(d.addr.block());
  u64 wanted = u64{tag} << 32 | static_cast<u32>(&d - descriptors_);
  for (u32 i = tag >> shift_;; i = (i + 1) & mask_) {
    if (slots_[i].key == wanted) return i;
    if (slots_[i].key == 0) return nowhere;
  }
}

void page_table::moved(const descriptor& d) {
  if (u32 i = slot_of(d); i != nowhere) slots_[i].frame = reinterpret_cast<std::uintptr_t>(d.data);
}

bool page_table::remove(descriptor& d) {
  u32 i = slot_of(d);
  if (i == nowhere) return false;
  // Close the gap: an entry moves back if its home slot is not between the gap and itself.
  for (u32 j = (i + 1) & mask_; slots_[j].key != 0; j = (j + 1) & mask_) {
    u32 home = static_cast<u32>(slots_[j].key >> 32) >> shift_;
    if (((j - home) & mask_) < ((j - i) & mask_)) continue;
    slots_[i] = slots_[j];
    i = j;
  }
  slots_[i] = {};
  --size_;
  return true;
}

const char* page_table::check() const {
  u32 used = 0;
  for (u32 i = 0; i <= mask_; ++i) {
    if (slots_[i].key == 0) continue;
    ++used;
    for (u32 k = static_cast<u32>(slots_[i].key >> 32) >> shift_; k != i; k = (k + 1) & mask_)
      if (slots_[k].key == 0) return "I1: an empty slot before an entry";
  }
  return used == size_ ? nullptr : "I2: count of entries";
}

}  // namespace pleach::cache
