#!/bin/bash
# Proves: each row of doc/requirements.md names tests that exist and a page. A row that says "not yet" need not.
# Usage: requirements.sh ROOT NAMES     NAMES: a file with the name of each test on a line
set -u
names=$(realpath "$2") || exit 2
cd "$1" || exit 2
wrong=0 rows=0
complain() { echo "doc/requirements.md: \"$capability\": $*"; wrong=1; }

# test_exists NAME: as `meson test` prints it, with * for several; or a file.
test_exists() {
  local line
  while read -r line; do
    # shellcheck disable=SC2053  # a pattern
    [[ $line == $1 ]] && return 0
  done <"$names"
  [ -e "$1" ]
}

while IFS='|' read -r _ capability how tests page _; do
  capability=$(echo "$capability" | sed 's/^ *//; s/ *$//')
  case $capability in capability | ---* | '') continue ;; esac
  rows=$((rows + 1))
  empty_test=0
  [ -z "${tests// /}" ] && empty_test=1
  if [ $empty_test = 1 ] || [ -z "${page// /}" ]; then
    case $how in *"not yet"*) ;; *) complain "no test or no page, and not said to be missing" ;; esac
  fi
  case $tests in *simulation*) test_exists sim || complain "there is no test of the simulation" ;; esac
  while read -r name; do
    [ -z "$name" ] || test_exists "$name" || complain "there is no test $name"
  done < <(grep -o '`[^`]*`' <<<"$tests" | tr -d '`')
  while read -r path; do
    [ -z "$path" ] || [ -e "$path" ] || complain "there is no page $path"
  done < <({ grep -oE '\]\([^)#]*' <<<"$page" | sed 's/^](/doc\//'; grep -o '`[^`]*`' <<<"$page" | tr -d '`'; })
done < <(grep '^|' doc/requirements.md)
[ "$rows" -gt 0 ] || { echo "no rows"; exit 1; }
[ $wrong = 0 ] && echo "$rows rows"
exit $wrong
