// A volume: a device with superblocks, a root block, a log area and allocation groups. Blocking
// set-up code.
//
// What it is not: it neither recovers nor knows trees; the root block's record for them is opaque
// here.
//
// Media assumptions: doc/durability.md. Copies are written one after the other, each flushed before
// the next, so at any crash at least three of four are whole and the highest good generation is
// right.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "be/io/device.hh"
#include "be/page_format.hh"
#include "be/superblock.hh"

namespace pleach {

/// The root block: a page at `root_block_number`, changed only through the log.
struct root_record {
  page_header header;
  le64 next_tree_id;
  le64 groups_formatted;  ///< allocation groups whose bitmap page exists, from group 0 on
  le64 volume_blocks;     ///< size up to which space may be allocated
  u8 host_position[16];   ///< of an `external` log
  le64 catalogue_root;    ///< page_addr of the catalogue's root, opaque below btree
  le32 catalogue_gen;
  le32 reserved0;
  u8 reserved[4096 - 64 - 56];
};
static_assert(sizeof(root_record) == 4096);

/// Incompat features. Each is set in all superblock copies before the first log block of a group
/// that needs it (txn::engine::require_feature): a store that never used it stays readable to all.
inline constexpr u64 feature_fixed_lengths = 1;  ///< trees of fixed lengths, node format 2
/// Values may be a map of several runs: a program that does not know it would free the map only.
inline constexpr u64 feature_value_maps = 2;
/// The catalogue may name branches that were cut off a tree.
inline constexpr u64 feature_cuts = 4;
/// Trees whose child references carry aggregates, node format 4: a program that does not know them
/// would not keep them up to date.
inline constexpr u64 feature_aggregates = 8;
/// Leaves of node format 3, the second version of slotted ones.
inline constexpr u64 feature_slotted_2 = 16;
/// Trees with a key order of their own, or that store keys or separators whole.
inline constexpr u64 feature_key_orders = 32;
/// Attachments of records: checksums, flags of the user.
inline constexpr u64 feature_record_extras = 64;
/// Keys that are stored as stubs: a program that does not know them would lose their extents.
inline constexpr u64 feature_long_keys = 128;
inline constexpr u64 feature_incompat_known =
    feature_fixed_lengths | feature_value_maps | feature_cuts | feature_aggregates |
    feature_slotted_2 | feature_key_orders | feature_record_extras | feature_long_keys;
inline constexpr u64 feature_ro_compat_known = 0;
/// What the incompat bits stand for, separated by commas; "" of none. Bits of which only newer
/// programs know what they are have their number.
std::string feature_names(u64 incompat);

inline constexpr u64 default_store_bytes = 1ull << 30;
/// Eight keys of 1 KiB fit into nodes of that size: a split always helps (btree/node.hh).
inline constexpr u32 least_max_node_bytes = 16 << 10;
inline constexpr u64 default_log_bytes = 64ull << 20;
inline constexpr u64 min_log_blocks = 32;
inline constexpr u64 min_volume_blocks = 1024;  ///< 4 MiB

inline constexpr u32 log_segments = 4;
/// A volume at least this large has its log behind the superblock copies.
inline constexpr u64 log_home_block = superblock_copies * 256;

struct block_range {
  u64 start = 0;
  u64 blocks = 0;
};

struct geometry {
  u64 blocks = 0;
  std::array<block_range, log_segments> log{};  ///< in order; unused ones are empty
  u64 log_blocks = 0;                           ///< total over the segments
  u64 group_blocks = 0;
  u32 max_node_blocks = 16;
};

/// Splits a volume. `log_bytes` 0: 64 MiB, or a quarter of a smaller volume. The log stands at
/// block 1024 if the volume reaches that far, else in the first gap between fixed blocks that holds
/// it, else in several gaps. It steps over the bitmap blocks of groups; four segments make its
/// limit about 500 MiB.
/// ERRORS: too_small (volume below 4 MiB, log below 32 blocks or above half of the volume),
/// bad_argument (log of more than four segments; max_node_blocks not a power of two in 1..256).
result<geometry> plan_geometry(u64 volume_bytes, u64 log_bytes, u32 max_node_blocks);

/// Size that a volume on a device of `blocks` has: a last group of one block would be only its own
/// bitmap.
constexpr u64 usable_blocks(u64 blocks, u64 group_blocks) {
  return blocks > group_blocks && blocks % group_blocks == 1 ? blocks - 1 : blocks;
}
constexpr u64 group_count(u64 blocks, u64 group_blocks) {
  return ceil_div(blocks, group_blocks);
}

/// RETURNS: a block that no fixed area and no log segment uses, for the first page; 0 if there is
/// none.
u64 first_free_block(const geometry& g);

/// Total blocks of the log.
u64 log_blocks(const superblock& s);
/// RETURNS: the block of the volume where block `index` of the log stands.
/// REQUIRES: index < log_blocks(s).
u64 log_position(const superblock& s, u64 index);
/// RETURNS: how many blocks from `index` on stand one behind the other on the device, at least 1.
u64 log_contiguous(const superblock& s, u64 index);

/// Formats the bitmap page of `group` in a 4 KiB frame: fixed areas and blocks beyond `s.blocks`
/// are in use. mkfs calls it for every group; after growth the transaction layer does, and logs it.
void format_bitmap(bytes page, const superblock& s, u64 group, generation_t gen);

/// RETURNS: a salt for a new incarnation; never 0, never the present one.
u64 new_salt(sm::environment& env, const superblock& s);

/// Facts of an open volume.
struct volume {
  superblock super{};                               ///< the best copy
  std::array<bool, superblock_copies> copy_good{};  ///< sound, perhaps of an older generation
  std::array<copy_state, superblock_copies> copy_states{};
  bool upgraded_read_only = false;  ///< an unknown ro_compat feature: open for reading only
  u64 store_id() const { return load_le<u64>(super.uuid); }
};

inline constexpr lsn_t format_lsn = 1;  ///< LSN of the pages that mkfs writes
inline constexpr generation_t format_generation = 1;
inline constexpr u16 root_format = 1;
inline constexpr u16 bitmap_format = 1;

/// A page that is there from the beginning: formatted (generation 1), not stamped.
struct initial_page {
  page_addr addr;
  std::byte* image;
};

/// Formats `dev`: erases superblocks that are there, flushes; zeroes the log, writes the group
/// bitmaps, the root block and the initial pages, flushes; then writes the superblocks one by one.
/// So after a crash there is the old store, no store or the new one. Blocking; `progress(done,
/// total)`, in blocks, may be null. `initial_pages`: pages that stand before the first LSN (LSN 1,
/// generation 1), already formatted, unstamped; they are copied. The first is the catalogue's root.
/// REQUIRES: `dev` is a poller of `loop`, here and below.
/// ERRORS: too_small (device shorter than `g`), bad_argument (initial page outside free space), io.
status format_volume(sm::reactor& loop, io::device& dev, const geometry& g, const u8 (&uuid)[16],
                     std::span<const initial_page> initial_pages,
                     void (*progress)(u64 done, u64 total));

/// Reads the four copies and chooses.
/// ERRORS: not_a_store (no magic anywhere), corrupt_superblock (magic but no good copy),
/// newer_format (unknown incompat bit or version), truncated (device shorter than the layout), io.
result<volume> read_volume(sm::reactor& loop, io::device& dev);

/// After `newer_format`: what of the store is unknown to this program, in words ("incompatible
/// feature bits 0x4 (cut branches)"); empty if no copy says.
std::string unknown_features(sm::reactor& loop, io::device& dev);

/// Writes `v.super` with generation + 1 to all copies, each flushed.
/// ERRORS: io.
status write_superblocks(sm::reactor& loop, io::device& dev, volume& v);

/// Blocking single requests for set-up code, over the reactor, cut at the device's largest
/// transfer.
/// REQUIRES: memory aligned as the device asks (block_buffer is), whole blocks.
/// ERRORS: invalid (inside a callback), truncated (read behind the end), those of the device.
status read_blocks(sm::reactor& loop, io::device& dev, u64 block, bytes out);
status write_blocks(sm::reactor& loop, io::device& dev, u64 block, cbytes data, bool durable);
status flush_device(sm::reactor& loop, io::device& dev);

}  // namespace pleach
