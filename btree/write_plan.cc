#include "btree/write_plan.hh"

#include <algorithm>

#include "btree/aggregate.hh"
#include "btree/record_extras.hh"

namespace pleach::btree {

namespace {

/// Log bytes of one aggregate that changes, wherever it stands in a node.
constexpr u32 aggregate_log_bytes =
    sizeof(child_aggregate) + capture_granule_bytes + 2 * capture_granule_bytes;

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

/// Log bytes of a page that is rewritten: each byte once, and the headers of more runs than a page
/// is credited anyway.
u64 whole_page(u32 node_bytes) {
  return node_bytes + node_bytes / 8;
}

/// Bytes captured by `changes` inserts and deletes that add `added` bytes and fit. What is changed
/// twice in a group is captured once: the slot array as a whole at most; without room in one piece
/// the node is compacted.
u64 change_bytes(const node_view& n, u32 changes, u32 added) {
  u64 bytes = added + moved_bytes(n, changes) + u64{changes} * 2 * capture_granule_bytes +
              sizeof(node_header);
  // Without the room in one piece, or for keys that break the prefix, the node is rewritten once.
  bool rewritten = !n.fits_now(added) || prefix_penalty(n) != 0;
  return rewritten ? whole_page(n.size()) : std::min<u64>(whole_page(n.size()), bytes);
}

bool goes_to_extent(const tree& t, const write_item& i) {
  return i.draft != nullptr || goes_to_extent(t, i.key.size(), i.value.size());
}

u32 value_length(const tree& t, const write_item& i) {
  if (!goes_to_extent(t, i)) return static_cast<u32>(i.value.size());
  return i.draft != nullptr && t.digest ? sizeof(stored_reference) : sizeof(value_reference);
}

}  // namespace

bool is_sparse(const node_view& n, u32 without_bytes) {
  return n.used_bytes() - std::min(without_bytes, n.used_bytes()) < capacity_of(n) / 4;
}
bool may_merge(const node_view& a, const node_view& b) {
  return merged_bytes(a, b) <= capacity_of(a) / 4 * 3;
}
bool may_pull_up(const node_view& child) {
  return child.used_bytes() <= node_capacity(root_blocks * block_bytes) / 2;
}

void write_plan::clear() {
  needs.release();
  frees.release();
  extents = 0;
  credit = units = 0;
  may_change = stale = merges = false;
  probe = read_old = -1;
  verdict = errc::ok;
}

bool write_plan::fits_into(const write_plan& reserved) const {
  if (extents != reserved.extents || credit > reserved.credit) return false;
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
  single_erased_ = 0;
  for (pinned_page& p : op_.pins_) {
    p.inserts = p.deletes = p.summed = p.added_bytes = p.longest_key = p.wanted = p.target = 0;
  }
  if (!place_items(out)) return;
  plan_aggregates();
  out.extents = out.needs.size();
  u32 top = 0;
  for (pinned_page& p : op_.pins_) top = std::max(top, p.level);
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
  touch(32);  // counts in the root
  for (const txn::space_need& n : out.needs) {
    touch(8 + n.blocks / 8);
    out.units += 1 + n.blocks;
  }
  for (u32 i = 0; i < out.extents; ++i) out.units -= out.needs[i].blocks;
  for (page_addr a : out.frees) touch(8 + a.blocks() / 8 + 32);
  out.units += out.frees.size();
  out.credit = txn::engine::credit_bytes(bytes_, pages_);
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
  if (n.header().tree_id != item.t->id || !n.covers(item.key)) return !(out.stale = true);
  search_result r = n.find(item.key);
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
    ++leaf.deletes;
    if (r.found && alone) {
      single_erased_ = n.bytes_of(r.index);
    }
    return true;
  }
  u32 length = value_length(*item.t, item);
  item.extent = -1;
  if (item.draft != nullptr) {
    touch_runs(out, item.draft->map_run(), item.draft->own_runs(), false);
  } else if (goes_to_extent(*item.t, item)) {
    item.extent = static_cast<i32>(out.needs.size());
    u32 blocks = static_cast<u32>(ceil_div<u64>(item.value.size(), block_bytes));
    out.needs.push_back({blocks, 0});
  }
  u32 klen = static_cast<u32>(item.key.size());
  leaf.longest_key = std::max(leaf.longest_key, klen);
  ++leaf.inserts;
  // As it is stored in the largest node that it may come to.
  u32 page_bytes = std::max(n.size(), node_class(*item.t, klen) * block_bytes);
  record old = r.found ? n.at(r.index) : record{};
  u32 attached = extra_bytes(*item.t, op_.user_flags_after(item, r.found ? &old : nullptr));
  u32 bytes = round_up(record_bytes(klen, length + attached), heap_unit(page_bytes)) + sizeof(slot);
  if (alone) {
    room room_there = r.found ? room_for_replace(n, r.index, length, attached)
                              : room_for_insert(n, item.key, length, attached);
    // For one record the answer is exact: no bytes to find room for, or more than there is.
    if (room_there == room::NONE)
      leaf.added_bytes = std::max(bytes, n.free_bytes() + 1);
    else
      leaf.added_bytes = 0;
    // In place: the record, what moves for it, two granules of the header.
    u64 moved = r.found ? 0 : moved_bytes(n, 1);
    touch(room_there == room::NOW ? bytes + moved + 2 * capture_granule_bytes : n.size() + bytes);
  } else {
    leaf.added_bytes += bytes;
    if (attached != 0 && n.old_version()) touch(whole_page(n.size()));  // it is converted first
  }
  return true;
}

/// A leaf of an old version is rewritten where it stands: it becomes no larger.
void write_planner::place_conversion(write_plan& out, write_item& item, const node_view& n) {
  converted_leaf& l = *item.of_leaf;
  l.last = !n.has_high_fence();
  l.high.assign(as_text(l.last ? cbytes{} : n.high_fence()));
  if (!n.old_version()) return;
  out.may_change = true;
  touch(whole_page(n.size()));
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
  for (const pinned_page& p : op_.pins_)
    if (p.summed != 0)
      touch(std::min<u64>(whole_page(p.d->size()), u64{p.summed} * aggregate_log_bytes));
}

void write_planner::plan_leaf(write_plan& out, pinned_page& p) {
  node_view n(p.d->reader());
  u32 longest = std::max<u32>(p.longest_key, static_cast<u32>(n.low_fence().size()));
  if (n.has_high_fence()) longest = std::max(longest, static_cast<u32>(n.high_fence().size()));
  bool batch = op_.items_.size() > 1;
  u32 added = p.added_bytes + (batch ? prefix_penalty(n) : 0);
  const u32 free = n.free_bytes();
  if (added > free) {
    u32 separators = plan_new_pages(out, p, p.inserts, added, longest);
    if (p.parent >= 0 && separators > 0) {
      pinned_page& parent = op_.pins_[static_cast<u32>(p.parent)];
      parent.inserts += separators;
      parent.added_bytes += separators * separator_bytes(parent, longest);
      parent.longest_key = std::max(parent.longest_key, longest);
    }
  } else if (batch) {
    touch(change_bytes(n, p.inserts + p.deletes, added));
  } else if (free > n.size() / 2 && p.inserts != 0 && p.deletes == 0 && p.d->ascending < 2) {
    // The neighbour may not have been there when the leaf became sparse (most are not: asked
    // first). A leaf that is being filled from its end is left alone.
    plan_merges(out, p, 0);
  }
  if (p.deletes == 0) return;
  if (!batch) touch(moved_bytes(n, 1) + 2 * capture_granule_bytes);
  if (p.parent < 0) return;
  if (p.inserts == 0 && p.deletes >= n.count()) {
    free_later(out, p.d->addr);
    pinned_page& parent = op_.pins_[static_cast<u32>(p.parent)];
    ++parent.deletes;
    // The neighbour path gets wider fences, which may compact each of its nodes.
    for (u32 level = 0; level <= parent.level; ++level) touch(n.size() + 2 * max_key_bytes);
  } else if (p.inserts == 0 && !batch) {
    plan_merges(out, p, single_erased_);
  }
}

void write_planner::plan_inner(write_plan& out, pinned_page& p) {
  node_view n(p.d->reader());
  u32 longest = std::max<u32>(p.longest_key, static_cast<u32>(n.low_fence().size()));
  if (n.has_high_fence()) longest = std::max(longest, static_cast<u32>(n.high_fence().size()));
  if (p.inserts > 0) {
    // The aggregates of the children that were split, too.
    if (p.t->counted)
      touch(std::min<u64>(whole_page(n.size()), u64{p.inserts} * aggregate_log_bytes));
    u32 added = p.added_bytes + prefix_penalty(n);
    if (added > n.free_bytes()) {
      u32 separators = plan_new_pages(out, p, p.inserts, added, longest);
      if (p.parent >= 0 && separators > 0) {
        pinned_page& parent = op_.pins_[static_cast<u32>(p.parent)];
        parent.inserts += separators;
        parent.added_bytes += separators * separator_bytes(parent, longest);
        parent.longest_key = std::max(parent.longest_key, longest);
      }
    } else {
      touch(change_bytes(n, p.inserts, added));
    }
  }
  if (p.deletes > 0) {
    touch(n.size());
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
  p.wanted = wanted;
  bool may_split = op_.items_.size() > 1 || blocks >= wanted;
  if (root || blocks < wanted) {
    // Growth, or the root's content going down: one page that holds all if a page of the class can.
    u32 target = root ? std::min(2u, wanted) : blocks * 2;
    while (target < wanted && node_capacity(target * block_bytes) < total_in(target)) target *= 2;
    out.needs.push_back({target, hint});
    p.target = target;
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

void write_planner::plan_merges(write_plan& out, pinned_page& leaf, u32 erased_bytes) {
  pinned_page* p = &leaf;
  u32 without = erased_bytes;
  while (p->parent >= 0) {
    node_view n(p->d->reader());
    pinned_page& parent = op_.pins_[static_cast<u32>(p->parent)];
    if (!is_sparse(n, without)) return;
    node_view up = p->t->view(*parent.d);
    u32 i = up.find_child(n.low_fence());
    bool any = false;
    for (u32 j : {i + 1, i - 1}) {
      if (j >= up.count()) continue;
      cache::descriptor* other = ctx_.pages.find_resident(up.child(j));
      if (other == nullptr) continue;
      node_view o(other->reader());
      if (j > i ? !may_merge(n, o) : !may_merge(o, n)) continue;
      free_later(out, j > i ? other->addr : p->d->addr);
      out.merges = true;
      touch(std::max(n.size(), o.size()) * 2);
      touch(up.size());
      any = true;
      break;
    }
    if (!any) return;
    if (parent.parent < 0 && up.count() <= 2) {
      for (u32 c = 0; c < up.count(); ++c) free_later(out, up.child(c).addr);
      touch(up.size());
    }
    without = 2 * separator_overhead(*p->t);
    p = &parent;
  }
}

}  // namespace pleach::btree
