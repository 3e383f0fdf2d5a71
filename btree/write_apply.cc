#include "btree/write_apply.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "btree/write_plan.hh"

namespace pleach::btree {

page_writer write_applier::change(cache::descriptor& d, bool structure) {
  page_writer w = engine_.write(d);
  if (structure && !PLEACH_PLANTED("structure_version_kept"))
    d.structure_version = ctx_.pages.next_version();
  return w;
}

/// Whether a rewrite of these nodes makes them of the newest version: once the superblocks name the
/// feature, every one does, if they did so when it was planned.
convert write_applier::conversion(std::initializer_list<const cache::descriptor*> rewritten) {
  if (!op_.plan_.converts || !engine_.uses_feature(feature_slotted_2)) return convert::NO;
  for (const cache::descriptor* d : rewritten)
    ctx_.stats.conversions += node_view(d->reader()).old_version();
  return convert::YES;
}

void write_applier::convert_leaf(write_item& item, cache::descriptor& d) {
  item.of_leaf->converted = node_view(d.reader()).old_version();
  if (!item.of_leaf->converted) return;  // another op was faster
  engine_.require_feature(feature_slotted_2);
  page_writer w = change(d, false);
  compact(w, {ctx_.scratch, ctx_.scratch_bytes}, nullptr, conversion({&d}));
}

/// Descends through resident pages only.
/// RETURNS: false if one is not there or does not hold the key.
bool write_applier::resolve(const write_item& item, resident_path& out) {
  tree& t = *item.t;
  cache::descriptor* chain[max_height];
  u32 slots[max_height];
  u32 n = 0;
  cache::descriptor* d = ctx_.pages.find_resident(t.root);
  while (d != nullptr && n < max_height) {
    chain[n] = d;
    node_view v = t.view(*d);
    if (v.is_leaf()) {
      out.height = n + 1;
      for (u32 i = 0; i <= n; ++i) {
        out.page[i] = chain[n - i];
        out.slot[i] = i == 0 ? 0 : slots[n - i];
      }
      return true;
    }
    const u32 i = v.find_child(item.key, item.probe());
    PLEACH_ASSERT(!asks(item.probe()));  // I6 of write_op
    slots[n++] = i;
    d = ctx_.pages.find_resident(v.child(i));
  }
  return false;
}

/// Is the leaf that was pinned for the item still the one that holds its key, and is it likely that
/// nothing above it is needed?
bool write_applier::leaf_stands(const write_item& item) const {
  if (item.t->order != nullptr || item.t->counted) return false;
  if (op_.plan_.merges && op_.of_one_item()) return false;
  return !op_.pins_[static_cast<u32>(item.leaf)].restructured();
}

/// What is above the leaf is needed.
void write_applier::complete(const write_item& item, resident_path& path) {
  if (!path.leaf_only) return;
  path.leaf_only = false;
  const cache::descriptor* const leaf = path.page[0];
  const bool resolved = resolve(item, path);
  PLEACH_ASSERT(resolved && path.page[0] == leaf);
}

/// Is the leaf as the plan has seen it, so that the item's place is known? (A comparator may answer
/// otherwise than it did then.)
bool write_applier::as_planned(const write_item& item, const cache::descriptor& leaf) const {
  const pinned_page& p = op_.pins_[static_cast<u32>(item.leaf)];
  return p.d == &leaf && p.content_version == leaf.content_version && item.t->order == nullptr;
}

search_result write_applier::search(const write_item& item, const cache::descriptor& leaf) const {
  if (as_planned(item, leaf)) return {item.index, item.found};
  const search_result r = item.t->view(leaf).find(item.key, item.probe());
  PLEACH_ASSERT(!asks(item.probe()));  // I6 of write_op
  return r;
}

/// Every page that `run` may change and that is there already. What merges add is tried then.
template <class Latch>
void write_applier::each_page(Latch&& latch) {
  for (pinned_page& p : op_.pins_) latch(*p.d);
  for (cache::descriptor* d : op_.space_.bitmaps) latch(*d);
  if (op_.items_.front().kind == change::CREATE_TREE) latch(engine_.root_block());
}

void write_applier::run() {
  cache::step_guard guard([this](auto&& latch) { each_page(latch); });
  for (write_item& item : op_.items_) {
    current_ = static_cast<u32>(&item - op_.items_.data());
    apply(item);
  }
  if (op_.plan_.merges && !op_.of_one_item()) merge_behind();
  flush_counts();
}

/// What the plan holds for a tree fits what ACT meets (I1 and I2 of write_op), or the plan is
/// wrong, and the process stops. But a comparator may answer ACT otherwise than it answered the
/// plan: the change that it leads astray is left out then, and the op ends with `corrupt`. RETURNS:
/// whether it did.
bool write_applier::derailed(const tree& t, bool as_planned) {
  if (as_planned) [[likely]]
    return false;
  PLEACH_ASSERT(t.order != nullptr);
  op_.derail(t);
  return true;
}

bool write_applier::is_pinned(const tree& t, const cache::descriptor& d) const {
  if (t.order == nullptr) [[likely]]
    return true;  // I2 of write_op
  return std::any_of(op_.pins_.begin(), op_.pins_.end(),
                     [&](const pinned_page& p) { return p.d == &d; });
}

/// Of a batch that has emptied a leaf nothing is left to delete there, and the leaf that has its
/// range now need not be one that the plan pinned.
bool write_applier::already_gone(const write_item& item, const cache::descriptor& leaf) const {
  return !is_pinned(*item.t, leaf) && !item.t->view(leaf).find(item.key).found;
}

void write_applier::apply(write_item& item) {
  if (item.kind == change::CREATE_TREE) create_root(item);
  if (item.kind == change::REMOVE_TREE) remove_root(item);
  resident_path path;
  if (op_.shortcut_) {  // I3 of write_op: nothing above the leaf is needed
    path.page[0] = op_.pins_[static_cast<u32>(item.leaf)].d;
    path.height = 1;
  } else if (leaf_stands(item)) {
    path.page[0] = op_.pins_[static_cast<u32>(item.leaf)].d;
    path.height = 1;
    path.leaf_only = true;
  } else {
    bool resolved = resolve(item, path);
    if (resolved && item.kind == change::DELETE && already_gone(item, *path.page[0])) return;
    if (derailed(*item.t, resolved && is_pinned(*item.t, *path.page[0]))) return;  // I2 of write_op
  }
  if (item.kind == change::CONVERT) return convert_leaf(item, *path.page[0]);
  if (item.kind == change::DELETE || item.kind == change::REMOVE_TREE) return erase(item, path);
  insert_or_replace(item, path);
  if (!op_.plan_.merges || op_.shortcut_ || op_.derailed_) return;
  u64 merges = ctx_.stats.merges;
  merge_upwards(*item.t, path);
  ctx_.stats.merges_passing += ctx_.stats.merges - merges;
}

cbytes write_applier::stored_value(write_item& item, u8& flags) {
  flags = 0;
  if (item.draft != nullptr) return stored_draft(item, flags);
  if (item.extent < 0) return item.value;
  page_ref run =
      engine_.take_run_at(op_.space_, op_.space_.runs[static_cast<u32>(item.extent)].addr);
  engine_.require_flush();
  value_reference& ref = stored_.ref;
  ref.length = item.value_bytes();
  ref.run = run.addr.raw;
  ref.count = 1;
  ref.gen = run.gen;
  ref.checksum = hash64(item.value);
  flags = VALUE_INDIRECT;
  return {reinterpret_cast<const std::byte*>(&ref), sizeof ref};
}

/// The runs of a value with a map, and the map: reserved and written, now the store's.
cbytes write_applier::stored_draft(write_item& item, u8& flags) {
  value_draft& d = *item.draft;
  for (page_addr run : d.own_runs()) engine_.take_kept(op_.space_, run);
  engine_.take_kept(op_.space_, d.map_run());
  engine_.require_flush();
  engine_.require_feature(feature_value_maps);
  stored_.ref = d.reference(static_cast<generation_t>(engine_.lsn()));
  // The next change of the same key in this batch frees it again.
  if (op_.items_.size() > 1) op_.large().maps.push_back({stored_.ref, d.map().runs});
  if (item.t->order != nullptr) taken_ = d.own_runs();
  d.taken();
  flags = VALUE_INDIRECT;
  const std::byte* const at = reinterpret_cast<const std::byte*>(&stored_);
  if (!item.t->digest) return {at, sizeof stored_.ref};
  stored_.content = d.content();
  return {at, sizeof stored_};
}

/// Of a change that derailed: the runs that `stored_value` took.
void write_applier::give_back_value(const write_item& item, u8 flags) {
  if ((flags & VALUE_INDIRECT) == 0) return;
  if (item.draft != nullptr)
    for (page_addr run : taken_) engine_.free_run(op_.space_, {run, stored_.ref.gen});
  engine_.free_run(op_.space_, {page_addr(stored_.ref.run), stored_.ref.gen});
}

void write_applier::drop_extent(const record& old) {
  if (!(old.value_flags & VALUE_INDIRECT) || PLEACH_PLANTED("old_extent_not_freed")) return;
  value_reference ref;
  std::memcpy(&ref, old.value.data(), sizeof ref);
  if (has_map(ref)) {
    const known_map* map = op_.map_of(ref);
    PLEACH_ASSERT(map != nullptr);  // the plan had it read
    if (!PLEACH_PLANTED("map_runs_not_freed"))
      for (page_addr run : map->runs) engine_.free_run(op_.space_, {run, ref.gen});
  }
  engine_.free_run(op_.space_, {page_addr(ref.run), ref.gen});
}

/// The stub of a long key, as the record in the leaf has it or with the extent that was written for
/// it.
void write_applier::store_key(write_item& item, const value_reference* present) {
  value_reference ref{};
  if (present != nullptr) {
    ref = *present;
  } else {
    PLEACH_ASSERT(item.of_key->extent >= 0);
    const page_addr at = op_.space_.runs[static_cast<u32>(item.of_key->extent)].addr;
    const page_ref run = engine_.take_run_at(op_.space_, at);
    engine_.require_flush();
    engine_.require_feature(feature_long_keys);
    ref.length = item.key.size();
    ref.run = run.addr.raw;
    ref.count = 1;
    ref.gen = run.gen;
    ref.checksum = hash64(item.key);
    op_.large().new_keys.add_key(ref, item.of_key->rank);
  }
  make_stub(item.key, ref, item.of_key->stub);
}

/// I2 of long_key.hh: the extent of the record's key, if the low fence has it not.
void write_applier::drop_key(const node_view& leaf, u32 index) {
  if (!leaf.has_stub(index) || PLEACH_PLANTED("key_extent_not_freed")) return;
  const value_reference ref = leaf.key_extent(index);
  const cbytes low = leaf.low_fence();
  const bool is_fence = is_stub(low) && same_extent(reference_of(low), ref);
  if (is_fence && !PLEACH_PLANTED("key_extent_freed_twice")) return;
  engine_.free_run(op_.space_, {page_addr(ref.run), ref.gen});
}

bool write_applier::may_drop_fence(cbytes fence) const {
  return !is_stub(fence) || planned_free(page_addr(reference_of(fence).run));
}

/// A low fence vanishes: its extent goes, unless the first record of `heir` has it.
void write_applier::drop_fence(cbytes fence, const node_view* heir) {
  if (!is_stub(fence)) return;
  const value_reference ref = reference_of(fence);
  const bool inherited = heir != nullptr && heir->count() != 0 && heir->has_stub(0) &&
                         same_extent(heir->key_extent(0), ref);
  if (!inherited) engine_.free_run(op_.space_, {page_addr(ref.run), ref.gen});
}

/// What is attached to the record. Leaves that hold such records are of the second version.
record_extras write_applier::extras_of(const write_item& item, cbytes value, const record* old) {
  record_extras x = make_extras(*item.t, item.stored(), value, op_.user_flags_after(item, old));
  if (x.size != 0) engine_.require_feature(feature_slotted_2 | feature_record_extras);
  if (old != nullptr && x.size == old->attached.size() && x.size >= record_sum_bytes &&
      PLEACH_PLANTED("checksum_not_updated"))
    std::memcpy(x.bytes, old->attached.data(), x.size);
  return x;
}

/// A change of the leaf of the path is one of the sums of all its ancestors.
void write_applier::add_to_path(const tree& t, resident_path& path, const aggregate& more) {
  if (!t.counted || more == aggregate{}) return;
  for (u32 l = 1; l < path.height; ++l) {
    page_writer w = change(*path.page[l], false);
    aggregate sum = node_view(w).child_sum(path.slot[l]);
    sum += more;
    set_child_sum(w, path.slot[l], sum);
  }
}

void write_applier::insert_or_replace(write_item& item, resident_path& path) {
  const tree& t = *item.t;
  u8 flags;
  cbytes value = stored_value(item, flags);
  u32 length = static_cast<u32>(value.size());
  bytes scratch{ctx_.scratch, ctx_.scratch_bytes};
  record_extras extras;
  aggregate added, removed;
  const u32 planned_place = as_planned(item, *path.page[0]) ? item.place : 0;
  search_result r = search(item, *path.page[0]);
  const bool is_new = !r.found;
  {
    cache::descriptor& d = *path.page[0];
    node_view n = item.t->view(d);
    if (item.of_key != nullptr) {
      const value_reference present = r.found ? n.key_extent(r.index) : value_reference{};
      store_key(item, r.found ? &present : nullptr);
    }
    if (t.counted) added = record_sum(item.stored(), record{0, flags, {}, value, {}}, t.digest);
    if (r.found) {
      ++ctx_.stats.replaces;
      record old = n.at(r.index);
      extras = extras_of(item, value, &old);
      i64 grown = static_cast<i64>(item.value_bytes()) - static_cast<i64>(value_bytes_of(old));
      if (item.old_value && !(old.value_flags & VALUE_INDIRECT))
        item.old_value->assign(reinterpret_cast<const char*>(old.value.data()), old.value.size());
      room there = room_for_replace(n, r.index, length, extras.size);
      if (t.counted) removed = record_sum(item.stored(), old, t.digest);
      page_writer w = change(d, false);
      drop_extent(old);
      if (there == room::AFTER_COMPACTION) {
        ++ctx_.stats.compactions;
        compact(w, scratch, nullptr, conversion({&d}));
      }
      if (there != room::NONE) {
        replace_value(w, r.index, extras.key_flags, flags | extras.value_flags, value,
                      extras.attached());
        added -= removed;
        add_to_path(t, path, added);
        return add_counts(*item.t, 0, grown);
      }
      // Too large for its leaf: out, and in again as if new.
      add_counts(*item.t, -1, grown - static_cast<i64>(item.key.size() + item.value_bytes()));
      erase_at(w, r.index);
      aggregate less;
      less -= removed;
      add_to_path(t, path, less);
      d.run = {};
    } else {
      extras = extras_of(item, value, nullptr);
      ++ctx_.stats.inserts;
    }
  }
  const cbytes stored = item.stored();
  u32 whole = 0;  ///< records of the leaf before it is split
  for (u32 round = 0;; ++round) {
    if (derailed(*item.t, round < 4 * max_height)) return give_back_value(item, flags);
    cache::descriptor& d = *path.page[0];
    node_view n = item.t->view(d);
    if (round != 0 || !is_new) r = n.find(item.key, item.probe());
    u32 place = round == 0 && is_new ? planned_place : 0;
    room there = place != 0
                     ? room::NOW
                     : room_for_insert(n, stored, length, extras.size, &place, hole_near(d));
    // Only a leaf that the plan has pages for, and once, even if its ancestors have to make room
    // first: its halves take what they can.
    if (round == 0) whole = n.count();
    if (there == room::AFTER_COMPACTION && n.count() == whole &&
        splits_instead(n, item.stored(), length + extras.size) && planned(d) != nullptr)
      there = room::NONE;
    if (there == room::NONE) {
      complete(item, path);
      if (!make_space(*item.t, path, 0, stored, r.index, length + extras.size,
                      run_at(op_, d, r.index)))
        return give_back_value(item, flags);
      bool resolved = resolve(item, path);
      if (derailed(*item.t, resolved && is_pinned(*item.t, *path.page[0])))
        return give_back_value(item, flags);
      continue;
    }
    page_writer w = change(d, false);
    if (there == room::AFTER_COMPACTION) {
      ++ctx_.stats.compactions;
      compact(w, scratch, &stored, conversion({&d}));
      r = node_view(w, item.t->order).find(item.key, item.probe());
    }
    insert_at(w, r.index, item.stored(), extras.key_flags, flags | extras.value_flags, value,
              extras.attached(), place);
    add_to_path(t, path, added);
    if (place > n.node().heap_begin) d.hole_hint = static_cast<u8>(place / (d.size() / 256));
    d.run.note(r.index);
    break;
  }
  add_counts(*item.t, 1, static_cast<i64>(item.key.size() + item.value_bytes()));
}

void write_applier::erase(write_item& item, resident_path& path) {
  cache::descriptor& d = *path.page[0];
  node_view n = item.t->view(d);
  search_result r = search(item, d);
  if (!r.found) return;  // in a batch, no error
  ++ctx_.stats.deletes;
  ++op_.erased_;
  record old = n.at(r.index);
  if (item.old_value && !(old.value_flags & VALUE_INDIRECT))
    item.old_value->assign(reinterpret_cast<const char*>(old.value.data()), old.value.size());
  add_counts(*item.t, -1, -static_cast<i64>(item.key.size() + value_bytes_of(old)));
  aggregate less;
  if (item.t->counted) {
    std::byte key[max_stored_key_bytes];
    less -= record_sum({key, n.copy_key(r.index, key)}, old, item.t->digest);
  }
  page_writer w = change(d, false);
  drop_extent(old);
  drop_key(n, r.index);
  erase_at(w, r.index);
  add_to_path(*item.t, path, less);
  d.run = {};
  const bool sparse = n.count() != 0 && op_.items_.size() == 1 && is_sparse(n, 0);
  if (n.count() == 0 || sparse) complete(item, path);
  if (path.height == 1) return;
  if (n.count() == 0) {
    if (!unlink(*item.t, path)) ++ctx_.stats.empties_kept;
  } else if (sparse) {
    merge_upwards(*item.t, path);
  }
}

// --- trees and counts ---

/// The root page of a new tree, and its number from the root block.
void write_applier::create_root(write_item& item) {
  cache::descriptor& block = engine_.root_block();
  tree_record& rec = op_.created_.record;
  PLEACH_ASSERT(item.value.size() <= sizeof op_.created_);
  std::memcpy(&op_.created_, item.value.data(), item.value.size());
  page_writer w = change(block, false);
  const auto& root_now = *reinterpret_cast<const root_record*>(block.reader().base());
  // A holder's id is that of the tree whose branches it will hold.
  if (rec.state == TREE_CUT) {
    engine_.require_feature(feature_cuts);
  } else {
    rec.id = root_now.next_tree_id;
    w.put_le<u64>(offsetof(root_record, next_tree_id), rec.id + 1);
  }
  // A page of exactly the root's size: it keeps it for life.
  cache::descriptor& page = new_page(root_blocks);
  PLEACH_ASSERT(page.addr.blocks() == root_blocks);
  rec.root_addr = page.addr.raw;
  rec.root_gen = page.gen;
  rec.created_lsn = engine_.lsn();
  if (rec.key_bytes != 0 || rec.value_bytes != 0) engine_.require_feature(feature_fixed_lengths);
  if (rec.order != ORDER_BYTES || (rec.flags & (TREE_NO_PREFIX | TREE_NO_TRUNCATION)))
    engine_.require_feature(feature_key_orders);
  const bool slotted = !leaf_shape(rec).fixed();
  u16 format = sum_bytes(rec) != 0 ? node_format_slotted_2 : item.slotted_format;
  if (slotted && format == node_format_slotted_2) engine_.require_feature(feature_slotted_2);
  if (sum_bytes(rec) != 0) engine_.require_feature(feature_record_extras);
  if (rec.flags & TREE_COUNTED) engine_.require_feature(feature_aggregates);
  format_root(change(page, true), page.addr, ctx_.pages.store_id(), rec.id, page.gen,
              leaf_shape(rec), format);
  item.value = {reinterpret_cast<const std::byte*>(&op_.created_), item.value.size()};
}

void write_applier::remove_root(const write_item& item) {
  tree_record rec;
  std::memcpy(&rec, item.value.data(), sizeof rec);
  page_ref root{page_addr(rec.root_addr), rec.root_gen};
  if (cache::descriptor* d = ctx_.pages.find_resident(root))
    free_page(*d);
  else
    engine_.free_run(op_.space_, root);
}

void write_applier::add_counts(tree& t, i64 records, i64 bytes) {
  if (counted_ != &t) flush_counts();
  if (records < 0 && PLEACH_PLANTED("count_delta_lost")) return;
  counted_ = &t;
  records_ += records;
  bytes_ += bytes;
}

/// Record and byte counts live in the root page; its words are captured once per group.
void write_applier::flush_counts() {
  if (counted_ != nullptr && (records_ != 0 || bytes_ != 0)) {
    cache::descriptor* root = ctx_.pages.find_resident(counted_->root);
    PLEACH_ASSERT(root != nullptr);
    add_to_counts(change(*root, false), records_, bytes_);
  }
  counted_ = nullptr;
  records_ = bytes_ = 0;
}

}  // namespace pleach::btree
