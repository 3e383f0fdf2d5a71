// Page loads: a read into the frame, what the log knows of the page, its identity and sum, its
// kind's check.
//
// A callback of the device, not an op: nothing in a load waits twice, and it must go on when the op
// that asked for it is cancelled (the frame owns the I/O).
//
// I1 A page becomes RESIDENT only with a good sum and identity and a check that passed.
// I2 A page that fails leaves the table at once, so that a later pin reads it again.
#pragma once

#include "pagecache/frames.hh"
#include "pagecache/io_ranges.hh"

namespace pleach::cache {

struct load {
  io::request request;
  class loader* owner = nullptr;
  descriptor* page = nullptr;
  list_link link;
};

class loader {
 public:
  loader(core& c, frame_pool& f) : core_(c), frames_(f) {}
  status make();

  /// Starts the load of a LOADING page, or finishes it if its home need not be read.
  /// RETURNS: false if there is no frame or no request left: try again later.
  bool try_start(descriptor& d, bool hard);
  /// A LOADING page without I/O ends as FAILED.
  void fail(descriptor& d, errc code);
  u32 in_flight() const { return in_flight_; }
  bool pending(u64 block, u32 blocks);
  /// Set by the cache: called after every load, for those who wait for frames.
  void (*finished)(void*) = nullptr;
  void* finished_datum = nullptr;

 private:
  static void done(io::request& r);
  void finish(load& l);
  errc accept(descriptor& d, bool from_home);
  errc accept_recovered(descriptor& d, u64 sum, lsn_t lsn);

  core& core_;
  frame_pool& frames_;
  std::unique_ptr<load[]> loads_;
  list<load, &load::link> free_, active_;
  io_ranges ranges_;
  u32 in_flight_ = 0;
};

}  // namespace pleach::cache
