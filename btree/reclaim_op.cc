#include "btree/reclaim_op.hh"

#include <algorithm>

#include "be/base/planted.hh"

namespace pleach::btree {

void reclaim_op::prepare(tree& t, tree& catalogue, cbytes name, const tree_record& record) {
  PLEACH_ASSERT(idle());
  tree_ = &t;
  catalogue_ = &catalogue;
  name_ = name;
  record_ = record;
  bad_ = {};
  owner_ = nullptr;
  removed_ = nullptr;
}

void reclaim_op::prepare_cut(tree& t, tree* owner, tree& catalogue, cbytes name,
                             const tree_record& record, u64* removed) {
  prepare(t, catalogue, name, record);
  owner_ = owner;
  removed_ = removed;
}

sm::step reclaim_op::tick(phase p) noexcept {
  context& c = *tree_->ctx;
  switch (p) {
    case INIT:
      tree_->ctx->cut_branches += record_.state == TREE_CUT;
      return go(ADMIT);
    case ADMIT: {
      u64 pages = 16 + leaves_per_step;
      u64 units = std::min<u64>(pages * c.max_node_blocks / 2 + 64, c.pages.grantable_units() / 2);
      return c.pages.grants().take(grant_, *this, units) ? go(DOWN) : wait(DOWN, "page frames");
    }
    case DOWN: return down();
    case LOAD: return load();
    case LOADED: return loaded();
    case PLAN: return plan();
    case MAP:
      value_op_.reset();
      value_op_.prepare_map(c, mapped_);
      return sub(value_op_, MAPPED);
    case MAPPED: return mapped();
    case ALLOC:
      alloc_op_.reset();
      alloc_op_.prepare(c.engine, space_, {}, frees_.span());
      return sub(alloc_op_, OPEN);
    case OPEN: return open();
    case ACT: return act();
    case NEXT:
      give_back();
      return yield(ADMIT);
    case REMOVE:
      give_back();
      remove_op_.prepare(*catalogue_, change::REMOVE_TREE, name_,
                         {reinterpret_cast<const std::byte*>(&record_), sizeof record_}, nullptr,
                         true);
      return sub(remove_op_, CLEANUP);
    case CLEANUP:
      give_back();
      if (is_ok(out.code)) out.code = remove_op_.out.code;
      c.cut_branches -= record_.state == TREE_CUT && is_ok(out.code);
      out.lsn = std::max(out.lsn, remove_op_.out.lsn);
      remove_op_.reset();
      return go(DONE);
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

/// Pins the path of last children down to level 1, then that node's last leaves.
sm::step reclaim_op::down() {
  for (;;) {
    if (owner_ != nullptr && owner_->dropped) owner_ = nullptr;
    if (owner_ != nullptr && owner_root_ == nullptr) {
      need_ = owner_->root;
      return go(LOAD);
    }
    if (depth_ == 0) {
      need_ = tree_->root;
      return go(LOAD);
    }
    node_view n(path_[depth_ - 1]->reader());
    if (n.is_leaf()) return go(PLAN);  // the root itself
    if (n.level() > 1) {
      need_ = n.child(n.count() - 1);
      return go(LOAD);
    }
    u32 wanted = std::min(leaves_per_step, n.count());
    if (leaf_count_ == wanted) return go(PLAN);
    need_ = n.child(n.count() - 1 - leaf_count_);
    return go(LOAD);
  }
}

sm::step reclaim_op::load() {
  loading_ = tree_->ctx->pages.pin(need_);
  return loading_->state == cache::page_state::LOADING ? wait_in(loading_->waiters, LOADED)
                                                       : go(LOADED);
}

sm::step reclaim_op::loaded() {
  using cache::page_state;
  cache::descriptor* d = loading_;
  loading_ = nullptr;
  bool good = d->state == page_state::RESIDENT && d->gen == need_.gen &&
              d->header().tree_id == tree_->id && depth_ < std::size(path_);
  if (!good) {
    errc code = d->state == page_state::FAILED ? d->error : errc::corrupt;
    tree_->ctx->pages.unpin(*d);
    bad_ = need_.addr;
    return fail(code);
  }
  if (owner_ != nullptr && owner_root_ == nullptr) {
    owner_root_ = d;
    return go(DOWN);
  }
  bool is_leaf_child = depth_ > 0 && node_view(path_[depth_ - 1]->reader()).level() == 1;
  if (is_leaf_child)
    leaves_[leaf_count_++] = d;
  else
    path_[depth_++] = d;
  return go(DOWN);
}

void reclaim_op::collect_extents(const node_view& leaf) {
  each_extent(leaf, [&](const value_reference& ref) { frees_.push_back(page_addr(ref.run)); });
}

/// Is there a record with a map in the pinned leaves? One of them is freed at a time.
bool reclaim_op::find_map() {
  mapped_leaf_ = nullptr;
  node_view bottom(path_[depth_ - 1]->reader());
  u32 leaves = bottom.is_leaf() ? 1 : leaf_count_;
  for (u32 l = 0; l < leaves; ++l) {
    cache::descriptor* d = bottom.is_leaf() ? path_[depth_ - 1] : leaves_[l];
    node_view leaf(d->reader());
    for (u32 i = leaf.count(); i-- > 0;) {
      record r = leaf.at(i);
      if (!(r.value_flags & VALUE_INDIRECT)) continue;
      std::memcpy(&mapped_, r.value.data(), sizeof mapped_);
      if (!has_map(mapped_)) continue;
      mapped_leaf_ = d;
      mapped_index_ = i;
      return true;
    }
  }
  return false;
}

sm::step reclaim_op::mapped() {
  if (errc e = value_op_.out.code; !is_ok(e)) {
    bad_ = page_addr(mapped_.run);
    return fail(e);
  }
  frees_.push_back(page_addr(mapped_.run));
  for (page_addr run : value_op_.map().runs) frees_.push_back(run);
  if (const value_reference* key = mapped_key()) frees_.push_back(page_addr(key->run));
  log_bytes_ = mapped_leaf_->size();
  return go(ALLOC);
}

/// RETURNS: the extent of the key of the record with a map, if it goes with the record; else null.
const value_reference* reclaim_op::mapped_key() {
  const node_view leaf(mapped_leaf_->reader());
  if (!leaf.has_stub(mapped_index_)) return nullptr;
  mapped_key_ = leaf.key_extent(mapped_index_);
  const bool is_fence =
      is_stub(leaf.low_fence()) && same_extent(reference_of(leaf.low_fence()), mapped_key_);
  return is_fence ? nullptr : &mapped_key_;
}

/// Log bytes of the step so far: pages that change, and of each free its record and its bits.
u64 reclaim_op::credit() const {
  constexpr u64 free_bytes = 48, count_bytes = 32;
  u64 bytes = log_bytes_ + count_bytes, bitmaps = 0, group = ~u64{0};
  for (page_addr a : frees_) {
    bytes += free_bytes + a.blocks() / 8;
    u64 g = tree_->ctx->engine.group_of(a);
    if (g != group) ++bitmaps;
    group = g;
  }
  return txn::engine::credit_bytes(bytes, depth_ + 2 + bitmaps);
}

sm::step reclaim_op::plan() {
  frees_.clear();
  log_bytes_ = 0;
  if (find_map()) {
    // Only this leaf changes: the frames of the others are for the bitmap pages of the runs.
    tree_->ctx->pages.pin(*mapped_leaf_);
    unpin_path();
    return go(MAP);
  }
  node_view bottom(path_[depth_ - 1]->reader());
  if (bottom.is_leaf()) {
    if (bottom.count() == 0) return go(REMOVE);
    collect_extents(bottom);
    log_bytes_ += bottom.size();
    return go(ALLOC);
  }
  for (u32 l = 0; l < depth_; ++l) {
    if (l > 0) frees_.push_back(path_[l]->addr);
    log_bytes_ += path_[l]->size();
  }
  for (u32 i = 0; i < leaf_count_; ++i) {
    u32 before = frees_.size();
    frees_.push_back(leaves_[i]->addr);
    collect_extents(node_view(leaves_[i]->reader()));
    if (i == 0 || (credit() <= tree_->ctx->engine.largest_credit() && bitmaps_fit())) continue;
    // So many extents hang on it that it is for the next step.
    while (frees_.size() > before) frees_.pop_back();
    while (leaf_count_ > i) tree_->ctx->pages.unpin(*leaves_[--leaf_count_]);
  }
  return go(ALLOC);
}

/// Bitmap pages of all that is freed are pinned beside the path and the leaves.
bool reclaim_op::bitmaps_fit() const {
  const superblock& s = tree_->ctx->engine.vol().super;
  u64 pinned = owner_root_ != nullptr ? owner_root_->addr.blocks() : 0;
  for (u32 l = 0; l < depth_; ++l) pinned += path_[l]->addr.blocks();
  for (u32 l = 0; l < leaf_count_; ++l) pinned += leaves_[l]->addr.blocks();
  const u64 groups = ceil_div<u64>(u64{s.blocks}, u64{s.group_blocks});
  return pinned + std::min<u64>(frees_.size(), groups) <= grant_.amount;
}

sm::step reclaim_op::open() {
  if (!is_ok(alloc_op_.out.code)) return fail(alloc_op_.out.code);
  u64 need = std::min(credit(), tree_->ctx->engine.largest_credit());
  return tree_->ctx->engine.take_credit(credit_, *this, need) ? go(ACT) : wait(ACT, "log credit");
}

/// The extents of the leaf are freed, its records forgotten.
void reclaim_op::free_records_of(const node_view& leaf) {
  u64 bytes = 0;
  for (u32 i = 0; i < leaf.count(); ++i)
    bytes += leaf.full_key_length(i) + value_bytes_of(leaf.at(i));
  each_extent(leaf, [&](const value_reference& ref) {
    tree_->ctx->engine.free_run(space_, {page_addr(ref.run), ref.gen});
  });
  forget_records(leaf.count(), bytes);
}

/// Records that are freed in this tick no longer count.
void reclaim_op::forget_records(u64 records, u64 bytes) {
  if (removed_ != nullptr) *removed_ += records;
  // A tree that is dropped counts no more; its root may be gone.
  if (owner_ == nullptr || owner_->dropped || PLEACH_PLANTED("cut_still_counted")) return;
  add_to_counts(tree_->ctx->engine.write(*owner_root_), -static_cast<i64>(records),
                -static_cast<i64>(bytes));
}

page_writer reclaim_op::change(cache::descriptor& d) {
  page_writer w = tree_->ctx->engine.write(d);
  d.structure_version = tree_->ctx->pages.next_version();
  return w;
}

sm::step reclaim_op::act() {
  txn::engine& e = tree_->ctx->engine;
  if (errc code = e.health(); !is_ok(code)) return fail(code);
  cache::step_guard guard([this](auto&& latch) {
    for (u32 l = 0; l < depth_; ++l) latch(*path_[l]);
    for (u32 i = 0; i < leaf_count_; ++i) latch(*leaves_[i]);
    for (cache::descriptor* d : space_.bitmaps) latch(*d);
    if (mapped_leaf_ != nullptr) latch(*mapped_leaf_);
    if (owner_root_ != nullptr) latch(*owner_root_);
  });
  if (mapped_leaf_ != nullptr) {
    for (page_addr run : value_op_.map().runs) e.free_run(space_, {run, mapped_.gen});
    e.free_run(space_, {page_addr(mapped_.run), mapped_.gen});
    if (const value_reference* key = mapped_key())
      e.free_run(space_, {page_addr(key->run), key->gen});
    const node_view leaf(mapped_leaf_->reader());
    forget_records(1, leaf.full_key_length(mapped_index_) + mapped_.length);
    erase_at(e.write(*mapped_leaf_), mapped_index_);
    out.lsn = e.end(credit_);
    return go(NEXT);
  }
  node_view bottom(path_[depth_ - 1]->reader());
  if (bottom.is_leaf()) {
    free_records_of(bottom);
    make_empty_leaf(change(*path_[depth_ - 1]));
  } else {
    for (u32 i = 0; i < leaf_count_; ++i) {
      free_records_of(node_view(leaves_[i]->reader()));
      e.free_page(space_, *leaves_[i]);
    }
    u32 gone = leaf_count_;
    for (u32 l = depth_; l-- > 0;) {
      node_view n(path_[l]->reader());
      if (gone < n.count()) {
        page_writer w = change(*path_[l]);
        for (u32 i = 0; i < gone; ++i) erase_child(w, node_view(w).count() - 1);
        break;
      }
      if (l == 0) {
        make_empty_leaf(change(*path_[0]));
        break;
      }
      e.free_page(space_, *path_[l]);
      gone = 1;
    }
  }
  out.lsn = e.end(credit_);
  return go(NEXT);
}

void reclaim_op::unpin_path() {
  cache::page_cache& pages = tree_->ctx->pages;
  for (u32 i = 0; i < depth_; ++i) pages.unpin(*path_[i]);
  for (u32 i = 0; i < leaf_count_; ++i) pages.unpin(*leaves_[i]);
  depth_ = leaf_count_ = 0;
}

void reclaim_op::give_back() {
  context& c = *tree_->ctx;
  if (loading_) c.pages.unpin(*loading_);
  loading_ = nullptr;
  unpin_path();
  if (owner_root_) c.pages.unpin(*owner_root_);
  owner_root_ = nullptr;
  if (mapped_leaf_) c.pages.unpin(*mapped_leaf_);
  mapped_leaf_ = nullptr;
  c.engine.give_back(space_);
  c.engine.give_back(credit_);
  c.pages.grants().give_back(grant_);
}

}  // namespace pleach::btree
