#include "btree/bulk_draft.hh"

#include <algorithm>

namespace pleach::btree {

page_addr bulk_space::take(u32 blocks) {
  PLEACH_ASSERT(has(blocks));
  const page_addr a = next(blocks);
  used_ += blocks;
  return a;
}

std::byte* bulk_space::image_of(page_addr a) {
  if (!buffer_) buffer_ = std::make_unique<block_buffer>(u64{buffer_blocks} * block_bytes);
  const bool follows = a.block() == first_ + filled_ && filled_ + a.blocks() <= buffer_blocks;
  if (filled_ != 0 && !follows) return nullptr;
  if (filled_ == 0) first_ = a.block();
  std::byte* at = buffer_->data() + u64{filled_} * block_bytes;
  filled_ += a.blocks();
  return at;
}

bulk_draft::~bulk_draft() {
  PLEACH_ASSERT(runs_.empty() && !leaves_.run_ && !inners_.run_ && !values_.run_);
}

void bulk_draft::begin(tree& t) {
  PLEACH_ASSERT(tree_ == nullptr);
  tree_ = &t;
}

/// What of the run was not used goes back.
void bulk_draft::retire(bulk_space& s) {
  if (!s.run_) return;
  txn::engine& e = tree_->ctx->engine;
  if (s.used_ == 0)
    e.give_back_kept(s.run_);
  else
    runs_.push_back(e.shorten_kept(s.run_, s.used_));
  s.run_ = {};
  s.used_ = 0;
}

bool bulk_draft::has_spare_room() const {
  return leaves_.has(1) || inners_.has(1) || values_.has(1);
}

void bulk_draft::adopt(bulk_space& s, page_addr run) {
  PLEACH_ASSERT(!s.run_);
  s.run_ = run;
  s.used_ = 0;
  s.next_blocks_ = std::min(2 * run.blocks(), max_page_blocks);
}

/// Few blocks at first, for small trees; more as it grows.
u32 bulk_draft::run_to_ask_for(bulk_space& s, u32 blocks) const {
  if (s.next_blocks_ == 0) s.next_blocks_ = std::min(4 * tree_->node_blocks, max_page_blocks);
  return std::max(s.next_blocks_, blocks);
}

void bulk_draft::give_back() {
  if (tree_ == nullptr) return;
  txn::engine& e = tree_->ctx->engine;
  for (bulk_space* s : {&leaves_, &inners_, &values_})
    if (s->run_) e.give_back_kept(s->run_);
  for (page_addr r : runs_) e.give_back_kept(r);
  forget();
}

void bulk_draft::abandon() {
  forget();
}

void bulk_draft::forget() {
  for (bulk_space* s : {&leaves_, &inners_, &values_}) *s = {};
  runs_.clear();
  levels_.clear();
  if (is_ok(broken_)) broken_ = errc::invalid;  // nothing more
}

}  // namespace pleach::btree
