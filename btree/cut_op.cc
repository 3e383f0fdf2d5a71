#include "btree/cut_op.hh"

#include <algorithm>

namespace pleach::btree {

namespace {
constexpr u32 trim_records = 64;  ///< of one batch, at most

/// A key that no tree can have: longer than a name may be. LSNs are never used again.
std::string make_holder_name(lsn_t lsn, u64 number) {
  std::string name(max_tree_name_bytes + 1, '\xff');
  for (u64 word : {u64{lsn}, number})
    for (int shift = 56; shift >= 0; shift -= 8) name += static_cast<char>(word >> shift);
  return name;
}

/// The flags of the record of a tree whose pages have this shape.
u16 flags_of(const tree& t, const record_shape& s) {
  return static_cast<u16>((s.fixed() ? TREE_FIXED_LEAVES : 0) | (t.counted ? TREE_COUNTED : 0) |
                          (t.digest ? TREE_DIGEST : 0) | (t.key_sums ? TREE_KEY_SUMS : 0) |
                          (t.value_sums ? TREE_VALUE_SUMS : 0) |
                          (s.flags & NO_PREFIX ? TREE_NO_PREFIX : 0) |
                          (s.flags & NO_TRUNCATION ? TREE_NO_TRUNCATION : 0));
}
}  // namespace

void cut_op::prepare(tree& t, tree& catalogue, cbytes from, const cbytes* to, u64& removed,
                     const options& o) {
  PLEACH_ASSERT(idle() && o.leaves >= 1 && o.leaves <= max_leaves && o.steps != 0);
  tree_ = &t;
  catalogue_ = &catalogue;
  bounded_ = to != nullptr;
  to_ = bounded_ ? *to : cbytes{};
  removed_ = &removed;
  removed = 0;
  options_ = o;
  witness_ = {};
  bad_ = {};
  advance(std::string(as_text(from)), false);
  if (is_long(to_)) high_probe_.begin(to_);
  reader_.forget();
  idle_ = 0;
  finished_ = alone_ = no_holder_ = leaves_only_ = holds_ = trimming_ = false;
  leaves_wanted_ = o.leaves;
  trim_most_ = trim_records;
  ask_ = 0;
}

sm::step cut_op::tick(phase p) noexcept {
  switch (p) {
    case INIT:
      return init();
    case GATE:
      return !alone_ || tree_->ctx->gate.try_exclusive(*this, gate_hold_) ? go(ADMIT) : wait(GATE);
    case ADMIT:
      return admit();
    case DOWN:
      return down();
    case LOAD:
      return load();
    case LOADED:
      return loaded();
    case KEY:
      return key();
    case KEY_READ:
      return key_read();
    case PLAN:
      return plan();
    case TRIM:
      give_back();
      trimming_ = true;
      write_.reset();
      write_.prepare(*tree_->ctx, items_, false);
      write_.leave_sparse();  // else the next leaf of the range comes into the one that is trimmed
      return sub(write_, TRIMMED);
    case TRIMMED:
      return trimmed();
    case HOLD:
      return hold();
    case HELD:
      return held();
    case ALLOC:
      alloc_op_.reset();
      alloc_op_.prepare(tree_->ctx->engine, space_, {}, frees_.span());
      return sub(alloc_op_, OPEN);
    case OPEN:
      return open();
    case ACT:
      return act();
    case RECLAIM:
      return reclaim();
    case RECLAIMED:
      return reclaimed();
    case NEXT:
      return next();
    case COMMIT:
      return commit();
    case CLEANUP:
      return cleanup();
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

sm::step cut_op::init() {
  if (errc e = tree_->ctx->engine.health(); !is_ok(e)) return fail(e);
  if (tree_->dropped) return fail(errc::tree_closed);
  if (std::max(low_.size(), to_.size()) > max_key_bytes_of(*tree_))
    return fail(errc::key_too_large);
  if (bounded_ && tree_->compare(from(), to_) >= 0) return go(CLEANUP);
  return go(GATE);
}

sm::step cut_op::plan() {
  if (work_ == work::TRIM) return plan_trim();
  if (work_ == work::MOVE && !holds_) {
    shape_ = node_view(path_[0].d->reader()).shape();
    return go(HOLD);
  }
  return alone_ ? plan_removal() : end_pass();
}

/// All is loaded, as far as that goes without the gate.
sm::step cut_op::end_pass() {
  alone_ = true;
  return go(NEXT);
}

/// A transaction is done.
sm::step cut_op::next_step() {
  alone_ = leaves_only_ = false;
  leaves_wanted_ = options_.leaves;
  return --options_.steps == 0 ? finish() : go(NEXT);
}

sm::step cut_op::finish() {
  finished_ = true;
  return go(NEXT);
}

sm::step cut_op::next() {
  give_back();
  if (!finished_) return yield(GATE);
  return yield(holds_ ? RECLAIM : COMMIT);
}

// --- the edges ---

sm::step cut_op::trim_first_leaf() {
  work_ = work::TRIM;
  trim_leaves_ = true;
  return plan_trim();
}

/// The next records of the leaf; without any, what stands behind the leaf is next.
sm::step cut_op::plan_trim() {
  cache::descriptor& at = *(trim_leaves_ ? leaves_[0] : path_[depth_ - 1]).d;
  const node_view leaf = tree_->view(at);
  const child_span s = touched(leaf);
  if (needs_key()) return read_key();
  if (s.count() == 0) {
    const bool ends = ends_before(leaf);
    if (!needs_key() && ends) return finish();
    const cbytes high = leaf.high_fence();
    if (!needs_key() && is_stub(high)) reader_.have(reference_of(high));
    if (needs_key()) return read_key();
    if (leaf.compare_fence(high, from(), low_probe()) > 0)
      advance(is_stub(high) ? reader_.key() : std::string(as_text(high)), false);
    else
      bad_ = at.addr;  // I3 of key_order.hh: a comparator that contradicts itself
    alone_ = false;
    return go(NEXT);
  }
  // A long key is deleted alone, as soon as it is known whole.
  u32 count = 0;
  while (count < std::min(trim_most_, s.count()) && !leaf.has_stub(s.first + count)) ++count;
  const bool is_first = count == 0;
  if (is_first && !reader_.have(leaf.key_extent(s.first))) return read_key();
  count = std::max(count, 1u);
  keys_.resize(count);
  items_.assign(count, {});
  for (u32 i = 0; i < count; ++i) {
    if (is_first) {
      keys_[i] = reader_.key();
    } else {
      keys_[i].resize(leaf.key_length(s.first + i));
      leaf.copy_key(s.first + i, reinterpret_cast<std::byte*>(keys_[i].data()));
    }
    items_[i].t = tree_;
    items_[i].kind = change::DELETE;
    items_[i].key = as_bytes(keys_[i]);
    items_[i].sequence = i;
  }
  return go(TRIM);
}

/// What a batch has deleted is counted and told, once.
void cut_op::settle_trim() {
  if (!trimming_ || !write_.applied()) return;
  trimming_ = false;
  *removed_ += write_.erased();
  out.lsn = std::max(out.lsn, write_.out.lsn);
  if (witness_.fn == nullptr) return;
  const std::string behind_last = keys_.back() + '\0';
  const cbytes high = as_bytes(behind_last);
  witness_.fn(witness_.datum, write_.out.lsn, from(), &high);
}

sm::step cut_op::trimmed() {
  settle_trim();
  const errc code = write_.out.code;
  if (code == errc::too_large && keys_.size() > 1) {
    trimming_ = false;
    trim_most_ = static_cast<u32>(keys_.size() / 2);
    return go(NEXT);
  }
  if (!is_ok(code)) {
    bad_ = write_.bad_page();
    return fail(code);
  }
  // Others had deleted all of it already; or the comparator contradicts itself (key_order.hh, I3).
  if (trimming_ && ++idle_ > tree_->ctx->engine.vol().super.blocks) {
    bad_ = tree_->root.addr;
    return fail(errc::corrupt);
  }
  trimming_ = false;
  advance(keys_.back(), true);
  return next_step();
}

/// I4.
void cut_op::advance(std::string to, bool behind) {
  behind_ = behind;
  low_ = std::move(to);
  if (is_long(from())) low_probe_.begin(from());
}

// --- the holder ---

/// RETURNS: the name of the tree's comparator; empty if it has none.
std::string_view cut_op::comparator_name() const {
  for (const auto& [name, order] : tree_->ctx->orders)
    if (&order == tree_->order) return name;
  return {};
}

sm::step cut_op::hold() {
  context& c = *tree_->ctx;
  tree_record& rec = holder_record_.record;
  holder_record_ = {};
  rec.id = tree_->id;
  rec.state = TREE_CUT;
  rec.node_blocks = static_cast<u16>(tree_->node_blocks);
  rec.order = tree_->order_number;
  rec.key_bytes = static_cast<u16>(tree_->key_bytes);
  rec.value_bytes = static_cast<u16>(tree_->value_bytes);
  rec.flags = flags_of(*tree_, shape_);
  const std::string_view comparator = comparator_name();
  comparator.copy(holder_record_.comparator, comparator.size());
  give_back();
  holder_name_ = make_holder_name(c.engine.lsn(), c.holders++);
  write_.reset();
  write_.prepare(*catalogue_, change::CREATE_TREE, as_bytes(holder_name_),
                 {reinterpret_cast<const std::byte*>(&holder_record_),
                  sizeof(tree_record) + comparator.size()},
                 nullptr, false);
  return sub(write_, HELD);
}

sm::step cut_op::held() {
  const errc code = write_.out.code;
  if (is_ok(code)) {
    holds_ = true;
    holder_record_.record = write_.created();
    adopt(holder_, holder_record_.record, comparator_name());
    return go(NEXT);
  }
  if (code == errc::no_space || code == errc::too_large) {
    no_holder_ = true;
    return go(NEXT);
  }
  bad_ = write_.bad_page();
  return fail(code);
}

sm::step cut_op::reclaim() {
  give_back();
  reclaim_.reset();
  reclaim_.prepare_cut(holder_, tree_, *catalogue_, as_bytes(holder_name_), holder_record_.record,
                       removed_);
  return sub(reclaim_, RECLAIMED);
}

sm::step cut_op::reclaimed() {
  out.lsn = std::max(out.lsn, reclaim_.out.lsn);
  if (errc code = reclaim_.out.code; !is_ok(code)) {
    bad_ = reclaim_.bad_page();
    return fail(code);
  }
  holds_ = false;
  return finished_ ? finish() : next_step();
}

// --- the end ---

sm::step cut_op::commit() {
  if (!options_.durable) return go(CLEANUP);
  auto queue = tree_->ctx->engine.await_durable(out.lsn);
  if (!queue) return fail(queue.error());
  return *queue != nullptr ? wait_in(**queue, COMMIT) : go(CLEANUP);
}

/// A cancel after a cut only detaches: the next writable open gives back what is left of it.
sm::step cut_op::cleanup() {
  settle_trim();
  trimming_ = false;
  give_back();
  frees_.release();
  keys_.clear();
  items_.clear();
  return go(DONE);
}

void cut_op::unpin() {
  cache::page_cache& pages = tree_->ctx->pages;
  auto let_go = [&](pinned& p) {
    if (p.d != nullptr) pages.unpin(*p.d);
    p = {};
  };
  for (u32 i = 0; i < depth_; ++i) let_go(path_[i]);
  for (u32 i = 0; i < leaf_count_; ++i) let_go(leaves_[i]);
  for (u32 i = 0; i < beside_count_; ++i) let_go(beside_[i]);
  let_go(holder_page_);
  depth_ = leaf_count_ = beside_count_ = 0;
  units_ = 0;
  work_ = work::UNKNOWN;
  top_known_ = all_ = leftward_ = trim_leaves_ = false;
}

void cut_op::give_back() {
  context& c = *tree_->ctx;
  if (loading_) c.pages.unpin(*loading_);
  loading_ = nullptr;
  unpin();
  c.engine.give_back(space_);
  c.engine.give_back(credit_);
  c.pages.grants().give_back(grant_);
  gate_hold_.release();
  // Whoever deletes the key now frees its extent: what is needed then is asked anew.
  low_probe_.drop_question();
  high_probe_.drop_question();
  reader_.drop_wish();
}

}  // namespace pleach::btree
