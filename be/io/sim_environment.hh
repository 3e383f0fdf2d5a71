// Virtual time and seeded randomness: the environment of every simulated run.
//
// Time moves in two ways only: a little with each look at the clock (so that budgets and deadlines
// bite), and in `sleep`, to the next event of a registered source or the timeout. Nothing ever
// really sleeps.
//
// I1 Same seed, same code: same sequence of times, chaos and device events.
// I2 Chaos has one stream per site, so that a new site does not shift the others.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "be/base/random.hh"
#include "be/sm/reactor.hh"

namespace pleach::io {

/// Something that will have an event at a known virtual time.
class sim_source {
 public:
  virtual ~sim_source() = default;
  static constexpr u64 never = ~u64{0};
  virtual u64 next_event_ns() const = 0;
};

struct sim_environment_options {
  u64 seed = 1;
  u32 chaos_per_mille = 0;  ///< of every site; `set_chaos` for single ones
  u64 look_ns = 20;         ///< what a look at the clock costs
  u64 start_ns = 1'000'000;
  u64 start_real_ms = 1'700'000'000'000;
};

class sim_environment : public sm::environment {
 public:
  explicit sim_environment(sim_environment_options options = {});

  u64 mono_ns() override;
  u64 real_ms() override;
  /// With no event, no timeout and nothing readable the run is stuck: `on_stuck`, else abort.
  void sleep(int fd, i64 timeout_ns) override;
  u64 seed() override { return seed_stream_.next(); }
  bool chaos(const char* site) override;

  /// The time, without moving it.
  u64 now() const { return now_ns_; }
  void advance(u64 ns) { now_ns_ += ns; }
  /// The wall clock jumps; the monotonic clock does not.
  void jump_real(i64 ms) { real_offset_ms_ += ms; }
  /// A stream of its own for `name`, from the seed of the run.
  random_stream stream(u64 name) const { return root_.split(name); }

  void set_chaos(const std::string& site, u32 per_mille);
  /// How often each site was asked and said yes: rare paths that never ran are not tested.
  struct site_count {
    u32 per_mille = 0;
    u64 asked = 0, hit = 0;
    random_stream random{0};
  };
  const std::map<std::string, site_count>& sites() const { return sites_; }

  void add(sim_source& s) { sources_.push_back(&s); }
  void remove(sim_source& s) { std::erase(sources_, &s); }

  /// Called when all would sleep for ever; returns to let the host look (liveness oracle).
  void (*on_stuck)(void* datum) = nullptr;
  void* on_stuck_datum = nullptr;
  u64 sleeps() const { return sleeps_; }

 private:
  sim_environment_options options_;
  random_stream root_;
  random_stream seed_stream_;
  u64 now_ns_;
  i64 real_offset_ms_ = 0;
  u64 sleeps_ = 0;
  std::vector<sim_source*> sources_;
  std::map<std::string, site_count> sites_;
};

}  // namespace pleach::io
