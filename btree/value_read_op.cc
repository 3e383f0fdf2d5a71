#include "btree/value_read_op.hh"

#include <algorithm>

#include "be/base/planted.hh"

namespace pleach::btree {

void value_read_op::prepare(context& c, const value_reference& ref, u64 from, u64 length,
                            std::byte* to) {
  PLEACH_ASSERT(idle() && from <= ref.length && length <= ref.length - from);
  ctx_ = &c;
  ref_ = ref;
  from_ = from;
  length_ = length;
  to_ = to;
  map_only_ = false;
}

void value_read_op::prepare_map(context& c, const value_reference& ref) {
  PLEACH_ASSERT(idle() && has_map(ref));
  prepare(c, ref, 0, 0, nullptr);
  map_only_ = true;
}

sm::step value_read_op::tick(phase p) noexcept {
  switch (p) {
    case INIT: return init();
    case MAP: {
      page_addr run(ref_.run);
      map_bytes_.resize(run.size());
      extent_op_.reset();
      extent_op_.prepare_read(ctx_->engine, run, map_bytes_);
      return sub(extent_op_, MAP_READ);
    }
    case MAP_READ: return map_read();
    case DATA: return data();
    case DATA_READ: return data_read();
    case WHOLE: {
      page_addr run(ref_.run);
      extent_op_.reset();
      if (to_ != nullptr && length_ == ref_.length) {
        extent_op_.prepare_read(ctx_->engine, run, {to_, length_});
      } else {
        if (!hash_) hash_ = std::make_unique<hash64_stream>();
        hash_->restart();
        extent_op_.prepare_scan(ctx_->engine, run, ref_.length, &visit, this);
      }
      return sub(extent_op_, WHOLE_READ);
    }
    case WHOLE_READ: {
      if (!is_ok(extent_op_.out.code)) return fail(extent_op_.out.code);
      bool in_place = to_ != nullptr && length_ == ref_.length;
      u64 found = in_place ? hash64({to_, length_}) : hash_->value();
      return found == ref_.checksum ? go(CLEANUP) : fail(errc::corrupt);
    }
    case CLEANUP:
      map_bytes_ = {};
      return go(DONE);
    case DONE:
    case phase_count_: break;
  }
  return go(DONE);
}

sm::step value_read_op::init() {
  if (!sound_reference(ref_, ctx_->engine.vol().super.blocks)) return fail(errc::corrupt);
  if (!has_map(ref_)) return go(WHOLE);
  next_ = from_ / value_chunk_bytes * value_chunk_blocks;
  u64 chunks = ceil_div<u64>(from_ + length_, value_chunk_bytes);
  end_ = std::min<u64>(chunks * value_chunk_blocks, ceil_div<u64>(ref_.length, block_bytes));
  if (length_ == 0) end_ = next_;
  bool known = map_ && std::memcmp(&mapped_, &ref_, sizeof ref_) == 0;
  if (!known) {
    map_.reset();
    return go(MAP);
  }
  return map_only_ || next_ == end_ ? go(CLEANUP) : go(DATA);
}

sm::step value_read_op::map_read() {
  if (!is_ok(extent_op_.out.code)) return fail(extent_op_.out.code);
  if (hash64(map_bytes_) != ref_.checksum) return fail(errc::corrupt);
  auto map = std::make_unique<value_map>();
  if (!map->parse(map_bytes_, ref_, ctx_->pages.store_id(), ctx_->engine.vol().super.blocks))
    return fail(errc::corrupt);
  map_ = std::move(map);
  mapped_ = ref_;
  return map_only_ || next_ == end_ ? go(CLEANUP) : go(DATA);
}

sm::step value_read_op::data() {
  page_addr part = map_->part(next_, end_);
  piece_ = next_;
  piece_blocks_ = part.blocks();
  sum_ = 0;
  extent_op_.reset();
  extent_op_.prepare_scan(ctx_->engine, part, part.size(), &visit, this);
  return sub(extent_op_, DATA_READ);
}

sm::step value_read_op::data_read() {
  if (!is_ok(extent_op_.out.code)) return fail(extent_op_.out.code);
  next_ += piece_blocks_;
  return next_ == end_ ? go(CLEANUP) : go(DATA);
}

bool value_read_op::visit(void* self, u64 offset, cbytes blocks) {
  auto& op = *static_cast<value_read_op*>(self);
  if (has_map(op.ref_)) return op.take(op.piece_ * block_bytes + offset, blocks);
  cbytes data = blocks.first(std::min<u64>(blocks.size(), op.ref_.length - offset));
  op.hash_->add(data);
  op.copy(offset, data);
  return true;
}

/// Blocks of a value with a map, from byte `at` of it on.
bool value_read_op::take(u64 at, cbytes blocks) {
  for (u64 done = 0; done < blocks.size(); done += block_bytes) {
    u64 block = (at + done) / block_bytes;
    u32 index = static_cast<u32>(block % value_chunk_blocks);
    sum_ += chunk_term(blocks.subspan(done, block_bytes), index);
    if (index + 1 != value_chunk_blocks && block + 1 != map_->blocks()) continue;
    bool same = sum_ == map_->sums[block / value_chunk_blocks];
    if (!same && !PLEACH_PLANTED("chunk_not_checked")) return false;
    sum_ = 0;
  }
  copy(at, blocks);
  return true;
}

void value_read_op::copy(u64 at, cbytes data) {
  if (to_ == nullptr) return;
  u64 first = std::max(at, from_), last = std::min(at + data.size(), from_ + length_);
  if (first < last) std::memcpy(to_ + (first - from_), data.data() + (first - at), last - first);
}

}  // namespace pleach::btree
