#include "pagecache/loader.hh"

#include <cstring>
#include <new>

#include "be/base/planted.hh"

namespace pleach::cache {

status loader::make() {
  loads_.reset(new (std::nothrow) load[core_.plan.loads]);
  if (!loads_) return pleach::fail(errc::no_memory);
  for (u32 i = 0; i < core_.plan.loads; ++i) {
    loads_[i].owner = this;
    free_.push_back(loads_[i]);
  }
  return {};
}

bool loader::try_start(descriptor& d, bool hard) {
  PLEACH_ASSERT(d.state == page_state::LOADING && !d.io);
  bool read = core_.filter == nullptr || !core_.filter->formats(d.addr);
  if (read && free_.empty()) return false;
  if (!frames_.take(d, hard)) return false;
  std::memset(d.capture.map, 0, u64{d.addr.blocks()} * map_words_per_unit * 8);
  d.capture.seed = page_seed(core_.options.store_id, d.addr, d.gen);
  if (!read) {
    errc e;
    {
      frame_use memory(d.data, d.size());
      std::memset(d.data, 0, d.size());
      e = accept(d, false);
    }
    if (e != errc::ok) fail(d, e);
    return true;
  }
  if (latch_watch != nullptr) [[unlikely]]
    latch_watch->use(d.data, d.size());
  load& l = free_.pop_front();
  active_.push_back(l);
  ++in_flight_;
  l.page = &d;
  d.io = true;
  ranges_.add(d.addr);
  l.request.kind = io::request_kind::READ;
  l.request.offset = d.addr.offset();
  l.request.length = d.size();
  l.request.data = d.data;
  l.request.done = done;
  l.request.owner = &l;
  core_.dev.queue(l.request);
  return true;
}

void loader::done(io::request& r) {
  load& l = *static_cast<load*>(r.owner);
  l.owner->finish(l);
}

void loader::finish(load& l) {
  descriptor& d = *l.page;
  errc code = l.request.code;
  d.io = false;
  ranges_.remove(d.addr);
  l.link.unlink();
  free_.push_back(l);
  --in_flight_;
  sm::step_scope step;
  if (d.state != page_state::DEAD && code == errc::ok) code = accept(d, true);
  if (latch_watch != nullptr) [[unlikely]]
    latch_watch->used(d.data, d.size());
  if (d.state == page_state::DEAD) {
    // Dropped while its read was in flight; released when the durable LSN moves next.
  } else if (code == errc::ok) {
    core_.load_over(d);
  } else {
    fail(d, code);
  }
  core_.frame_event();
  if (finished != nullptr) finished(finished_datum);
}

errc loader::accept(descriptor& d, bool from_home) {
  bytes page{d.data, d.size()};
  u64 sum = 0;
  lsn_t lsn = 0;
  auto what = core_.filter != nullptr ? core_.filter->apply(d.addr, page, sum, lsn)
                                      : load_filter::answer::UNTOUCHED;
  if (what == load_filter::answer::CORRUPT) return errc::corrupt;
  if (what == load_filter::answer::APPLIED) {
    if (errc e = accept_recovered(d, sum, lsn); e != errc::ok) return e;
  } else {
    if (!from_home) return errc::corrupt;
    auto u = unstamp(page, d.addr, core_.options.store_id, &d.gen);
    if (!u) return u.error();
    if (core_.hooks != nullptr && !core_.hooks->belongs(u->lsn)) return errc::corrupt;
    d.capture.sum = u->sum;
    d.last_lsn = u->lsn;
  }
  u16 kind = d.header().kind;
  if (kind == 0 || kind >= std::size(core_.checks)) return errc::corrupt;
  if (page_check check = core_.checks[kind]; check != nullptr)
    if (errc e = check(page); e != errc::ok) return e;
  d.state = page_state::RESIDENT;
  d.structure_version = d.content_version = core_.next_version();
  if (PLEACH_PLANTED("version_reuse")) d.structure_version = d.content_version = 1;
  replacement::classify(d);
  return errc::ok;
}

errc loader::accept_recovered(descriptor& d, u64 sum, lsn_t lsn) {
  const page_header& h = d.header();
  bool same = u32{h.magic} == page_magic && u64{h.address} == d.addr.raw &&
              u64{h.store_id} == core_.options.store_id && u32{h.generation} == d.gen;
  if (!same) return errc::corrupt;
  d.capture.sum = sum;
  d.last_lsn = lsn;
  d.recovered = true;
  return errc::ok;
}

void loader::fail(descriptor& d, errc code) {
  core_.table.remove(d);
  d.state = page_state::FAILED;
  d.error = code;
  ++core_.stats.load_failures;
  if (d.framed) frames_.free_frame(d);
  core_.load_over(d);
  if (d.pins == 0) core_.free_descriptor(d);
}

bool loader::pending(u64 block, u32 blocks) {
  if (in_flight_ == 0 || !ranges_.maybe(block, blocks)) return false;
  for (load* l = active_.first(); l != nullptr; l = active_.next(*l))
    if (overlaps(l->page->addr, block, blocks)) return true;
  return false;
}

}  // namespace pleach::cache
