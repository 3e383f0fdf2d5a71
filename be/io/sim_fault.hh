// What goes wrong on a simulated device, and when.
//
// A rule fires at the n-th transfer that it matches (each start counts, so a retry can meet the
// next rule); `sticky` fires from then on. Rules are asked in order, the hook last; the first that
// fires counts.
#pragma once

#include <functional>
#include <vector>

#include "be/io/device.hh"

namespace pleach::io {

struct fault {
  enum what : u8 {
    NONE,
    ERROR,  ///< ends with -error_number. A write may have left any of its sectors, a flush drops
            ///< some
    SHORT,  ///< transfers `amount` bytes (whole sectors kept) and says so
    MISDIRECT,  ///< a write goes to / a read comes from `amount` instead of its offset
    LOSE,       ///< a write is acknowledged and never happens
    FLIP,       ///< one bit (number `amount` of the transfer, modulo its length): of what a read
           ///< returns, or of what a write stores
    HANG,  ///< completes at virtual time `amount` (sim_source::never: until `release_hung`)
    LIE,   ///< a flush or durable write is acknowledged without making anything durable
  };
  what kind = NONE;
  int error_number = 0;
  u64 amount = 0;
};

struct fault_rule {
  u8 kinds = 0xff;  ///< bit per request_kind
  u64 at = 0;       ///< 0 = the first match
  bool sticky = false;
  u64 from = 0, to = ~u64{0};  ///< only transfers that touch these bytes (flushes always match)
  fault what;
  u64 seen = 0;   ///< the device's own
  u64 fired = 0;  ///< for tests: a rule that never fired proved nothing
};

constexpr u8 on(request_kind k) {
  return static_cast<u8>(1u << static_cast<u8>(k));
}

struct fault_plan {
  std::vector<fault_rule> rules;
  /// Index = number of starts on the device so far.
  std::function<fault(const request&, u64 index)> hook;

  fault ask(const request& r, u64 index);
};

}  // namespace pleach::io
