#include "bench/workload.hh"

#include <bit>
#include <cmath>

namespace pleach::bench {
namespace {

/// A pseudo-random bijection of [0, n): a four-round Feistel network over the next even number of
/// bits, walked again while it lands outside.
class permutation {
 public:
  permutation(std::uint64_t n, std::uint64_t seed) : n_(n), seed_(seed) {
    half_bits_ = (static_cast<unsigned>(std::bit_width(n > 1 ? n - 1 : 1)) + 1) / 2;
    mask_ = (std::uint64_t{1} << half_bits_) - 1;
  }

  std::uint64_t operator()(std::uint64_t i) const {
    do i = once(i);
    while (i >= n_);
    return i;
  }

 private:
  std::uint64_t once(std::uint64_t i) const {
    std::uint64_t left = i >> half_bits_, right = i & mask_;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (mix64(right + (round << 56) + seed_) & mask_);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  std::uint64_t n_, seed_, mask_ = 0;
  unsigned half_bits_ = 1;
};

/// Zipf with theta 0.99 after Gray et al., "Quickly generating billion-record synthetic databases"
/// (1994), as in YCSB: popular ranks are scrambled over the key space.
class zipf {
 public:
  explicit zipf(std::uint64_t n) : n_(n) {
    for (std::uint64_t i = 1; i <= n; ++i) zeta_n_ += std::pow(1.0 / static_cast<double>(i), theta);
    const double zeta_2 = 1.0 + std::pow(0.5, theta);
    eta_ = (1 - std::pow(2.0 / static_cast<double>(n), 1 - theta)) / (1 - zeta_2 / zeta_n_);
  }

  std::uint64_t operator()(std::uint64_t random) const {
    const double u = static_cast<double>(random >> 11) * 0x1p-53;
    const double uz = u * zeta_n_;
    std::uint64_t rank = 0;
    if (uz >= 1.0)
      rank = uz < 1.0 + std::pow(0.5, theta)
                 ? 1
                 : static_cast<std::uint64_t>(static_cast<double>(n_) *
                                              std::pow(eta_ * u - eta_ + 1, 1 / (1 - theta)));
    return mix64(rank) % n_;
  }

 private:
  static constexpr double theta = 0.99;
  std::uint64_t n_;
  double zeta_n_ = 0, eta_ = 0;
};

}  // namespace

std::vector<std::uint32_t> make_requests(order how, std::uint64_t records, std::uint64_t count,
                                         std::uint64_t seed) {
  std::vector<std::uint32_t> ids(count);
  const permutation permute(records, seed);
  const zipf skewed(how == order::ZIPF ? records : 2);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t random = mix64(seed * 0x10001 + i);
    std::uint64_t id = i % records;
    if (how == order::PERMUTATION) id = permute(i % records);
    if (how == order::UNIFORM)
      id = static_cast<std::uint64_t>((static_cast<unsigned __int128>(random) * records) >> 64);
    if (how == order::ZIPF) id = skewed(random);
    ids[i] = static_cast<std::uint32_t>(id);
  }
  return ids;
}

}  // namespace pleach::bench
