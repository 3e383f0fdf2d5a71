// One operation in flight, with everything that belongs to its caller.
#pragma once

#include <cstring>
#include <deque>
#include <memory>
#include <set>

#include "btree/aggregate_op.hh"
#include "btree/bulk_commit_op.hh"
#include "btree/count_op.hh"
#include "btree/cut_op.hh"
#include "btree/edit_all_op.hh"
#include "btree/multi_get_op.hh"
#include "btree/read_op.hh"
#include "btree/reclaim_op.hh"
#include "btree/upgrade_op.hh"
#include "btree/value_patch.hh"
#include "btree/write_op.hh"
#include "tests/sim/model.hh"

namespace pleach::sim {

/// RETURNS: the word for the change, for reports.
std::string text_of(btree::change k);

enum class job : u8 {
  NONE,
  WRITE,
  BATCH,
  READ,
  WALK,
  CREATE,
  DROP,
  RECLAIM,
  MULTI_GET,
  COUNT,
  BULK,
  UPGRADE,
  EDIT_ALL,
  SUM,
  RANGE
};
enum class sum_kind : u8 { COUNT, SELECT, DIGEST };

/// The lookups of a multi-get, and what became of them.
class drawn_lookups final : public btree::lookup_list {
 public:
  struct one {
    std::string key, value;
    bool wants_value = true;
    u32 settled = 0;  ///< times
    errc code = errc::ok;
  };
  u32 count() const override { return static_cast<u32>(all.size()); }
  wish at(u32 i) override {
    return {as_bytes(all[i].key), all[i].wants_value ? &all[i].value : nullptr};
  }
  void settle(u32 i, errc code, lsn_t, page_addr) override {
    all[i].code = code;
    ++all[i].settled;
  }
  std::vector<one> all;
};

/// Records [from, to) of those that a bulk load adds.
class drawn_records final : public btree::bulk_source {
 public:
  u64 count() const override { return to - from; }
  item at(u64 i) override { return {as_bytes((*keys)[from + i]), as_bytes((*values)[from + i])}; }
  const std::deque<std::string>* keys = nullptr;
  const std::deque<std::string>* values = nullptr;
  u64 from = 0, to = 0;
};

struct slot {
  job kind = job::NONE;
  bool busy() const { return kind != job::NONE; }
  std::string tree;
  u64 started = 0;     ///< harness clock
  u64 started_ns = 0;  ///< virtual time, for liveness
  u64 transaction = 0;
  bool durable = false, limited = false;  ///< limited: has a deadline, or was cancelled

  // writes
  btree::write_op write;
  btree::change change_kind = btree::change::UPSERT;
  std::vector<btree::write_item> items;
  std::deque<std::string> keys, values;
  std::string old_value;
  bool wants_old = false;
  bool modifies = false;  ///< an editor decides
  btree::verdict decision = btree::verdict::STORE;
  std::string edited;
  errc expected = errc::ok;
  bool changes_nothing = false;  ///< a batch of deletes of absent keys
  std::optional<value_t> before;
  btree::named_record record;
  /// The catalogue's value of `record`.
  cbytes record_bytes() const {
    const bool named = record.record.order == btree::ORDER_REGISTERED;
    return {reinterpret_cast<const std::byte*>(&record),
            sizeof record.record + (named ? std::strlen(reverse_name) : 0)};
  }

  // a value that is streamed: appended in pieces, then written
  bool appending = false;
  std::unique_ptr<btree::value_draft> draft;
  btree::draft_op append;
  u64 appended = 0;

  // a range of the value that is there, written in pieces: `before` with more of its bytes
  std::unique_ptr<btree::value_patch> patch;
  btree::patch_op patcher;
  bool committing = false;
  /// The write that makes the change.
  const btree::write_op& last_write() const { return patch ? patch->commit : write; }
  errc outcome() const { return patch ? patcher.out.code : write.out.code; }

  // a bulk load: records are added in pieces, then committed
  std::unique_ptr<btree::bulk_draft> bulk;
  drawn_records piece;
  bool refused = false;  ///< the piece is out of order
  bool loaded = false;   ///< all is added: it is committed
  btree::bulk_build_op build;
  btree::bulk_commit_op bulk_commit;

  // reads
  btree::read_op read;
  btree::seek mode = btree::seek::EXACT;
  std::string sought, key, value;
  bool wants_value = true;
  u32 steps_left = 0;
  bool forward = true;
  bool ranged = false;
  btree::value_range range;
  std::string range_bytes;
  std::unique_ptr<std::byte[]> copy_bytes;
  btree::leaf_copy copy;
  u64 copy_node_hash = 0;

  // many at once
  drawn_lookups lookups;
  btree::multi_get_op multi_get;
  btree::count_op count;
  bool bounded = false;  ///< of a count, or of a read
  std::string bound;
  cbytes count_to;

  btree::leaf_cookie near{};  ///< of this slot's operations, whatever tree and store they were of
  btree::read_ahead ahead;    ///< of a walk

  u8 user_flags = 0;  ///< of the record that was read

  btree::reclaim_op reclaim;
  btree::upgrade_op upgrade;
  btree::edit_all_op edit_all;
  u64 leaves = 0, converted = 0;

  // sums: of [sought, bound), or the record at an index
  btree::aggregate_op sum;
  sum_kind what = sum_kind::COUNT;
  u64 index = 0;

  // a range that is deleted
  std::unique_ptr<btree::cut_op> cut;
  std::string from, to;        ///< `to` empty: no bound
  u64 removed = 0;             ///< as the operation says
  u64 erased = 0;              ///< as it told step by step
  std::set<std::string> left;  ///< what it has not told of yet
  class run* of = nullptr;
  bool in_range(const std::string& in, const std::string& k) const {
    return kind == job::RANGE && in == tree && k >= from && (to.empty() || k < to);
  }

  bool reads() const {
    return kind == job::READ || kind == job::WALK || kind == job::MULTI_GET || kind == job::COUNT ||
           kind == job::SUM;
  }
  sm::op& running() {
    if (kind == job::MULTI_GET) return multi_get;
    if (kind == job::COUNT) return count;
    if (kind == job::BULK)
      return loaded ? static_cast<sm::op&>(bulk_commit) : static_cast<sm::op&>(build);
    if (kind == job::RANGE) return *cut;
    if (kind == job::READ || kind == job::WALK) return read;
    if (kind == job::RECLAIM) return reclaim;
    if (kind == job::UPGRADE) return upgrade;
    if (kind == job::EDIT_ALL) return edit_all;
    if (patch) return patcher;
    if (kind == job::SUM) return sum;
    return appending ? static_cast<sm::op&>(append) : write;
  }
};

}  // namespace pleach::sim
