#include "btree/bulk_build_op.hh"

#include <algorithm>

#include "be/base/planted.hh"

namespace pleach::btree {

/// A value with a map, while it is written.
struct bulk_build_op::large_value {
  value_draft draft;
  draft_op op;
};
void bulk_build_op::large_delete::operator()(large_value* v) const {
  delete v;
}

void bulk_build_op::prepare(bulk_draft& d, bulk_source& from) {
  PLEACH_ASSERT(idle());
  begin(d);
  from_ = &from;
}

void bulk_build_op::prepare_end(bulk_draft& d) {
  PLEACH_ASSERT(idle());
  begin(d);
  ending_ = checked_ = true;
}

void bulk_build_op::begin(bulk_draft& d) {
  draft_ = &d;
  from_ = nullptr;
  ending_ = checked_ = value_stored_ = false;
  next_ = 0;
  end_level_ = 0;
  wrong_length_ = {};
  bad_ = {};
  roll_ = {};
  need_ = {};
}

sm::step bulk_build_op::tick(phase p) noexcept {
  cache::page_cache& pages = draft_->tree_->ctx->pages;
  switch (p) {
    case INIT:
      return init();
    case LOOK:
      return look();
    case ADMIT: {
      // The root, or a bitmap page.
      const phase next = draft_->looked_ ? SPACE : ROOT;
      return pages.grants().take(grant_, *this, 1) ? go(next) : wait(next, "page frames");
    }
    case ROOT:
      return root();
    case LOOKED:
      return looked();
    case WORK:
      return work();
    case SPACE:
      return space();
    case SPACED:
      return spaced();
    case VALUE:
      return value();
    case VALUED:
      return valued();
    case WRITE:
      return write();
    case WRITTEN:
      return written();
    case CLEANUP:
      return cleanup();
    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

sm::step bulk_build_op::init() {
  if (!is_ok(draft_->broken_)) return fail(draft_->broken_);
  const tree& t = *draft_->tree_;
  if (errc e = t.ctx->engine.health(); !is_ok(e)) return fail(e);
  if (t.dropped) return fail(errc::tree_closed);
  if (ending_) return draft_->complete_ ? go(CLEANUP) : go(WORK);
  return draft_->complete_ ? fail(errc::invalid) : go(LOOK);
}

errc bulk_build_op::check(const bulk_source::item& r, cbytes before) {
  if (r.key.size() > max_key_bytes_of(*draft_->tree_)) return errc::key_too_large;
  if (is_long(r.key)) return errc::not_in_bulk;
  if (r.value.size() > max_value_bytes) return errc::value_too_large;
  if (errc e = check_lengths(*draft_->tree_, r.key, r.value.size(), wrong_length_); !is_ok(e))
    return e;
  const bool first = next_ == 0 && draft_->records_ == 0;
  const bool ascends = first || draft_->tree_->compare(before, r.key) < 0;
  return ascends || PLEACH_PLANTED("bulk_order_unchecked") ? errc::ok : errc::not_ascending;
}

/// All records are looked at before the first is taken.
sm::step bulk_build_op::look() {
  const u64 count = from_->count(), end = std::min(count, next_ + records_per_tick);
  cbytes before = next_ == 0 ? as_bytes(draft_->last_key_) : from_->at(next_ - 1).key;
  for (; next_ < end; ++next_) {
    const bulk_source::item r = from_->at(next_);
    if (errc e = check(r, before); !is_ok(e)) return fail(e);
    before = r.key;
  }
  if (next_ < count) return yield(LOOK);
  if (count == 0) return go(CLEANUP);
  next_ = 0;
  checked_ = true;
  return go(draft_->looked_ ? WORK : ADMIT);
}

/// So that what cannot be committed is refused before it is written.
sm::step bulk_build_op::root() {
  if (draft_->tree_->dropped) return fail(errc::tree_closed);
  root_ = draft_->tree_->ctx->pages.pin(draft_->tree_->root);
  if (root_->state == cache::page_state::LOADING) return wait_in(root_->waiters, LOOKED);
  return go(LOOKED);
}

sm::step bulk_build_op::looked() {
  context& c = *draft_->tree_->ctx;
  if (!root_->resident()) {
    bad_ = draft_->tree_->root.addr;
    return fail(is_ok(root_->error) ? errc::corrupt : root_->error);
  }
  const node_view n(root_->reader());
  const bool empty = n.is_leaf() && n.count() == 0;
  draft_->shape_ = n.shape();
  // A root that was emptied by a cut may be an old leaf, which has no room for checksums.
  const bool sums = draft_->tree_->key_sums || draft_->tree_->value_sums;
  draft_->leaf_format_ = sums ? u16{node_format_slotted_2} : u16{n.header().format};
  c.pages.unpin(*root_);
  root_ = nullptr;
  c.pages.grants().give_back(grant_);
  if (!empty) return fail(errc::not_empty);
  draft_->looked_ = true;
  return go(WORK);
}

sm::step bulk_build_op::work() {
  for (u64 left = records_per_tick; left != 0; --left) {
    need n = need::NOTHING;
    if (roll_.active) {
      n = roll();
    } else if (ending_) {
      n = complete();
      if (n == need::NOTHING && draft_->complete_) return go(CLEANUP);
    } else {
      if (next_ == from_->count()) return go(CLEANUP);
      n = feed(from_->at(next_));
    }
    if (n == need::SPACE) return go(ADMIT);
    if (n == need::WRITE) return go(WRITE);
    if (n == need::VALUE) return go(VALUE);
  }
  return yield(WORK);
}

bulk_build_op::need bulk_build_op::feed(const bulk_source::item& r) {
  bulk_draft& d = *draft_;
  const tree& t = *d.tree_;
  cbytes stored = r.value;
  if (goes_to_extent(t, r.key.size(), r.value.size())) {
    if (need n = value_stored_ ? need::NOTHING : store_value(r); n != need::NOTHING) return n;
    stored = {reinterpret_cast<const std::byte*>(&reference_), reference_bytes_};
  }
  if (d.levels_.empty()) {
    d.levels_.push_back(std::make_unique<bulk_level>());
    d.levels_[0]->node.open(t, 0, node_class(t, static_cast<u32>(r.key.size())), {}, d.shape_,
                            d.leaf_format_);
  }
  bulk_level& leaf = *d.levels_[0];
  const u8 flags = value_stored_ ? VALUE_INDIRECT : 0;
  if (!leaf.node.append(r.key, flags, stored, fence_behind(r.key))) {
    PLEACH_ASSERT(leaf.node.view().count() != 0);
    roll_ = {};
    roll_.active = true;
    roll_.key = as_text(truncates() ? shortest_separator(as_bytes(d.last_key_), r.key) : r.key);
    return need::NOTHING;
  }
  value_stored_ = false;
  d.last_key_ = as_text(r.key);
  d.bytes_ += r.key.size() + r.value.size();
  ++d.records_;
  ++next_;
  return need::NOTHING;
}

bool bulk_build_op::truncates() const {
  return (draft_->shape_.flags & NO_TRUNCATION) == 0;
}

/// RETURNS: bytes of the longest fence that may follow the record that is next.
u32 bulk_build_op::fence_behind(cbytes key) const {
  const tree& t = *draft_->tree_;
  if (truncates()) return static_cast<u32>(key.size()) + 1;
  if (next_ + 1 < from_->count()) return static_cast<u32>(from_->at(next_ + 1).key.size());
  return t.key_bytes != 0 ? t.key_bytes : max_inline_key_bytes;
}

/// Copies a value that goes to one extent behind the ones before it.
bulk_build_op::need bulk_build_op::store_value(const bulk_source::item& r) {
  bulk_draft& d = *draft_;
  if (r.value.size() > u64{d.tree_->ctx->max_run_blocks} * block_bytes) return need::VALUE;
  const u32 blocks = static_cast<u32>(ceil_div<u64>(r.value.size(), block_bytes));
  if (!d.values_.has(blocks)) return want(d.values_, blocks);
  std::byte* to = d.values_.image_of(d.values_.next(blocks));
  if (to == nullptr) return write_out(d.values_);
  const page_ref run = take(d.values_, blocks);
  std::memcpy(to, r.value.data(), r.value.size());
  std::memset(to + r.value.size(), 0, run.addr.size() - r.value.size());
  value_reference& ref = reference_.ref;
  ref = {};
  ref.length = r.value.size();
  ref.run = run.addr.raw;
  ref.count = 1;
  ref.gen = run.gen;
  ref.checksum = hash64(r.value);
  reference_bytes_ = sizeof ref;
  value_stored_ = true;
  return need::NOTHING;
}

/// One level of a roll; nothing is done twice when it is called again after a wait.
bulk_build_op::need bulk_build_op::roll() {
  bulk_draft& d = *draft_;
  const tree& t = *d.tree_;
  rolling& r = roll_;
  const u32 key_bytes = static_cast<u32>(r.key.size());
  if (r.level == d.levels_.size()) {
    d.levels_.push_back(std::make_unique<bulk_level>());
    bulk_level& made = *d.levels_.back();
    made.node.open(t, static_cast<u8>(r.level), node_class(t, key_bytes), {}, d.shape_,
                   d.leaf_format_);
    made.node.append_child({}, r.first, r.below, 0);
    made.pending_key = r.key;
    made.pending = r.child;
    r.active = false;
    return need::NOTHING;
  }
  bulk_level& l = *d.levels_[r.level];
  const bool leaf = r.level == 0;
  // What is pending is the node below that was closed.
  if (!leaf && !r.closed &&
      l.node.append_child(as_bytes(l.pending_key), l.pending, r.below, key_bytes)) {
    l.pending_key = r.key;
    l.pending = r.child;
    r.active = false;
    return need::NOTHING;
  }
  // Full: its neighbour begins with what is pending, or with the next record.
  bulk_space& s = space_of(r.level);
  if (!l.ref) {
    if (!s.has(l.node.blocks())) return want(s, l.node.blocks());
    l.ref = take(s, l.node.blocks());
  }
  const std::string& fence = leaf ? r.key : l.pending_key;
  const u32 longest = leaf ? static_cast<u32>(from_->at(next_).key.size())
                           : std::max(key_bytes, static_cast<u32>(fence.size()));
  const u32 blocks = node_class(t, longest);
  if (!r.next) {
    if (!s.has(blocks)) return want(s, blocks);
    r.next = take(s, blocks);
  }
  if (!r.closed) {
    const cbytes high = as_bytes(fence);
    l.node.close(l.ref, &high, r.next, t.ctx->engine.reached(txn::watermark::DURABLE));
    r.closed = true;
    if (!leaf) {
      image_ = {l.node.data(), l.ref.addr.size()};
      image_at_ = l.ref.addr.offset();
      writing_ = nullptr;
      return need::WRITE;
    }
  }
  if (leaf)
    if (need n = put_image(s, l); n != need::NOTHING) return n;
  rolling up;
  up.active = true;
  up.level = r.level + 1;
  up.key = fence;
  up.child = r.next;
  up.first = l.ref;
  up.below = l.node.sum();
  l.node.open(t, static_cast<u8>(r.level), blocks, as_bytes(up.key), d.shape_, d.leaf_format_);
  l.ref = r.next;
  if (!leaf) {
    l.node.append_child({}, l.pending, r.below, 0);
    l.pending_key = r.key;
    l.pending = r.child;
  }
  r = std::move(up);
  return need::NOTHING;
}

bool bulk_build_op::fits_root(bulk_node& n) const {
  const u32 capacity = node_capacity(root_blocks * block_bytes);
  const node_view v = n.view();
  // A fixed leaf of another size has other places: with a quarter to spare they are enough.
  return v.used_bytes() <= (v.fixed() ? capacity / 4 * 3 : capacity);
}

/// One level of the end.
bulk_build_op::need bulk_build_op::complete() {
  bulk_draft& d = *draft_;
  const lsn_t lsn = d.tree_->ctx->engine.reached(txn::watermark::DURABLE);
  if (end_level_ < d.levels_.size()) {
    bulk_level& l = *d.levels_[end_level_];
    if (l.pending) {
      roll_ = {};
      roll_.active = true;
      roll_.level = end_level_;
      roll_.below = d.levels_[end_level_ - 1]->node.sum();
      return need::NOTHING;
    }
    const bool top = end_level_ + 1 == d.levels_.size();
    if (top && fits_root(l.node)) {
      d.top_in_root_ = true;
      ++end_level_;
      return need::NOTHING;
    }
    bulk_space& s = space_of(end_level_);
    if (!l.ref) {
      if (!s.has(l.node.blocks())) return want(s, l.node.blocks());
      l.ref = take(s, l.node.blocks());
    }
    if (!roll_.closed) l.node.close(l.ref, nullptr, {}, lsn);
    roll_.closed = true;
    if (end_level_ == 0)
      if (need n = put_image(s, l); n != need::NOTHING) return n;
    roll_.closed = false;
    if (top) {
      d.top_.open(*d.tree_, static_cast<u8>(end_level_ + 1), root_blocks, {}, d.shape_,
                  d.leaf_format_);
      d.top_.append_child({}, l.ref, l.node.sum(), 0);
    }
    if (++end_level_ == 1) return need::NOTHING;
    image_ = {l.node.data(), l.ref.addr.size()};
    image_at_ = l.ref.addr.offset();
    writing_ = nullptr;
    return need::WRITE;
  }
  for (bulk_space* s : {&d.leaves_, &d.values_})
    if (!s->buffered().empty()) return write_out(*s);
  for (bulk_space* s : {&d.leaves_, &d.inners_, &d.values_}) d.retire(*s);
  std::sort(d.runs_.begin(), d.runs_.end());
  d.complete_ = true;
  return need::NOTHING;
}

page_ref bulk_build_op::take(bulk_space& s, u32 blocks) {
  return {s.take(blocks), static_cast<generation_t>(draft_->tree_->ctx->engine.lsn())};
}

bulk_build_op::need bulk_build_op::put_image(bulk_space& s, bulk_level& l) {
  std::byte* to = s.image_of(l.ref.addr);
  if (to == nullptr) return write_out(s);
  std::memcpy(to, l.node.data(), l.ref.addr.size());
  return need::NOTHING;
}

bulk_build_op::need bulk_build_op::write_out(bulk_space& s) {
  image_ = s.buffered();
  image_at_ = s.buffered_at();
  writing_ = &s;
  return need::WRITE;
}

bulk_build_op::need bulk_build_op::want(bulk_space& s, u32 blocks) {
  draft_->retire(s);
  space_ = &s;
  least_blocks_ = blocks;
  // Behind the last one of its kind, so that a scan reads on.
  const u64 hint = need_.hint;
  need_ = {draft_->run_to_ask_for(s, blocks), hint};
  return need::SPACE;
}

sm::step bulk_build_op::space() {
  alloc_op_.reset();
  alloc_op_.prepare(draft_->tree_->ctx->engine, claim_, {&need_, 1}, {});
  return sub(alloc_op_, SPACED);
}

sm::step bulk_build_op::spaced() {
  context& c = *draft_->tree_->ctx;
  if (alloc_op_.out.code == errc::no_space && need_.blocks > least_blocks_) {
    // There is no run of this length: what is free is in shorter pieces.
    need_.blocks = std::max(need_.blocks / 2, least_blocks_);
    return go(SPACE);
  }
  if (alloc_op_.out.code == errc::no_space && draft_->has_spare_room()) {
    for (bulk_space* s : {&draft_->leaves_, &draft_->inners_, &draft_->values_}) draft_->retire(*s);
    return go(SPACE);
  }
  if (!is_ok(alloc_op_.out.code)) return fail(alloc_op_.out.code);
  std::vector<page_addr> runs;
  c.engine.keep(claim_, runs);
  c.pages.grants().give_back(grant_);
  draft_->adopt(*space_, runs.front());
  need_.hint = runs.front().block() + runs.front().blocks();
  return go(WORK);
}

/// A value of several runs.
sm::step bulk_build_op::value() {
  const bulk_source::item r = from_->at(next_);
  large_.reset(new large_value);
  const tree& t = *draft_->tree_;
  large_->draft.begin(*t.ctx, t.id, r.key, r.value.size(), t.digest);
  large_->op.prepare(large_->draft, r.value, true);
  return sub(large_->op, VALUED);
}

sm::step bulk_build_op::valued() {
  if (errc e = large_->op.out.code; !is_ok(e)) return fail(e);
  value_draft& v = large_->draft;
  const tree& t = *draft_->tree_;
  reference_.ref = v.reference(static_cast<generation_t>(t.ctx->engine.lsn()));
  reference_bytes_ = t.digest ? sizeof reference_ : sizeof reference_.ref;
  if (t.digest) reference_.content = v.content();
  draft_->runs_.insert(draft_->runs_.end(), v.map().runs.begin(), v.map().runs.end());
  draft_->runs_.push_back(v.map_run());
  draft_->has_maps_ = true;
  v.taken();
  large_.reset();
  value_stored_ = true;
  return go(WORK);
}

sm::step bulk_build_op::write() {
  request_.durable = false;
  request_.kind = io::request_kind::WRITE;
  request_.offset = image_at_;
  request_.length = image_.size();
  request_.data = const_cast<std::byte*>(image_.data());  // only read
  request_.owner = this;
  request_.done = &io_done;
  in_flight_ = true;
  draft_->tree_->ctx->pages.device().queue(request_);
  return wait(WRITTEN, "bulk load I/O");
}

void bulk_build_op::io_done(io::request& r) {
  auto& self = *static_cast<bulk_build_op*>(r.owner);
  self.in_flight_ = false;
  self.loop().make_ready(self);
}

sm::step bulk_build_op::written() {
  if (!is_ok(request_.code)) return fail(request_.code);
  if (writing_ != nullptr) writing_->written();
  return go(WORK);
}

sm::step bulk_build_op::cleanup() {
  if (in_flight_) return wait(CLEANUP, "bulk load I/O");
  context& c = *draft_->tree_->ctx;
  if (root_) c.pages.unpin(*root_);
  root_ = nullptr;
  c.engine.give_back(claim_);
  c.pages.grants().give_back(grant_);
  if (large_) large_->draft.give_back();
  large_.reset();
  // A record that was refused, or looked at in vain, has changed nothing.
  if (!is_ok(out.code) && checked_ && is_ok(draft_->broken_)) draft_->broken_ = out.code;
  return go(DONE);
}

}  // namespace pleach::btree
