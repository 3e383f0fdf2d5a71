#include "be/superblock.hh"

#include <algorithm>

#include "be/base/checksum.hh"
#include "be/space_policy.hh"
#include "be/volume.hh"

namespace pleach {

namespace {

u64 sum_of(const superblock& s) {
  superblock plain = s;
  plain.checksum = 0;
  return hash64(std::as_bytes(std::span(&plain, 1)));
}

/// RETURNS: true if the segment covers a superblock copy or a group's bitmap.
bool covers_fixed(const log_segment& l, u64 group_blocks) {
  u64 end = l.start + l.blocks;
  for (u32 i = 1; i < superblock_copies; ++i)
    if (l.start <= superblock_block(i) && superblock_block(i) < end) return true;
  return round_up<u64>(l.start, group_blocks) < end;
}

bool log_is_possible(const superblock& s) {
  u64 total = 0, end = 0;
  for (const log_segment& l : s.log) {
    if (l.blocks == 0) {
      if (l.start != 0) return false;
      continue;
    }
    if (l.device != 0 || l.reserved != 0 || l.start < end || l.start < 3 || l.start >= s.blocks ||
        l.blocks > s.blocks - l.start || covers_fixed(l, s.group_blocks))
      return false;
    end = l.start + l.blocks;
    total += l.blocks;
  }
  return total >= min_log_blocks;
}

bool lost_is_possible(const superblock& s) {
  return std::all_of(std::begin(s.lost), std::end(s.lost),
                     [&](const lsn_range& r) { return r.first <= r.last && r.last <= s.base_lsn; });
}

bool fields_are_possible(const superblock& s) {
  if (s.block_shift != block_shift || s.root_block != root_block_number || s.device_count != 1)
    return false;
  if (s.blocks < min_volume_blocks || s.blocks >> 56 != 0) return false;
  if (s.group_blocks < min_volume_blocks || s.group_blocks > group_blocks_max) return false;
  if (s.max_node_blocks == 0 || s.max_node_blocks > max_page_blocks) return false;
  if (s.generation == 0 || s.first_seq == 0) return false;
  return log_is_possible(s) && lost_is_possible(s);
}

bool is_newer(const superblock& s) {
  return s.version > superblock_version || (s.incompat & ~feature_incompat_known) != 0 ||
         s.checksum_id != 1 || s.torn_mode != 1 || s.page_tail != 0 || s.dwb_block != 0;
}

/// Bytes that this version does not know are zero, unless a newer program announced a feature that
/// may use them.
bool reserved_is_zero(const superblock& s) {
  if (s.compat != 0 || (s.ro_compat & ~feature_ro_compat_known) != 0) return true;
  return std::all_of(std::begin(s.reserved), std::end(s.reserved), [](u8 b) { return b == 0; });
}

bool counts(copy_state s) { return s == copy_state::GOOD || s == copy_state::NEWER; }

/// I2.
/// RETURNS: the copy whose uuid most copies have, or -1 on a tie.
int elect_store(const std::array<const superblock*, superblock_copies>& copies,
                const std::array<copy_state, superblock_copies>& states) {
  int best = -1;
  u32 best_votes = 0;
  bool tie = false;
  for (u32 i = 0; i < superblock_copies; ++i) {
    if (!counts(states[i])) continue;
    u32 votes = 0;
    bool first = true;
    for (u32 k = 0; k < superblock_copies; ++k) {
      if (!counts(states[k]) || std::memcmp(copies[i]->uuid, copies[k]->uuid, 16) != 0) continue;
      ++votes;
      if (k < i) first = false;
    }
    if (!first) continue;
    if (votes == best_votes) tie = true;
    if (votes > best_votes) {
      best = static_cast<int>(i);
      best_votes = votes;
      tie = false;
    }
  }
  return tie ? -1 : best;
}

}  // namespace

const char* name_of(copy_state s) {
  switch (s) {
    case copy_state::UNREADABLE: return "unreadable";
    case copy_state::NO_MAGIC: return "no magic number";
    case copy_state::BAD_SUM: return "bad checksum";
    case copy_state::MISPLACED: return "another copy at this place";
    case copy_state::BAD_FIELDS: return "impossible fields";
    case copy_state::NEWER: return "newer format";
    case copy_state::FOREIGN: return "of another store";
    case copy_state::STALE: return "older generation";
    case copy_state::GOOD: return "good";
  }
  return "unknown";
}

void seal(superblock& s, u32 copy) {
  s.copy = copy;
  s.checksum = sum_of(s);
}

copy_state check_copy(const superblock& s, u32 copy) {
  if (s.magic != superblock_magic) return copy_state::NO_MAGIC;
  if (s.checksum != sum_of(s)) return copy_state::BAD_SUM;
  if (s.copy != copy) return copy_state::MISPLACED;
  if (s.version == 0) return copy_state::BAD_FIELDS;
  if (is_newer(s)) return copy_state::NEWER;
  return fields_are_possible(s) && reserved_is_zero(s) ? copy_state::GOOD : copy_state::BAD_FIELDS;
}

result<superblock_choice> choose(const std::array<const superblock*, superblock_copies>& copies,
                                 std::array<copy_state, superblock_copies> states) {
  bool magic = false, unreadable = false, any = false;
  for (u32 i = 0; i < superblock_copies; ++i) {
    if (states[i] != copy_state::UNREADABLE) states[i] = check_copy(*copies[i], i);
    unreadable |= states[i] == copy_state::UNREADABLE;
    magic |= states[i] != copy_state::UNREADABLE && states[i] != copy_state::NO_MAGIC;
    any |= counts(states[i]);
  }
  if (!any) {
    if (magic) return fail(errc::corrupt_superblock);
    return fail(unreadable ? errc::io : errc::not_a_store);
  }
  int elected = elect_store(copies, states);
  if (elected < 0) return fail(errc::corrupt_superblock);
  u32 best = static_cast<u32>(elected);
  for (u32 i = 0; i < superblock_copies; ++i) {
    if (!counts(states[i])) continue;
    if (std::memcmp(copies[i]->uuid, copies[best]->uuid, 16) != 0)
      states[i] = copy_state::FOREIGN;
    else if (copies[i]->generation > copies[best]->generation)
      best = i;
  }
  if (states[best] == copy_state::NEWER) return fail(errc::newer_format);
  for (u32 i = 0; i < superblock_copies; ++i)
    if (counts(states[i]) && copies[i]->generation < copies[best]->generation)
      states[i] = copy_state::STALE;
  return superblock_choice{best, states};
}

void add_lost(superblock& s, lsn_t first, lsn_t last) {
  std::copy_backward(std::begin(s.lost), std::end(s.lost) - 1, std::end(s.lost));
  s.lost[0].first = first;
  s.lost[0].last = last;
}

bool is_lost(const superblock& s, lsn_t lsn) {
  return std::any_of(std::begin(s.lost), std::end(s.lost),
                     [=](const lsn_range& r) { return r.first <= lsn && lsn <= r.last; });
}

}  // namespace pleach
