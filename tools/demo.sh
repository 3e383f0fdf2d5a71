#!/bin/bash
# The main job on real input: Debian's package index kept as metadata, killed half-way, recovered, saved, checked.
#
# Usage: tools/demo.sh. It installs what is missing, builds build/tools/pleach, and runs. With PLEACH_DEMO_DIR it
# leaves a.pleach, b.pleach, a.dump and b.dump there; otherwise everything is removed at the end.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 8
root=$PWD
pleach=$root/build/tools/pleach
demo=$root/build/tools/demo/pleach-demo
step=0 steps=19
exec 3>&1 # messages, also from where standard output is redirected
what="the start"
loader=""

if [ -n "${PLEACH_DEMO_DIR:-}" ]; then
  mkdir -p "$PLEACH_DEMO_DIR" && keep=$(realpath "$PLEACH_DEMO_DIR") || exit 8
  work=$keep/demo-work
  rm -rf "$work"
  mkdir -p "$work" || exit 8
else
  work=$(mktemp -d "${TMPDIR:-/tmp}/pleach-demo-XXXXXX") || exit 8
  keep=$work
fi
clean_up() {
  [ -n "$loader" ] && kill -9 "$loader" 2>/dev/null
  rm -rf "$work"
}
trap clean_up EXIT
trap 'echo; echo "demo: FAILED at $what: interrupted"; exit 8' INT TERM

begin() {
  step=$((step + 1))
  what="step $step, $*"
  echo "[$step/$steps] $*"
}
die() {
  echo "demo: FAILED at $what: $*" >&3
  exit 1
}
say() { echo "        $*"; }
# must WHAT COMMAND...: runs it; the demo ends if it fails.
must() {
  local doing=$1
  shift
  "$@" || die "$doing (exit $?)"
}
hex_of() { printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n'; }

begin "installing what is missing"
must "installing" bash tools/deps.sh

begin "building build/tools/pleach"
if [ ! -e build/build.ninja ]; then
  meson setup build --buildtype debugoptimized -Dtests=false -Dbench=false >"$work/build.log" 2>&1 || {
    tail -40 "$work/build.log"
    die "setting up build/"
  }
fi
ninja -C build tools/pleach tools/demo/pleach-demo >"$work/build.log" 2>&1 || {
  tail -40 "$work/build.log"
  die "building"
}
say "$("$pleach" --version)"

begin "reading the package index"
apt-cache dumpavail >"$work/index" 2>/dev/null
if [ ! -s "$work/index" ]; then
  say "the package lists are missing: apt-get update"
  if [ "$(id -u)" -eq 0 ]; then apt-get update >/dev/null; else sudo apt-get update >/dev/null; fi
  apt-cache dumpavail >"$work/index"
fi
[ -s "$work/index" ] || die "apt-cache dumpavail prints nothing"
"$demo" jsonl <"$work/index" >"$work/input.jsonl" || die "making records of the index"
total=$(wc -l <"$work/input.jsonl")
stanzas=$(grep -c '^Package: ' "$work/index")
say "$stanzas packages, $total records for the trees packages, provides and depends"

# load_and_kill STORE BATCH OPTIONS...: kills the loading process with SIGKILL once half is acknowledged; the
# count is left in `acked`.
load_and_kill() {
  local store=$1 batch=$2
  shift 2
  rm -f "$work/acks"
  mkfifo "$work/acks" || die "mkfifo"
  "$pleach" load "$store" "$work/input.jsonl" --batch "$batch" --ack "$@" >"$work/acks" 2>"$work/load.err" &
  loader=$!
  acked=0
  local word number
  while read -r word number; do
    [ "$word" = acked ] && acked=$number
    if [ "$acked" -ge $((total / 2)) ]; then
      kill -9 "$loader"
      break
    fi
  done <"$work/acks"
  wait "$loader" 2>/dev/null
  local code=$?
  loader=""
  [ $code -eq 137 ] || { cat "$work/load.err"; die "the load was to be killed, but ended with $code after $acked records"; }
}

# look_up STORE OPTIONS...: whole stanzas by key, for packages at both ends and in the middle.
look_up() {
  local store=$1 name key
  shift
  for name in $(sed -n 's/^Package: //p' "$work/index" | sed -n "1p;$((stanzas / 2))p;\$p"); do
    key=$("$demo" key "$name" <"$work/index") || die "no stanza of $name"
    "$pleach" get --hex "$store" packages "$key" "$@" >"$work/got" || die "getting $name (exit $?)"
    "$demo" stanza "$name" <"$work/index" | cmp -s - "$work/got" || die "the stanza of $name is not what was loaded"
    say "$name: $(($(wc -c <"$work/got") / 2)) bytes, as in the index"
  done
  "$pleach" get "$store" packages "no such package" "$@"
  [ $? -eq 1 ] || die "a package that is not there was found"
}

# scan_both_ways STORE OPTIONS...: who depends on libc6, forwards and backwards, against the input.
scan_both_ways() {
  local store=$1 prefix
  shift
  prefix=$(hex_of libc6)00
  "$pleach" scan "$store" depends --hex --prefix "$prefix" "$@" >"$work/forwards" || die "scanning"
  "$pleach" scan "$store" depends --hex --prefix "$prefix" --reverse "$@" >"$work/backwards" || die "scanning backwards"
  tac "$work/backwards" | cmp -s - "$work/forwards" || die "the scan backwards is not the scan forwards"
  # The last record of a key is the one that stays; keys of Debian packages sort like their bytes.
  local wanted
  wanted=$(grep -F '{"tree":"depends","key":"libc6\u0000' "$work/input.jsonl" | cut -d, -f2 | sort -u | wc -l)
  [ "$(wc -l <"$work/forwards")" -eq "$wanted" ] || die "$(wc -l <"$work/forwards") dependents found, $wanted wanted"
  [ "$wanted" -gt 0 ] || die "nothing depends on libc6 in this index"
  say "$wanted packages depend on libc6, both ways"
}

# job FOLDER NAME BATCH CACHE NODES...: the whole job; NODES are options of load for the trees that it makes.
job() {
  local folder=$1 label=$2 batch=$3 cache=$4
  shift 4
  local a=$folder/a.pleach b=$folder/b.pleach
  rm -f "$a" "$b" "$folder/a.dump" "$folder/b.dump"

  begin "$label: making two stores"
  must "mkfs" "$pleach" mkfs "$a" --size 512MiB
  must "mkfs" "$pleach" mkfs "$b" --size 512MiB

  begin "$label: loading in atomic batches of $batch, killed half-way"
  load_and_kill "$a" "$batch" --cache "$cache" "$@"
  say "killed with SIGKILL after $acked acknowledged records"

  begin "$label: recovery gives back exactly the acknowledged batches"
  local before after
  before=$(sha256sum <"$a")
  must "fsck after the kill" "$pleach" fsck "$a" --cache "$cache" >"$work/fsck.out"
  must "saving after the kill" "$pleach" save "$a" "$work/held.jsonl" --cache "$cache"
  "$demo" check-prefix "$work/input.jsonl" "$work/held.jsonl" "$acked" "$batch" >"$work/verdict" ||
    die "$(cat "$work/verdict")"
  after=$(sha256sum <"$a")
  [ "$before" = "$after" ] || die "reading changed the store"
  say "$(cat "$work/verdict")"

  begin "$label: loading all of it"
  local started=$SECONDS
  must "loading" "$pleach" load "$a" "$work/input.jsonl" --batch "$batch" --cache "$cache" "$@"
  say "$total records in $((SECONDS - started)) s"
  "$pleach" trees "$a" --cache "$cache" | sed 's/^/        /'

  begin "$label: looking up packages, scanning a prefix both ways"
  look_up "$a" --cache "$cache"
  scan_both_ways "$a" --cache "$cache"

  begin "$label: saving the trees"
  must "saving" "$pleach" save "$a" --format dump "$folder/a.dump" --cache "$cache"
  say "$(wc -c <"$folder/a.dump") bytes"

  begin "$label: loading the dump into the second store"
  must "loading the dump" "$pleach" load "$b" --format dump "$folder/a.dump" --batch "$batch" --cache "$cache" "$@"
  must "saving again" "$pleach" save "$b" --format dump "$folder/b.dump" --cache "$cache"
  cmp "$folder/a.dump" "$folder/b.dump" || die "the two saves differ"
  say "both saves are the same"

  begin "$label: checking both stores"
  must "fsck" "$pleach" fsck "$a" --cache "$cache" >"$work/fsck.out"; say "$(tail -1 "$work/fsck.out")"
  must "fsck" "$pleach" fsck "$b" --cache "$cache" >"$work/fsck.out"; say "$(tail -1 "$work/fsck.out")"
}

job "$keep" "cache 256MiB" 1000 256MiB
mkdir -p "$work/small"
job "$work/small" "cache 8MiB, index nodes of 4KiB" 50 8MiB --node provides=4KiB --node depends=4KiB

[ -n "${PLEACH_DEMO_DIR:-}" ] && echo "a.pleach, b.pleach, a.dump and b.dump are in $keep"
echo "demo: all steps passed"
