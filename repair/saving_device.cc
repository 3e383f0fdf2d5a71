#include "repair/saving_device.hh"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "be/block_buffer.hh"

namespace pleach::repair {

namespace {
i64 raw_outcome(const io::request& r) {
  switch (r.code) {
    case errc::ok:
      return static_cast<i64>(r.length);
    case errc::truncated:
      return static_cast<i64>(r.progress);
    case errc::device_full:
      return -ENOSPC;
    case errc::device_gone:
      return -ENODEV;
    default:
      return -EIO;
  }
}
}  // namespace

saving_device::saving_device(std::unique_ptr<io::device> below, undo_writer& undo)
    : below_(std::move(below)), undo_(undo) {
  limits_ = below_->limit();
  limits_.discard = false;  // what it leaves behind is not known
  limits_.resizable = false;
}

saving_device::~saving_device() {
  PLEACH_ASSERT(in_flight_ == 0);
}

void saving_device::start(io::request& r) {
  PLEACH_ASSERT(r.kind != io::request_kind::DISCARD && r.kind != io::request_kind::RESIZE);
  if (free_.empty()) {
    all_.push_back(std::make_unique<forward>());
    free_.push_back(all_.back().get());
  }
  forward& f = *free_.back();
  free_.pop_back();
  f.of = &r;
  f.owner = this;
  f.r.kind = r.kind;
  f.r.durable = r.durable;
  f.r.offset = r.offset + r.progress;
  f.r.length = r.kind == io::request_kind::FLUSH ? 0 : r.length - r.progress;
  // What is done of a vector the device below marks in the caller's own entries.
  f.r.data = r.vec == nullptr ? r.data + r.progress : nullptr;
  f.r.vec = r.vec;
  f.r.vec_count = r.vec_count;
  f.r.done = done;
  f.r.owner = &f;
  f.refused = r.kind == io::request_kind::WRITE && !save(f.r);
  waiting_.push_back(&f);
}

bool saving_device::save(const io::request& r) {
  block_buffer old(r.length);
  const i64 got = below_->read_now(r.offset, old.all());
  // What cannot be read cannot be lost either; it comes back as zeros.
  if (got < 0 && got != -EIO) return false;
  if (r.vec == nullptr) return undo_.add(r.offset, old.all(), {r.data, r.length}).has_value();
  std::vector<std::byte> now;
  for (const iovec& v : std::span(r.vec, r.vec_count)) {
    const auto* piece = static_cast<const std::byte*>(v.iov_base);
    now.insert(now.end(), piece, piece + v.iov_len);
  }
  return undo_.add(r.offset, old.all(), now).has_value();
}

void saving_device::submit() {
  const bool saved = waiting_.empty() || undo_.sync().has_value();
  for (forward* f : waiting_) {
    if (f->refused || (!saved && f->r.kind == io::request_kind::WRITE)) {
      refused_.push_back(f);
    } else {
      below_->queue(f->r);
    }
  }
  waiting_.clear();
  const u64 one = 1;
  if (!refused_.empty() && event_fd_ >= 0) (void)!write(event_fd_, &one, sizeof one);
  below_->submit();
}

void saving_device::done(io::request& r) {
  forward& f = *static_cast<forward*>(r.owner);
  f.owner->free_.push_back(&f);
  f.owner->complete(*f.of, raw_outcome(r));
}

u32 saving_device::reap() {
  u32 n = 0;
  for (std::vector<forward*> now = std::exchange(refused_, {}); forward * f : now) {
    free_.push_back(f);
    complete(*f->of, -EIO);
    ++n;
  }
  return n + below_->reap();
}

}  // namespace pleach::repair
