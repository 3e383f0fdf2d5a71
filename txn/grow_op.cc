#include "txn/grow_op.hh"

namespace pleach::txn {

void grow_op::prepare(engine& e, engine_state& s, u64 from, u64 to) {
  engine_ = &e;
  e_ = &s;
  from_ = from;
  to_ = to;
  u64 group_blocks = s.vol.super.group_blocks;
  new_group_ = from % group_blocks == 0;
  group_ = from / group_blocks;
  PLEACH_ASSERT(to > from && to <= (group_ + 1) * group_blocks);
}

sm::step grow_op::tick(phase p) noexcept {
  switch (p) {
    case GRANT:
      if (e_->health != errc::ok) return fail(e_->health);
      return e_->pages.grants().take(grant_, *this, 1) ? go(PREPARE) : wait(PREPARE, "frame grant");

    case PREPARE:
      if (new_group_) {
        if (!e_->pages.take_spare(*this, 1, frame_)) return wait(PREPARE);
        return go(CREDIT);
      }
      if (bitmap_ == nullptr) bitmap_ = e_->pages.pin(e_->space.bitmap(group_));
      if (bitmap_->state == cache::page_state::LOADING) return wait_in(bitmap_->waiters, PREPARE);
      if (bitmap_->state != cache::page_state::RESIDENT)
        return fail(bitmap_->error == errc::ok ? errc::failed : bitmap_->error);
      return go(CREDIT);

    case CREDIT:
      return engine_->take_credit(credit_, *this, engine::credit_bytes(2 * block_bytes, 2))
                 ? go(ACT)
                 : wait(ACT, "log credit");

    case ACT:
      act();
      return go(DURABLE);

    case DURABLE:
      if (e_->health != errc::ok) return fail(errc::outcome_unknown);
      if (e_->durable >= lsn_) return go(CLEANUP);
      e_->want_durable(lsn_);
      return wait_in(e_->queues[static_cast<u32>(watermark::DURABLE)], DURABLE);

    case CLEANUP:
      if (bitmap_ != nullptr) e_->pages.unpin(*bitmap_);
      bitmap_ = nullptr;
      e_->pages.give_back(frame_);
      e_->pages.grants().give_back(grant_);
      engine_->give_back(credit_);
      return go(DONE);

    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

void grow_op::act() {
  page_addr addr = e_->space.bitmap(group_).addr;
  cache::step_guard guard([this](auto&& latch) {
    if (bitmap_ != nullptr) latch(*bitmap_);
    latch(*e_->root.page);
  });
  if (new_group_) {
    // Its place is fixed, so nothing is reserved; `to_` may lie before the size of the superblock,
    // so its end is marked here.
    bitmap_ = &e_->pages.create({addr, format_generation}, frame_);
    bitmap_->format = true;
    page_writer w = e_->write(*bitmap_);
    superblock s = e_->vol.super;
    s.blocks = to_;
    format_bitmap({w.writable(0, block_bytes), block_bytes}, s, group_, format_generation);
  } else {
    u32 bit = static_cast<u32>(from_ % e_->vol.super.group_blocks);
    u32 count = static_cast<u32>(to_ - from_);
    byte_range r = bits_range(bit, count);
    set_bits(e_->write(*bitmap_).writable(r.offset, r.length), bit, count, false);
  }
  page_writer root = e_->write(*e_->root.page);
  root.put_le<u64>(offsetof(root_record, volume_blocks), to_);
  root.put_le<u64>(offsetof(root_record, groups_formatted), group_ + 1);
  e_->space.resize(to_, e_->vol.super.group_blocks);
  e_->space.at(group_).free_bits = space_table::unknown;
  e_->space.at(group_).failed_count = ~0u;
  e_->space.learn(group_, bitmap_->reader().page());
  lsn_ = engine_->end(credit_);
}

}  // namespace pleach::txn
