#include "txn/recovery.hh"

#include <algorithm>

#include "be/base/planted.hh"
#include "be/page.hh"

namespace pleach::txn {

namespace {

/// Pages of a batch: read side by side, applied in turn, written side by side.
class page_batch {
 public:
  struct page {
    std::span<const index_entry> entries;
    std::byte* data = nullptr;
    errc code = errc::ok;
    bool left_out = false;  ///< it is not written
    io::request r;
    page_batch* batch = nullptr;
    page_addr addr() const { return page_addr(entries.front().addr); }
  };

  page_batch(sm::reactor& loop, io::device& dev, u64 bytes)
      : loop_(loop), dev_(dev), memory_(bytes), pages_(new page[most_pages]) {}

  /// RETURNS: false if it is full.
  bool add(std::span<const index_entry> entries) {
    u64 size = page_addr(entries.front().addr).size();
    if (count_ == most_pages || used_ + size > memory_.size()) return false;
    page& p = pages_[count_++];
    p.code = errc::ok;
    p.left_out = false;
    p.entries = entries;
    p.data = memory_.data() + used_;
    p.batch = this;
    used_ += size;
    return true;
  }
  void transfer(io::request_kind kind) {
    for (page& p : pages()) {
      if (p.left_out || (kind == io::request_kind::READ && p.entries.front().is_format())) continue;
      if (in_flight_ >= depth) wait_below(depth);
      p.r.kind = kind;
      p.r.offset = p.addr().offset();
      p.r.length = p.addr().size();
      p.r.data = p.data;
      p.r.owner = &p;
      p.r.done = [](io::request& r) {
        page& self = *static_cast<page*>(r.owner);
        self.code = r.code;
        --self.batch->in_flight_;
      };
      ++in_flight_;
      dev_.queue(p.r);
    }
    wait_below(1);
  }
  std::span<page> pages() { return {pages_.get(), count_}; }
  void clear() {
    count_ = 0;
    used_ = 0;
  }

 private:
  static constexpr u32 depth = 32;
  static constexpr u32 most_pages = 256;

  void wait_below(u32 limit) {
    limit_ = limit;
    if (in_flight_ < limit) return;
    status s =
        loop_.run_while([](void* b) { return static_cast<page_batch*>(b)->too_many(); }, this);
    PLEACH_ASSERT(s);  // else the device would write into memory that is gone
  }
  bool too_many() const { return in_flight_ >= limit_; }

  sm::reactor& loop_;
  io::device& dev_;
  block_buffer memory_;
  std::unique_ptr<page[]> pages_;
  u32 count_ = 0;
  u64 used_ = 0;
  u32 in_flight_ = 0, limit_ = 1;
};

constexpr u64 salvage_jump = u64{1} << 32;  ///< beyond all numbers that the log may have given

std::string name_of_page(page_addr a) {
  return "page at block " + std::to_string(a.block()) + " (" + std::to_string(a.blocks()) +
         " blocks)";
}

class replay {
 public:
  replay(sm::reactor& loop, io::device& dev, volume& v, u64 buffer_bytes, u64 window_blocks,
         std::string& report, left_out* salvage)
      : loop_(loop),
        dev_(dev),
        v_(v),
        area_(v.super),
        source_(loop, dev),
        reader_(area_, v.store_id(), v.super.salt, source_, window_blocks <= kept_blocks ? 16 : 1,
                window_blocks <= kept_blocks ? kept_blocks / 16 : kept_blocks),
        batch_(loop, dev, std::max<u64>(buffer_bytes, u64{max_page_blocks} * block_bytes)),
        report_(report),
        salvage_(salvage) {}

  status run(const recovery_index& index, const log_window& w, u64& pages);

 private:
  /// Log blocks kept in memory. A larger window is read block by block, as the records of a page
  /// lie all over it.
  static constexpr u32 kept_blocks = 1024;

  status one_batch(const log_window& w);
  status apply(page_batch::page& p, const log_window& w);
  status error(errc code, const std::string& text) {
    report_ = text;
    return fail(code);
  }
  /// The same of one page: a salvage goes on without it.
  status page_error(page_batch::page& p, errc code, const std::string& text) {
    p.left_out = true;
    p.code = code;
    if (salvage_ == nullptr) return error(code, text);
    salvage_->push_back(text);
    return {};
  }

  sm::reactor& loop_;
  io::device& dev_;
  volume& v_;
  log_area area_;
  reactor_source source_;
  log_reader reader_;
  page_batch batch_;
  std::vector<std::byte> body_;
  std::string& report_;
  left_out* salvage_;
};

status replay::run(const recovery_index& index, const log_window& w, u64& pages) {
  std::span<const index_entry> all = index.entries();
  for (std::size_t at = 0; at < all.size();) {
    std::size_t end = at;
    while (end < all.size() && all[end].addr == all[at].addr) ++end;
    if (batch_.add(all.subspan(at, end - at))) {
      at = end;
      ++pages;
      continue;
    }
    if (status s = one_batch(w); !s) return s;
  }
  if (status s = one_batch(w); !s) return s;
  if (status s = flush_device(loop_, dev_); !s)
    return error(s.error(), "recovery: the flush failed");
  return {};
}

status replay::one_batch(const log_window& w) {
  batch_.transfer(io::request_kind::READ);
  for (page_batch::page& p : batch_.pages()) {
    status s = p.code == errc::ok ? apply(p, w)
                                  : page_error(p, p.code,
                                               "recovery: reading " + name_of_page(p.addr()) +
                                                   " failed: " + sentence_of(p.code));
    if (!s) return s;
  }
  batch_.transfer(io::request_kind::WRITE);
  for (page_batch::page& p : batch_.pages())
    if (p.code != errc::ok && !p.left_out)
      return error(p.code, "recovery: writing " + name_of_page(p.addr()) +
                               " failed: " + sentence_of(p.code));
  batch_.clear();
  return {};
}

status replay::apply(page_batch::page& p, const log_window& w) {
  bytes page{p.data, p.addr().size()};
  if (!p.entries.front().is_format()) {
    if (is_newer_than_log(page, p.addr(), v_.store_id(), w))
      return page_error(p, errc::corrupt_log,
                        "log corrupt: it ends at LSN " + std::to_string(w.last) + ", but " +
                            name_of_page(p.addr()) + " was written by LSN " +
                            std::to_string(u64{header_of(page.data()).lsn}));
  }
  u64 sum = 0;
  lsn_t lsn = 0;
  status s = apply_entries(p.entries, reader_, w, v_.store_id(), page, body_, sum, lsn);
  if (!s && s.error() == errc::corrupt)
    return page_error(p, errc::corrupt,
                      "recovery: " + name_of_page(p.addr()) +
                          " differs from its after-image in the log: a sector of it is "
                          "damaged, or a write was lost");
  if (!s)
    return page_error(p, s.error() == errc::io ? errc::io : errc::corrupt_log,
                      "recovery: the log records of " + name_of_page(p.addr()) +
                          " cannot be read: " + sentence_of(s.error()));
  stamp(page, sum, lsn);
  return {};
}

}  // namespace

std::string describe(const log_window& w) {
  if (w.empty) return "log empty";
  std::string s = "log: " + std::to_string(w.groups) + " groups, " + std::to_string(w.records) +
                  " records up to LSN " + std::to_string(w.last);
  if (w.dropped_blocks != 0)
    s += "; torn tail of " + std::to_string(w.dropped_blocks * block_bytes) +
         " bytes dropped (never acknowledged)";
  return s;
}

result<recovery_result> recover(sm::reactor& loop, io::device& dev, volume& v, u64 index_bytes,
                                u64 buffer_bytes, std::string& report, left_out* salvage) {
  recovery_result r;
  if (v.super.clean_seq != 0) {
    r.next_seq = v.super.clean_seq;
    r.last = v.super.base_lsn;
    r.next_lsn = r.last + 1;
    report = "closed cleanly";
    return r;
  }
  log_area area(v.super);
  recovery_index index(index_bytes);
  reactor_source source(loop, dev);
  std::string why;
  bool cut_short = false;
  result<log_window> w =
      scan_log(area, v.super, source, index, why, salvage != nullptr ? &cut_short : nullptr);
  if (!w) {
    report = why;
    return fail(w.error());
  }
  if (cut_short) salvage->push_back(why);
  index.seal();
  r.next_seq = w->end;
  r.last = w->last;
  // Groups beyond the last may have been durable, and damage of the log looks like a torn tail.
  // Pages of theirs that reached home would fit nothing: their numbers are never used again, so
  // that such a page is known for what it is. The number behind them is nobody's: as the last of
  // an opening that writes no group it stands for all that was recovered.
  r.next_lsn = r.last + area.blocks() + 2;
  // Groups that were acknowledged are among those that a salvage leaves out: their pages stay.
  if (cut_short) r.next_lsn = r.last + salvage_jump;
  r.anything = true;
  if (PLEACH_PLANTED("recovery_discards_before_flush")) {
    v.super.clean_seq = r.next_seq;
    v.super.base_lsn = r.next_lsn - 1;
    if (status s = write_superblocks(loop, dev, v); !s) return fail(s.error());
  }
  if (!index.entries().empty())
    if (status s = replay(loop, dev, v, buffer_bytes, w->end - w->start, report, salvage)
                       .run(index, *w, r.pages);
        !s)
      return fail(s.error());
  report = describe(*w) + "; " + std::to_string(r.pages) + " pages recovered";
  return r;
}

}  // namespace pleach::txn
