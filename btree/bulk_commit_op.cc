#include "btree/bulk_commit_op.hh"

#include <algorithm>

#include "be/base/planted.hh"

namespace pleach::btree {

void bulk_commit_op::prepare(bulk_draft& d, bool durable) {
  PLEACH_ASSERT(idle());
  draft_ = &d;
  durable_ = durable;
  applied_ = false;
  bad_ = {};
}

sm::step bulk_commit_op::tick(phase p) noexcept {
  context& c = *draft_->tree_->ctx;
  switch (p) {
    case INIT:
      if (!is_ok(draft_->broken_)) return fail(draft_->broken_);
      build_.reset();
      build_.prepare_end(*draft_);
      return sub(build_, BUILT);
    case BUILT:
      return built();
    case GATE:
      return c.gate.try_shared(*this, hold_) ? go(ADMIT) : wait(GATE);
    case ADMIT:
      return c.pages.grants().take(grant_, *this, root_blocks + one_a_group_.size())
                 ? go(LOAD)
                 : wait(LOAD, "page frames");
    case LOAD:
      return load();
    case LOADED:
      return loaded();
    case OPEN:
      return open();
    case CHECK:
      return check();
    case ACT:
      return act();
    case CAPTURE:
      return capture();
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

/// Log bytes: the root, and of each group the bits of its runs.
void bulk_commit_op::plan() {
  const txn::engine& e = draft_->tree_->ctx->engine;
  constexpr u64 root_bytes = root_blocks * (block_bytes + block_bytes / 8);
  // Of a run: its bits, rounded to granules at both ends, and the header of their log run. Of a
  // bitmap page at most all of it, once.
  constexpr u64 run_bytes = 24, most = block_bytes + block_bytes / 8;
  u64 bytes = root_bytes, in_group = 0;
  for (page_addr r : draft_->runs_) {
    if (one_a_group_.empty() || e.group_of(one_a_group_.back()) != e.group_of(r)) {
      one_a_group_.push_back(r);
      bytes += std::min(in_group, most);
      in_group = 0;
    }
    in_group += run_bytes + r.blocks() / 8;
  }
  bytes += std::min(in_group, most);
  credit_bytes_ = txn::engine::credit_bytes(bytes, root_blocks + one_a_group_.size());
}

sm::step bulk_commit_op::built() {
  if (errc e = build_.out.code; !is_ok(e)) return fail(e);
  if (draft_->records_ == 0) return go(CLEANUP);
  plan();
  context& c = *draft_->tree_->ctx;
  if (credit_bytes_ > c.engine.largest_credit() ||
      root_blocks + one_a_group_.size() > c.pages.grantable_units() / 4 * 3)
    return fail(errc::too_large);
  return go(GATE);
}

sm::step bulk_commit_op::load() {
  if (draft_->tree_->dropped) return fail(errc::tree_closed);
  root_ = draft_->tree_->ctx->pages.pin(draft_->tree_->root);
  if (root_->state == cache::page_state::LOADING) return wait_in(root_->waiters, LOADED);
  return go(LOADED);
}

sm::step bulk_commit_op::loaded() {
  if (!root_->resident()) {
    bad_ = draft_->tree_->root.addr;
    return fail(is_ok(root_->error) ? errc::corrupt : root_->error);
  }
  alloc_op_.reset();
  alloc_op_.prepare(draft_->tree_->ctx->engine, space_, {}, one_a_group_);
  return sub(alloc_op_, OPEN);
}

sm::step bulk_commit_op::open() {
  if (!is_ok(alloc_op_.out.code)) return fail(alloc_op_.out.code);
  return draft_->tree_->ctx->engine.take_credit(credit_, *this, credit_bytes_)
             ? go(CHECK)
             : wait(CHECK, "log credit");
}

sm::step bulk_commit_op::check() {
  const tree& t = *draft_->tree_;
  if (errc e = t.ctx->engine.health(); !is_ok(e)) return fail(e);
  if (t.dropped || !root_->resident()) return fail(errc::tree_closed);
  const node_view n(root_->reader());
  if (!n.is_leaf() || n.count() != 0) return fail(errc::not_empty);
  return go(ACT);
}

sm::step bulk_commit_op::act() {
  bulk_draft& d = *draft_;
  tree& t = *d.tree_;
  context& c = *t.ctx;
  cache::step_guard guard([this](auto&& latch) {
    latch(*root_);
    for (cache::descriptor* b : space_.bitmaps) latch(*b);
  });
  for (page_addr r : d.runs_) c.engine.take_kept(space_, r);
  d.runs_.clear();
  if (!PLEACH_PLANTED("bulk_not_flushed")) c.engine.require_flush();
  if (d.has_maps_) c.engine.require_feature(feature_value_maps);
  page_writer w = c.engine.write(*root_);
  root_->structure_version = c.pages.next_version();
  copy_node(d.top_in_root_ ? d.levels_.back()->node.reader() : d.top_.reader(), w, root_->addr,
            c.pages.store_id(), t.id, root_->gen);
  const u64 records = d.records_ - (PLEACH_PLANTED("bulk_count_short") ? 1 : 0);
  w.put_le<u64>(node_header_offset + offsetof(node_header, record_count), records);
  w.put_le<u64>(node_header_offset + offsetof(node_header, byte_count), d.bytes_);
  t.height_hint = node_view(w).level() + 1;
  ++c.stats.bulk_loads;
  c.stats.bulk_records += d.records_;
  return go(CAPTURE);
}

/// CLOSED: visible now; nothing is held any longer while durability is awaited.
sm::step bulk_commit_op::capture() {
  out.lsn = draft_->tree_->ctx->engine.end(credit_);
  applied_ = true;
  draft_->give_back();  // nothing is left but memory
  give_back();
  return go(COMMIT);
}

sm::step bulk_commit_op::commit() {
  if (!durable_) return go(CLEANUP);
  auto queue = draft_->tree_->ctx->engine.await_durable(out.lsn);
  if (!queue) return fail(queue.error());
  return *queue != nullptr ? wait_in(**queue, COMMIT) : go(CLEANUP);
}

void bulk_commit_op::give_back() {
  context& c = *draft_->tree_->ctx;
  if (root_) c.pages.unpin(*root_);
  root_ = nullptr;
  c.engine.give_back(space_);
  c.engine.give_back(credit_);
  c.pages.grants().give_back(grant_);
  hold_.release();
}

sm::step bulk_commit_op::cleanup() {
  give_back();
  if (!applied_) draft_->give_back();
  one_a_group_ = {};
  return go(DONE);
}

}  // namespace pleach::btree
