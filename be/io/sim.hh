// The simulated device: virtual time, seeded latencies and reordering, a volatile cache, faults,
// power cuts.
//
// What it is not: threaded, or dependent on anything but its environment's seed and its requests.
//
//   current_  what reads see          = durable_ + cache_ in order of completion
//   durable_  what a power cut leaves for certain
//   cache_    completed, not yet durable; each piece survives a cut or not (sim_crash.hh)
//   flights_  submitted, not completed; their sectors survive a cut or not, too
//
// I1 A flush makes durable what had completed before its submission (seeded: some more, in order).
// I2 A durable write makes itself durable, at completion, and nothing else.
// I3 Overlapping writes in flight, and a write's buffer changed in flight, are bugs of the caller:
//    asserted.
// I4 A read racing writes returns any mixture of their sectors, sampled at its start or at its end.
// I5 Raw outcomes reach the caller through device::complete only: that layer is under test as well.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "be/io/sim_crash.hh"
#include "be/io/sim_environment.hh"
#include "be/io/sim_fault.hh"

namespace pleach::io {

struct sim_options {
  u64 stream = 1;  ///< names the device's random stream within the run
  u32 alignment = 512;
  u64 max_bytes = ~u64{0};  ///< RESIZE beyond it is ENOSPC
  bool resizable = true;    ///< false: like a block device
  bool read_only = false;
  u64 read_ns = 80'000, write_ns = 40'000, durable_ns = 150'000,
      flush_ns = 250'000;  ///< means, exponential
  u32 flush_more_per_mille = 200;
  bool assert_read_race = false;  ///< instead of I4
};

class sim_device final : public device, public sim_source {
 public:
  sim_device(sim_environment& env, sim_image image, sim_options options = {});
  /// May be destroyed with requests in flight: that is a power cut, their owners never hear of
  /// them.
  ~sim_device() override;

  u64 size() const override { return current_.size(); }
  const char* name() const override { return "sim"; }
  i64 read_now(u64 offset, bytes out) override {
    if (gone_) return -19;  // ENODEV
    current_.read(offset, out);
    return static_cast<i64>(out.size());
  }
  status attach(int event_fd) override;
  void submit() override;
  u32 reap() override;
  u64 next_event_ns() const override;

  fault_plan faults;
  /// Called after each submission and completion (before its `done`), e.g. to take crash images.
  std::function<void(sim_device&)> on_event;

  /// What the device would hold after a power cut now. Does not disturb it.
  sim_image crash_image(random_stream& random, const crash_policy& policy) const;
  /// Everything of which a cut may keep any subset, in order: for exhaustive subsets.
  std::vector<sim_piece> unsettled() const;
  /// RETURNS: durable state plus the pieces whose bit is set.
  /// REQUIRES: unsettled().size() <= 64.
  sim_image crash_image(u64 subset) const;
  /// What reads see, and what is certain.
  const sim_image& current() const { return current_; }
  const sim_image& durable() const { return durable_; }

  /// From now on, and for all in flight, the device is gone (ENODEV); the image stays as it is.
  void remove();
  /// Completes what hangs for ever.
  void release_hung();

  u64 starts() const { return starts_; }
  u64 events() const { return event_count_; }
  u64 trace_hash() const { return trace_; }
  /// RETURNS: the last `n` events (of at most 256), a line each.
  std::string last_events(u32 n = 200) const;

 private:
  struct flight {
    request* r = nullptr;
    request_kind kind = request_kind::READ;
    bool durable = false;
    bool sampled = false;
    u64 id = 0;
    u64 due = 0;
    u64 at = 0, length = 0;
    u64 covers = 0;  ///< FLUSH: what had completed at its submission
    u64 data_hash = 0;
    fault what;
    std::vector<sim_piece> pieces;
  };
  struct event {
    u64 time, id, at, length, data;
    i64 raw;
    request_kind kind;
    bool durable, completion;
  };

  void start(request& r) override { queued_.push_back(r); }
  void launch(request& r);
  void check_overlap(const flight& f) const;
  void cut_into_pieces(flight& f);
  void draw_discard(flight& f);
  void sample(flight& f);
  i64 land(flight& f);
  i64 land_read(flight& f);
  i64 land_write(flight& f);
  i64 land_flush(flight& f);
  i64 land_resize(flight& f);
  void settle(std::vector<sim_piece>& pieces, bool durable);
  void lose_cache();
  u64 latency(const flight& f);
  void trace(const flight& f, bool completion, i64 raw);

  sim_environment& env_;
  sim_options options_;
  random_stream random_;
  sim_image current_, durable_;
  std::vector<sim_piece> cache_;
  std::vector<std::unique_ptr<flight>> flights_;  ///< in order of submission
  list<request, &request::link> queued_;
  std::vector<std::byte> scratch_;
  u64 completed_ = 0;  ///< writes completed; `sim_piece::write` in cache_
  u64 resized_ =
      0;  ///< `completed_` at the last change of size: durable with a flush that covers it
  u64 starts_ = 0;
  u64 trace_ = 0;
  u64 event_count_ = 0;
  std::vector<event> ring_;
  bool gone_ = false;
};

}  // namespace pleach::io
