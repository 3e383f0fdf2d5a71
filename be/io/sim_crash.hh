// Which of the writes that are not durable yet survive a power cut.
//
// A piece is one write's share of one 4 KiB block, with a mask of its sectors. Order in the list =
// order of completion, then those in flight; whatever survives is applied in this order, so any
// version of a sector may win, and an older one only if the newer is lost.
#pragma once

#include <vector>

#include "be/base/random.hh"
#include "be/io/sim_image.hh"

namespace pleach::io {

struct crash_policy {
  enum kind : u8 {
    NONE,           ///< nothing unflushed survives
    ALL,            ///< everything does, in flight too
    PREFIX,         ///< writes in completion order up to a point; the one at the point torn
    RANDOM_WRITE,   ///< whole writes
    RANDOM_BLOCK,   ///< 4 KiB blocks
    RANDOM_SECTOR,  ///< 512-byte sectors
    ALL_BUT_ONE,    ///< all but one write, block or sector
    ONLY_ONE,       ///< one write, block or sector
    MIXED,          ///< each write by a policy of its own
  };
  static constexpr u32 kinds = MIXED + 1;
  kind what = MIXED;
  u32 keep_per_mille = 500;
  bool shorn = false;  ///< one sector of a write in flight becomes garbage
};
const char* name_of(crash_policy::kind k);

struct sim_piece {
  u64 block = 0;
  sim_block_ref data;
  u8 mask = 0;
  bool in_flight = false;
  u64 write = 0;  ///< id of the write, equal for all its pieces
};

/// Applies to `image` what survives of `pieces`.
void apply_survivors(sim_image& image, const std::vector<sim_piece>& pieces,
                     const crash_policy& policy, random_stream& random);

}  // namespace pleach::io
