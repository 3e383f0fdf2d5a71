#include "be/io/sim_crash.hh"

#include <map>

#include "be/base/assert.hh"

namespace pleach::io {

namespace {

/// A subset of the sectors, at the granularity of `unit` (RANDOM_WRITE..RANDOM_SECTOR) for one
/// piece.
u8 draw(u8 mask, crash_policy::kind unit, u32 keep, random_stream& random) {
  if (unit != crash_policy::RANDOM_SECTOR) return random.chance(keep) ? mask : 0;
  u8 kept = 0;
  for (u32 s = 0; s < block_sectors; ++s) {
    if (random.chance(keep)) kept |= static_cast<u8>(1u << s);
  }
  return mask & kept;
}

crash_policy::kind any_unit(random_stream& random) {
  return static_cast<crash_policy::kind>(crash_policy::RANDOM_WRITE + random.below(3));
}

/// The sectors of each piece that survive; parallel to `pieces`.
class survivors {
 public:
  survivors(const std::vector<sim_piece>& pieces, const crash_policy& policy, random_stream& random)
      : pieces_(pieces), policy_(policy), random_(random), masks_(pieces.size(), u8{0}) {}

  std::vector<u8> choose() {
    if (pieces_.empty()) return masks_;
    switch (policy_.what) {
      case crash_policy::NONE:
        break;
      case crash_policy::ALL:
        keep_all();
        break;
      case crash_policy::PREFIX:
        prefix();
        break;
      case crash_policy::RANDOM_WRITE:
        whole_writes();
        break;
      case crash_policy::RANDOM_BLOCK:
      case crash_policy::RANDOM_SECTOR:
        for (size_t i = 0; i < pieces_.size(); ++i) draw_piece(i, policy_.what);
        break;
      case crash_policy::ALL_BUT_ONE:
        keep_all();
        one(false);
        break;
      case crash_policy::ONLY_ONE:
        one(true);
        break;
      case crash_policy::MIXED:
        mixed();
        break;
    }
    return masks_;
  }

 private:
  void draw_piece(size_t i, crash_policy::kind unit) {
    masks_[i] = draw(pieces_[i].mask, unit, policy_.keep_per_mille, random_);
  }
  void keep_all() {
    for (size_t i = 0; i < pieces_.size(); ++i) masks_[i] = pieces_[i].mask;
  }
  void prefix() {
    const u64 cut = random_.below(pieces_.size() + 1);
    for (size_t i = 0; i < cut; ++i) masks_[i] = pieces_[i].mask;
    if (cut < pieces_.size()) draw_piece(cut, crash_policy::RANDOM_SECTOR);
  }
  void whole_writes() {
    std::map<u64, bool> kept;  // ids of writes, in order: no dependence on addresses
    for (size_t i = 0; i < pieces_.size(); ++i) {
      auto [it, fresh] = kept.try_emplace(pieces_[i].write, false);
      if (fresh) it->second = random_.chance(policy_.keep_per_mille);
      masks_[i] = it->second ? pieces_[i].mask : 0;
    }
  }
  /// Keeps (or drops) one write, block or sector.
  void one(bool keep) {
    const size_t chosen = random_.below(pieces_.size());
    const auto unit = any_unit(random_);
    u8 sectors = pieces_[chosen].mask;
    if (unit == crash_policy::RANDOM_SECTOR) {
      u32 s = static_cast<u32>(random_.below(block_sectors));
      while (sectors && !(sectors >> s & 1)) s = (s + 1) % block_sectors;
      sectors &= static_cast<u8>(1u << s);
    }
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const bool hit = i == chosen || (unit == crash_policy::RANDOM_WRITE &&
                                       pieces_[i].write == pieces_[chosen].write);
      const u8 these = i == chosen ? sectors : pieces_[i].mask;
      if (hit && keep) masks_[i] = these;
      if (hit && !keep) masks_[i] &= static_cast<u8>(~these);
    }
  }
  void mixed() {
    struct choice {
      crash_policy::kind unit;
      bool whole;
    };
    std::map<u64, choice> choices;
    for (size_t i = 0; i < pieces_.size(); ++i) {
      auto [it, fresh] = choices.try_emplace(pieces_[i].write);
      if (fresh) it->second = {any_unit(random_), random_.chance(policy_.keep_per_mille)};
      if (it->second.unit == crash_policy::RANDOM_WRITE) {
        masks_[i] = it->second.whole ? pieces_[i].mask : 0;
      } else {
        draw_piece(i, it->second.unit);
      }
    }
  }

  const std::vector<sim_piece>& pieces_;
  const crash_policy& policy_;
  random_stream& random_;
  std::vector<u8> masks_;
};

/// One sector of a write in flight: neither old nor new.
void shear(sim_image& image, const std::vector<sim_piece>& pieces, random_stream& random) {
  std::vector<size_t> candidates;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].in_flight && pieces[i].mask) candidates.push_back(i);
  }
  if (candidates.empty()) return;
  const sim_piece& p = pieces[candidates[random.below(candidates.size())]];
  u32 s = static_cast<u32>(random.below(block_sectors));
  while (!(p.mask >> s & 1)) s = (s + 1) % block_sectors;
  auto garbage = std::make_shared<sim_block>();
  for (auto& b : garbage->bytes) b = static_cast<std::byte>(random.next());
  image.put(p.block, garbage, static_cast<u8>(1u << s));
}

}  // namespace

const char* name_of(crash_policy::kind k) {
  static constexpr const char* names[] = {"none",   "all",         "prefix",   "write", "block",
                                          "sector", "all but one", "only one", "mixed"};
  return names[k];
}

void apply_survivors(sim_image& image, const std::vector<sim_piece>& pieces,
                     const crash_policy& policy, random_stream& random) {
  const std::vector<u8> masks = survivors(pieces, policy, random).choose();
  for (size_t i = 0; i < pieces.size(); ++i) image.put(pieces[i].block, pieces[i].data, masks[i]);
  if (policy.shorn) shear(image, pieces, random);
}

}  // namespace pleach::io
