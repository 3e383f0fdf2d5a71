// What is attached to the value of a record in a slotted leaf of the second version: the user's
// flags, and checksums of key and value.
//
// The checksums protect a record where the page's sum does not: in memory, where only the
// write-back compares that, and when records are salvaged from a damaged page. They are the low 32
// bits of XXH3-64, seeded with the tree's id (that of the value also with the user's flags), so
// that a record that ends up in another tree is found out. The sum of a large value is that of its
// reference; the extent has its own checksum.
//
// The user's flags: a byte that a write may state. The low four bits belong to the key: a write
// that states none keeps them. The high four belong to the value: a write that states none clears
// them.
#pragma once

#include "btree/tree.hh"

namespace pleach::btree {

/// The attachments of one record, ready to be stored.
struct record_extras {
  u8 key_flags = 0;    ///< to be set: KEY_CHECKSUM, KEY_USER_FLAGS
  u8 value_flags = 0;  ///< to be set: VALUE_CHECKSUM
  u32 size = 0;
  std::byte bytes[max_attached_bytes];
  cbytes attached() const { return {bytes, size}; }
};

inline constexpr u8 user_flags_of_key = 0x0f;
inline constexpr u8 user_flags_of_value = 0xf0;

/// Bytes attached to every record of the tree: its checksums.
inline u32 sum_bytes(const tree& t) {
  return (t.key_sums ? record_sum_bytes : 0) + (t.value_sums ? record_sum_bytes : 0);
}
/// Bytes attached to a record with these flags of the user. No flags take no byte.
inline u32 extra_bytes(const tree& t, u8 user_flags) {
  return sum_bytes(t) + (user_flags != 0);
}
/// `value` as it is stored: inline bytes or a reference.
record_extras make_extras(const tree& t, cbytes key, cbytes value, u8 user_flags);
u8 user_flags_of(const record& r);
/// RETURNS: whether a record of the tree, with this whole key, has the checksums that it must have,
/// and they are right.
bool sums_agree(const tree& t, cbytes key, const record& r);
/// The same for the record at `index`; what every read of a value asks. Nothing is computed in a
/// tree without checksums.
bool record_sound(const tree& t, const node_view& leaf, u32 index);

}  // namespace pleach::btree
