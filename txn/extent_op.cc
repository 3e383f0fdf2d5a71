#include "txn/extent_op.hh"

#include <algorithm>
#include <bit>
#include <cstring>

namespace pleach::txn {

void extent_op::prepare_write(engine& e, page_addr run, cbytes data) {
  PLEACH_ASSERT(!in_flight_ && data.size() <= run.size());
  engine_ = &e;
  run_ = run;
  data_ = const_cast<std::byte*>(data.data());  // only read: write_
  length_ = data.size();
  done_ = 0;
  write_ = true;
  visit_ = nullptr;
}

void extent_op::prepare_read(engine& e, page_addr run, bytes data) {
  PLEACH_ASSERT(!in_flight_ && data.size() <= run.size());
  engine_ = &e;
  run_ = run;
  data_ = data.data();
  length_ = data.size();
  done_ = 0;
  write_ = false;
  visit_ = nullptr;
}

void extent_op::prepare_scan(engine& e, page_addr run, u64 length, visitor visit, void* datum) {
  PLEACH_ASSERT(!in_flight_ && length <= run.size());
  engine_ = &e;
  run_ = run;
  data_ = nullptr;
  length_ = length;
  done_ = 0;
  write_ = false;
  visit_ = visit;
  datum_ = datum;
}

/// Bytes of data in the present chunk.
u64 extent_op::present() const {
  return std::min<u64>(length_ - done_, u64{buffer_.units} << block_shift);
}

sm::step extent_op::tick(phase p) noexcept {
  cache::page_cache& pages = engine_->pages();
  switch (p) {
    case INIT:
      if (engine_->health() != errc::ok) return fail(engine_->health());
      if (length_ == 0) return go(CLEANUP);
      return go(BUFFER);

    case BUFFER: {
      u32 most = std::min<u32>(extent_chunk_blocks, engine_->vol().super.max_node_blocks);
      u32 units = std::min(most, std::bit_ceil(run_.blocks()));
      if (!pages.take_spare(*this, units, buffer_)) return wait(BUFFER);
      return go(CHUNK);
    }

    case CHUNK:
      start_io();
      return wait(NEXT, "extent I/O");

    case NEXT:
      if (request_.code != errc::ok) return fail(request_.code);
      if (visit_ != nullptr) {
        u64 whole = round_up<u64>(present(), block_bytes);
        if (!visit_(datum_, done_, {pages.spare_data(buffer_), whole})) return fail(errc::corrupt);
      } else if (!write_) {
        std::memcpy(data_ + done_, pages.spare_data(buffer_), present());
      }
      done_ += present();
      return go(done_ < length_ ? CHUNK : CLEANUP);

    case CLEANUP:
      if (in_flight_) return wait(CLEANUP, "extent I/O");
      pages.give_back(buffer_);
      return go(DONE);

    case DONE:
    case phase_count_:
      break;
  }
  return go(DONE);
}

void extent_op::start_io() {
  std::byte* buffer = engine_->pages().spare_data(buffer_);
  u64 n = present(), whole = round_up<u64>(n, block_bytes);
  if (write_) {
    std::memcpy(buffer, data_ + done_, n);
    std::memset(buffer + n, 0, whole - n);
  }
  request_.durable = false;
  request_.kind = write_ ? io::request_kind::WRITE : io::request_kind::READ;
  request_.offset = run_.offset() + done_;
  request_.length = whole;
  request_.data = buffer;
  request_.owner = this;
  request_.done = &io_done;
  in_flight_ = true;
  engine_->pages().device().queue(request_);
}

void extent_op::io_done(io::request& r) {
  auto& self = *static_cast<extent_op*>(r.owner);
  self.in_flight_ = false;
  self.loop().make_ready(self);
}

}  // namespace pleach::txn
