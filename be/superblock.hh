// The four superblock copies as plain bytes: sealing, checking and choosing. Pure functions, no
// I/O.
//
// I1 A copy counts only if its magic, its checksum and its own copy number are right and its fields
//    are possible.
// I2 The copies that count agree on the uuid, or the uuid of most of them wins, or none does.
// I3 Of those the highest generation wins; copies of one generation are equal but for number and
//    checksum.
#pragma once

#include <array>

#include "be/base/error.hh"
#include "be/superblock_format.hh"

namespace pleach {

enum class copy_state : u8 {
  UNREADABLE,  ///< the device could not read it
  NO_MAGIC,    ///< something else, or nothing
  BAD_SUM,     ///< magic, but the checksum is wrong
  MISPLACED,   ///< another copy at this place (misdirected write)
  BAD_FIELDS,  ///< the checksum is right, the geometry is impossible
  NEWER,       ///< good, of a version or with a feature that this program cannot read
  FOREIGN,     ///< good, but of another store than most copies
  STALE,       ///< good, of an older generation: a crash came between two copies
  GOOD,
};
const char* name_of(copy_state s);

/// Sets copy number and checksum.
void seal(superblock& s, u32 copy);

/// RETURNS: what `s`, read from the place of `copy`, is, without looking at the others.
copy_state check_copy(const superblock& s, u32 copy);

struct superblock_choice {
  u32 best = 0;
  std::array<copy_state, superblock_copies> states{};
};
/// `states` on entry: UNREADABLE for copies that could not be read, anything else otherwise.
/// ERRORS: not_a_store (no magic anywhere), corrupt_superblock (magic but no copy that counts, or
/// two stores with as many copies each), newer_format, io (nothing found and some copies
/// unreadable).
result<superblock_choice> choose(const std::array<const superblock*, superblock_copies>& copies,
                                 std::array<copy_state, superblock_copies> states);

/// Remembers LSNs that no page may carry; the oldest range is forgotten when all places are taken.
void add_lost(superblock& s, lsn_t first, lsn_t last);
/// RETURNS: whether a page that carries `lsn` was written by a group that is no part of the store's
/// history.
bool is_lost(const superblock& s, lsn_t lsn);

}  // namespace pleach
