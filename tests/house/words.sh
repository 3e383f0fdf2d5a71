#!/bin/bash
# Proves: no source holds a word that stands for work not done, nor the assert() that release builds drop.
# Usage: words.sh ROOT
set -u
cd "$1" || exit 2
sources=$(find be pagecache txn btree repair store include tools bench tests \
  \( -name '*.hh' -o -name '*.cc' -o -name '*.h' -o -name '*.sh' -o -name 'meson.build' \) 2>/dev/null | grep -v '^tests/house/')
[ -n "$sources" ] || { echo "no sources"; exit 1; }
wrong=0
report() { echo "$1"; wrong=1; }
hits=$(grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $sources) && report "$hits"
hits=$(grep -nE '#[ \t]*include[ \t]*<(cassert|assert\.h)>' $sources) && report "$hits"
hits=$(grep -nE '^#[ \t]*include[ \t]*"[^"]*\.cc"' $sources) && report "$hits"
# Randomness and time come from the environment.
hits=$(grep -nE '\b(std::rand|random_device|gettimeofday|system_clock::now)\b' $(echo "$sources" | grep -E '^(pagecache|txn|btree)/')) &&
  report "$hits"
[ $wrong = 0 ] && echo "$(echo "$sources" | wc -l) files"
exit $wrong
