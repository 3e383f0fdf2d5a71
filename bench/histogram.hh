// Latency histogram with log-linear buckets: 32 linear steps in each power of two, so a percentile
// is off by at most 3 %. A plain array: recording allocates nothing and costs an index computation
// and an add.
//
// I1 count() is the sum of all buckets.
// I2 bucket_of is monotone, and value_of(bucket_of(v)) is within 1/32 of v.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace pleach::bench {

class histogram {
 public:
  void record(std::uint64_t value_ns) {
    ++buckets_[bucket_of(value_ns)];
    ++count_;
  }

  void merge(const histogram& other) {
    for (unsigned i = 0; i < bucket_count; ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
  }

  std::uint64_t count() const { return count_; }

  /// RETURNS: the value, in ns, that `share` (0..1) of all records do not exceed; 0 if there are
  /// none.
  double percentile_ns(double share) const {
    const auto rank = static_cast<std::uint64_t>(share * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (unsigned i = 0; i < bucket_count; ++i) {
      seen += buckets_[i];
      if (seen > rank || (seen == count_ && seen != 0)) return value_of(i);
    }
    return 0;
  }

 private:
  static constexpr unsigned step_bits = 5;
  static constexpr unsigned bucket_count = (64 - step_bits + 1) << step_bits;

  static unsigned bucket_of(std::uint64_t v) {
    const unsigned width = static_cast<unsigned>(std::bit_width(v));
    if (width <= step_bits + 1) return static_cast<unsigned>(v);
    const unsigned shift = width - step_bits - 1;
    return (shift << step_bits) + static_cast<unsigned>(v >> shift);
  }

  /// The middle of a bucket.
  static double value_of(unsigned bucket) {
    if (bucket < (2u << step_bits)) return bucket;
    const unsigned shift = (bucket >> step_bits) - 1;
    const std::uint64_t low = std::uint64_t{bucket - (shift << step_bits)} << shift;
    return static_cast<double>(low) + static_cast<double>(std::uint64_t{1} << shift) / 2;
  }

  std::array<std::uint64_t, bucket_count> buckets_{};
  std::uint64_t count_ = 0;
};

}  // namespace pleach::bench
