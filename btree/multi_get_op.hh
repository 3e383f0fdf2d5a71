// Many exact reads of one tree in one operation: their descents are interleaved, so that waits for
// memory overlap as waits for the device do.
//
//     multi_get(lookups):
//       until every lookup is settled:
//         give free lanes the next lookups, at the root; those that stopped start there again
//         all lanes take one step down together:
//           for each lane: fetch the descriptor and the search area of the next node
//           for each lane: search that node; fetch the table's slot of the child, or the record
//           for each lane in a leaf: copy the record out; the lane is free
//           a lane whose page is not resident stops, and the others go on
//         if all lanes stand still:
//           once, for all lanes, if there is none yet, nor at once: await grant; from the top
//           start the loads of all lanes      # as many as the grant covers
//           if a lane found an extent: await the extent, one after the other
//           else await any load; every lane whose load has ended goes on
//
// (Interleaving lookups by hand to hide cache misses: group prefetching, Chen, Ailamaki, Gibbons,
// Mowry 2004.)
//
// What it is not: a snapshot. Each lookup is as consistent as a read_op, and validates its pages
// in the same way (read_op.hh); writers may come between two of them.
//
// I1 Within a tick a lane follows pages without pins; between ticks it holds a pin of its own for
//    the page that it waits for, or nothing.
// I2 Pinned blocks <= the grant less what an extent's buffer takes. A lane gives its page back
//    before it pins the next one, so the first lane in turn always gets its page.
// I3 A load starts in the tick in which a lane met its reference (page_cache.hh, I6): a lane whose
//    page has no room under the grant asks its way again.
// I4 Every lookup is settled once: by its lane, or in CLEANUP with the op's own code.
#pragma once

#include <string>

#include "btree/read_op.hh"
#include "btree/tree.hh"

namespace pleach::btree {

/// The caller's lookups, wherever they stand. Called from ticks only.
class lookup_list {
 public:
  struct wish {
    cbytes key;          ///< the caller's until the lookup is settled
    std::string* value;  ///< null: whether the key is there
  };
  virtual u32 count() const = 0;
  virtual wish at(u32 index) = 0;
  /// The outcome of one lookup. `bad`: page that a `corrupt` or `io` is about.
  virtual void settle(u32 index, errc code, lsn_t lsn, page_addr bad) = 0;

 protected:
  ~lookup_list() = default;
};

#define PLEACH_MULTI_GET_PHASES(X)                   \
  X(INIT, NOWAIT, DOWN, CLEANUP)                     \
  X(DOWN, NOWAIT, AGAIN, ADMIT, LOAD, LONG, CLEANUP) \
  X(AGAIN, WAIT, DOWN)                               \
  X(ADMIT, WAIT, DOWN)                               \
  X(LOAD, WAIT, LOADED, EXTENT)                      \
  X(LOADED, NOWAIT, DOWN, CLEANUP)                   \
  X(EXTENT, WAIT, EXTENT_READ)                       \
  X(EXTENT_READ, NOWAIT, DOWN, CLEANUP)              \
  X(LONG, WAIT, LONG, LONG_READ, CLEANUP)            \
  X(LONG_READ, NOWAIT, LONG, CLEANUP)                \
  X(CLEANUP, NOWAIT, DONE)                           \
  X(DONE, NOWAIT)

class multi_get_op final : public sm::machine<multi_get_op> {
 public:
  PLEACH_PHASES("multi_get", PLEACH_MULTI_GET_PHASES)

  /// Lookups that descend together. More would not fit the CPU's miss buffers anyway.
  static constexpr u32 max_lanes = 16;

  /// `list` belongs to the caller until DONE. The op's own code is ok, or that of the first lookup
  /// that ended with something else than ok or not_found; its LSN is the newest of all lookups.
  void prepare(tree& t, lookup_list& list);
  page_addr bad_page() const { return bad_; }
  sm::step tick(phase p) noexcept;

 private:
  /// After this many lookups without a wait the others get their turn.
  static constexpr u32 lookups_per_tick = 256;

  enum class place : u8 {
    FREE,
    ROOT,     ///< starts at the root, in the next step
    CHILD,    ///< goes on at `need`, which its parent names now
    PAGE,     ///< goes on at `page`, which has been waited for, or ends there
    BLOCKED,  ///< `need` is not resident, and was named in this tick
    LOADING,  ///< `page` is pinned, for `need`
    EXTENT,   ///< the value is in `run`
    AGAIN,    ///< starts at the root when others have had their turn
  };
  struct lane {
    place at = place::FREE;
    u8 restarts = 0;
    bool pinned = false;  ///< `page` is
    u32 item = 0;
    cbytes key;
    cache::descriptor* page = nullptr;
    page_ref need;
    page_ref suspect;  ///< failed to load once; twice is damage
    value_reference run;
    lsn_t lsn = lsn_none;  ///< of the leaf that named `run`
  };

  sm::step init();
  sm::step down();
  u64 units() const;
  sm::step admit();
  sm::step load();
  sm::step loaded();
  sm::step extent();
  sm::step extent_read();
  sm::step read_long();
  sm::step long_read();
  sm::step cleanup();

  u32 fill(u32 most);
  void look_again();
  void step_down();
  void search(lane& l, cache::descriptor& d, bool trusted);
  void found(lane& l);
  void settle(lane& l, errc code, lsn_t lsn = lsn_none, page_addr bad = {});
  void tell(u32 item, errc code, lsn_t lsn, page_addr bad);
  void start_again(lane& l);
  void let_go(lane& l);
  std::span<lane> lanes() { return {lanes_, width_}; }

  tree* tree_ = nullptr;
  lookup_list* list_ = nullptr;
  u32 next_ = 0;           ///< first lookup that no lane has had
  u32 width_ = 0;          ///< lanes in use
  u32 turn_ = 0;           ///< lane whose load is started first
  u32 pinned_blocks_ = 0;  ///< of all lanes
  u64 opening_ = 0;        ///< the context's when the lanes' descents began
  errc first_failure_ = errc::ok;
  page_addr bad_;
  lane* reading_ = nullptr;  ///< whose extent is read
  sm::claim grant_;
  std::unique_ptr<value_read_op> value_op_;  ///< made for the first large value
  /// Lookups of long keys: they come last, one after the other.
  struct long_lookups {
    std::vector<u32> items;
    u32 turn = 0;
    read_op reader;
  };
  std::unique_ptr<long_lookups> long_;
  lane lanes_[max_lanes];
};

}  // namespace pleach::btree
