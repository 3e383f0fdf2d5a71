#!/bin/bash
# Proves: the checks of this folder find what they look for. Each is given a small tree with one fault in it.
# Usage: self_test.sh COMPILER...
set -u
here=$(cd "$(dirname "$0")" && pwd)
compiler=$*
work=$(mktemp -d "${TMPDIR:-/tmp}/pleach-house-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

fresh() {
  rm -rf "$work/t"
  mkdir -p "$work"/t/{be/base,be/sm,be/io,pagecache,txn,btree,store,include/pleach,tools,bench,tests,doc}
  cd "$work/t" || exit 2
  printf '#pragma once\nstruct a {};\n' >be/base/a.hh
  printf '#pragma once\n#include "be/base/a.hh"\n' >be/sm/b.hh
  printf '#pragma once\n' >include/pleach/p.hh
  printf '# Page\n\n## One part\n\n[here](page.md#one-part) `be/base/a.hh`\n' >doc/page.md
  printf '`doc/page.md`\n' >README.md
}
expect() {  # expect CODE WHAT COMMAND...
  local want=$1 what=$2
  shift 2
  "$@" >"$work/out" 2>&1
  local code=$?
  [ $code -ne 0 ] && code=1
  if [ $code -ne "$want" ]; then
    echo "$what: ended with $code instead of $want"
    cat "$work/out"
    failed=1
  fi
}

fresh
expect 0 "clean tree" bash "$here/includes.sh" .
expect 0 "clean tree" bash "$here/words.sh" .
expect 0 "clean tree" bash "$here/links.sh" .
expect 0 "clean tree" bash "$here/columns.sh" .
expect 0 "clean tree" bash "$here/headers.sh" . $compiler

breaks_rule() {  # breaks_rule WHAT FILE LINE
  fresh
  echo "$3" >>"$2"
  expect 1 "$1" bash "$here/includes.sh" .
}
breaks_rule "include upwards" be/base/a.hh '#include "be/sm/b.hh"'
breaks_rule "include of a sibling's relative path" be/sm/b.hh '#include "b.hh"'
breaks_rule "include with .." be/sm/b.hh '#include "../base/a.hh"'
breaks_rule "include of what is not there" be/sm/b.hh '#include "be/base/none.hh"'
breaks_rule "tool that looks inside" tools/t.cc '#include "be/base/a.hh"'
breaks_rule "public header that looks inside" include/pleach/p.hh '#include "be/base/a.hh"'
breaks_rule "engine that includes the public header" txn/t.cc '#include "pleach/p.hh"'
breaks_rule "engine that includes a tool" txn/t.cc '#include "tools/t.hh"'

fresh
# shellcheck disable=SC2016
printf '// %s: later\n' TO''DO >txn/t.cc
expect 1 "banned word" bash "$here/words.sh" .
fresh
echo '#include <cassert>' >txn/t.cc
expect 1 "cassert" bash "$here/words.sh" .
fresh
echo 'struct b { no_such_type t; };' >>be/sm/b.hh
PLEACH_EFFORT=full expect 1 "header that does not compile" bash "$here/headers.sh" . $compiler
fresh
echo '[there](none.md)' >>doc/page.md
expect 1 "broken link" bash "$here/links.sh" .
fresh
echo '[there](page.md#none)' >>doc/page.md
expect 1 "broken heading" bash "$here/links.sh" .
fresh
echo '`btree/none.hh`' >>doc/page.md
expect 1 "broken path" bash "$here/links.sh" .
fresh
printf '// %0110d\n' 1 >txn/t.cc
expect 1 "long line" bash "$here/columns.sh" .

fresh
expect 1 "no place of the cache at all" bash "$here/latches.sh" .
echo 'x = d.data;' >pagecache/loader.cc
expect 0 "bytes in the cache" bash "$here/latches.sh" .
echo 'x = d->data;' >btree/t.cc
expect 1 "a page's bytes outside of the cache" bash "$here/latches.sh" .
echo 'auto* p = const_cast<std::byte*>(n.base());' >btree/t.cc
expect 1 "constness that is cast away" bash "$here/latches.sh" .
echo 'return page_writer(base, size, c);' >btree/t.cc
expect 1 "a writer of one's own" bash "$here/latches.sh" .

fresh
printf 'sim\nunit-one\n' >names
row() { printf '| capability | how | test | page |\n|---|---|---|---|\n%s\n' "$1" >doc/requirements.md; }
row '| a | b | `unit-*`, simulation | [page](page.md), `doc/page.md` |'
expect 0 "a row with tests and pages" bash "$here/requirements.sh" . names
row '| a | not yet | | |'
expect 0 "a row that says it is missing" bash "$here/requirements.sh" . names
row '| a | b | `unit-two` | [page](page.md) |'
expect 1 "a test that does not exist" bash "$here/requirements.sh" . names
row '| a | b | | [page](page.md) |'
expect 1 "a row without a test" bash "$here/requirements.sh" . names
row '| a | b | `unit-one` | |'
expect 1 "a row without a page" bash "$here/requirements.sh" . names
row '| a | b | `unit-one` | [none](none.md) |'
expect 1 "a page that does not exist" bash "$here/requirements.sh" . names

fresh
printf 'm A B\nm B C\nm A C\n' >edges
printf 'm A B 1\nm B C 0\nm A C 0\nother A B 1\nm A B 0\nm B C 1\n' >coverage
printf '# none\nm A C only when pigs fly\n' >excuses
expect 0 "all edges taken or excused" bash "$here/edge_report.sh" edges coverage counters excuses
if [ "$(tr '\n' ' ' <counters)" != "edges_declared=3 edges_taken=2 edges_excused=1 edges_missing=0 " ]; then
  echo "edge_report counts wrongly"; cat counters; failed=1
fi
printf '# none\n' >excuses
expect 1 "missing edge" bash "$here/edge_report.sh" edges coverage - excuses
printf 'm A C\n' >excuses
expect 1 "excuse without a reason" bash "$here/edge_report.sh" edges coverage - excuses
printf 'm A C why\nm X Y why\n' >excuses
expect 1 "excuse of nothing" bash "$here/edge_report.sh" edges coverage - excuses

cd / && [ $failed = 0 ] && echo "all checks find what they look for"
exit $failed
