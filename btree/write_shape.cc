// Changes of the shape of a tree in ACT: making space by growing, splitting and pushing down;
// giving space back by unlinking, merging and pulling up.
#include <algorithm>

#include "be/base/planted.hh"
#include "btree/write_apply.hh"
#include "btree/write_plan.hh"

namespace pleach::btree {

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
                               u32 value_length, run_kind r) {
  cache::descriptor& d = *path.page[level];
  if (level + 1 == path.height) return push_down(t, path);
  node_view n(d.reader());
  u32 longest = static_cast<u32>(std::max(key.size(), n.low_fence().size()));
  if (n.has_high_fence()) longest = std::max(longest, static_cast<u32>(n.high_fence().size()));
  pinned_page* plan = planned(d);
  u32 blocks = plan != nullptr ? plan->wanted : node_class(t, longest);
  if (d.addr.blocks() < blocks) return grow(t, path, level, next_size(d, d.addr.blocks() * 2));
  split_point at = choose_split(n, key, index, value_length, r);
  // No split helps: only where the store's largest nodes are too small (least_max_node_bytes).
  if (at.index == 0) return grow(t, path, level, d.addr.blocks() * 2);
  cbytes separator{at.separator, at.separator_length};
  cache::descriptor& parent = *path.page[level + 1];
  node_view up(parent.reader());
  room there = room_for_insert(up, separator, up.child_bytes());
  if (there == room::NONE) {
    // The caller descends again and comes back with a parent that has room.
    const u32 slot = path.slot[level + 1];
    const bool at_edge = r == run_kind::UP ? slot + 1 == up.count() : slot == 0;
    return make_space(t, path, level + 1, separator, slot + 1, up.child_bytes(),
                      at_edge ? r : run_kind::NONE);
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
  larger.run = old.run;
  set_child(change(*path.page[level + 1], true), path.slot[level + 1], {larger.addr, larger.gen});
  free_page(old);
  return true;
}

bool write_applier::split(tree& t, resident_path& path, u32 level, const split_point& at) {
  cache::descriptor& left = *path.page[level];
  if (derailed(t, has_page(left.addr.blocks()))) return false;
  ++ctx_.stats.splits;
  ctx_.stats.splits_in_run += level == 0 && at.in_run;
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
  // Items of a batch that are still to come and have not met the key in this node are behind it.
  if (is_stub(separator)) op_.large().new_keys.add_below(reference_of(separator), current_ + 1);
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
  if (at.in_run && at.insert_right)
    right.run = left.run.moved_to(left.run.length > 0 ? node_view(r).count() : 0);
  return true;
}

/// Items of a batch that are still to come to a leaf that is unlinked come to its heirs, and have
/// met none of the keys there: all are on one side of them.
void write_applier::meet_heirs(const tree& t, const node_view& leaf,
                               std::span<cache::descriptor* const> heirs, bool leftward) {
  for (u32 k = current_ + 1; k < op_.items_.size(); ++k) {
    const write_item& i = op_.items_[k];
    if (i.t != &t || !leaf.covers(i.key, i.probe()) || asks(i.probe())) {
      if (i.probe() != nullptr) i.probe()->drop_question();  // of a fence that is not on its way
      return;
    }
    for (u32 h = 0; i.probe() != nullptr && h < heirs.size(); ++h) {
      const node_view n(heirs[h]->reader());
      for (u32 s = 0; s < n.count(); ++s)
        if (n.has_stub(s)) i.probe()->learn(n.key_extent(s), leftward ? -1 : 1);
    }
  }
}

// --- giving space back ---

bool write_applier::planned_free(page_addr a) const {
  return std::find(op_.plan_.frees.begin(), op_.plan_.frees.end(), a) != op_.plan_.frees.end();
}

/// Did the plan see that items of this op empty the leaf, and that none goes into it?
bool write_applier::emptied_by_plan(const cache::descriptor& leaf) const {
  for (const pinned_page& p : op_.pins_)
    if (p.d == &leaf && p.deletes != 0) return p.inserts == 0;
  return false;
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
  // Others may be planned to be pulled up only: items that are still to come count on this leaf.
  if (!emptied_by_plan(*path.page[0])) return false;
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
  std::byte fence_room[max_stored_key_bytes];
  bool has_fence = !leftward || leaf.has_high_fence();
  cbytes source = leftward ? (has_fence ? leaf.high_fence() : cbytes{}) : leaf.low_fence();
  if (!source.empty()) std::memcpy(fence_room, source.data(), source.size());
  cbytes fence{fence_room, source.size()};
  // The range that vanishes begins here.
  std::byte gone_room[max_stored_key_bytes];
  const cbytes begins = leftward ? leaf.low_fence() : leaf.high_fence();
  if (!begins.empty()) std::memcpy(gone_room, begins.data(), begins.size());
  const cbytes gone{gone_room, begins.size()};
  if (!may_drop_fence(gone)) return false;

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
    // Leftward all of its items have been.
    if (!leftward && awaits_inserts(*d)) return false;
    if (l > 0) d = ctx_.pages.find_resident(n.child(leftward ? n.count() - 1 : 0));
  }
  page_ref after = leaf.right_hint();
  meet_heirs(t, leaf, {beside, top}, leftward);
  for (u32 l = 0; l < top; ++l) {
    page_writer w = change(*beside[l], true);
    if (leftward)
      set_high_fence(w, fence, has_fence, scratch);
    else
      set_low_fence(w, fence, scratch);
    if (leftward && l == 0) set_right_hint(w, after);
  }
  if (leftward) {
    drop_fence(gone, nullptr);
  } else {
    const node_view heir(beside[0]->reader());
    drop_fence(gone, &heir);
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

/// After a batch of deletes: leaves only, one merge for each that the plan has claimed one for.
void write_applier::merge_behind() {
  i32 last = -1;
  for (const write_item& item : op_.items_) {
    if (op_.derailed_) return;
    // A long key need not have met the separators that lead to its leaf by now.
    if (item.leaf == last || item.probe() != nullptr) continue;
    last = item.leaf;
    const pinned_page& planned = op_.pins_[static_cast<u32>(item.leaf)];
    if (!planned.merges) continue;
    resident_path path;
    if (!resolve(item, path) || path.height == 1) continue;
    if (!is_pinned(*item.t, *path.page[1])) continue;  // a comparator contradicts itself
    if (!is_sparse(node_view(path.page[0]->reader()), 0)) continue;
    const u32 slot = path.slot[1];
    const bool right = planned.merges_right;
    if (right ? slot + 1 == node_view(path.page[1]->reader()).count() : slot == 0) continue;
    if (merge_pair(path, 0, right ? slot : slot - 1) && path.height == 2) pull_up(*item.t, path);
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
  if (level == 0 && !may_drop_fence(node_view(b->reader()).low_fence())) return false;
  if (!cache::try_latch(*a) || !cache::try_latch(*b)) return false;
  if (!may_merge(node_view(a->reader()), node_view(b->reader()))) return false;
  std::byte key[max_stored_key_bytes];
  u32 length = up.copy_key(left_slot + 1, key);
  merge_nodes(change(*a, true), node_view(b->reader()), {key, length},
              {ctx_.scratch, ctx_.scratch_bytes}, conversion({a, b}));
  a->run = {};
  if (level == 0) {
    const node_view heir(b->reader());
    drop_fence(heir.low_fence(), &heir);
  }
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

/// Items of a batch may still be to come that have room in the child, as it is.
bool write_applier::awaits_inserts(const cache::descriptor& child) const {
  if (op_.items_.size() == 1) return false;
  return std::any_of(op_.pins_.begin(), op_.pins_.end(),
                     [&](const pinned_page& p) { return p.d == &child && p.inserts != 0; });
}

/// A root with one small child takes its content and loses a level.
void write_applier::pull_up(tree& t, resident_path& path) {
  cache::descriptor& root = *path.page[path.height - 1];
  node_view r(root.reader());
  if (r.is_leaf() || r.count() != 1) return;
  cache::descriptor* child = ctx_.pages.find_resident(r.child(0));
  if (child == nullptr || !planned_free(child->addr) || !cache::try_latch(*child)) return;
  if (!may_pull_up(node_view(child->reader())) || awaits_inserts(*child)) return;
  page_writer w = change(root, true);
  copy_node(child->reader(), w, root.addr, ctx_.pages.store_id(), t.id, root.gen,
            conversion({child}));
  t.height_hint = node_view(w).level() + 1;
  free_page(*child);
  ++ctx_.stats.pull_ups;
}

}  // namespace pleach::btree
