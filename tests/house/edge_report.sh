#!/bin/bash
# Which declared edges of the engine's machines did the tests take?
#
# Usage: edge_report.sh EDGES COVERAGE [COUNTERS [EXCUSES]]
#   EDGES      lines `machine phase next`: what is declared (state_machines --edges). Machines of tests are not in it.
#   COVERAGE   what processes with PLEACH_EDGE_COVERAGE=COVERAGE appended: `machine phase next 0|1`
#   COUNTERS   edges_declared=, edges_taken=, edges_excused=, edges_missing= are appended to it; `-`: nowhere
#   EXCUSES    lines `machine phase next reason`, `#` begins a comment; default: edges_excused.txt beside this program
#
# Exit code 1 if an edge was neither taken nor excused, or an excuse names an edge that is not declared.
set -u
[ $# -ge 2 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
edges=$1 coverage=$2 counters=${3:--} excuses=${4:-$(dirname "$0")/edges_excused.txt}
for f in "$edges" "$coverage" "$excuses"; do
  [ -r "$f" ] || { echo "edge_report: cannot read $f"; exit 2; }
done
awk -v edges="$edges" -v coverage="$coverage" -v excuses="$excuses" -v counters="$counters" '
  BEGIN {
    while ((getline line < edges) > 0) {
      if (split(line, f, " ") != 3) continue
      key = f[1] " " f[2] " " f[3]
      if (!(key in declared)) { declared[key] = 1; order[++n] = key; ++of[f[1]] }
    }
    # A line that two processes tore apart names no declared edge and changes nothing.
    while ((getline line < coverage) > 0)
      if (split(line, f, " ") == 4 && f[4] == "1") taken[f[1] " " f[2] " " f[3]] = 1
    while ((getline line < excuses) > 0) {
      if (line ~ /^[ \t]*(#|$)/) continue
      k = split(line, f, " ")
      key = f[1] " " f[2] " " f[3]
      if (k < 4) { print "excuse without a reason: " line; ++wrong; continue }
      if (!(key in declared)) { print "excused, but not declared: " key; ++wrong; continue }
      excused[key] = 1
    }
    for (i = 1; i <= n; ++i) {
      key = order[i]
      split(key, f, " ")
      if (key in taken) {
        ++all_taken; ++took[f[1]]
        if (key in excused) print "excused, but taken: " key
      } else if (key in excused) ++all_excused
      else { ++missing; print "missing: " key }
    }
    for (i = 1; i <= n; ++i) {
      split(order[i], f, " ")
      if (!(f[1] in told)) { told[f[1]] = 1; printf "%-14s %d of %d edges\n", f[1], took[f[1]], of[f[1]] }
    }
    printf "edges: %d declared, %d taken, %d excused, %d missing\n", n, all_taken, all_excused, missing
    if (counters != "-") {
      printf "edges_declared=%d\nedges_taken=%d\nedges_excused=%d\nedges_missing=%d\n", n, all_taken, all_excused, missing >> counters
      close(counters)
    }
    exit missing > 0 || wrong > 0 || n == 0
  }'
