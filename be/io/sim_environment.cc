#include "be/io/sim_environment.hh"

#include <poll.h>

#include <algorithm>

#include "be/base/assert.hh"
#include "be/base/checksum.hh"

namespace pleach::io {

namespace {

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return fd >= 0 && ::poll(&p, 1, 0) > 0;
}

}  // namespace

sim_environment::sim_environment(sim_environment_options options)
    : options_(options),
      root_(mix64(options.seed)),
      seed_stream_(root_.split(0x5eed)),
      now_ns_(options.start_ns) {
  chaotic = options.chaos_per_mille != 0;
}

u64 sim_environment::mono_ns() {
  now_ns_ += options_.look_ns;
  return now_ns_;
}

u64 sim_environment::real_ms() {
  return static_cast<u64>(static_cast<i64>(options_.start_real_ms + now_ns_ / 1'000'000) +
                          real_offset_ms_);
}

void sim_environment::sleep(int fd, i64 timeout_ns) {
  ++sleeps_;
  if (timeout_ns == 0 || readable(fd)) return;
  u64 wake = timeout_ns < 0 ? sim_source::never : now_ns_ + static_cast<u64>(timeout_ns);
  for (sim_source* s : sources_) wake = std::min(wake, s->next_event_ns());
  if (wake == sim_source::never) {
    PLEACH_ASSERT(on_stuck && "nothing in flight, no timer, no mail: the run would sleep for ever");
    on_stuck(on_stuck_datum);
    return;
  }
  now_ns_ = std::max(now_ns_, wake);
}

void sim_environment::set_chaos(const std::string& site, u32 per_mille) {
  auto [it, fresh] = sites_.try_emplace(site);
  if (fresh) it->second.random = root_.split(hash64(as_bytes(site)));
  it->second.per_mille = per_mille;
  chaotic = chaotic || per_mille != 0;
}

bool sim_environment::chaos(const char* site) {
  auto it = sites_.find(site);
  if (it == sites_.end()) {
    set_chaos(site, options_.chaos_per_mille);
    it = sites_.find(site);
  }
  site_count& s = it->second;
  ++s.asked;
  if (!s.random.chance(s.per_mille)) return false;
  ++s.hit;
  return true;
}

}  // namespace pleach::io
