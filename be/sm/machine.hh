// Phase tables: what a state machine declares about itself, checked at compile time.
//
// Each operation has one x-macro `X(NAME, wait, successor, ...)`, the only list of its phases:
//
//     #define PLEACH_GET_PHASES(X)  with a line continuation after each row:
//       X(INIT,    NOWAIT, DOWN, CLEANUP)
//       X(DOWN,    WAIT,   DOWN, ACT, CLEANUP)
//       X(ACT,     NOWAIT, CLEANUP)
//       X(CLEANUP, NOWAIT, DONE)
//       X(DONE,    NOWAIT)
//     struct get_op final : sm::machine<get_op> {
//       PLEACH_PHASES("get", PLEACH_GET_PHASES)
//       sm::step tick(phase p) noexcept;      // only a switch: one case a phase, one call a case
//     };
//
// The first phase is where an op starts; DONE must exist and has no successor; CLEANUP, if
// declared, is where `fail()` and a cancelled wait go. A phase declared WAIT may return `wait`,
// `yield` or `sub`; a NOWAIT phase may only go on. `doc/state-machines.md` is generated from these
// tables.
//
// I1 (compile time) every phase is reachable from the first, and DONE from every phase.
// I2 (run time)     an undeclared edge, or a wait in a NOWAIT phase, aborts.
#pragma once

#include <array>
#include <atomic>
#include <initializer_list>
#include <string_view>

#include "be/base/assert.hh"
#include "be/base/types.hh"

namespace pleach::sm {

enum class waits : u8 { NOWAIT, WAIT };

struct phase_row {
  const char* name;
  waits wait;
  u64 edges;  ///< bit p set: this phase may be followed by phase p
};

/// One per machine type, static storage; `taken` is the coverage of edges in this process.
struct machine_info {
  const char* name;
  const phase_row* rows;
  u32 count;    ///< DONE is the last phase
  int cleanup;  ///< index of CLEANUP, -1 if the machine has none
  std::atomic<u64>* taken;
};

constexpr u64 edge_mask(std::initializer_list<int> phases) {
  u64 m = 0;
  for (int p : phases) m |= u64{1} << p;
  return m;
}

/// I1. `done` = index of DONE.
template <std::size_t N>
consteval bool table_is_sound(const std::array<phase_row, N>& rows, std::size_t done) {
  static_assert(N <= 64, "a machine of more than 64 phases is two machines");
  u64 reached = 1;
  for (std::size_t round = 0; round < N; ++round)
    for (std::size_t p = 0; p < N; ++p)
      if (reached >> p & 1) reached |= rows[p].edges;
  u64 ends = u64{1} << done;
  for (std::size_t round = 0; round < N; ++round)
    for (std::size_t p = 0; p < N; ++p)
      if (rows[p].edges & ends) ends |= u64{1} << p;
  u64 all = N == 64 ? ~u64{0} : (u64{1} << N) - 1;
  return reached == all && ends == all && rows[done].edges == 0;
}

/// RETURNS: index of the phase called `name`, or -1.
template <std::size_t N>
consteval int find_phase(const std::array<phase_row, N>& rows, std::string_view name) {
  for (std::size_t p = 0; p < N; ++p)
    if (name == rows[p].name) return static_cast<int>(p);
  return -1;
}

/// All machines of this program, in the order of their first construction at start-up.
/// `register_machine` is called by the macro below from a static initialiser.
const machine_info* register_machine(const machine_info* info);
std::span<const machine_info* const> all_machines();

}  // namespace pleach::sm

#define PLEACH_PHASE_ENUM(NAME, WAITS, ...) NAME,
#define PLEACH_PHASE_ROW(NAME, WAITS, ...) \
  ::pleach::sm::phase_row{#NAME, ::pleach::sm::waits::WAITS, \
                          ::pleach::sm::edge_mask({__VA_ARGS__})},

/// Declares `enum phase`, the table, its compile-time check and its registration in a class.
#define PLEACH_PHASES(MACHINE_NAME, LIST)                                                        \
  enum phase : ::pleach::u8 { LIST(PLEACH_PHASE_ENUM) phase_count_ };                            \
  static constexpr std::array<::pleach::sm::phase_row, phase_count_> phase_rows{                 \
      {LIST(PLEACH_PHASE_ROW)}};                                                                 \
  static_assert(::pleach::sm::table_is_sound(phase_rows, DONE),                                  \
                "a phase is unreachable, or cannot reach DONE");                                 \
  static inline std::atomic<::pleach::u64> phase_taken[phase_count_] = {};                       \
  static_assert(DONE == phase_count_ - 1, "DONE is the last phase");                             \
  static constexpr ::pleach::sm::machine_info info{                                              \
      MACHINE_NAME, phase_rows.data(), phase_count_,                                             \
      ::pleach::sm::find_phase(phase_rows, "CLEANUP"), phase_taken};                             \
  static inline const ::pleach::sm::machine_info* const registered_ =                            \
      ::pleach::sm::register_machine(&info);
