// Runs one blocking operation over and over on N threads: how a blocking engine has N operations in
// flight. Thread t takes ids t, t+N, t+2N, ... of the ring, so together they take what one
// asynchronous thread takes.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "bench/engine.hh"
#include "bench/process_counters.hh"

namespace pleach::bench {

/// `make_body(t)` makes the state of thread t: a callable of one id that does one operation.
template <class Make>
outcome run_threads(const work& w, Make&& make_body) {
  std::vector<outcome> part(w.in_flight);
  std::atomic<unsigned> ready{0};
  std::atomic<std::uint64_t> start_ns{0};
  const auto loop = [&](unsigned t) {
    auto body = make_body(t);
    ready.fetch_add(1);
    while (start_ns.load() == 0) std::this_thread::yield();
    const std::uint64_t end = start_ns.load() + w.duration_ns;
    std::uint64_t before = now_ns();
    for (std::uint64_t i = t; before < end; i += w.in_flight) {
      body(w.ids[i % w.ids.size()]);
      const std::uint64_t after = now_ns();
      part[t].latency.record(after - before);
      ++part[t].operations;
      before = after;
    }
  };

  std::vector<std::thread> others;
  for (unsigned t = 1; t < w.in_flight; ++t) others.emplace_back(loop, t);
  while (ready.load() != w.in_flight - 1) std::this_thread::yield();
  const std::uint64_t begin = now_ns();
  start_ns = begin;
  loop(0);
  for (auto& thread : others) thread.join();

  outcome all;
  all.elapsed_ns = now_ns() - begin;
  for (const outcome& p : part) {
    all.operations += p.operations;
    all.latency.merge(p.latency);
  }
  return all;
}

}  // namespace pleach::bench
