// Seeded random streams (splitmix64). Core code takes randomness only from a stream that its
// environment hands to it, so that one seed is one run.
#pragma once

#include "be/base/types.hh"

namespace pleach {

class random_stream {
 public:
  explicit random_stream(u64 seed) : state_(seed) {}

  u64 next() {
    u64 z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// RETURNS: uniform in [0, bound), 0 if bound is 0.
  u64 below(u64 bound) {
    return bound ? static_cast<u64>((static_cast<unsigned __int128>(next()) * bound) >> 64) : 0;
  }
  /// RETURNS: true with probability `per_mille` / 1000.
  bool chance(u32 per_mille) { return below(1000) < per_mille; }
  /// An independent stream, named so that adding one elsewhere does not shift this one.
  random_stream split(u64 name) const {
    return random_stream(state_ ^ (name * 0xff51afd7ed558ccdu));
  }

 private:
  u64 state_;
};

}  // namespace pleach
