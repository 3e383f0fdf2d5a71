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
bool write_applier::resolve(tree& t, cbytes key, bool below, resident_path& out) {
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
    u32 i;
    if (below) {
      u32 at = v.find(key).index;
      i = at == 0 ? 0 : at - 1;
    } else {
      i = v.find_child(key);
    }
    slots[n++] = i;
    d = ctx_.pages.find_resident(v.child(i));
  }
  return false;
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
  for (write_item& item : op_.items_) apply(item);
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
  } else {
    bool resolved = resolve(*item.t, item.key, false, path);
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

/// What is attached to the record. Leaves that hold such records are of the second version.
record_extras write_applier::extras_of(const write_item& item, cbytes value, const record* old) {
  record_extras x = make_extras(*item.t, item.key, value, op_.user_flags_after(item, old));
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
  if (t.counted) added = record_sum(item.key, record{0, flags, {}, value, {}}, t.digest);
  {
    cache::descriptor& d = *path.page[0];
    node_view n = item.t->view(d);
    search_result r = n.find(item.key);
    if (r.found) {
      ++ctx_.stats.replaces;
      record old = n.at(r.index);
      extras = extras_of(item, value, &old);
      i64 grown = static_cast<i64>(item.value_bytes()) - static_cast<i64>(value_bytes_of(old));
      if (item.old_value && !(old.value_flags & VALUE_INDIRECT))
        item.old_value->assign(reinterpret_cast<const char*>(old.value.data()), old.value.size());
      room there = room_for_replace(n, r.index, length, extras.size);
      if (t.counted) removed = record_sum(item.key, old, t.digest);
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
      d.ascending = 0;
    } else {
      extras = extras_of(item, value, nullptr);
      ++ctx_.stats.inserts;
    }
  }
  for (u32 round = 0;; ++round) {
    if (derailed(*item.t, round < 4 * max_height)) return give_back_value(item, flags);
    cache::descriptor& d = *path.page[0];
    node_view n = item.t->view(d);
    search_result r = n.find(item.key);
    u32 place = 0;
    room there = room_for_insert(n, item.key, length, extras.size, &place);
    // Only a leaf that the plan has pages for, and once: its halves take what they can.
    if (there == room::AFTER_COMPACTION && round == 0 &&
        splits_instead(n, item.key, length + extras.size) && planned(d) != nullptr)
      there = room::NONE;
    bool at_end = r.index == n.count() && n.count() > 0;
    if (there == room::NONE) {
      if (!make_space(*item.t, path, 0, item.key, r.index, length + extras.size,
                      at_end && d.ascending >= 2))
        return give_back_value(item, flags);
      bool resolved = resolve(*item.t, item.key, false, path);
      if (derailed(*item.t, resolved && is_pinned(*item.t, *path.page[0])))
        return give_back_value(item, flags);
      continue;
    }
    page_writer w = change(d, false);
    if (there == room::AFTER_COMPACTION) {
      ++ctx_.stats.compactions;
      compact(w, scratch, &item.key, conversion({&d}));
      r = node_view(w, item.t->order).find(item.key);
    }
    insert_at(w, r.index, item.key, extras.key_flags, flags | extras.value_flags, value,
              extras.attached(), place);
    add_to_path(t, path, added);
    d.ascending = at_end ? static_cast<u16>(std::min<u32>(d.ascending + 1u, 1000)) : 0;
    break;
  }
  add_counts(*item.t, 1, static_cast<i64>(item.key.size() + item.value_bytes()));
}

void write_applier::erase(write_item& item, resident_path& path) {
  cache::descriptor& d = *path.page[0];
  node_view n = item.t->view(d);
  search_result r = n.find(item.key);
  if (!r.found) return;  // in a batch, no error
  ++ctx_.stats.deletes;
  ++op_.erased_;
  record old = n.at(r.index);
  if (item.old_value && !(old.value_flags & VALUE_INDIRECT))
    item.old_value->assign(reinterpret_cast<const char*>(old.value.data()), old.value.size());
  add_counts(*item.t, -1, -static_cast<i64>(item.key.size() + value_bytes_of(old)));
  aggregate less;
  if (item.t->counted) less -= record_sum(item.key, old, item.t->digest);
  page_writer w = change(d, false);
  drop_extent(old);
  erase_at(w, r.index);
  add_to_path(*item.t, path, less);
  d.ascending = 0;
  if (path.height == 1) return;
  if (n.count() == 0) {
    if (!unlink(*item.t, path)) ++ctx_.stats.empties_kept;
  } else if (op_.items_.size() == 1 && is_sparse(node_view(d.reader()), 0)) {
    merge_upwards(*item.t, path);
  }
}

// --- making space ---

/// What the plan holds for the node `d`, or for the one that it came from; null if nothing.
pinned_page* write_applier::planned(const cache::descriptor& d) {
  for (pinned_page& p : op_.pins_)
    if (p.d == &d && p.wanted != 0) return &p;
  return nullptr;
}

/// The blocks of the page that `d` moves to: as planned, lest it take what was reserved for another
/// node.
u32 write_applier::next_size(const cache::descriptor& d, u32 node_class) {
  pinned_page* p = planned(d);
  if (p == nullptr) return node_class;
  u32 blocks = p->target != 0 ? p->target : p->wanted;
  p->target = 0;
  return blocks;
}

/// `to` was made from `from` and stands under the same plan.
void write_applier::inherit(const cache::descriptor& from, const cache::descriptor& to) {
  pinned_page* p = planned(from);
  if (p == nullptr) return;
  u16 wanted = p->wanted;
  for (pinned_page& q : op_.pins_)
    if (q.d == &to) q.wanted = wanted;
}

/// RETURNS: false if no reserved page of at least `min_blocks` is left.
bool write_applier::find_page(u32 min_blocks, u32& best, u32& best_run) const {
  best = ~0u;
  for (u32 i = op_.plan_.extents; i < op_.space_.runs.size(); ++i) {
    const auto& run = op_.space_.runs[i];
    if (run.taken || run.addr.blocks() < min_blocks) continue;
    if (best != ~0u && op_.space_.runs[best_run].addr.blocks() <= run.addr.blocks()) continue;
    for (u32 s = 0; s < op_.spares_.size(); ++s)
      if (op_.spares_[s].frame != 0 && op_.spares_[s].units == run.addr.blocks()) {
        best = s;
        best_run = i;
        break;
      }
  }
  return best != ~0u;
}

/// Takes the smallest reserved page of at least `min_blocks`.
/// REQUIRES: there is one: the plan reserved it.
cache::descriptor& write_applier::new_page(u32 min_blocks) {
  u32 best, best_run;
  bool found = find_page(min_blocks, best, best_run);
  PLEACH_ASSERT(found);
  cache::descriptor& d =
      engine_.create_at(op_.space_, op_.space_.runs[best_run].addr, op_.spares_[best]);
  d.structure_version = ctx_.pages.next_version();
  op_.pins_.push_back({.d = &d, .probed = true});
  return d;
}

/// RETURNS: false if it derailed; then nothing has changed.
bool write_applier::make_space(tree& t, resident_path& path, u32 level, cbytes key, u32 index,
                               u32 value_length, bool ascending) {
  cache::descriptor& d = *path.page[level];
  if (level + 1 == path.height) return push_down(t, path);
  node_view n(d.reader());
  u32 longest = static_cast<u32>(std::max(key.size(), n.low_fence().size()));
  if (n.has_high_fence()) longest = std::max(longest, static_cast<u32>(n.high_fence().size()));
  pinned_page* plan = planned(d);
  u32 blocks = plan != nullptr ? plan->wanted : node_class(t, longest);
  if (d.addr.blocks() < blocks) return grow(t, path, level, next_size(d, d.addr.blocks() * 2));
  split_point at = choose_split(n, key, index, value_length, ascending);
  if (at.index == 0)  // no split helps: a larger page does
    return grow(t, path, level, d.addr.blocks() * 2);
  cbytes separator{at.separator, at.separator_length};
  cache::descriptor& parent = *path.page[level + 1];
  node_view up(parent.reader());
  room there = room_for_insert(up, separator, up.child_bytes());
  if (there == room::NONE) {
    // The caller descends again and comes back with a parent that has room.
    return make_space(t, path, level + 1, separator, path.slot[level + 1] + 1, up.child_bytes(),
                      ascending && path.slot[level + 1] + 1 == up.count());
  }
  return split(t, path, level, at);
}

bool write_applier::push_down(tree& t, resident_path& path) {
  cache::descriptor& root = *path.page[path.height - 1];
  const u32 blocks = next_size(root, 1);
  if (derailed(t, has_page(blocks) && path.height < max_height)) return false;
  ++ctx_.stats.push_downs;
  cache::descriptor& child = new_page(blocks);
  inherit(root, child);
  page_ref ref{child.addr, child.gen};
  page_writer c = change(child, true);
  copy_node(root.reader(), c, child.addr, ctx_.pages.store_id(), t.id, child.gen,
            conversion({&root}));
  page_writer w = change(root, true);
  u8 level = static_cast<u8>(node_view(root.reader()).level() + 1);
  record_shape shape = node_view(root.reader()).shape();
  le64 records = node_view(root.reader()).node().record_count;
  le64 counted = node_view(root.reader()).node().byte_count;
  std::memset(w.writable(node_header_offset, root.size() - node_header_offset), 0,
              root.size() - node_header_offset);
  format_node(w, root.addr, ctx_.pages.store_id(), t.id, root.gen, level, {}, {}, false, {}, shape,
              node_format_slotted, t.counted);
  w.put_le<u64>(node_header_offset + offsetof(node_header, record_count), records);
  w.put_le<u64>(node_header_offset + offsetof(node_header, byte_count), counted);
  aggregate sum;
  if (t.counted) sum = sum_of(node_view(child.reader()), t.digest);
  insert_child(w, 0, {}, ref, sum);
  t.height_hint = level + 1u;
  return true;
}

bool write_applier::grow(tree& t, resident_path& path, u32 level, u32 blocks) {
  cache::descriptor& old = *path.page[level];
  if (derailed(t, has_page(blocks) && (t.order == nullptr || planned_free(old.addr)))) return false;
  ++ctx_.stats.growths;
  cache::descriptor& larger = new_page(blocks);
  inherit(old, larger);
  page_writer w = change(larger, true);
  copy_node(old.reader(), w, larger.addr, ctx_.pages.store_id(), t.id, larger.gen,
            conversion({&old}));
  larger.ascending = old.ascending;
  set_child(change(*path.page[level + 1], true), path.slot[level + 1], {larger.addr, larger.gen});
  free_page(old);
  return true;
}

bool write_applier::split(tree& t, resident_path& path, u32 level, const split_point& at) {
  cache::descriptor& left = *path.page[level];
  if (derailed(t, has_page(left.addr.blocks()))) return false;
  ++ctx_.stats.splits;
  ctx_.stats.splits_at_end += level == 0 && at.index == node_view(left.reader()).count();
  cache::descriptor& parent = *path.page[level + 1];
  cache::descriptor& right = new_page(left.addr.blocks());
  inherit(left, right);
  bytes scratch{ctx_.scratch, ctx_.scratch_bytes};
  page_ref right_ref{right.addr, right.gen};
  cbytes separator{at.separator, at.separator_length};
  page_writer p = change(parent, true);
  node_view up(p);
  if (room_for_insert(up, separator, up.child_bytes()) == room::AFTER_COMPACTION)
    compact(p, scratch, &separator);
  page_writer l = change(left, true);
  page_writer r = change(right, true);
  split_node(l, r, at, {left.addr, left.gen}, right_ref, ctx_.pages.store_id(), scratch,
             conversion({&left}));
  u32 slot = path.slot[level + 1];
  aggregate moved;
  if (t.counted) moved = sum_of(node_view(r), t.digest);
  insert_child(p, slot + 1, separator, right_ref, moved);
  if (t.counted && !PLEACH_PLANTED("aggregate_not_split")) {
    aggregate stays = up.child_sum(slot);
    stays -= moved;
    set_child_sum(p, slot, stays);
  }
  if (at.insert_right && node_view(r).count() == 0) right.ascending = left.ascending;
  return true;
}

// --- giving space back ---

bool write_applier::planned_free(page_addr a) const {
  return std::find(op_.plan_.frees.begin(), op_.plan_.frees.end(), a) != op_.plan_.frees.end();
}

void write_applier::free_page(cache::descriptor& d) {
  ctx_.pages.pin(d);
  d.structure_version = ctx_.pages.next_version();
  engine_.free_page(op_.space_, d);
  ctx_.pages.unpin(d);
}

/// Takes the empty leaf `path.page[0]`, and ancestors that have no other child, out of the tree;
/// the neighbour's range takes over theirs.
/// RETURNS: false, having changed nothing, if the neighbour is not at hand or has no room for its
/// wider fence.
bool write_applier::unlink(tree& t, resident_path& path) {
  u32 top = 1;  // lowest ancestor that keeps a child
  while (top < path.height && node_view(path.page[top]->reader()).count() == 1) ++top;
  for (u32 l = 0; l < top && l + 1 < path.height; ++l)
    if (!planned_free(path.page[l]->addr)) return false;
  bytes scratch{ctx_.scratch, ctx_.scratch_bytes};
  if (top == path.height) {
    // The last leaf of the tree: the root becomes an empty leaf.
    cache::descriptor& root = *path.page[path.height - 1];
    for (u32 l = 0; l + 1 < path.height; ++l) free_page(*path.page[l]);
    make_empty_leaf(change(root, true), conversion({}));
    t.height_hint = 1;
    ++ctx_.stats.unlinks;
    return true;
  }
  node_view leaf(path.page[0]->reader());
  bool leftward = path.slot[top] > 0;
  std::byte fence_room[max_key_bytes];
  bool has_fence = !leftward || leaf.has_high_fence();
  cbytes source = leftward ? (has_fence ? leaf.high_fence() : cbytes{}) : leaf.low_fence();
  if (!source.empty()) std::memcpy(fence_room, source.data(), source.size());
  cbytes fence{fence_room, source.size()};

  // The neighbour path: one page a level below `top`.
  cache::descriptor* beside[max_height];
  node_view ancestor(path.page[top]->reader());
  cache::descriptor* d =
      ctx_.pages.find_resident(ancestor.child(leftward ? path.slot[top] - 1 : path.slot[top] + 1));
  for (u32 l = top; l-- > 0;) {
    // It is pinned for the leaf that the plan thought of; another change of a batch may have made
    // another page the neighbour.
    if (d == nullptr || !cache::try_latch(*d)) return false;
    node_view n(d->reader());
    beside[l] = d;
    if (has_fence && room_for_fence(n, static_cast<u32>(fence.size()), leftward) == room::NONE)
      return false;
    if (l > 0) d = ctx_.pages.find_resident(n.child(leftward ? n.count() - 1 : 0));
  }
  page_ref after = leaf.right_hint();
  for (u32 l = 0; l < top; ++l) {
    page_writer w = change(*beside[l], true);
    if (leftward)
      set_high_fence(w, fence, has_fence, scratch);
    else
      set_low_fence(w, fence, scratch);
    if (leftward && l == 0) set_right_hint(w, after);
  }
  for (u32 l = 0; l < top; ++l) free_page(*path.page[l]);
  erase_child(change(*path.page[top], true), path.slot[top]);
  ++ctx_.stats.unlinks;
  if (top + 1 == path.height) pull_up(t, path);
  return true;
}

bool write_applier::beside_is_absent(const node_view& up, u32 slot) {
  auto absent = [&](u32 i) {
    return i < up.count() && ctx_.pages.find_resident(up.child(i)) == nullptr;
  };
  return absent(slot + 1) || absent(slot - 1);
}

/// Never reads a page: a neighbour that is not resident is left alone, and the sparse leaf with it,
/// until a write passes while both are there.
void write_applier::merge_upwards(tree& t, resident_path& path) {
  for (u32 level = 0; level + 1 < path.height; ++level) {
    node_view n(path.page[level]->reader());
    if (!is_sparse(n, 0)) return;
    u32 slot = path.slot[level + 1];
    node_view up(path.page[level + 1]->reader());
    bool merged = slot + 1 < up.count() && merge_pair(path, level, slot);
    if (!merged && slot > 0) merged = merge_pair(path, level, slot - 1);
    if (!merged) {
      ctx_.stats.merges_absent += beside_is_absent(up, slot);
      return;
    }
    if (level + 2 == path.height) return pull_up(t, path);
  }
}

/// Merges children `left_slot` and `left_slot + 1` of path.page[level + 1] if both are resident and
/// small enough.
bool write_applier::merge_pair(resident_path& path, u32 level, u32 left_slot) {
  cache::descriptor& parent = *path.page[level + 1];
  node_view up(parent.reader());
  cache::descriptor* a = ctx_.pages.find_resident(up.child(left_slot));
  cache::descriptor* b = ctx_.pages.find_resident(up.child(left_slot + 1));
  if (a == nullptr || b == nullptr || !planned_free(b->addr)) return false;
  if (!cache::try_latch(*a) || !cache::try_latch(*b)) return false;
  if (!may_merge(node_view(a->reader()), node_view(b->reader()))) return false;
  std::byte key[max_key_bytes];
  u32 length = up.copy_key(left_slot + 1, key);
  merge_nodes(change(*a, true), node_view(b->reader()), {key, length},
              {ctx_.scratch, ctx_.scratch_bytes}, conversion({a, b}));
  a->ascending = 0;
  free_page(*b);
  page_writer p = change(parent, true);
  if (up.aggregated()) {
    aggregate both = up.child_sum(left_slot);
    both += up.child_sum(left_slot + 1);
    set_child_sum(p, left_slot, both);
  }
  erase_child(p, left_slot + 1);
  path.page[level] = a;
  path.slot[level + 1] = left_slot;
  ++ctx_.stats.merges;
  return true;
}

/// A root with one small child takes its content and loses a level.
void write_applier::pull_up(tree& t, resident_path& path) {
  cache::descriptor& root = *path.page[path.height - 1];
  node_view r(root.reader());
  if (r.is_leaf() || r.count() != 1) return;
  cache::descriptor* child = ctx_.pages.find_resident(r.child(0));
  if (child == nullptr || !planned_free(child->addr) || !cache::try_latch(*child)) return;
  if (!may_pull_up(node_view(child->reader()))) return;
  page_writer w = change(root, true);
  copy_node(child->reader(), w, root.addr, ctx_.pages.store_id(), t.id, root.gen,
            conversion({child}));
  t.height_hint = node_view(w).level() + 1;
  free_page(*child);
  ++ctx_.stats.pull_ups;
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
