#!/bin/bash
# Proves: what the documents point at exists: links [text](path#part), paths in `backticks`, and doc pages named in sources.
# Usage: links.sh ROOT
set -u
cd "$1" || exit 2
wrong=0 seen=0
# lines `file<TAB>target`
targets() {
  for f in README.md doc/*.md; do
    # Code blocks hold examples, not links.
    awk -v f="$f" '/^[ \t]*```/ { code = !code; next } code { next } {
      rest = $0
      while (match(rest, /\]\([^)]*\)/)) {
        print f "\tlink\t" substr(rest, RSTART + 2, RLENGTH - 3); rest = substr(rest, RSTART + RLENGTH) }
      rest = $0
      while (match(rest, /`[^`]*`/)) {
        t = substr(rest, RSTART + 1, RLENGTH - 2); rest = substr(rest, RSTART + RLENGTH)
        if (t ~ /^(be|pagecache|txn|btree|store|include|tools|bench|tests|doc)\/[A-Za-z0-9_.\/-]+$/) print f "\tpath\t" t } }' "$f"
  done
  grep -rnoE '\bdoc/[a-z_-]+\.md' be pagecache txn btree repair store include tools bench tests \
    --include='*.hh' --include='*.cc' --include='*.sh' 2>/dev/null | grep -v '^tests/house/' |
    awk -F: '{ print $1 "\tpath\t" $3 }' | sort -u
}
# The name that a heading has in a link.
anchors() { grep -E '^#+ ' "$1" | sed -E 's/^#+ +//; s/[`*]//g' | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9_\n-'; }
while IFS=$'\t' read -r file kind target; do
  case $target in http://* | https://* | mailto:*) continue ;; esac
  seen=$((seen + 1))
  part=""
  case $target in *'#'*) part=${target#*#} target=${target%%#*} ;; esac
  if [ "$kind" = link ]; then
    [ -z "$target" ] && target=$(basename "$file")
    target=$(dirname "$file")/$target
  fi
  # A module may be named without its suffix: `btree/write_op`; a program by where it is built.
  if ! [ -e "$target" ] && ! [ -e "$target.hh" ] && ! [ -e "$target.cc" ] &&
    ! grep -qs "executable('$(basename "$target")'" "$(dirname "$target")/meson.build"; then
    echo "$file: $target does not exist"
    wrong=1
  elif [ -n "$part" ] && ! anchors "$target" | grep -qxF -- "$part"; then
    echo "$file: $target has no heading #$part"
    wrong=1
  fi
done < <(targets)
[ "$seen" -gt 0 ] || { echo "no links found"; exit 1; }
[ $wrong = 0 ] && echo "$seen links"
exit $wrong
