// Node descriptor (motr's nd): what the engine knows of a resident page. Lives in type-stable
// memory.
//
// I1 A descriptor is reused only when pins == 0, it is clean, and nothing of it is in flight.
// I2 Versions come from one store-wide counter, so a reloaded page never repeats one (no ABA).
// I3 `member_lsn` != 0 <=> the page has changes of that group which are not drained yet.
// I4 rec_lsn != 0 <=> the page is in the dirty list, which is ordered by rec_lsn. (What a DEAD page
//    held is kept by recovery_marks.)
#pragma once

#include "be/sm/op.hh"
#include "pagecache/insert_run.hh"
#include "pagecache/latch.hh"
#include "pagecache/page_writer.hh"

namespace pleach::cache {

enum class page_state : u8 {
  FREE,     ///< descriptor unused
  LOADING,  ///< read in flight; waiters wait
  RESIDENT,
  FAILED,  ///< load failed with `error`; leaves the table when the last pin goes
  DEAD,    ///< freed by a group; leaves when unpinned and that group is durable
};

/// The first cache line holds what a lookup and a read need.
struct alignas(64) descriptor {
  page_addr addr;
  generation_t gen = 0;
  page_state state = page_state::FREE;
  u8 heat = 0;             ///< the replacement policy's
  u8 heat_cap = 0;         ///< most heat that hits give; 0 = kind not known yet
  u8 order = 0;            ///< log2 of the frame's units
  bool framed = false;     ///< `frame` and `data` are valid
  bool io = false;         ///< I/O into the frame is in flight: it cannot move
  bool spare = false;      ///< no page yet: holds the frame of a spare_frame
  bool wanted = false;     ///< the daemon waits for an image at the next drain
  bool format = false;     ///< created in the group `member_lsn`: its record starts with zero-fill
  bool recovered = false;  ///< content comes from the log, not (only) from its home
  u8 hole_hint = 0;        ///< in 256ths of the page: a record went into a hole there last
  u32 pins = 0;
  u32 frame = 0;  ///< first arena unit
  u32 image = 0;  ///< images of this page copied or in flight
  errc error = errc::ok;
  /// Frame address; may change across a wait (frames move). Only for the cache, which moves and
  /// fills frames (tests/house/latches.sh); everybody else goes through `reader()` and
  /// engine::write().
  std::byte* data = nullptr;
  u64 content_version = 0;    ///< any change
  lsn_t last_lsn = 0;         ///< group that changed it last
  u64 latch = 0;              ///< latch + version word for several reactors (latch.hh)
  u64 structure_version = 0;  ///< fences, children, life
  capture_state capture;
  lsn_t rec_lsn = 0;  ///< first group whose change is not in a written image
  lsn_t member_lsn = 0;
  list_link member_link;  ///< of the group's members
  list_link dirty_link;   ///< by rec_lsn; or: waits for a frame; or: DEAD and not yet releasable
  sm::wait_queue waiters{"page load"};
  insert_run run;  ///< of a leaf

  u32 size() const { return addr.size(); }
  bool resident() const { return state == page_state::RESIDENT; }
  /// Begins a bracket to read, which ends with the step.
  page_reader reader() const {
    if (latch_watch != nullptr) [[unlikely]]
      latch_watch->read(*this);
    return {data, size()};
  }
  /// The same, for the header alone. REQUIRES: a frame.
  const page_header& header() const {
    return *reinterpret_cast<const page_header*>(reader().base());
  }
};
static_assert(sizeof(descriptor) == 192);

}  // namespace pleach::cache
