#!/bin/bash
# Runs requirements.sh with the tests that this build has.
# Usage: requirements_test.sh ROOT BUILD_ROOT
set -u
names=$(mktemp "${TMPDIR:-/tmp}/pleach-tests-XXXXXX") || exit 2
trap 'rm -f "$names"' EXIT
command -v meson >/dev/null || exit 77
meson introspect --tests "$2" |
  python3 -c 'import json, sys; print(*(t["name"] for t in json.load(sys.stdin)), sep="\n")' >"$names" || exit 1
[ -s "$names" ] || { echo "no tests"; exit 1; }
bash "$(dirname "$0")/requirements.sh" "$1" "$names"
