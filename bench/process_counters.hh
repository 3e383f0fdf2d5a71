// What the process and the device under a directory have used so far; a cell takes the difference
// of two.
//
// `process_written` is exact for direct I/O; for buffered small writes the kernel accounts whole
// folios and it over-counts by several times. `device_written` counts sectors of the whole device,
// so it is right only while nothing else writes there. Both are given; neither alone is the truth.
#pragma once

#include <cstdint>
#include <string>

namespace pleach::bench {

struct process_counters {
  std::uint64_t cpu_ns = 0;        ///< user and system, all threads
  std::uint64_t process_read = 0;  ///< bytes that the process caused to be read from storage
  std::uint64_t process_written = 0;
  std::uint64_t device_read = 0;  ///< bytes, whole device
  std::uint64_t device_written = 0;
};

/// `dir` names the device. A counter that the machine does not offer stays 0.
process_counters read_counters(const std::string& dir);

struct memory_use {
  std::uint64_t resident = 0, peak = 0;  ///< bytes; VmRSS, VmHWM
};
memory_use read_memory();

/// Lets the peak start again from the present resident size.
void reset_memory_peak();

std::uint64_t now_ns();  ///< steady clock

}  // namespace pleach::bench
