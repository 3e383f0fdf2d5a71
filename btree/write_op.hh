// Writes: put, update, upsert, delete, modify by a callback, and atomic batches over several trees.
// One record is a batch of one.
//
//     write(items):                                  # sorted by tree and key
//       write the values that need a map into drafts # before anything is held; kept over restarts
//       await gate (shared; alone after a few restarts)
//       await grant of frames                        # too small: give all back, ask for more
//       for item in items: pin the path to its leaf  # await loads
//         (one item whose cookie names its leaf: only root and leaf, if the leaf alone changes)
//         (a long key: await the comparisons that bytes do not decide)
//       modify: ask the editor about the record     # not again unless the record has changed
//       plan: per leaf and upwards: fits | grow | split | push down | unlink | merge
//       if a leaf may become empty: pin the path to its neighbour
//       if a value with a map is replaced or deleted: await its map, which names what to free
//       await space for new pages and extents; write extents, of long keys too
//       await spare frames; await log credit
//       check: nothing planned for has changed, or a new plan fits what is held;
//              else give all back, plan again
//       act: change everything, within this tick
//       give everything back
//       if durable: await durable(lsn)
//
// I1 From CHECK to CAPTURE nothing waits and nothing fails for want of resources: the plan is an
//    upper bound of what ACT takes.
// I2 All pages on all paths are pinned, so descents in ACT meet resident pages only.
// I3 With a shortcut (`shortcut_`) the plan takes no page and frees none, and the leaf neither
//    empties nor becomes sparse: ACT meets the leaf, and the root for its counts. Everything else
//    gives the shortcut up for the path, in PLAN, or starts again, in CHECK. Counted trees have
//    none: each change of theirs changes the aggregates on the whole path.
// I4 A leaf that was emptied is unlinked in the same transaction, unless its heir has no room for
//    the wider fence, is to take inserts of the same batch, or is not the one that the plan saw:
//    then it stays, empty and legal, and is counted (`empties_kept`).
// I5 An editor is asked in the tick of PLAN or CHECK, before anything is changed, and what it says
//    is done to the very record that it saw. One that fails leaves no trace.
// I6 Before PLAN all stubs in the nodes on the way of a long key are compared with it
//    (long_key.hh); if others came since, PLAN and CHECK start again. So ACT knows all that it
//    meets.
#pragma once

#include <string>

#include "be/base/inline_vector.hh"
#include "btree/cookie.hh"
#include "btree/key_op.hh"
#include "btree/tree.hh"
#include "btree/value_draft.hh"
#include "btree/value_read_op.hh"
#include "txn/alloc_op.hh"
#include "txn/extent_op.hh"

namespace pleach::btree {

enum class change : u8 {
  PUT,     ///< `exists` if present
  UPDATE,  ///< `not_found` if absent
  UPSERT,
  DELETE,       ///< alone: `not_found` if absent
  CREATE_TREE,  ///< alone, in the catalogue: makes the root page, takes the next tree id; of a
                ///< record in state TREE_CUT, whose id is given, an empty holder
  REMOVE_TREE,  ///< alone, in the catalogue: deletes the record and frees the root page named in
                ///< `value`
  CONVERT,      ///< alone: rewrites the leaf that holds `key` if it is of an old version
};

/// What becomes of a record that an editor has seen.
enum class verdict : u8 { STORE, ERASE, KEEP, FAIL };

/// The caller's function of a modify, and where it edits.
struct editor {
  /// `value` holds the present value, or nothing if there is no record; STORE makes what it holds
  /// afterwards the value. Must not throw.
  verdict (*fn)(void* datum, bool present, std::string& value) = nullptr;
  void* datum = nullptr;
  std::string* value = nullptr;
};

/// What a CONVERT tells of its leaf.
struct converted_leaf {
  std::string high;        ///< where the next leaf begins
  bool last = false;       ///< there is none
  bool converted = false;  ///< it was of an old version
};

/// What a write needs of an item's key if it is long.
struct long_key {
  key_probe probe;
  u32 rank = 0;     ///< of its first item among the op's
  i32 extent = -1;  ///< index of the reserved run, if the key may have to be inserted
  std::byte stub[max_stored_key_bytes];  ///< before ACT with no extent
};

struct write_item {
  tree* t = nullptr;
  change kind = change::UPSERT;
  bool found = false;                          ///< the engine's: see `index`
  u16 slotted_format = node_format_slotted_2;  ///< CREATE_TREE: of its leaves, if they are slotted
  i16 user_flags = -1;  ///< of the record from now on; -1: the write states none (record_extras.hh)
  u16 index = 0;        ///< the engine's: slot of the key or where it comes to stand, by the plan
  cbytes key;
  cbytes value;
  std::string* old_value = nullptr;
  u32 sequence = 0;  ///< order of the caller; the last change of a key wins
  u32 place = 0;     ///< the engine's: what room_for_insert told the plan, if there is room NOW
  converted_leaf* of_leaf = nullptr;  ///< CONVERT

  // the engine's
  i32 leaf = -1;    ///< index of the pinned leaf
  i32 extent = -1;  ///< index of the reserved run of a large value
  long_key* of_key = nullptr;  ///< if it is long
  /// The value, if it has a map: the caller's (a value that was streamed), or the op's own.
  value_draft* draft = nullptr;
  /// The present value must be this one (see identify()), else `conflict`. Alone only.
  const value_reference* only_over = nullptr;

  /// The key as nodes store it.
  cbytes stored() const {
    return of_key != nullptr ? cbytes{of_key->stub, max_stored_key_bytes} : key;
  }
  key_probe* probe() const { return of_key != nullptr ? &of_key->probe : nullptr; }
  u64 value_bytes() const { return draft ? draft->length() : value.size(); }
};

/// The runs of a value that the op may free, by the reference to it.
struct known_map {
  value_reference ref;
  std::vector<page_addr> runs;
};

/// What a write needs only if values with maps or long keys take part in it.
struct large_parts {
  std::vector<std::unique_ptr<value_draft>> drafts;  ///< own ones
  draft_op writer;
  value_read_op reader;
  std::vector<known_map> maps;
  std::vector<std::unique_ptr<long_key>> keys;
  new_extents new_keys;
  key_reader key_source;
};

/// The value of a catalogue record, with room for the longest name of a comparator.
struct named_record {
  tree_record record{};
  char comparator[max_comparator_name_bytes] = {};
};
static_assert(sizeof(write_item) == 104);  // batches sort thousands of them
static_assert(sizeof(named_record) == sizeof(tree_record) + max_comparator_name_bytes);

/// A pinned page and what the plan says about it.
struct pinned_page {
  cache::descriptor* d = nullptr;
  tree* t = nullptr;
  i32 parent = -1;  ///< index of the pinned parent, -1 for a root
  u8 level = 0;
  bool probed : 1 = false;        ///< its neighbour path is pinned
  bool rewritten : 1 = false;     ///< a key does not share the node's prefix
  bool first_fits : 1 = true;     ///< the first change needs no new page
  bool merges : 1 = false;        ///< behind a batch of deletes
  bool merges_right : 1 = false;  ///< with the node right of it, not left
  u64 content_version = 0;    ///< as seen by the last plan
  u64 structure_version = 0;  ///< as seen by the descent
  u32 inserts = 0,
      deletes = 0;  ///< leaf: items; inner: separators that may come, children that may go
  u32 summed = 0;   ///< inner, of a counted tree: items that change its aggregates
  u32 added_bytes = 0;
  u32 longest_key = 0;
  u16 wanted = 0;  ///< blocks of the nodes that the plan reserved for it; 0: it needs none
  u16 target = 0;  ///< blocks of the page that it moves to first; 0: none
  // What node_cost.hh asks for.
  u32 longest_record = 0;
  u32 stored_bytes = 0;  ///< records of changes but the first, with slots, as this node stores them
  u32 cost = 0;          ///< of the first change; what the others move
  u32 erased_bytes = 0;  ///< records that are deleted

  /// Was the page split, merged, moved or freed since the op pinned it?
  bool restructured() const;
  /// Is the page still the one whose range holds `key`?
  bool stands(cbytes key, key_probe* probe) const;
};

/// Upper bound of what ACT will take. Comparable: a later plan must fit into what an earlier one
/// reserved.
struct write_plan {
  inline_vector<txn::space_need, 8>
      needs;  ///< extents of values first (`extents` of them), then pages
  inline_vector<page_addr, 8> frees;
  u32 extents = 0;
  u64 credit = 0;
  u64 units = 0;            ///< spare frames and bitmap pages
  bool merges = false;      ///< the leaf is sparse, and it and a resident neighbour fit one
  bool beside = false;      ///< what it costs depends on a page that is not pinned
  bool converts = false;    ///< rewrites make leaves of the newest version
  bool may_change = false;  ///< false: nothing to do (deletes of absent keys)
  i32 probe = -1;           ///< pinned leaf whose neighbour path must be pinned first
  i32 read_old = -1;        ///< item whose old value, or the map of it, must be read first
  errc verdict = errc::ok;  ///< exists, not_found, ...: the outcome without any change
  bool stale = false;       ///< a leaf no longer holds its key: start again
  void clear();
  bool fits_into(const write_plan& reserved) const;
  /// What `now`, which fits into this plan, leaves out is not done: its credit does not cover that.
  void narrow_to(const write_plan& now);
};

#define PLEACH_WRITE_PHASES(X)                              \
  X(INIT, NOWAIT, DRAFT, GATE, CLEANUP)                     \
  X(DRAFT, WAIT, DRAFTED, CLEANUP)                          \
  X(DRAFTED, NOWAIT, DRAFT, GATE, CLEANUP)                  \
  X(GATE, WAIT, ADMIT, GATE, CLEANUP)                       \
  X(ADMIT, WAIT, DOWN, CLEANUP)                             \
  X(DOWN, NOWAIT, LOAD, KEY, PLAN, RESTART, CLEANUP)        \
  X(LOAD, WAIT, LOADED, CLEANUP)                            \
  X(LOADED, NOWAIT, DOWN, RESTART, CLEANUP)                 \
  X(KEY, WAIT, KEY_READ, CLEANUP)                           \
  X(KEY_READ, NOWAIT, DOWN, RESTART, CLEANUP)               \
  X(PLAN, NOWAIT, DOWN, OLD, ALLOC, OPEN, RESTART, CLEANUP) \
  X(OLD, WAIT, OLD_READ, CLEANUP)                           \
  X(OLD_READ, NOWAIT, PLAN, RESTART, CLEANUP)               \
  X(ALLOC, WAIT, EXTENT, CLEANUP)                           \
  X(EXTENT, WAIT, EXTENT, SPARES, CLEANUP)                  \
  X(SPARES, WAIT, SPARES, OPEN, CLEANUP)                    \
  X(OPEN, WAIT, CHECK, CLEANUP)                             \
  X(CHECK, NOWAIT, ACT, RESTART, CLEANUP)                   \
  X(ACT, NOWAIT, CAPTURE)                                   \
  X(CAPTURE, NOWAIT, COMMIT)                                \
  X(COMMIT, WAIT, COMMIT, CLEANUP)                          \
  X(RESTART, WAIT, GATE, CLEANUP)                           \
  X(CLEANUP, NOWAIT, DONE)                                  \
  X(DONE, NOWAIT)

class write_op final : public sm::machine<write_op> {
 public:
  PLEACH_PHASES("write", PLEACH_WRITE_PHASES)

  /// One change. Key and value belong to the caller until DONE, and so does `near` (may be null): a
  /// cookie of an earlier operation, which will remember the leaf where this one ends.
  void prepare(tree& t, change kind, cbytes key, cbytes value, std::string* old_value, bool durable,
               leaf_cookie* near = nullptr);
  /// A batch: `items` sorted by (tree id, key, sequence), the caller's until DONE; only UPSERT and
  /// DELETE.
  void prepare(context& c, std::span<write_item> items, bool durable);
  /// Instead of what `prepare` says it ends with `code`, and changes nothing.
  /// REQUIRES: prepared, idle().
  void refuse(errc code, length_fault lengths = {}) {
    refusal_ = code;
    wrong_length_ = lengths;
  }
  /// The items of a batch that was prepared without them.
  /// REQUIRES: prepared, idle().
  void give(std::span<write_item> items) { items_ = items; }
  /// One record, of which the editor says what becomes. Asked again if another operation changes
  /// the record before this one does.
  /// ERRORS: callback_failed if the editor says FAIL.
  void prepare_modify(tree& t, cbytes key, const editor& e, bool durable);
  /// CONVERT: `key` and `of_leaf` are the caller's until DONE.
  void prepare_convert(tree& t, cbytes key, converted_leaf& of_leaf);
  /// The flags of the one record, or the version of the leaves of a tree that is made. After
  /// `prepare`.
  void state_flags(u8 user_flags) { single_.user_flags = user_flags; }
  void leaf_format(u16 slotted) { single_.slotted_format = slotted; }
  /// Leaves that the deletes leave sparse are not merged: what is beside them goes next. After
  /// `prepare`.
  void leave_sparse() { leaves_sparse_ = true; }
  page_addr bad_page() const { return bad_; }
  length_fault wrong_length() const { return wrong_length_; }
  /// CREATE_TREE: the record that was written.
  /// REQUIRES: done with ok.
  const tree_record& created() const { return created_.record; }
  /// True once the changes are visible, in group `out.lsn`, whatever came afterwards (cancelled
  /// while it waited to be durable).
  bool applied() const { return applied_; }
  bool of_one_item() const { return items_.size() == 1; }
  /// Records that were deleted. Of the last run, until the next `prepare`.
  u64 erased() const { return erased_; }
  sm::step tick(phase p) noexcept;

 private:
  friend class write_planner;
  friend class write_applier;

  sm::step init();
  sm::step draft();
  sm::step drafted();
  sm::step gate();
  sm::step admit();
  sm::step down();
  sm::step load();
  sm::step loaded();
  sm::step key();
  sm::step key_read();
  sm::step plan();
  sm::step old();
  sm::step old_read();
  sm::step alloc();
  sm::step extent();
  sm::step spares();
  sm::step open();
  sm::step check();
  sm::step act();
  sm::step capture();
  sm::step commit();
  sm::step restart();
  sm::step cleanup();

  /// What the record in the pinned leaf means for a modify.
  enum class edited : u8 {
    SAME,     ///< the editor has seen this record already
    ANEW,     ///< it was asked just now
    NOTHING,  ///< nothing is to be changed
    REFUSED,  ///< the editor fails, or its value cannot be stored: `refusal_`
    OLD,      ///< the present value must be read first
    STALE     ///< the leaf does not hold the key
  };
  edited edit();
  edited unsound(const cache::descriptor& leaf);

  i32 add_pinned(cache::descriptor& d, tree& t, i32 parent);
  void enter_by_cookie();
  bool leaf_alone(const write_plan& plan);
  void remember_leaf();
  sm::step read_key();
  page_ref next_beside(tree*& t);
  page_ref next_to_item(tree*& t);
  bool long_key_needed(const write_item& item, const node_view& leaf);
  sm::step start_again(u64& cause);
  sm::step ask_for_more(u64 units);
  sm::step read_old(u64 more_units);
  sm::step end_unchanged(edited e);
  void read_ahead();
  void leave_path();
  void give_back();
  void derail(const tree& t);
  u64 first_grant() const;
  u64 grant_limit() const;
  large_parts& large();
  void begin_long_key(write_item& i);
  bool wants_draft(const write_item& i) const;
  const known_map* map_of(const value_reference& ref) const;
  u8 user_flags_after(const write_item& i, const record* old) const;

  context* ctx_ = nullptr;
  std::span<write_item> items_;
  write_item single_;
  editor editor_;        ///< of a modify
  u64 asked_about_ = 0;  ///< hash of the record that it has seen last; 0: none
  verdict decided_ = verdict::KEEP;
  errc refusal_ = errc::ok;
  bool durable_ = true;
  bool batch_ = false;  ///< of a batch: deleting what is not there is no error
  bool alone_ = false;  ///< next time through the gate: exclusive
  u32 restarts_ = 0;
  u32 next_item_ = 0;
  u32 next_draft_ = 0;
  i32 stand_ = -1;  ///< pinned page where the current descent stands
  i32 probe_ = -1;  ///< the descent is a probe for the neighbour of this pinned leaf
  leaf_cookie* near_ = nullptr;
  bool near_tried_ = false;
  bool leaves_sparse_ = false;  ///< see `leave_sparse`; or merges would make a batch too large
  bool shortcut_ = false;  ///< pinned are root and leaf only, not what is between them
  page_ref need_, suspect_;
  i32 need_parent_ = -1;
  page_addr bad_;
  length_fault wrong_length_;
  cache::descriptor* loading_ = nullptr;
  u64 pinned_units_ = 0;
  u64 ask_ = 0;
  sm::gate_hold hold_;
  sm::claim grant_, credit_;
  inline_vector<pinned_page, 8> pins_;
  write_plan plan_;  ///< what is reserved
  txn::space_claim space_;
  inline_vector<cache::spare_frame, 8> spares_;
  u32 next_extent_ = 0;
  bool extent_running_ = false;
  bool allocated_ = false;
  bool applied_ = false;
  bool derailed_ = false;  ///< ACT left something out: a comparator contradicted itself
  u64 erased_ = 0;
  txn::alloc_op alloc_op_;
  txn::extent_op extent_op_;
  value_reference old_reference_{};
  bool old_is_read_ = false;
  bool old_map_only_ = false;
  std::unique_ptr<large_parts> large_;
  named_record created_;
};

}  // namespace pleach::btree
