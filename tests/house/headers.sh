#!/bin/bash
# Proves: every header compiles alone. With PLEACH_EFFORT=reduced (sanitizer builds repeat what was done): the public ones.
# Usage: headers.sh ROOT COMPILER...
set -u
cd "$1" || exit 2
shift
folders="include be pagecache txn btree repair store tools"
[ "${PLEACH_EFFORT:-}" = reduced ] && folders=include
list=$(find $folders -name '*.hh' | LC_ALL=C sort)
[ -n "$list" ] || { echo "no headers"; exit 1; }
export compiler="$*"
one() {
  $compiler -std=c++23 -fsyntax-only -Wall -Wextra -Wno-pedantic -Werror -Iinclude -I. -include "$1" -x c++ /dev/null ||
    { echo "$1 does not compile alone"; return 1; }
}
export -f one
echo "$list" | xargs -P 2 -I{} bash -c 'one {}' || exit 1
echo "$(echo "$list" | wc -l) headers compile alone"
