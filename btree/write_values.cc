// Large values in a write: drafts and extents of new ones, old ones that are read or whose map is.
#include <algorithm>

#include "btree/record_extras.hh"
#include "btree/suspicion.hh"
#include "btree/write_op.hh"

namespace pleach::btree {

large_parts& write_op::large() {
  if (!large_) large_ = std::make_unique<large_parts>();
  return *large_;
}

/// The stub has the length and the stem that the plan needs; its extent is known in ACT.
void write_op::begin_long_key(write_item& i) {
  large().keys.push_back(std::make_unique<long_key>());
  i.of_key = large_->keys.back().get();
  const write_item* const before = &i == items_.data() ? nullptr : &i - 1;
  const bool again = before != nullptr && before->t == i.t && before->of_key != nullptr &&
                     compare_keys(before->key, i.key) == 0;
  const u32 rank = again ? before->of_key->rank : static_cast<u32>(&i - items_.data());
  i.of_key->rank = rank;
  i.of_key->probe.begin(i.key, &large_->new_keys, rank);
  make_stub(i.key, {}, i.of_key->stub);
}

bool write_op::wants_draft(const write_item& i) const {
  if (i.draft != nullptr) return true;
  bool value = i.kind == change::PUT || i.kind == change::UPDATE || i.kind == change::UPSERT;
  return value && i.value.size() > u64{ctx_->max_run_blocks} * block_bytes;
}

/// The flags of the user that the record has after the write; `old`: null if there is none yet. An
/// editor that states none keeps them all.
u8 write_op::user_flags_after(const write_item& i, const record* old) const {
  if (i.user_flags >= 0) return static_cast<u8>(i.user_flags);
  if (old == nullptr) return 0;
  return user_flags_of(*old) & (editor_.fn != nullptr ? 0xff : user_flags_of_key);
}

const known_map* write_op::map_of(const value_reference& ref) const {
  if (large_)
    for (const known_map& m : large_->maps)
      if (std::memcmp(&m.ref, &ref, sizeof ref) == 0) return &m;
  return nullptr;
}

/// Writes the next value that needs a map. Nothing is held meanwhile but space, in memory.
sm::step write_op::draft() {
  while (!wants_draft(items_[next_draft_])) ++next_draft_;
  write_item& i = items_[next_draft_];
  bool streamed = i.draft != nullptr;
  if (!streamed) {
    large().drafts.push_back(std::make_unique<value_draft>());
    i.draft = large().drafts.back().get();
    i.draft->begin(*ctx_, i.t->id, i.key, i.value.size(), i.t->digest);
  }
  draft_op& w = large().writer;
  w.reset();
  w.prepare(*i.draft, streamed ? cbytes{} : i.value, true);
  return sub(w, DRAFTED);
}

sm::step write_op::drafted() {
  if (errc e = large_->writer.out.code; !is_ok(e)) return fail(e);
  // Of the value that is patched only those runs go.
  const value_draft& d = *items_[next_draft_].draft;
  if (d.patches()) large_->maps.push_back({d.base(), d.replaced()});
  while (++next_draft_ < items_.size())
    if (wants_draft(items_[next_draft_])) return go(DRAFT);
  return go(GATE);
}

/// The old value of an item is an extent: it, or its map, is read before the plan.
sm::step write_op::read_old(u64 more_units) {
  if (pinned_units_ + txn::extent_chunk_blocks > grant_.amount)
    return ask_for_more(pinned_units_ + txn::extent_chunk_blocks + more_units);
  return go(OLD);
}

sm::step write_op::old() {
  value_read_op& reader = large().reader;
  reader.reset();
  if (old_map_only_) {
    reader.prepare_map(*ctx_, old_reference_);
  } else {
    if (!sound_reference(old_reference_, ctx_->engine.vol().super.blocks)) {
      bad_ = page_addr(old_reference_.run);
      return fail(errc::corrupt);
    }
    std::string& value = editor_.fn != nullptr
                             ? *editor_.value
                             : *items_[static_cast<u32>(plan_.read_old)].old_value;
    value.resize(old_reference_.length);
    reader.prepare(*ctx_, old_reference_, 0, value.size(),
                   reinterpret_cast<std::byte*>(value.data()));
  }
  return sub(reader, OLD_READ);
}

sm::step write_op::old_read() {
  errc code = large_->reader.out.code;
  if (is_ok(code)) {
    if (has_map(old_reference_) && map_of(old_reference_) == nullptr)
      large_->maps.push_back({old_reference_, large_->reader.map().runs});
    if (!old_map_only_) old_is_read_ = true;
    return go(PLAN);
  }
  page_ref run{page_addr(old_reference_.run), old_reference_.gen};
  if (failure_stands(code, run, suspect_, bad_)) return fail(code);
  return start_again(ctx_->stats.restart_stale);
}

/// Writes the values that are too large for a leaf, and new long keys, one after the other, into
/// their reserved runs.
sm::step write_op::extent() {
  if (!is_ok(alloc_op_.out.code)) return fail(alloc_op_.out.code);
  if (extent_running_) {
    extent_running_ = false;
    if (!is_ok(extent_op_.out.code)) return fail(extent_op_.out.code);
    ++next_extent_;
  }
  if (next_extent_ == plan_.extents) return go(SPARES);
  for (write_item& i : items_) {
    const auto next = static_cast<i32>(next_extent_);
    if (i.extent != next && (i.of_key == nullptr || i.of_key->extent != next)) continue;
    extent_running_ = true;
    extent_op_.reset();
    extent_op_.prepare_write(ctx_->engine, space_.runs[next_extent_].addr,
                             i.extent == next ? i.value : i.key);
    return sub(extent_op_, EXTENT);
  }
  PLEACH_ASSERT(false);
  return fail(errc::invalid);
}

}  // namespace pleach::btree
