// The part of the plan that looks at nodes: what each of them logs, and which grow, split, merge or
// go. See write_plan.hh.
#include <algorithm>

#include "btree/aggregate.hh"
#include "btree/node_cost.hh"
#include "btree/write_plan.hh"

namespace pleach::btree {

namespace {

/// Bytes of a separator in an inner node beside its key.
u32 separator_overhead(const tree& t) {
  const u32 value = sizeof(child_reference) + (t.counted ? sizeof(child_aggregate) : 0);
  return value + 8 + sizeof(slot);
}

u32 capacity_of(const node_view& n) {
  return node_capacity(n.size(), u32{n.header().tail} * 16);
}

u32 unit_of(const node_view& n, u32 node_bytes) {
  return n.fixed() ? 1 : heap_unit(node_bytes);
}

/// Bytes by which the records of a node grow when they move to a larger one, where they occupy
/// larger units.
u32 unit_penalty(const node_view& n, u32 node_bytes) {
  return n.count() * (unit_of(n, node_bytes) - unit_of(n, n.size()));
}

/// Bytes by which a node grows when its prefix has to be cut anew (its fences were widened since).
u32 prefix_penalty(const node_view& n) {
  u32 stored = static_cast<u32>(n.prefix().size());
  u32 shared = n.has_high_fence() ? common_prefix(n.low_fence(), n.high_fence()) : 0;
  return stored > shared ? (stored - shared + unit_of(n, n.size()) - 1) * (n.count() + 1) : 0;
}

/// Bytes of a separator of `length` bytes in an inner node.
u32 separator_bytes(const pinned_page& parent, u32 length) {
  u32 page_bytes = std::max(parent.d->size(), node_class(*parent.t, length) * block_bytes);
  return length + separator_overhead(*parent.t) + heap_unit(page_bytes) - 1;
}

/// Where the node hangs in its parent.
u32 slot_in(const node_view& up, const cache::descriptor* child) {
  const cbytes low = node_view(child->reader()).low_fence();
  return is_stub(low) ? up.slot_of(child->addr) : up.find_child(low);
}

/// Of a separator whose length is not known.
constexpr u32 cost_unknown = ~0u;

/// Of so many aggregates in an inner node, wherever they stand.
u64 sums_cost(const node_view& n, u64 changes) {
  return std::min(whole_page(n.size()), changes * stretch_cost(n, sizeof(child_aggregate)));
}

/// erase_child at any index: the shorter side of the slots; the next child's key, if it was the
/// first.
u64 child_erase_cost(const node_view& n) {
  return header_cost(n) + stretch_cost(n, (u64{n.count()} / 2 + 1) * sizeof(slot)) +
         stretch_cost(n, n.child_bytes() + 6) + stretch_cost(n, sizeof(slot));
}

u32 longest_key(const pinned_page& p, const node_view& n) {
  u32 longest = std::max<u32>(p.longest_key, static_cast<u32>(n.low_fence().size()));
  if (n.has_high_fence()) longest = std::max(longest, static_cast<u32>(n.high_fence().size()));
  // A separator is a part of any key of the node, or the whole of it.
  for (u32 i = 0; i < n.count(); ++i) longest = std::max(longest, n.key_length(i));
  return longest;
}

}  // namespace

bool goes_to_extent(const tree& t, const write_item& i) {
  return i.draft != nullptr || goes_to_extent(t, i.key.size(), i.value.size());
}

run_kind run_at(const write_op& op, const cache::descriptor& leaf, u32 index) {
  if (leaf.run.ascends_to(index)) return run_kind::UP;
  return leaf.run.descends_to(index) && op.of_one_item() ? run_kind::DOWN : run_kind::NONE;
}

u32 inline_length(const tree& t, const write_item& i) {
  if (!goes_to_extent(t, i)) return static_cast<u32>(i.value.size());
  return i.draft != nullptr && t.digest ? sizeof(stored_reference) : sizeof(value_reference);
}

bool splits_instead(const node_view& n, cbytes key, u32 value_length) {
  if (n.free_bytes() >= capacity_of(n) / 8) return false;
  // Few and large records may not be divisible.
  return n.count() >= 16 && key.size() + value_length <= capacity_of(n) / 16;
}
bool is_sparse(const node_view& n, u32 without_bytes) {
  return n.used_bytes() - std::min(without_bytes, n.used_bytes()) < capacity_of(n) / 8 * 3;
}

namespace {
u32 most_merged(const node_view& a) {
  return capacity_of(a) / 4 * 3;
}
/// What merged_bytes() counts record by record, but no more than it.
u32 least_merged_bytes(const node_view& a, const node_view& b) {
  const u32 shared = b.has_high_fence() ? common_prefix(a.low_fence(), b.high_fence()) : 0;
  const auto least = [&](const node_view& n) {
    const u32 stored = static_cast<u32>(n.prefix().size());
    // A longer prefix, a shorter varint or the newer version.
    const u32 gain = round_up((shared > stored ? shared - stored : 0) + 2, heap_unit(n.size()));
    const u32 fences = stored + static_cast<u32>(n.low_fence().size()) + 3 * heap_unit(n.size()) +
                       (n.has_high_fence() ? static_cast<u32>(n.high_fence().size()) : 0);
    return n.used_bytes() - std::min(n.used_bytes(), gain * n.count() + fences);
  };
  return least(a) + least(b);
}
}  // namespace

bool may_merge(const node_view& a, const node_view& b) {
  if (!a.fixed() && least_merged_bytes(a, b) > most_merged(a)) return false;
  return merged_bytes(a, b) <= most_merged(a);
}
bool may_pull_up(const node_view& child) {
  return child.used_bytes() <= node_capacity(root_blocks * block_bytes) / 2;
}

/// The extent of a fence that may vanish, if it has one.
void write_planner::free_fence(write_plan& out, cbytes fence) {
  if (is_stub(fence)) free_later(out, page_addr(reference_of(fence).run));
}

/// Another operation may change the node before a plan that has to wait comes to act.
u64 write_planner::with_slack(u64 cost) {
  return cost + cost / 16 + 64;
}

/// Each item of a counted tree changes an aggregate in each node above its leaf.
void write_planner::plan_aggregates() {
  for (const write_item& item : op_.items_) {
    if (!item.t->counted) continue;
    for (i32 i = op_.pins_[static_cast<u32>(item.leaf)].parent; i >= 0;) {
      pinned_page& p = op_.pins_[static_cast<u32>(i)];
      ++p.summed;
      i = p.parent;
    }
  }
  // A value that has no room where it was goes out first, and comes back elsewhere.
  for (const pinned_page& p : op_.pins_)
    if (p.summed != 0) log(sums_cost(node_view(p.d->reader()), 2 * u64{p.summed}));
}

void write_planner::plan_leaf(write_plan& out, pinned_page& p) {
  node_view n(p.d->reader());
  bool one = p.inserts + p.deletes == 1;
  u32 added = one && p.first_fits ? 0 : p.added_bytes + prefix_penalty(n);
  if (one && !p.first_fits) added = std::max(added, n.free_bytes() + 1);
  if (added > n.free_bytes()) {
    if (!one || !plan_split(out, p)) {
      if (one) touch(n.size() + added);
      split_somehow(out, p, added);
    }
  } else if (one) {
    log(p.cost);
    // The neighbour may not have been there when the leaf became sparse (most are not: asked
    // first). A leaf that a run fills is left alone.
    if (op_.items_.size() == 1 && p.inserts != 0 && n.free_bytes() > n.size() / 2 &&
        !p.d->run.any())
      plan_merges(out, p, 0);
  } else if (p.rewritten) {
    log(std::min(whole_page(n.size()), rewrite_cost(n, 2 * u64{added} + p.cost)));
  } else {
    log(changes_cost(n, p.inserts + p.deletes, p.inserts, p.stored_bytes, p.longest_record,
                     p.cost));
  }
  if (p.deletes == 0 || p.parent < 0 || p.inserts != 0) return;
  if (p.deletes >= n.count()) {
    free_later(out, p.d->addr);
    free_fence(out, n.low_fence());
    if (n.has_high_fence()) free_fence(out, n.high_fence());
    plan_unlink(out, p);
    ++op_.pins_[static_cast<u32>(p.parent)].deletes;
  } else if (op_.leaves_sparse_) {
    return;
  } else if (op_.items_.size() == 1) {
    plan_merges(out, p, p.erased_bytes);
  } else if (only_deletes_) {
    plan_merge_behind(out, p);
  }
}

/// One merge of a leaf that a batch of deletes leaves sparse, when all of them are done. Whether
/// both fit then, and how much is rewritten, only ACT knows: a whole page is claimed.
void write_planner::plan_merge_behind(write_plan& out, pinned_page& p) {
  const node_view n(p.d->reader());
  if (!is_sparse(n, p.erased_bytes)) return;
  pinned_page& parent = op_.pins_[static_cast<u32>(p.parent)];
  const node_view up = p.t->view(*parent.d);
  const u32 i = slot_in(up, p.d);
  for (u32 j : {i + 1, i - 1}) {
    if (j >= up.count()) continue;
    cache::descriptor* other = ctx_.pages.find_resident(up.child(j));
    if (other == nullptr) continue;
    const node_view o(other->reader());
    u32 erased = p.erased_bytes;
    for (const pinned_page& q : op_.pins_)
      if (q.d == other) erased += q.deletes < o.count() ? q.erased_bytes : 0;
    const u32 both = n.used_bytes() + o.used_bytes();
    if (both - std::min(both, erased) > most_merged(j > i ? n : o)) continue;
    free_later(out, j > i ? other->addr : p.d->addr);
    free_fence(out, (j > i ? o : n).low_fence());
    out.merges = p.merges = true;
    p.merges_right = j > i;
    log(whole_page(std::max(n.size(), o.size())));
    if (p.t->counted) log(sums_cost(up, 1));
    ++parent.deletes;
    return;
  }
}

void write_planner::split_somehow(write_plan& out, pinned_page& p, u32 added) {
  u32 longest = longest_key(p, node_view(p.d->reader()));
  u32 separators = plan_new_pages(out, p, p.inserts, added, longest);
  if (p.parent < 0 || separators == 0) return;
  pinned_page& parent = op_.pins_[static_cast<u32>(p.parent)];
  if (parent.inserts == 0) parent.cost = cost_unknown;
  parent.inserts += separators;
  parent.added_bytes += separators * separator_bytes(parent, longest);
  parent.longest_key = std::max(parent.longest_key, longest);
  parent.longest_record = std::max(
      parent.longest_record, record_bytes(longest, node_view(parent.d->reader()).child_bytes()));
}

bool write_planner::plan_split(write_plan& out, pinned_page& p) {
  // A comparator of the program may answer ACT otherwise.
  if (p.parent < 0 || p.inserts == 0 || p.t->order != nullptr) return false;
  node_view n = p.t->view(*p.d);
  u32 blocks = p.d->addr.blocks();
  u32 wanted = node_class(*p.t, longest_key(p, n));
  if (blocks < wanted) return false;  // it grows
  const auto self = static_cast<i32>(&p - &op_.pins_[0]);
  const write_item& item = *std::find_if(op_.items_.begin(), op_.items_.end(),
                                         [&](const write_item& i) { return i.leaf == self; });
  search_result r = n.find(item.key, item.probe());
  if (r.found) return false;  // it goes out first
  u32 index = r.index, length = inline_length(*item.t, item) + attached_to(item, n, r);
  split_point at = choose_split(n, item.stored(), index, length, run_at(op_, *p.d, index));
  if (at.index == 0) return false;
  p.wanted = static_cast<u16>(wanted);
  out.needs.push_back({blocks, p.d->addr.block() + blocks});
  // Both halves are rewritten if they are converted.
  log(out.converts && n.old_version() ? 2 * whole_page(n.size())
                                      : with_slack(split_cost(n, at, item.stored(), length)));
  log(0);
  add_separator(p, {at.separator, at.separator_length});
  return true;
}

/// Of the node that `child` is split into, right of it.
void write_planner::add_separator(const pinned_page& child, cbytes separator) {
  pinned_page& parent = op_.pins_[static_cast<u32>(child.parent)];
  node_view up = parent.t->view(*parent.d);
  u32 length = static_cast<u32>(separator.size()), prefix = static_cast<u32>(up.prefix().size());
  bool shares = shares_prefix(separator, up.prefix());
  u32 record = stored_bytes(up, length - (shares ? prefix : 0), up.child_bytes());
  u32 bytes = separator_bytes(parent, length);
  parent.added_bytes += bytes;
  parent.longest_key = std::max(parent.longest_key, length);
  parent.longest_record = std::max(parent.longest_record, record);
  if (!shares) parent.rewritten = true;
  if (parent.inserts++ + parent.deletes != 0) return;
  u32 place = 0;
  room there = room_for_insert(up, separator, up.child_bytes(), 0, &place);
  parent.first_fits = there != room::NONE;
  if (there == room::NONE) return;
  parent.cost = static_cast<u32>(
      there == room::NOW ? with_slack(insert_cost(up, slot_in(up, child.d) + 1, record, place))
                         : rewrite_cost(up, bytes + stretch_cost(up, sizeof(slot))));
}

void write_planner::plan_inner(write_plan& out, pinned_page& p) {
  node_view n(p.d->reader());
  if (p.inserts > 0) {
    // The aggregates of the children that were split, too.
    if (p.t->counted) log(sums_cost(n, p.inserts));
    bool one = p.inserts + p.deletes == 1 && p.cost != cost_unknown;
    u32 added = one && p.first_fits ? 0 : p.added_bytes + prefix_penalty(n);
    if (one && !p.first_fits) added = std::max(added, n.free_bytes() + 1);
    if (added > n.free_bytes())
      split_somehow(out, p, added);
    else if (one)
      log(p.cost);
    else if (p.rewritten || prefix_penalty(n) != 0)
      log(std::min(whole_page(n.size()), rewrite_cost(n, 2 * u64{added} + n.size() / 32)));
    else
      log(changes_cost(n, p.inserts, p.inserts, p.added_bytes, p.longest_record, ~u64{0}));
  }
  if (p.deletes == 0) return;
  log(std::min(whole_page(n.size()), p.deletes * child_erase_cost(n)));
  if (p.parent >= 0 && p.deletes >= n.count()) {
    free_later(out, p.d->addr);
    ++op_.pins_[static_cast<u32>(p.parent)].deletes;
  }
  if (p.parent < 0 && n.count() <= p.deletes + 1) {
    // One child may remain and move into the root.
    for (u32 i = 0; i < n.count(); ++i) free_later(out, n.child(i).addr);
    touch(p.d->size());
  }
}

u32 write_planner::plan_new_pages(write_plan& out, pinned_page& p, u32 inserts, u32 added,
                                  u32 longest) {
  node_view n(p.d->reader());
  const tree& t = *p.t;
  u32 wanted = node_class(t, longest);
  u32 blocks = p.d->addr.blocks();
  u64 hint = p.d->addr.block() + blocks;
  auto total_in = [&](u32 in_blocks) {
    return n.used_bytes() + unit_penalty(n, in_blocks * block_bytes) + added + 2 * (longest + 8);
  };
  u32 total = total_in(std::max(wanted, blocks));
  bool root = p.parent < 0;
  touch(whole_page(n.size()));
  p.wanted = static_cast<u16>(wanted);
  bool may_split = op_.items_.size() > 1 || blocks >= wanted;
  if (root || blocks < wanted) {
    // Growth, or the root's content going down: one page that holds all if a page of the class can.
    u32 target = root ? std::min(2u, wanted) : blocks * 2;
    while (target < wanted && node_capacity(target * block_bytes) < total_in(target)) target *= 2;
    out.needs.push_back({target, hint});
    p.target = static_cast<u16>(target);
    touch(whole_page(target * block_bytes));
    if (!root) free_later(out, p.d->addr);
    may_split = node_capacity(target * block_bytes) < total + total / 8;
    blocks = target;
    if (!may_split) return 0;
  }
  u32 cap = node_capacity(std::max(blocks, wanted) * block_bytes);
  u32 page_bytes = std::max(blocks, wanted) * block_bytes;
  u32 grown = added + unit_penalty(n, page_bytes);
  u32 pages = std::min(inserts, 2 + 4 * grown / cap);
  for (u32 i = 0; i < pages; ++i) out.needs.push_back({page_bytes / block_bytes, hint});
  // Captured: for one split the old page and the part that moved away; for more of them the content
  // as it ends up, and for each split the part that moved away. Records much smaller than the node
  // are split near the middle, so after the first split a node takes at least a third of its size
  // before it splits again.
  u32 record = 2 * added / std::max(inserts, 1u);
  u32 over = grown > n.free_bytes() ? grown - n.free_bytes() : 0;
  u32 splits = record * 8 < cap ? std::min(pages, 1 + over * 3 / cap) : pages;
  if (pages != 1) touch(whole_page(total));
  for (u32 i = 0; i < splits; ++i) touch(page_bytes * 5 / 8);
  if (root) {
    // Separators of those splits go into the emptied root; if that cannot hold them, it goes down
    // once more.
    u32 bytes = pages * (longest + separator_overhead(t));
    if (bytes > node_capacity(root_blocks * block_bytes) - 64) {
      u32 inner_pages = 1 + std::min(pages, 2 + 4 * bytes / cap);
      for (u32 i = 0; i < inner_pages; ++i) {
        out.needs.push_back({wanted, hint});
        touch(whole_page(wanted * block_bytes));
      }
    }
    return 0;
  }
  return pages;
}

/// The neighbour takes over the range of a leaf that is empty.
void write_planner::plan_unlink(write_plan& out, pinned_page& leaf) {
  node_view n(leaf.d->reader());
  const pinned_page& parent = op_.pins_[static_cast<u32>(leaf.parent)];
  node_view up = leaf.t->view(*parent.d);
  u32 i = slot_in(up, leaf.d);
  bool leftward = i > 0;
  cache::descriptor* other = nullptr;
  if (up.count() > 1) other = ctx_.pages.find_resident(up.child(leftward ? i - 1 : i + 1));
  out.beside = true;
  if (other == nullptr || op_.items_.size() != 1) {
    // A path of neighbours: wider fences may compact each of its nodes.
    const u32 size = std::max(n.size(), other != nullptr ? other->size() : 0);
    for (u32 level = 0; level <= parent.level; ++level) touch(size + 2 * max_stored_key_bytes);
    return;
  }
  node_view o(other->reader());
  u32 fence = leftward ? n.has_high_fence() ? static_cast<u32>(n.high_fence().size()) : 0
                       : static_cast<u32>(n.low_fence().size());
  u64 words = stretch_cost(o, sizeof(node_header));
  if (room_for_fence(o, fence, leftward) == room::NOW)
    log(words + stretch_cost(o, fence) + stretch_cost(o, u64{o.count()} * sizeof(slot)));
  else
    log(words + rewrite_cost(o, fence));
}

void write_planner::plan_merges(write_plan& out, pinned_page& leaf, u32 erased_bytes) {
  pinned_page* p = &leaf;
  u32 without = erased_bytes;
  u64 more = leaf.inserts != 0 ? stretch_cost(node_view(leaf.d->reader()), leaf.added_bytes) : 0;
  while (p->parent >= 0) {
    node_view n(p->d->reader());
    pinned_page& parent = op_.pins_[static_cast<u32>(p->parent)];
    if (!is_sparse(n, without)) return;
    node_view up = p->t->view(*parent.d);
    u32 i = slot_in(up, p->d);
    bool any = false;
    for (u32 j : {i + 1, i - 1}) {
      if (j >= up.count()) continue;
      cache::descriptor* other = ctx_.pages.find_resident(up.child(j));
      if (other == nullptr) continue;
      node_view o(other->reader());
      if (j > i ? !may_merge(n, o) : !may_merge(o, n)) continue;
      free_later(out, j > i ? other->addr : p->d->addr);
      if (n.is_leaf()) free_fence(out, (j > i ? o : n).low_fence());
      out.merges = out.beside = true;
      log((j > i ? merge_cost(n, o) : merge_cost(o, n)) + more);
      log(child_erase_cost(up) + (p->t->counted ? sums_cost(up, 1) : 0));
      any = true;
      break;
    }
    if (!any) return;
    if (parent.parent < 0 && up.count() <= 2) {
      for (u32 c = 0; c < up.count(); ++c) free_later(out, up.child(c).addr);
      touch(up.size());
    }
    without = 2 * separator_overhead(*p->t);
    more = 0;
    p = &parent;
  }
}

}  // namespace pleach::btree
