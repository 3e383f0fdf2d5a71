#include "be/sm/describe.hh"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cstdlib>

namespace pleach::sm {

namespace {

bool was_taken(const machine_info& m, u32 from, u32 to) {
  return m.taken[from].load(std::memory_order_relaxed) >> to & 1;
}

template <class Fn>
void for_each_edge(const machine_info& m, Fn fn) {
  for (u32 p = 0; p < m.count; ++p)
    for (u64 left = m.rows[p].edges; left != 0; left &= left - 1)
      fn(p, static_cast<u32>(std::countr_zero(left)));
}

void append_table(std::string& out, const machine_info& m) {
  out += "| phase | may wait | goes to |\n|---|---|---|\n";
  for (u32 p = 0; p < m.count; ++p) {
    out += std::string("| ") + m.rows[p].name + " | " +
           (m.rows[p].wait == waits::WAIT ? "yes" : "") + " |";
    for (u64 left = m.rows[p].edges; left != 0; left &= left - 1)
      out += std::string(" ") + m.rows[std::countr_zero(left)].name;
    out += " |\n";
  }
}

void append_diagram(std::string& out, const machine_info& m) {
  out += "\n```mermaid\nstateDiagram-v2\n";
  out += std::string("  [*] --> ") + m.rows[0].name + "\n";
  for_each_edge(m, [&](u32 from, u32 to) {
    out += std::string("  ") + m.rows[from].name + " --> " + m.rows[to].name + "\n";
  });
  out += std::string("  ") + m.rows[m.count - 1].name + " --> [*]\n```\n";
}

}  // namespace

std::string describe_machines_markdown(std::span<const machine_info* const> machines) {
  std::string out;
  for (const machine_info* m : machines) {
    if (!out.empty()) out += "\n";
    out += std::string("## ") + m->name + "\n\n";
    append_table(out, *m);
    append_diagram(out, *m);
  }
  return out;
}

edge_counts count_edges(const machine_info& m) {
  edge_counts n;
  for_each_edge(m, [&](u32 from, u32 to) {
    ++n.declared;
    n.taken += was_taken(m, from, to);
  });
  return n;
}

std::string edge_coverage(std::span<const machine_info* const> machines) {
  std::string out;
  for (const machine_info* m : machines)
    for_each_edge(*m, [&](u32 from, u32 to) {
      out += std::string(m->name) + " " + m->rows[from].name + " " + m->rows[to].name +
             (was_taken(*m, from, to) ? " 1\n" : " 0\n");
    });
  return out;
}

std::string edge_coverage_report(std::span<const machine_info* const> machines) {
  std::string out;
  for (const machine_info* m : machines) {
    edge_counts n = count_edges(*m);
    out += std::string(m->name) + ": " + std::to_string(n.taken) + " of " +
           std::to_string(n.declared) + " edges\n";
    for_each_edge(*m, [&](u32 from, u32 to) {
      if (!was_taken(*m, from, to))
        out += std::string("  never ") + m->rows[from].name + " -> " + m->rows[to].name + "\n";
    });
  }
  return out;
}

void dump_edge_coverage_at_exit() {
  const char* path = std::getenv("PLEACH_EDGE_COVERAGE");
  if (path == nullptr) return;
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return;
  std::string lines = edge_coverage(all_machines());
  // Coverage is a report; a full disk does not fail the program at its exit.
  [[maybe_unused]] ssize_t written = write(fd, lines.data(), lines.size());
  close(fd);
}

}  // namespace pleach::sm
