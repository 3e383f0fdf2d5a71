// Recovery of one crash image, fully checked: content against the model both ways, structure,
// space; sometimes twice, nested, read-only.
#pragma once

#include <deque>
#include <memory>

#include "be/io/sim.hh"
#include "store/core.hh"
#include "tests/sim/config.hh"
#include "tests/sim/model.hh"
#include "tests/sim/report.hh"

namespace pleach::sim {

struct image_job {
  io::sim_image image;
  lsn_t acked = 0;             ///< recovery must come at least this far
  lsn_t cap = ~lsn_t{0};       ///< content is that of this LSN at most (taken while a recovery ran)
  lsn_t open_lsn = ~lsn_t{0};  ///< the group that was open: recovery stays below
  u32 depth = 0;
  std::string policy;
};

/// Least budget that a core of this configuration opens with, plus what the configuration adds.
store_layer::core_options core_options_for(const config& c, bool read_only);
/// Reads every live tree of an open store, forwards, and backwards by key. Values equal to the
/// expected ones are named by their seed.
forest read_forest(store_layer::core& c, const forest& expected);
/// The whole check of an open store. Ends the program at the first problem.
void verify_store(store_layer::core& c, bool dropping_allowed);
void run_op(store_layer::core& c, sm::op& op);
void set_stuck_report(io::sim_environment& env);
io::crash_policy draw_policy(random_stream& r);

class image_checker {
 public:
  image_checker(const config& c, const model& m, totals& t)
      : config_(c), model_(m), totals_(t), random_(mix64(c.seed) ^ 0xc4ec) {}
  void add(image_job job) { pending_.push_back(std::move(job)); }
  bool pending() const { return !pending_.empty(); }
  void run_all();
  /// An image of an interrupted mkfs: no store, an empty one, or the one `before` as it was.
  void check_half_made(const io::sim_image& image, const forest* before);

 private:
  void check(const image_job& job);
  void check_read_only(const image_job& job, const forest& expected);
  void check_damaged(const image_job& job);
  u64 recover_and_close(const image_job& job, u64 seed);

  const config& config_;
  const model& model_;
  totals& totals_;
  random_stream random_;
  std::deque<image_job> pending_;
};

}  // namespace pleach::sim
