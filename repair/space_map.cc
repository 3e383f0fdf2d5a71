#include "repair/space_map.hh"

#include <fmt/format.h>

#include "be/space_policy.hh"

namespace pleach::repair {

namespace {
page_addr bitmap_of(const raw_store& s, u64 group) {
  return {bitmap_block(group, s.vol.super.group_blocks), 1};
}
bool bit(cbytes page, u64 i) {
  return (static_cast<u8>(page[bitmap_payload_offset + i / 8]) >> i % 8 & 1) != 0;
}
}  // namespace

void space_map::load(u64 groups) {
  groups_ = groups;
  used_.reset(store_.blocks());
  sound_.assign(groups, false);
  const u64 size = store_.vol.super.group_blocks;
  page_buffer page(1);
  for (u64 g = 0; g < groups; ++g) {
    const page_addr at = bitmap_of(store_, g);
    reached_.claim(at);
    const generation_t gen = format_generation;
    sound_[g] = store_.read_page(at, &gen, page).has_value() &&
                page.header().kind == static_cast<u16>(page_kind::bitmap);
    const u64 first = g * size, end = std::min(first + size, store_.blocks());
    for (u64 b = first; b < end; ++b)
      if (!sound_[g] || bit(page.all(), b - first)) used_.add(b, 1);
  }
}

bool space_map::is_free(u64 block) {
  if (reached_.has(block)) return false;
  if (!used_.has(block)) return true;
  if (sound_[block / store_.vol.super.group_blocks]) return false;
  page_buffer page(1);
  if (!read_blocks(store_.loop, store_.dev, block, page.all())) return false;
  return std::ranges::all_of(page.all(), [](std::byte b) { return b == std::byte{0}; });
}

page_addr space_map::allocate(u32 blocks) {
  const u64 size = store_.vol.super.group_blocks;
  const u64 end = std::min(groups_ * size, store_.blocks());
  u64 run = 0;
  for (u64 b = hint_; b < end; ++b) {
    const bool free = is_free(b);
    run = free && b % size != 0 ? run + 1 : free ? 1 : 0;
    if (run < blocks) continue;
    const page_addr at(b + 1 - blocks, blocks);
    reached_.claim(at);
    if (blocks == 1) hint_ = b + 1;
    return at;
  }
  return page_addr();
}

void space_map::settle(journal& j) {
  for (u64 g = 0; g < groups_; ++g) settle_group(g, j);
}

void space_map::settle_group(u64 group, journal& j) {
  const u64 size = store_.vol.super.group_blocks, first = group * size;
  const u64 end = std::min(first + size, store_.blocks());
  page_buffer page(1);
  page.clear();
  format_bitmap(page.all(), store_.vol.super, group, format_generation);
  u64 leaked = 0, missing = 0;
  for (u64 b = first; b < end; ++b) {
    const u32 i = static_cast<u32>(b - first);
    const bool in_use = reached_.has(b);
    if (in_use) set_bits(page.all().data() + bits_range(i, 1).offset, i, 1, true);
    leaked += sound_[group] && used_.has(b) && !bit(page.all(), i);
    missing += sound_[group] && !used_.has(b) && in_use;
  }
  // What the repair itself took was free before, and is no fault.
  if (sound_[group] && leaked == 0 && missing == 0) return;
  const std::string where = fmt::format("bitmap of group {}", group);
  const std::string what =
      !sound_[group] ? std::string("its bytes are damaged")
                     : fmt::format(
                           "{} blocks are marked used and belong to nothing, {} are in use "
                           "and marked free",
                           leaked, missing);
  if (store_.write_page(page))
    j.fixed(where, what, "written anew");
  else
    j.leave(where, what + "; it cannot be written");
}

}  // namespace pleach::repair
