#!/bin/bash
# Passes the tests: installs what is missing, builds with g++ and clang, runs every suite, writes a report.
#
# Usage: tests/run.sh [STAGE...]     stages: main asan tsan planted; all of them without arguments
#
# Stages:
#   main     g++, build/: every suite
#   asan     clang, AddressSanitizer and UndefinedBehaviorSanitizer, build-asan/: every suite
#   tsan     clang, ThreadSanitizer, build-tsan/: the suites that have threads
#   planted  g++, build-planted/: the simulation finds every planted bug, chosen at run time
#
# Counters: a test appends lines `key=value` to a file *.counters in $PLEACH_REPORT_DIR. At the end they are summed
# into build/test-report.json. Only main and planted count there: a sanitizer run repeats the same work, with
# $PLEACH_EFFORT=reduced. Exit code 77 of a test: skipped, the machine lacks something.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 8
root=$PWD
passed=0 failed=0 skipped=0
sanitizer_tests=0 thread_tests=0
failures=""
started=$SECONDS

title() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - started)); }

fail_stage() {
  failed=$((failed + 1))
  failures="$failures
  $*"
  echo "FAILED: $*"
}

# configure FOLDER OPTIONS...: sets up a build folder, or gives one that exists these options.
configure() {
  local folder=$1
  shift
  if [ -e "$folder/build.ninja" ] && meson configure "$folder" "$@" >"$folder.log" 2>&1; then return 0; fi
  rm -rf "$folder"
  meson setup "$folder" "$@" >"$folder.log" 2>&1 || { tail -30 "$folder.log"; return 1; }
}

# programs FOLDER SUITE: the programs that the tests of a suite run; of all suites, nothing.
programs() {
  [ "$2" = all ] || meson introspect --tests "$1" | python3 -c '
import json, os, sys
folder, suite = os.path.abspath(sys.argv[1]), sys.argv[2]
tests = json.load(sys.stdin)
print(*{os.path.relpath(t["cmd"][0], folder) for t in tests if suite in (s.split(":")[-1] for s in t["suite"])})' "$1" "$2"
}

# build STAGE FOLDER SUITE OPTIONS...: builds what the tests of a suite need, or all.
build() {
  local stage=$1 folder=$2 suite=$3
  shift 3
  title "$stage: building $folder"
  configure "$folder" "$@" || { fail_stage "$stage: setting up $folder"; return 1; }
  # shellcheck disable=SC2046  # a list of programs
  if ! ninja -C "$folder" $(programs "$folder" "$suite") >"$folder.log" 2>&1; then
    grep -E -A5 'error|FAILED' "$folder.log" | head -60
    fail_stage "$stage: building $folder"
    return 1
  fi
  rm -f "$folder.log"
  rm -rf "$folder/report.d"
  mkdir -p "$folder/report.d"
}

# results FOLDER RESULT...: how many tests ended so.
results() {
  local log=$1/meson-logs/testlog.json
  shift
  local pattern
  pattern=$(IFS='|'; echo "$*")
  [ -e "$log" ] && grep -cE "\"result\": \"($pattern)\"" "$log" || echo 0
}

# run STAGE FOLDER ARGUMENTS...: runs tests; the number that passed is left in `good`.
run() {
  local stage=$1 folder=$2
  shift 2
  title "$stage: testing"
  rm -f "$folder/meson-logs/testlog.json"
  PLEACH_REPORT_DIR=$root/$folder/report.d PLEACH_COUNTERS=$root/$folder/report.d/heap.counters meson test -C "$folder" --no-rebuild --print-errorlogs "$@" |
    grep -vE '^(ninja|Ok:|Expected Fail:|Unexpected Pass:|Skipped:|Timeout:|Full log|Fail:)'
  local code=${PIPESTATUS[0]}
  good=$(results "$folder" OK EXPECTEDFAIL | head -1)
  local wrong none
  wrong=$(results "$folder" FAIL TIMEOUT ERROR UNEXPECTEDPASS INTERRUPT | head -1)
  none=$(results "$folder" SKIP | head -1)
  passed=$((passed + good)) failed=$((failed + wrong)) skipped=$((skipped + none))
  if [ "$wrong" -gt 0 ]; then
    failures="$failures$(grep -E '"result": "(FAIL|TIMEOUT|ERROR|UNEXPECTEDPASS|INTERRUPT)"' "$folder/meson-logs/testlog.json" |
      sed 's/.*"name": "\([^"]*\)".*/\n  '"$stage"': \1/')"
  elif [ "$code" -ne 0 ]; then
    fail_stage "$stage: meson test ended with $code"
  fi
  echo "$stage: $good passed, $wrong failed, $none skipped"
}

stage_main() {
  build main build all --buildtype=debugoptimized -Dtests=true -Dbench=true -Dplanted_bugs=false || return
  rm -f build/edges.cov
  PLEACH_EDGE_COVERAGE=$root/build/edges.cov PLEACH_EFFORT=full run main build
  title "main: edges of the state machines"
  build/tests/house/state_machines --edges >build/edges.declared &&
    bash tests/house/edge_report.sh build/edges.declared build/edges.cov build/report.d/edges.counters ||
    fail_stage "main: an edge of a state machine was taken by no test and is not excused"
}

stage_asan() {
  # One process of a sanitizer needs much memory and time; leaks are counted too.
  CXX=clang++-19 CXX_LD=lld-19 build asan build-asan all --buildtype=debug --optimization=1 -Dtests=true -Dbench=false \
    -Db_sanitize=address,undefined -Db_lundef=false -Dcpp_args=-fno-sanitize-recover=all || return
  PLEACH_EFFORT=reduced ASAN_OPTIONS=detect_stack_use_after_return=0:abort_on_error=1 \
    UBSAN_OPTIONS=print_stacktrace=1 run asan build-asan -t 5
  sanitizer_tests=$good
}

stage_tsan() {
  CXX=clang++-19 CXX_LD=lld-19 build tsan build-tsan threads --buildtype=debug --optimization=1 -Dtests=true -Dbench=false \
    -Db_sanitize=thread -Db_lundef=false || return
  PLEACH_EFFORT=reduced TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 run tsan build-tsan --suite threads -t 5
  thread_tests=$good
}

stage_planted() {
  build planted build-planted planted --buildtype=debugoptimized -Dtests=true -Dbench=false -Dplanted_bugs=true || return
  PLEACH_EFFORT=full run planted build-planted --suite planted -t 3
}

# Sums the counters of all test programs. Keys that nobody counted are 0.
write_report() {
  local keys="crash_images seeds violations trace_mismatches planted_found planted_total edges_declared edges_taken
    edges_excused edges_missing kill9_file kill9_threads kill9_block kill9_ext4 kill9_xfs kill9_btrfs
    heap_allocations_cached_get heap_allocations_cached_put sanitizer_tests thread_tests"
  mkdir -p build/report.d
  { echo "sanitizer_tests=$sanitizer_tests"; echo "thread_tests=$thread_tests"; } >build/report.d/run.counters
  { cat build/report.d/*.counters build-planted/report.d/*.counters 2>/dev/null || true; } | awk -F= -v keys="$keys" '
    NF == 2 && $2 ~ /^[0-9]+$/ { sum[$1] += $2; if (!($1 in seen)) { seen[$1] = 1; extra[++n] = $1 } }
    END {
      count = split(keys, wanted, /[ \n]+/)
      printf "{\n"
      for (i = 1; i <= count; ++i) {
        if (wanted[i] == "") continue
        printf "%s  \"%s\": %d", sep, wanted[i], sum[wanted[i]]; sep = ",\n"; told[wanted[i]] = 1
      }
      for (i = 1; i <= n; ++i) if (!(extra[i] in told)) printf "%s  \"%s\": %d", sep, extra[i], sum[extra[i]]
      printf "\n}\n"
    }' >build/test-report.json.new && mv build/test-report.json.new build/test-report.json
}

title "installing what is missing"
bash tools/deps.sh --tests || { fail_stage "installing"; echo "$passed passed, $failed failed"; exit 1; }

stages=("$@")
[ ${#stages[@]} -eq 0 ] && stages=(main planted asan tsan)
for stage in "${stages[@]}"; do
  case $stage in
    main | asan | tsan | planted) "stage_$stage" ;;
    *) echo "run.sh: unknown stage $stage" >&2; exit 16 ;;
  esac
done

title "report"
write_report
cat build/test-report.json
[ "$skipped" -gt 0 ] && echo "$skipped skipped: the machine lacks something"
[ -n "$failures" ] && echo "failed:$failures"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
