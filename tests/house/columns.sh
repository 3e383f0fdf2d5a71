#!/bin/bash
# Lists lines of more than LIMIT columns in sources; fails if there are more than ALLOWED.
# Usage: columns.sh ROOT [LIMIT [ALLOWED]]
set -u
cd "$1" || exit 2
find be pagecache txn btree repair store include tools bench tests examples \( -name '*.hh' -o -name '*.cc' -o -name '*.h' \) 2>/dev/null |
  LC_ALL=C.UTF-8 sort | LC_ALL=C.UTF-8 xargs awk -v limit="${2:-100}" -v allowed="${3:-0}" '
  length($0) > limit { ++long[FILENAME]; ++total }
  END { for (f in long) print f ": " long[f] | "LC_ALL=C sort"
        close("LC_ALL=C sort")
        print total + 0 " lines of more than " limit " columns"
        exit total > allowed }'
