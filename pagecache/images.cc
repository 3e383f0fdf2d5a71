#include "pagecache/images.hh"

#include <algorithm>
#include <cstring>
#include <new>

#include "be/base/planted.hh"

namespace pleach::cache {

namespace {
constexpr u8 max_retries = 3;
/// Bytes that one call of `write` hashes and issues at most, so that a round stays short.
constexpr u64 bytes_per_call = 1 << 20;
}  // namespace

u64 images::bytes_for(const layout& l) {
  return u64{l.bounce_units} * (sizeof(image) + sizeof(image*)) +
         u64{l.writes} * sizeof(write_batch);
}

status images::make() {
  capacity_ = core_.plan.bounce_units;
  images_.reset(new (std::nothrow) image[capacity_]);
  sorted_.reset(new (std::nothrow) image*[capacity_]);
  batches_.reset(new (std::nothrow) write_batch[core_.plan.writes]);
  if (!images_ || !sorted_ || !batches_) return fail(errc::no_memory);
  for (u32 k = 0; k < capacity_; ++k) free_.push_back(images_[k]);
  for (u32 k = 0; k < core_.plan.writes; ++k) {
    batches_[k].owner = this;
    free_batches_.push_back(batches_[k]);
  }
  return {};
}

bool images::ready(const descriptor& d) {
  return d.state == page_state::RESIDENT && d.rec_lsn != 0 &&
         (d.member_lsn == 0 || PLEACH_PLANTED("mid_group_image")) &&
         (d.image == 0 || PLEACH_PLANTED("two_writes_in_flight"));
}

bool images::take(descriptor& d) {
  PLEACH_ASSERT(ready(d));
  if (free_.empty()) return false;
  u32 unit = core_.bounce.take(d.order);
  if (unit == no_unit) return false;
  image& i = free_.pop_front();
  if (latch_watch != nullptr) [[unlikely]]
    latch_watch->use(core_.memory.at(unit), d.size());
  std::memcpy(core_.memory.at(unit), d.reader().base(), d.size());
  i.addr = d.addr;
  i.seed = d.capture.seed;
  i.sum = d.capture.sum;
  if (PLEACH_PLANTED("mid_group_image"))
    i.sum = page_sum({core_.memory.at(unit), d.size()}, i.seed);
  i.lsn = d.last_lsn;
  i.rec = d.rec_lsn;
  i.page = &d;
  i.unit = unit;
  i.retries = 0;
  i.state = image_state::COPIED;
  copied_.push_back(i);
  ranges_.add(i.addr);
  ++live_;
  core_.remove_dirty(d);
  d.wanted = false;
  ++d.image;
  ++core_.stats.images;
  return true;
}

u32 images::gather() {
  u32 n = 0;
  for (image* i = copied_.first(); i != nullptr; i = copied_.next(*i))
    if (i->lsn <= core_.durable || PLEACH_PLANTED("image_before_durable")) sorted_[n++] = i;
  std::sort(sorted_.get(), sorted_.get() + n,
            [](const image* a, const image* b) { return a->addr.raw < b->addr.raw; });
  return n;
}

bool images::write() {
  if (core_.failed || core_.stopping || copied_.empty()) return false;
  u32 count = gather(), next = 0;
  u64 bytes = 0;
  while (next < count && !free_batches_.empty()) {
    if (bytes >= bytes_per_call) return true;
    write_batch& b = form(next, count);
    if (core_.failed) {
      free_batches_.push_back(b);
      return false;
    }
    bytes += b.bytes;
    issue(b);
  }
  return false;
}

write_batch& images::form(u32& next, u32 count) {
  write_batch& b = free_batches_.pop_front();
  b.count = 0;
  b.bytes = 0;
  u64 limit = std::min<u64>(write_batch::max_bytes, core_.dev.limit().max_transfer);
  while (next < count && b.count < write_batch::max_images) {
    image& i = *sorted_[next];
    if (b.count != 0) {
      const image& last = *b.members[b.count - 1];
      bool adjacent = last.addr.block() + last.addr.blocks() == i.addr.block();
      // A write that failed is tried again alone, so that one bad block spoils one page.
      if (!adjacent || b.bytes + i.addr.size() > limit || i.retries != 0 || last.retries != 0)
        break;
    }
    if (!seal(i)) break;
    b.members[b.count] = &i;
    b.vec[b.count++] = {core_.memory.at(i.unit), i.addr.size()};
    b.bytes += i.addr.size();
    ++next;
  }
  return b;
}

/// I2: the last look before bytes reach their home. A sum that differs means that a change went
/// round capture, or that memory is damaged: the log knows nothing of it, and the page must not be
/// overwritten.
bool images::seal(image& i) {
  bytes page{core_.memory.at(i.unit), i.addr.size()};
  if (i.retries != 0) return true;  // stamped already
  if (page_sum(page, i.seed) != i.sum) {
    core_.fail_store(errc::corrupt, i.addr);
    return false;
  }
  stamp(page, i.sum, i.lsn);
  return true;
}

void images::issue(write_batch& b) {
  io::request& r = b.request;
  r.kind = io::request_kind::WRITE;
  r.offset = b.members[0]->addr.offset();
  r.length = b.bytes;
  r.vec = b.vec;
  r.vec_count = b.count;
  r.done = done;
  r.owner = &b;
  for (u32 k = 0; k < b.count; ++k) {
    image& i = *b.members[k];
    i.link.unlink();
    i.state = image_state::WRITING;
    writing_.push_back(i);
  }
  if (PLEACH_PLANTED("frame_mutated_in_flight") && b.count == 1 && b.members[0]->page != nullptr) {
    b.vec[0].iov_len = granule_bytes;
    b.vec[1] = {b.members[0]->page->data + granule_bytes, b.bytes - granule_bytes};
    r.vec_count = 2;
  }
  ++in_flight_;
  ++core_.stats.page_writes;
  core_.stats.write_bytes += b.bytes;
  core_.dev.queue(r);
}

void images::done(io::request& r) {
  write_batch& b = *static_cast<write_batch*>(r.owner);
  b.owner->complete(b);
}

void images::complete(write_batch& b) {
  errc code = b.request.code;
  --in_flight_;
  for (u32 k = 0; k < b.count; ++k) {
    image& i = *b.members[k];
    if (code == errc::ok) {
      if (!PLEACH_PLANTED("rec_lsn_dropped_at_write")) marks_.written(i.rec);
      release(i);
      continue;
    }
    i.link.unlink();
    i.state = image_state::COPIED;
    copied_.push_back(i);
    if (code == errc::device_gone || i.retries == max_retries) core_.fail_store(code, i.addr);
    ++i.retries;
  }
  free_batches_.push_back(b);
  core_.frame_event();
  if (finished != nullptr) finished(finished_datum);
}

void images::release(image& i) {
  i.link.unlink();
  if (i.page != nullptr) {
    --i.page->image;
    i.page->recovered = false;
    i.page = nullptr;
  }
  if (latch_watch != nullptr) [[unlikely]]
    latch_watch->used(core_.memory.at(i.unit), i.addr.size());
  core_.bounce.give_back(i.unit);
  ranges_.remove(i.addr);
  i.state = image_state::FREE;
  free_.push_back(i);
  --live_;
}

void images::discard(descriptor& d, lsn_t lsn) {
  if (d.image == 0) return;
  for (u32 k = 0; k < capacity_ && d.image != 0; ++k) {
    image& i = images_[k];
    if (i.page != &d) continue;
    if (i.state == image_state::COPIED) {
      if (!PLEACH_PLANTED("freed_page_drops_rec")) marks_.freed(lsn, i.rec);
      release(i);
    } else {
      i.page = nullptr;
      --d.image;
    }
  }
  PLEACH_ASSERT(d.image == 0);
}

bool images::pending(u64 block, u32 blocks) {
  if (live_ == 0 || !ranges_.maybe(block, blocks)) return false;
  for (image* i = copied_.first(); i != nullptr; i = copied_.next(*i))
    if (overlaps(i->addr, block, blocks)) return true;
  for (image* i = writing_.first(); i != nullptr; i = writing_.next(*i))
    if (overlaps(i->addr, block, blocks)) return true;
  return false;
}

lsn_t images::min_rec() {
  lsn_t m = 0;
  for (image* i = copied_.first(); i != nullptr; i = copied_.next(*i))
    m = recovery_marks::least(m, i->rec);
  for (image* i = writing_.first(); i != nullptr; i = writing_.next(*i))
    m = recovery_marks::least(m, i->rec);
  return m;
}

lsn_t images::awaited() {
  lsn_t m = 0;
  for (image* i = copied_.first(); i != nullptr; i = copied_.next(*i))
    if (i->lsn > core_.durable) m = std::max(m, i->lsn);
  return m;
}

}  // namespace pleach::cache
