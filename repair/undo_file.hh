// The undo file of a repair: what stood where the repair wrote, so that it can be put back exactly.
//
//     | header 4096 | entry 64, old bytes | entry 64, old bytes | ...
//
// Entries come in the order of the writes; a place that is written twice has two. Undoing goes
// through them from the last to the first. doc/format.md describes each byte.
//
// I1 An entry is durable before the write that it belongs to begins.
// I2 Every writer of a store writes its superblocks first. So a store in which all superblock
//    copies are what they were before or after a write of the repair was not written since.
#pragma once

#include <string>
#include <vector>

#include "be/io/device.hh"
#include "be/superblock_format.hh"

namespace pleach::repair {

struct undo_header {
  le64 magic;
  le16 version;
  u8 reserved0[6];
  u8 uuid[16];       ///< of the store; zeros if no superblock of it was sound
  le64 store_bytes;  ///< length of the file or device
  le64 checksum;     ///< XXH3-64 of the header with this field zero
  u8 reserved[4096 - 48];
};
static_assert(sizeof(undo_header) == 4096 && alignof(undo_header) == 1);
inline constexpr u64 undo_magic = 0x006f646e754c5031;  // "1PLundo\0"
inline constexpr u16 undo_version = 1;

struct undo_entry {
  le32 magic;
  le32 reserved0;
  le64 offset;   ///< bytes, in the store
  le64 length;   ///< bytes, that follow the entry
  le64 old_sum;  ///< XXH3-64 of them
  le64 new_sum;  ///< XXH3-64 of what was written there then
  u8 reserved[16];
  le64 checksum;  ///< XXH3-64 of the entry with this field zero, seeded with its own offset
};
static_assert(sizeof(undo_entry) == 64 && alignof(undo_entry) == 1);
inline constexpr u32 undo_entry_magic = 0x65754c50;  // "PLue"
inline constexpr u32 undo_seal_magic = 0x73754c50;   // "PLus": the last entry, of no bytes

/// Writes one. Blocking, plain file I/O.
class undo_writer {
 public:
  undo_writer() = default;
  undo_writer(const undo_writer&) = delete;
  ~undo_writer();
  /// Makes the file, which must not be there.
  /// ERRORS: file_exists, io, device_full.
  status create(const std::string& path, const u8 (&uuid)[16], u64 store_bytes);
  /// Adds an entry; durable with the next `sync`.
  status add(u64 offset, cbytes old_bytes, cbytes new_bytes);
  status sync();
  /// The repair ended: from now on whatever is missing of the file is damage.
  status seal();

 private:
  status append(const void* data, u64 length);

  int fd_ = -1;
  u64 end_ = 0;
  bool dirty_ = false;
};

struct undo_result {
  u64 entries = 0, bytes = 0;
};

/// Puts everything back. Nothing is changed before the whole file and the store were looked at.
/// `why` says in words what was wrong.
/// ERRORS: not_a_store (no undo file), corrupt (of the undo file; a torn last entry is none: its
/// write never began), conflict (another store, or written since), io, device_full.
result<undo_result> apply_undo(const std::string& undo_path, sm::reactor& loop, io::device& dev,
                               std::string& why);

}  // namespace pleach::repair
