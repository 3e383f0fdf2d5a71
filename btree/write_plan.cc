#include "btree/write_plan.hh"

#include <algorithm>

#include "btree/node_cost.hh"
#include "btree/record_extras.hh"

namespace pleach::btree {

namespace {

/// Log bytes of so many bits in a bitmap page.
u64 bits_cost(u32 blocks) {
  return round_up(blocks / 8 + 2 + capture_granule_bytes, capture_granule_bytes) + 4;
}

}  // namespace

void write_plan::clear() {
  needs.release();
  frees.release();
  extents = 0;
  credit = units = 0;
  may_change = stale = merges = beside = converts = false;
  probe = read_old = -1;
  verdict = errc::ok;
}

bool write_plan::fits_into(const write_plan& reserved) const {
  if (extents != reserved.extents || credit > reserved.credit) return false;
  if (converts && !reserved.converts) return false;
  // Sizes: every need must meet its own reserved page of at least its size.
  u32 mine[max_page_blocks + 1] = {}, theirs[max_page_blocks + 1] = {};
  for (u32 i = extents; i < needs.size(); ++i) ++mine[needs.span()[i].blocks];
  for (u32 i = extents; i < reserved.needs.size(); ++i) ++theirs[reserved.needs.span()[i].blocks];
  u32 owed = 0;
  for (u32 b = 1; b <= max_page_blocks; ++b) {
    // Exact sizes: a page takes its size from its reservation.
    if (mine[b] > theirs[b]) owed += mine[b] - theirs[b];
  }
  if (owed != 0) return false;
  for (page_addr a : frees)
    if (std::find(reserved.frees.begin(), reserved.frees.end(), a) == reserved.frees.end())
      return false;
  return true;
}

void write_plan::narrow_to(const write_plan& now) {
  merges = now.merges;
  converts = now.converts;
  frees.clear();
  for (page_addr a : now.frees) frees.push_back(a);
}

void write_planner::free_later(write_plan& out, page_addr a) {
  for (page_addr b : out.frees)
    if (a == b) return;
  out.frees.push_back(a);
}

/// One address a group is enough for its bitmap page to be pinned.
void write_planner::pin_bitmap(write_plan& out, page_addr a) {
  u64 group = ctx_.engine.group_of(a);
  for (page_addr b : out.frees)
    if (ctx_.engine.group_of(b) == group) return;
  out.frees.push_back(a);
}

void write_planner::touch_runs(write_plan& out, page_addr map, const std::vector<page_addr>& runs,
                               bool frees) {
  // Of each run: its bits, rounded to granules at both ends, the header of their log run, and its
  // FREE record.
  constexpr u64 run_bytes = 24, free_bytes = 24;
  u64 group = ~u64{0};
  auto one = [&](page_addr r) {
    pin_bitmap(out, r);
    bytes_ += run_bytes + r.blocks() / 8 + (frees ? free_bytes : 0);
    if (ctx_.engine.group_of(r) != group) ++pages_;
    group = ctx_.engine.group_of(r);
  };
  for (page_addr r : runs) one(r);
  one(map);
}

void write_planner::compute(write_plan& out) {
  out.clear();
  bytes_ = pages_ = 0;
  only_deletes_ = op_.items_.size() > 1 &&
                  std::all_of(op_.items_.begin(), op_.items_.end(),
                              [](const write_item& i) { return i.kind == change::DELETE; });
  out.converts = ctx_.engine.uses_feature(feature_slotted_2);
  same_counts_ = false;
  for (pinned_page& p : op_.pins_) {
    p.inserts = p.deletes = p.summed = p.added_bytes = p.longest_key = p.wanted = p.target = 0;
    p.longest_record = p.stored_bytes = p.cost = p.erased_bytes = 0;
    p.first_fits = true;
    p.rewritten = p.merges = false;
    p.content_version = p.d->content_version;
  }
  if (!place_items(out)) return;
  plan_aggregates();
  out.extents = out.needs.size();
  u32 top = 0;
  for (pinned_page& p : op_.pins_) top = std::max<u32>(top, p.level);
  for (u32 level = 0; level <= top; ++level)
    for (u32 i = 0; i < op_.pins_.size(); ++i) {
      pinned_page& p = op_.pins_[i];
      if (p.level != level || (p.inserts == 0 && p.deletes == 0)) continue;
      if (level == 0) {
        // A leaf that may become empty needs the path to its neighbour.
        node_view n(p.d->reader());
        if (p.inserts == 0 && p.deletes >= n.count() && p.parent >= 0 && !p.probed) {
          out.probe = static_cast<i32>(i);
          return;
        }
        plan_leaf(out, p);
      } else {
        plan_inner(out, p);
      }
    }
  // The new root page of CREATE_TREE, or the old one of REMOVE_TREE, and the root block.
  const write_item& first = op_.items_.front();
  if (first.kind == change::CREATE_TREE) {
    out.needs.push_back({root_blocks, 0});
    touch(512);
    touch(64);
  } else if (first.kind == change::REMOVE_TREE) {
    tree_record rec;
    std::memcpy(&rec, first.value.data(), sizeof rec);
    free_later(out, page_addr(rec.root_addr));
  }
  plan_counts();
  for (const txn::space_need& n : out.needs) {
    log(bits_cost(n.blocks));
    out.units += 1 + n.blocks;
  }
  for (u32 i = 0; i < out.extents; ++i) out.units -= out.needs[i].blocks;
  for (page_addr a : out.frees) log(bits_cost(a.blocks()) + txn::engine::free_record_bytes);
  out.units += out.frees.size();
  out.credit = txn::engine::credit_bytes(bytes_, pages_);
}

/// Record and byte counts of each tree, in its root.
void write_planner::plan_counts() {
  constexpr u64 words = 2 * capture_granule_bytes + 4;
  if (same_counts_) return;
  const tree* last = nullptr;
  for (const write_item& item : op_.items_) {
    if (item.t == last) continue;
    last = item.t;
    bool in_leaf = op_.pins_[static_cast<u32>(item.leaf)].d->addr == item.t->root.addr;
    if (in_leaf && op_.items_.size() == 1)
      bytes_ += words;
    else
      log(words);
  }
}

bool write_planner::place_items(write_plan& out) {
  for (write_item& item : op_.items_)
    if (!place_item(out, item)) return false;
  return true;
}

bool write_planner::place_item(write_plan& out, write_item& item) {
  bool alone = op_.items_.size() == 1;
  pinned_page& leaf = op_.pins_[static_cast<u32>(item.leaf)];
  if (!leaf.d->resident() || leaf.level != 0) return !(out.stale = true);
  node_view n = item.t->view(*leaf.d);
  if (n.header().tree_id != item.t->id || !n.covers(item.key, item.probe()))
    return !(out.stale = true);
  search_result r = n.find(item.key, item.probe());
  if (asks(item.probe())) return !(out.stale = true);  // I6 of write_op
  item.index = static_cast<u16>(r.index);
  item.found = r.found;
  item.place = 0;
  op_.out.lsn = leaf.d->last_lsn;
  if (item.kind == change::CONVERT) {
    place_conversion(out, item, n);
    return true;
  }

  if (alone && op_.batch_ && item.kind == change::DELETE && !r.found) return true;
  if (alone) {
    if (r.found && (item.kind == change::PUT)) out.verdict = errc::exists;
    if (r.found && (item.kind == change::CREATE_TREE)) out.verdict = errc::tree_exists;
    if (!r.found && (item.kind == change::UPDATE || item.kind == change::DELETE ||
                     item.kind == change::REMOVE_TREE))
      out.verdict = errc::not_found;
    if (item.only_over != nullptr) {
      if (!r.found)
        out.verdict = errc::not_found;
      else if (!same_value(identify(n.at(r.index)), *item.only_over))
        out.verdict = errc::conflict;
    }
    if (!is_ok(out.verdict)) return false;
  }
  out.may_change = true;
  if (r.found) {
    record old = n.at(r.index);
    if (item.old_value != nullptr && !record_sound(*item.t, n, r.index)) {
      ++ctx_.stats.bad_sums;
      op_.bad_ = leaf.d->addr;
      out.verdict = errc::corrupt;
      return false;
    }
    bool stays = item.kind != change::DELETE && item.kind != change::REMOVE_TREE;
    same_counts_ = alone && stays && !(old.value_flags & VALUE_INDIRECT) &&
                   old.value.size() == item.value_bytes();
    if (old.value_flags & VALUE_INDIRECT) {
      value_reference ref;
      std::memcpy(&ref, old.value.data(), sizeof ref);
      bool is_read = op_.old_is_read_ && std::memcmp(&ref, &op_.old_reference_, sizeof ref) == 0;
      const known_map* map = has_map(ref) ? op_.map_of(ref) : nullptr;
      if (map != nullptr)
        touch_runs(out, page_addr(ref.run), map->runs, true);
      else
        free_later(out, page_addr(ref.run));
      bool wants_value = item.old_value && !is_read;
      if (out.read_old < 0 && (wants_value || (has_map(ref) && map == nullptr))) {
        op_.old_reference_ = ref;
        op_.old_map_only_ = !wants_value;
        out.read_old = static_cast<i32>(&item - op_.items_.data());
      }
    }
  }
  if (item.kind == change::DELETE || item.kind == change::REMOVE_TREE) {
    if (r.found && n.has_stub(r.index)) free_later(out, page_addr(n.key_extent(r.index).run));
    // What an item before this one inserts: its bitmap page is pinned for that.
    if (item.of_key != nullptr && !alone)
      log(bits_cost(max_page_blocks) + txn::engine::free_record_bytes);
    u32 others = leaf.inserts + leaf.deletes;
    // What is not there may be what an item before this one inserts.
    if (r.found || others != 0)
      leaf.cost +=
          static_cast<u32>(others == 0 ? erase_cost(n, r.index) : moved_cost(n, r.index, others));
    ++leaf.deletes;
    if (r.found) leaf.erased_bytes += n.bytes_of(r.index);
    return true;
  }
  u32 length = inline_length(*item.t, item);
  item.extent = -1;
  if (item.of_key != nullptr) item.of_key->extent = -1;
  if (item.of_key != nullptr && (!r.found || deleted_before(item))) {
    item.of_key->extent = static_cast<i32>(out.needs.size());
    out.needs.push_back({static_cast<u32>(ceil_div<u64>(item.key.size(), block_bytes)), 0});
  }
  if (item.draft != nullptr) {
    touch_runs(out, item.draft->map_run(), item.draft->own_runs(), false);
  } else if (goes_to_extent(*item.t, item)) {
    item.extent = static_cast<i32>(out.needs.size());
    u32 blocks = static_cast<u32>(ceil_div<u64>(item.value.size(), block_bytes));
    out.needs.push_back({blocks, 0});
  }
  plan_change(out, leaf, item, r, length);
  return true;
}

/// May a change before this one in the batch delete its record?
bool write_planner::deleted_before(const write_item& item) const {
  for (const write_item* i = &item; i != op_.items_.data();) {
    --i;
    if (i->of_key == nullptr || i->of_key->rank != item.of_key->rank) return false;
    if (i->kind == change::DELETE) return true;
  }
  return false;
}

/// A leaf of an old version is rewritten where it stands: it becomes no larger.
void write_planner::place_conversion(write_plan& out, write_item& item, const node_view& n) {
  converted_leaf& l = *item.of_leaf;
  l.last = !n.has_high_fence();
  if (l.last) {
    l.high.clear();
  } else if (is_stub(n.high_fence())) {
    key_reader& reader = op_.large().key_source;
    if (!reader.have(reference_of(n.high_fence()))) {
      out.stale = true;
      return;
    }
    l.high = reader.key();
  } else {
    l.high.assign(as_text(n.high_fence()));
  }
  if (!n.old_version()) return;
  out.may_change = out.converts = true;
  log(whole_page(n.size()));
}

/// Bytes behind the value of the record that the item makes.
u32 write_planner::attached_to(const write_item& item, const node_view& n,
                               const search_result& r) const {
  record old = r.found ? n.at(r.index) : record{};
  return extra_bytes(*item.t, op_.user_flags_after(item, r.found ? &old : nullptr));
}

/// An insert or replacement by a value of `length` inline bytes.
void write_planner::plan_change(write_plan& out, pinned_page& leaf, write_item& item,
                                const search_result& r, u32 length) {
  node_view n = item.t->view(*leaf.d);
  u32 attached = attached_to(item, n, r), stored = length + attached;
  if (attached != 0) out.converts = true;
  u32 klen = static_cast<u32>(item.stored().size());
  leaf.longest_key = std::max(leaf.longest_key, klen);
  // As it is stored in the largest node that it may come to.
  u32 page_bytes = std::max(n.size(), node_class(*item.t, klen) * block_bytes);
  u32 bytes = round_up(record_bytes(klen, stored), heap_unit(page_bytes)) + sizeof(slot);
  leaf.added_bytes += bytes;
  // As this one stores it; a key without the prefix has the node rewritten.
  u32 prefix = static_cast<u32>(n.prefix().size());
  bool shares = shares_prefix(item.stored(), n.prefix());
  u32 record =
      n.fixed() ? bytes - u32{sizeof(slot)} : stored_bytes(n, klen - (shares ? prefix : 0), stored);
  leaf.longest_record = std::max(leaf.longest_record, record);
  if (!shares || (attached != 0 && n.old_version())) leaf.rewritten = true;
  // The slots of other inserts may find no room then.
  const u64 others_take =
      leaf.stored_bytes + leaf.longest_record + op_.items_.size() * sizeof(slot);
  if (r.found && op_.items_.size() > 1 && growth_takes_slack(n, r.index, stored, others_take))
    leaf.rewritten = true;
  if (u32 others = leaf.inserts++ + leaf.deletes; others != 0) {
    leaf.stored_bytes += round_up(record, heap_unit(n.size())) + sizeof(slot);
    if (!r.found) leaf.cost += static_cast<u32>(moved_cost(n, r.index, others));
    return;
  }

  u32 place = 0;
  room there = r.found ? room_for_replace(n, r.index, length, attached)
                       : room_for_insert(n, item.stored(), length, attached, &place,
                                         hole_near(*leaf.d));
  if (there == room::AFTER_COMPACTION && !r.found && splits_instead(n, item.stored(), stored))
    there = room::NONE;
  leaf.first_fits = there != room::NONE;
  if (there == room::NOW) item.place = place;
  u64 cost = there == room::NOW ? r.found ? replace_cost(n, r.index, stored)
                                          : insert_cost(n, r.index, record, place)
                                : rewrite_cost(n, bytes + stretch_cost(n, sizeof(slot)));
  // A comparator of the program may answer ACT otherwise: then all slots move.
  if (item.t->order != nullptr)
    cost += stretch_cost(n, u64{n.count()} * sizeof(slot)) + stretch_cost(n, bytes);
  leaf.cost = static_cast<u32>(cost);
}

}  // namespace pleach::btree
