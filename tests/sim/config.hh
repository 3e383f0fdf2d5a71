// The swarm: what one seed draws. Sizes stand near their minimum on purpose.
#pragma once

#include <string>

#include "be/base/random.hh"
#include "be/io/sim_fault.hh"

namespace pleach::sim {

enum class trouble_kind : u8 {
  NONE,
  READ_ONCE,
  READ_STICKY,
  WRITE,
  FLUSH,
  SHORT,
  GONE,
  FULL_DEVICE,
  HANG,  ///< one request takes seconds; nothing fails
};

/// Workload classes that make one planted bug likely; `ANY` for the swarm.
enum class hint : u8 {
  ANY,
  SMALL_LOG,
  EXTENTS,
  SPLITS,
  DELETES,
  DROPS,
  FAULT_FLUSH,
  FAULT_WRITE,
  SMALL_CACHE,
  RECOVERY,
  MERGES,
  BIG_GROUPS,
  FAULT_SHORT,
  CLOSE,
  DAMAGE,
  MAPS,
  PATCHES,
  ORDERS,
  BULK,
  BULK_SUMS,
  VERSIONS,
  AGGREGATES,
  RANGES,
  LONG_KEYS
};

/// Of a tree; 0: they vary.
struct fixed_lengths {
  u32 key = 0, value = 0;
};

/// Of a tree: tree_record's order and flags; order 4 is that of "reverse" (model.hh).
struct key_rules {
  u16 order = 1, flags = 0;
};

/// RETURNS: where what is kept by tree has that of the tree with this name.
inline u32 index_of(const std::string& tree) {
  return static_cast<u32>(tree.back() - '0') % 8;
}

struct config {
  u64 seed = 0;
  u64 volume_bytes = 0, log_blocks = 0;
  u32 max_node_blocks = 1;
  u64 extra_cache = 0;  ///< beyond the least budget
  u64 log_buffer_bytes = 0;
  u32 trees = 1;
  fixed_lengths lengths[8];  ///< by tree
  key_rules rules[8];        ///< by tree
  u32 node_blocks[8] = {};   ///< by tree; 0: drawn
  u32 streams = 0;           ///< ascending ones, interleaved (key shapes 5 and 6)
  u32 key_space = 100;
  u32 key_shape = 0;
  u32 long_groups = 0;  ///< of keys above 1 KiB (key shape 9)
  u32 value_class = 0;
  u32 in_flight = 1;
  u32 cycles = 1, ops_per_cycle = 100;
  u32 durable_per_mille = 500;
  u32 write_per_mille = 600, delete_per_mille = 200, batch_per_mille = 200, ddl_per_mille = 5,
      iterate_per_mille = 50;
  u32 batch_max = 8;
  u32 wave = 0;  ///< operations until growing and shrinking change turns; 0: no waves
  u32 damage_per_mille =
      0;  ///< of the crash images: one bit is flipped in a copy, which must never be silently wrong
  u32 cancel_per_mille = 20, deadline_per_mille = 20, from_callback_per_mille = 100;
  u32 chaos_per_mille = 0;
  u32 max_run_blocks = 0;  ///< longer values have maps; 0: those above 1 MiB
  u32 large_per_mille = 0, large_bytes = 0;  ///< values up to that length, and streams of them
  u32 patch_per_mille = 0;  ///< of the upserts of what is there: only a range of it is written
  u32 bulk_per_mille = 0;   ///< of what is started on an empty tree: bulk loads
  u32 bulk_records = 0;     ///< at most
  u32 multi_per_mille = 0;  ///< of the reads: multi-gets and counts
  u32 bound_per_mille = 0;  ///< of the reads and walks that have a direction: end at a bound
  bool new_leaves[8] = {};  ///< by tree: leaves of version 2 from its creation on; else of 1
  u16 sums[8] = {};         ///< by tree: tree_flag bits of checksums
  u32 record_flags_per_mille = 0;  ///< of the writes: the user's flags are stated, and checked
  u32 upgrade_per_mille = 0;       ///< of the steps that read: upgrades, and edits of all records
  u32 grow_per_mille = 0;  ///< of the steps: the volume grows while operations are in flight
  u16 tree_flags[8] = {};  ///< btree::tree_flag, by tree: counted, with digests
  u32 sums_per_mille = 0;  ///< of the reads of a counted tree: counts, selects, digests
  u32 range_per_mille = 0;  ///< of the writes: ranges that are deleted, and truncates
  u32 image_per_mille = 20;
  u32 images_max = 120;
  u32 clean_close_per_mille = 200;
  trouble_kind trouble = trouble_kind::NONE;

  /// Bytes of a value that an editor may store: that of one run.
  u64 longest_edit() const {
    return (max_run_blocks != 0 ? max_run_blocks : max_page_blocks) * u64{block_bytes};
  }
  static config draw(u64 seed, hint h);
  std::string words() const;
};

}  // namespace pleach::sim
