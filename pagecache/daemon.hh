// The page daemon: serves those who wait for frames, keeps some frames free, writes dirty pages
// home.
//
// As straight code:
//
//     loop:
//       serve:   give frames to waiting loads, wake takers of spares, first come first served
//       evict:   if free < low: evict clean pages until free >= target
//       choose:  if the log or the dirty share is past 1/2, or clean pages are short, or
//                write_all: take images of drained dirty pages, mark the others wanted; in
//                recovery-LSN order if the log is short, else by address
//       write:   await durable(image); write neighbours together
//       flush:   if the log is past 2/5 or write_all: flush, then tell the log
//       rest:    await a kick
//
// It is paced by how many images may be under way: few at 1/2, all of the bounce pool at full.
// Every kick is one bounded round; more work is another round, so the foreground is never held up
// for long.
//
// I1 It holds nothing that an op waits for, and waits only for devices and for the log to make
//    *closed* groups durable; so it always gets on.
#pragma once

#include "pagecache/images.hh"
#include "pagecache/loader.hh"

namespace pleach::cache {

class page_daemon final : public sm::machine<page_daemon> {
 public:
#define PLEACH_PAGE_DAEMON_PHASES(X) \
  X(SERVE, WAIT, EVICT)              \
  X(EVICT, WAIT, CHOOSE)             \
  X(CHOOSE, WAIT, WRITE)             \
  X(WRITE, WAIT, FLUSH)              \
  X(FLUSH, WAIT, REST)               \
  X(REST, WAIT, SERVE, STOP)         \
  X(STOP, WAIT, STOP, DONE)          \
  X(DONE, NOWAIT)
  PLEACH_PHASES("page-daemon", PLEACH_PAGE_DAEMON_PHASES)

  page_daemon(core& c, frame_pool& f, loader& l, images& i, recovery_marks& m);
  sm::step tick(phase p) noexcept;

  void kick();
  /// Entered by loads that got no frame.
  void wait_for_frame(descriptor& d);
  bool somebody_waits();
  /// RETURNS: whether a new taker must queue behind others.
  bool must_queue() {
    return !frame_wait_.empty() || (!spare_wait_.empty() && !spare_turn_);
  }
  void wait_for_spare(sm::op& o);
  bool spare_turn() const {
    return spare_turn_;
  }
  void spare_served();
  void spare_left();

  void write_all(sm::wait_queue& done);
  lsn_t min_recovery_lsn();
  bool all_clean();
  void stop(errc code);
  bool io_in_flight() const;
  /// Kicks if there is reason to: cheap enough to call at every dirty page.
  void pressure_moved();

  sm::wait_queue& spare_waiters() {
    return spare_wait_;
  }
  dirty_list& frame_waiters() {
    return frame_wait_;
  }

 private:
  sm::step serve();
  sm::step evict();
  sm::step choose();
  sm::step write();
  sm::step flush();
  sm::step rest();
  sm::step stop_tick();

  u32 pressure();
  void serve_loads(u64 before);
  void choose_in_order(u32 allowed, u32 window);
  void choose_by_address(u32 allowed, u32 window);
  bool choose_one(descriptor& d, lsn_t& want);
  void chaos_wanted();
  void finish_write_all();
  void keep_watch();
  static void flush_done(io::request& r);
  static void io_done(void* self);
  static void watch_fired(sm::timer& t);

  struct watch_timer : sm::timer {
    page_daemon* self = nullptr;
  };
  struct writer {
    sm::wait_queue* done = nullptr;
    lsn_t upto = 0;
  };
  static constexpr u32 window_max = 512;

  core& core_;
  frame_pool& frames_;
  loader& loader_;
  images& images_;
  recovery_marks& marks_;

  sm::wait_queue idle_{"page daemon idle"};
  sm::wait_queue spare_wait_{"free frame"};
  dirty_list frame_wait_;
  writer writers_[4];
  watch_timer watch_;
  io::request flush_request_;
  descriptor* window_[window_max];
  u64 flush_token_ = 0;
  u64 seen_events_ = 0;
  u64 spare_since_ = 0;  ///< version at which the first waiting taker of a spare became the first
  u64 address_hand_ = 0;
  u64 random_ = 0x9e3779b97f4a7c15u;
  lsn_t asked_ = 0;
  bool kicked_ = false;
  bool spare_turn_ = false;
  bool shortage_ = false;  ///< nothing clean left to evict
  bool bounce_full_ = false;
  bool flushing_ = false;
};

}  // namespace pleach::cache
