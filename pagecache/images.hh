// Images: copies of dirty pages on their way home, in a bounce pool that belongs to the page daemon
// alone.
//
//     COPIED ---- durable >= lsn ----> WRITING ---- written ----> (gone; rec_lsn to the marks)
//        ^                                |
//        +----- failed, < 3 retries ------+---- failed 3 times ---> the store fails
//
// I1 An image is taken only of a page whose changes are all drained (member_lsn == 0).
// I2 It is written only when `durable` has reached its LSN, and if its bytes still have the kept
//    sum.
// I3 At most one image of a page exists, so no two writes of one block are in flight.
// I4 The recovery LSN of a page moves page -> image -> marks and is at no moment nowhere.
#pragma once

#include "pagecache/core.hh"
#include "pagecache/io_ranges.hh"
#include "pagecache/recovery_marks.hh"

namespace pleach::cache {

enum class image_state : u8 { FREE, COPIED, WRITING };

struct image {
  page_addr addr;
  u64 sum = 0, seed = 0;
  lsn_t lsn = 0;               ///< newest change in it
  lsn_t rec = 0;               ///< oldest change that only it and the log hold
  descriptor* page = nullptr;  ///< null: the page was discarded meanwhile
  u32 unit = 0;
  u8 retries = 0;
  image_state state = image_state::FREE;
  list_link link;
};

struct write_batch {
  static constexpr u32 max_images = 64;
  static constexpr u64 max_bytes = 1 << 20;
  io::request request;
  iovec vec[max_images + 2];
  image* members[max_images];
  u32 count = 0;
  u64 bytes = 0;
  class images* owner = nullptr;
  list_link link;
};

class images {
 public:
  images(core& c, recovery_marks& m) : core_(c), marks_(m) {}
  status make();
  static u64 bytes_for(const layout& l);

  /// Copies the page; it is clean then.
  /// RETURNS: false if the bounce pool has no room.
  /// REQUIRES: I1, I3, rec_lsn != 0.
  bool take(descriptor& d);
  /// RETURNS: whether an image of the page may be taken now.
  static bool ready(const descriptor& d);
  /// Issues writes of what is durable, up to a bound a call.
  /// RETURNS: whether more could be issued now.
  bool write();
  /// The page is freed by group `lsn`: its image is dropped, or goes on without it if it is being
  /// written.
  void discard(descriptor& d, lsn_t lsn);

  u32 live() const { return live_; }
  u32 capacity() const { return capacity_; }
  u32 writes_in_flight() const { return in_flight_; }
  bool pending(u64 block, u32 blocks);
  lsn_t min_rec();
  /// RETURNS: largest LSN above durable that an image waits for, 0 if none.
  lsn_t awaited();
  void (*finished)(void*) = nullptr;
  void* finished_datum = nullptr;

 private:
  static void done(io::request& r);
  void complete(write_batch& b);
  void release(image& i);
  u32 gather();
  write_batch& form(u32& next, u32 count);
  bool seal(image& i);
  void issue(write_batch& b);

  core& core_;
  recovery_marks& marks_;
  std::unique_ptr<image[]> images_;
  std::unique_ptr<image*[]> sorted_;
  std::unique_ptr<write_batch[]> batches_;
  list<image, &image::link> free_, copied_, writing_;
  list<write_batch, &write_batch::link> free_batches_;
  io_ranges ranges_;
  u32 capacity_ = 0, live_ = 0, in_flight_ = 0;
};

}  // namespace pleach::cache
