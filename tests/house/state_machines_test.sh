#!/bin/bash
# Proves: doc/state-machines.md is what the tables of the machines say.
# Usage: state_machines_test.sh PROGRAM ROOT
set -u
if "$1" | diff -u "$2/doc/state-machines.md" - | head -40 | grep .; then
  echo "doc/state-machines.md is not what the code declares; write it anew:"
  echo "  build/tests/house/state_machines > doc/state-machines.md"
  exit 1
fi
n=$(grep -c '^## ' "$2/doc/state-machines.md")
[ "$n" -ge 10 ] || { echo "only $n machines: is every library linked as a whole?"; exit 1; }
echo "$n machines"
