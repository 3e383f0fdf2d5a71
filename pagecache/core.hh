// What the parts of the cache share: memory, descriptors, the page table, the dirty list, options,
// counters.
//
// What it is not: it decides nothing. `frames` decides what is evicted, `loader` reads, `images`
// writes, `marks` knows what recovery needs, `daemon` decides when; page_cache.cc is the face over
// them.
//
// I1 A descriptor is on the free stack <=> its state is FREE.
// I2 dirty_units = sum of the sizes of the pages in the dirty list.
#pragma once

#include <unordered_map>

#include "pagecache/arena.hh"
#include "pagecache/page_cache.hh"

namespace pleach::cache {

using dirty_list = list<descriptor, &descriptor::dirty_link>;

/// How a budget is divided. Pure arithmetic, so that `make` and `minimum_budget` agree.
struct layout {
  u32 max_order = 0;
  u32 units = 0;
  u32 bounce_units = 0;
  u32 grantable = 0;
  u32 descriptors = 0;
  u32 loads = 0;   ///< reads in flight at most
  u32 writes = 0;  ///< write requests in flight at most
  u64 bytes = 0;   ///< all of it

  static layout of_units(u32 units, u32 max_page_blocks);
  static layout of_budget(const cache_options& options);
};

struct core {
  core(sm::reactor& reactor, io::device& device, const cache_options& o, const layout& l,
       page_table& pages, u64& versions);
  core(const core&) = delete;
  core& operator=(const core&) = delete;
  status make();

  /// RETURNS: a descriptor in state FREE that is the caller's now. Never fails
  /// (layout::descriptors).
  descriptor& new_descriptor(page_ref ref);
  void free_descriptor(descriptor& d);
  u32 index_of(const descriptor& d) const { return static_cast<u32>(&d - descriptors.get()); }
  u64 next_version() { return ++version; }

  void add_dirty(descriptor& d, lsn_t lsn);
  void remove_dirty(descriptor& d);

  /// Anything happened that may make a frame available to somebody who waits for one.
  void frame_event() { ++frame_events; }
  void fail_store(errc code, page_addr where);
  u32 log_use() const { return hooks != nullptr ? hooks->log_use_per_mille() : 0; }
  bool chaos(const char* site) { return loop.env().chaotic && loop.env().chaos(site); }

  /// I6 of page_cache.hh, watched in an environment with chaos.
  void note_gone(page_ref ref) {
    if (loop.env().chaotic) gone[ref.addr.block()] = ref.gen;
  }
  bool is_gone(page_ref ref) const {
    if (!loop.env().chaotic) [[likely]]
      return false;
    const auto at = gone.find(ref.addr.block());
    return at != gone.end() && at->second == ref.gen;
  }
  std::unordered_map<u64, generation_t> gone;  ///< freed pages: generations by block

  sm::reactor& loop;
  io::device& dev;
  const cache_options options;
  const layout plan;
  page_table& table;
  u64& version;

  log_hooks* hooks = nullptr;
  load_filter* filter = nullptr;
  page_check checks[16] = {};

  arena memory;
  frame_allocator frames;
  frame_allocator bounce;
  std::unique_ptr<descriptor[]> descriptors;
  std::unique_ptr<u32[]> free_stack;
  u32 free_count = 0;

  dirty_list dirty;
  u64 dirty_units = 0, dirty_count = 0;
  lsn_t newest_dirty = 0;  ///< largest LSN that marked a page
  lsn_t durable = 0;

  /// The page is not LOADING any more.
  void load_over(descriptor& d) {
    d.waiters.wake_all();
    any_load.wake_all();
  }
  sm::wait_queue any_load{"page loads"};  ///< of ops that wait for whichever of several ends first

  u64 frame_events = 1;
  bool failed = false;  ///< the store failed: nothing is written any more
  bool stopping = false;
  errc stop_code = errc::ok;
  cache_statistics stats;
};

}  // namespace pleach::cache
