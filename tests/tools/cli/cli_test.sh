#!/bin/bash
# The contract of the command line, sentence by sentence: exit codes, the words in errors, bytes in and out.
#
# Usage: cli_test.sh PLEACH [DEVICE]. Works in a folder of its own, which it removes.
# It proves what a script sees; the formats themselves are tested in tests/tools/text, durability in tests/crash.
set -u
pleach=$(realpath "$1")
device=${2:-auto}
work=$(mktemp -d "${TMPDIR:-/tmp}/pleach-cli-XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work" || exit 99
export LC_ALL=C
passed=0 failed=0 skipped=0

pl() { "$pleach" --device "$device" "$@"; }
ok() { passed=$((passed + 1)); }
bad() {
  failed=$((failed + 1))
  echo "FAILED (line ${BASH_LINENO[1]}): $*"
  [ -s out ] && { head -c 300 out; echo; } | sed 's/^/    out: /'
  [ -s err ] && head -c 600 err | sed 's/^/    err: /'
  return 0
}
section() { echo "-- $*"; }
skip() { skipped=$((skipped + 1)); echo "skipped: $*"; }

# expect CODE ARGUMENTS...: runs pleach; standard output in `out`, standard error in `err`.
expect() {
  local want=$1
  shift
  timeout -s KILL 60 "$pleach" --device "$device" "$@" >out 2>err
  local got=$?
  if [ $got -ne "$want" ]; then bad "exit $got, not $want: pleach $*"; return 0; fi
  if [ $got -ge 8 ] && [ ! -s err ]; then bad "exit $got without a message: pleach $*"; return 0; fi
  ok
}
# says WORD: the last error message holds it.
says() { if grep -qF -- "$1" err; then ok; else bad "the error does not say '$1'"; fi; }
out_is() { if printf -- "$1" | cmp -s - out; then ok; else bad "standard output is not '$1'"; fi; }
out_empty() { if [ ! -s out ]; then ok; else bad "standard output is not empty"; fi; }
err_empty() { if [ ! -s err ]; then ok; else bad "standard error is not empty"; fi; }
same() { if cmp -s "$1" "$2"; then ok; else bad "$1 and $2 differ"; fi; }
equal() { if [ "$1" = "$2" ]; then ok; else bad "'$1' is not '$2'"; fi; }
fresh() { rm -f "$1"; pl mkfs "$1" --size "${2:-64MiB}" >/dev/null 2>&1 || bad "mkfs $1"; }

section "help, version, usage"
for command in mkfs grow trees put get del drop delete-range scan load save fsck undo stat upgrade create count rank select compare; do
  expect 0 $command --help
  if grep -q STORE out; then ok; else bad "$command --help does not name STORE"; fi
done
expect 0 --help
expect 0 --version
expect 0 get --version
"$pleach" >out 2>err; equal $? 16; out_empty
expect 16 nonsense
expect 16 get
expect 16 get a t k extra
expect 16 get a t k --nonsense
expect 16 --nonsense get a t k
expect 16 get a t k --cache
expect 16 get a t k --cache 12XiB
expect 16 get a t k --device floppy
expect 16 scan a t --limit -1
expect 16 scan a t --limit many
expect 16 load a --batch 0
expect 16 load a --format xml
expect 16 grow a
expect 16 grow a --size junk
expect 16 mkfs a --size 1.5GiB
expect 16 mkfs a --size ''
expect 16 get a t xyz --hex
expect 16 get a t 123 --hex
expect 16 fsck
expect 16 fsck a --repair-everything
if [ ! -e a ]; then ok; else bad "a usage error made a file"; fi

section "files that are no stores"
for command in "trees a" "get a t k" "del a t k" "put a t k v --create" "drop a t" "scan a t" "save a" "stat a" "fsck a" \
               "grow a --size 1GiB"; do
  expect 8 $command
  if [ ! -e a ]; then ok; else bad "$command made a file"; fi
done
pl load a </dev/null >out 2>err; equal $? 8
if [ ! -e a ]; then ok; else bad "load made a store"; fi
head -c 1000000 /dev/zero >zeros
head -c 1000000 /dev/urandom >noise
: >empty
echo "hello" >short
for file in zeros noise; do
  sum=$(sha256sum <$file)
  expect 8 get $file t k; says "not a Pleach store"
  expect 8 put $file t k v --create; says "not a Pleach store"
  expect 8 fsck $file
  equal "$(sha256sum <$file)" "$sum"
done
for file in empty short; do
  expect 8 get $file t k
  if grep -q -e "not a Pleach store" -e "too small" err; then ok; else bad "$file: no useful word"; fi
done
mkdir folder
expect 8 get folder t k
expect 8 put folder t k v

section "mkfs"
expect 0 mkfs s --size 64MiB; out_empty; err_empty
equal "$(stat -c %s s)" $((64 << 20))
sum=$(sha256sum <s)
expect 8 mkfs s --size 64MiB; says "--force"
equal "$(sha256sum <s)" "$sum"
expect 8 mkfs zeros
expect 8 mkfs folder
expect 0 mkfs s --size 32MiB --force
equal "$(stat -c %s s)" $((32 << 20))
expect 8 mkfs tiny --size 4KiB; says "too small"
if [ ! -e tiny ]; then ok; else bad "a failed mkfs left its file"; fi
expect 8 mkfs nowhere/s --size 64MiB
expect 0 mkfs d
equal "$(stat -c %s d)" $((1 << 30))
rm -f d
expect 0 mkfs --log-size 4MiB l --size=64MiB
expect 0 fsck l

mkfifo pipe; ln -s nowhere dangling; ln -s l link
expect 8 mkfs pipe --force --size 16MiB; expect 8 get pipe t k; says "not a Pleach store"
expect 8 mkfs folder --force --size 16MiB; expect 8 mkfs dangling; expect 8 mkfs link
if [ -p pipe ] && [ -d folder ] && [ -L dangling ] && [ ! -e nowhere ]; then ok; else bad "mkfs replaced what is no file"; fi
expect 0 mkfs link --force --size 16MiB
if [ -L link ] && [ "$(stat -c %s l)" = $((16 << 20)) ]; then ok; else bad "mkfs replaced a link, not its file"; fi
expect 8 put l "" k v --create; says "name"
expect 16 mkfs vast --size 10000000TiB

section "put, get, del"
expect 8 put s t key value; says "unknown tree"; says "--create"
expect 8 get s t key; says "unknown tree"
expect 8 del s t key; says "unknown tree"
expect 8 drop s t; says "unknown tree"
expect 8 scan s t; says "unknown tree"
expect 8 save s --tree t; says "unknown tree"; out_empty
expect 0 put s t key value --create; out_empty; err_empty
expect 0 get s t key; out_is 'value'; err_empty
expect 0 put s t key other
expect 0 get s t key; out_is 'other'
expect 1 get s t nokey; out_empty
expect 1 get s t "$(head -c 5000 /dev/zero | tr '\0' k)"
expect 1 del s t nokey
expect 0 del s t key
expect 1 get s t key
expect 1 del s t key
expect 0 put s t "" ""; expect 0 get s t ""; out_is ''
expect 0 put s t empty ""; expect 0 get s t empty; out_is ''
expect 0 put s t "a b	c" "d e"; expect 0 get s t "a b	c"; out_is 'd e'
printf 'from\0stdin\n' | pl put s t stdin - >out 2>err; equal $? 0
expect 0 get s t stdin; out_is 'from\0stdin\n'
head -c 3000 noise >value
expect 0 put s t file --value-file value; expect 0 get s t file; same out value
expect 0 put s t big --value-file zeros; expect 0 get s t big; same out zeros
expect 16 put s t key
expect 16 put s t key value --value-file value
expect 8 put s t key --value-file nowhere
expect 0 put s t k1024 v; expect 0 put s t "$(head -c 1024 /dev/zero | tr '\0' k)" long
expect 0 get s t "$(head -c 1024 /dev/zero | tr '\0' k)"; out_is 'long'
truncate -s 80M huge
expect 8 put s t huge --value-file huge; says "too large"
expect 1 get s t huge
head -c 5000000 /dev/urandom >long
expect 0 put s t long --value-file long --cache 8MiB; expect 0 get s t long --cache 8MiB; same out long
head -c 3000001 long >longer
pl put s t long - <longer >out 2>err; equal $? 0; expect 0 get s t long; same out longer
cat long | pl put s t long - >out 2>err; equal $? 0; expect 0 get s t long; same out long
# Ranges of a value with a map, of a small one, and of none.
head -c 200000 /dev/urandom >part
expect 0 put s t long --value-file part --offset 1234567; dd if=part of=long bs=64K seek=1234567 oflag=seek_bytes conv=notrunc 2>/dev/null
expect 0 get s t long; same out long
expect 0 put s t long --value-file longer --offset end; cat longer >>long; expect 0 get s t long --cache 8MiB; same out long
expect 0 get s t long --offset 4999990 --length 1500000; tail -c +4999991 long | head -c 1500000 >range; same out range
expect 0 get s t long --offset 7999990; tail -c +7999991 long >range; same out range
expect 0 put s t short abcdef; expect 0 put s t short XY --offset 2; expect 0 get s t short; out_is 'abXYef'
expect 0 put s t short ghi --offset end; expect 0 get s t short --offset 5 --length 2; out_is 'fg'
expect 0 get s t short --offset 100; out_is ''; expect 0 get s t short --length 0; out_is ''
expect 8 put s t short x --offset 10; says "behind the value's end"; expect 16 put s t short x --offset -1
expect 1 put s t nobody x --offset 0; expect 16 put s t short x --offset 1 --create
cat huge | pl put s t huge - >out 2>err; equal $? 8; says "too large"
expect 0 fsck s
expect 0 save s jl --tree t; fresh again 256MiB; expect 0 load again jl; expect 0 get again t long; same out long
expect 0 save s du --tree t --format dump; fresh again 256MiB; expect 0 load again du --format dump
expect 0 get again t long; same out long
expect 8 load again du --format dump --cache 4MiB; says "--cache"
expect 0 del s t long; expect 0 fsck s; expect 1 get s t long
rm -f long longer again jl du

section "options anywhere, -- ends them"
expect 0 --cache 16MiB get s t empty
expect 0 --hex --cache=16MiB put s t 00ff 0A0b
expect 0 get s --hex t 00ff; out_is '0a0b\n'
expect 0 get s t 00FF --hex; out_is '0a0b\n'
expect 16 put --create s get; expect 0 put --create s get put value
expect 0 get s get put; out_is "value"
expect 0 put s t -- --key -value; expect 0 get s t -- --key; out_is '-value'
expect 16 get s t --key
expect 0 put s t -- -- dashes; expect 0 get s t -- --; out_is 'dashes'
expect 0 -- get s t --key; out_is '-value'
expect 0 put s t '[a,b]' '{}'; expect 0 get s t '[a,b]'; out_is '{}'
expect 0 put s t '"q"' "'"; expect 0 get s t '"q"'; out_is "'"
expect 0 drop s get
expect 8 get s get put; says "unknown tree"

section "trees and stat"
expect 0 trees s; grep -q '^t	' out && ok || bad "trees does not list t"
expect 0 trees s --json
if command -v jq >/dev/null; then
  equal "$(jq -r '.[0].name' out)" t
  equal "$(jq -r '.[0] | (.records > 5) and (.bytes > 1000000) and (.height >= 0)' out)" true
  expect 0 stat s --json
  equal "$(jq -r '.size_bytes' out)" $((32 << 20))
  expect 0 fsck s --json
  equal "$(jq -c '[.clean, .problems]' out)" '[true,[]]'
fi
expect 0 stat s
expect 0 fsck s -n -f
expect 0 fsck s

section "versions, checksums and flags"
fresh v
expect 0 put v t k w --create --value-checksums --key-checksums
expect 0 trees v; out_is 't\t1\t2\t1\tkey checksums\tvalue checksums\n'
expect 0 get v t k; out_is 'w'
expect 0 stat v; grep -q '^features .*leaf version 2, record extras' out && ok || bad "stat names no features"
expect 0 upgrade v; out_is 'v: 2 leaves, 1 converted\n'  # the catalogue's was of version 1
expect 0 upgrade v --json; out_is '{"leaves":2,"converted":0}\n'
expect 0 upgrade v t; out_is 'v: 1 leaves, 0 converted\n'
expect 8 upgrade v nosuch; says "unknown tree"
expect 8 upgrade nosuch
printf '%s\n' '{"tree":"f","key":"a","value":"1","flags":"3c"}' '{"tree":"f","key":"b","value":"2"}' >flags.jsonl
expect 0 load v flags.jsonl
expect 0 save v --tree f; same out flags.jsonl
expect 0 scan v f; same out flags.jsonl
fresh w
pl save v --tree f | expect 0 load w
expect 0 save w; same out flags.jsonl
expect 0 save v --tree f --format dump; grep -q 'flags' err && ok || bad "save says nothing of flags that a dump has not"
printf '%s\n' '{"tree":"f","key":"a","value":"1","flags":"3"}' >bad.jsonl
expect 8 load v bad.jsonl; says "line 1"
printf '%s\n' '{"tree":"f","key":"a","value":"1","flags":"3c3c"}' >bad.jsonl
expect 8 load v bad.jsonl; says "two hex digits"
expect 0 fsck v --json; grep -q '"old_leaves":0' out && ok || bad "fsck counts no old leaves"

section "fixed lengths"
fresh fixed
expect 0 put fixed f 12345678 abcd --create --key-bytes 8 --value-bytes 4
expect 8 put fixed f 1234567 abcd; says "8 bytes, not 7"
expect 8 put fixed f 12345678 abc; says "4 bytes, not 3"
expect 0 get fixed f 12345678; out_is 'abcd'
expect 1 get fixed f 1234567
expect 0 trees fixed; grep -q '	keys of 8	values of 4$' out && ok || bad "trees does not show the lengths"
expect 0 trees fixed --json; grep -q '"key_bytes":8,"value_bytes":4' out && ok || bad "no lengths in JSON"
printf '{"tree":"g","key":"123","value":"a"}\n{"tree":"g","key":"12","value":"a"}\n' >lengths.jsonl
expect 8 load fixed lengths.jsonl --key-bytes 3; says "line 2"; says "2 bytes"; says "have 3"
expect 8 put fixed h 1 1 --create --key-bytes 257
expect 8 put fixed h 1 1 --create --node 4KiB --value-bytes 1000
expect 16 put fixed h 1 1 --create --key-bytes eight
expect 0 mkfs large --size 64MiB --max-node 1MiB
expect 0 put large t k v --create --node 1MiB; expect 0 get large t k; out_is 'v'; expect 0 fsck large
expect 8 put large t k v --cache 16MiB; says "give at least"
expect 16 mkfs large2 --max-node 2MiB
expect 8 mkfs large2 --max-node 8KiB; says "at least 16384 bytes"
expect 8 put fixed t k v --create --node 128KiB; says "too large"; says "up to 65536"

section "key orders"
fresh ordered
for n in -5 3 -1 0 127 -128; do pl put ordered i $n "v$n" --create --order int --key-bytes 1 || bad "put $n"; done
values() { pl scan ordered i "$@" | sed 's/.*"value":"\(.*\)"}/\1/' | tr '\n' ' '; }
equal "$(values)" "v-128 v-5 v-1 v0 v3 v127 "
equal "$(values --from -1 --to 5)" "v-1 v0 v3 "
equal "$(values --from -1 --to 5 --reverse)" "v3 v0 v-1 "
equal "$(values --from 5 --to -1)" ""
expect 0 scan ordered i --count --from -5 --to 127; out_is '4\n'
expect 0 scan ordered i --from -5 --to -4; out_is '{"tree":"i","key_hex":"fb","value":"v-5"}\n'
expect 0 get ordered i -5; out_is 'v-5'
expect 0 get ordered i fb --hex; grep -q '^762d35$' out && ok || bad "--hex takes bytes"
for n in 128 -129 x "" - 1x; do expect 16 get ordered i -- "$n"; says "signed integer of 1 bytes"; done
expect 16 scan ordered i --prefix 1; says "integers"
expect 0 del ordered i 3; expect 1 get ordered i 3
expect 0 put ordered u 18446744073709551615 most --create --order uint --key-bytes 8
expect 0 scan ordered u; out_is '{"tree":"u","key_hex":"ffffffffffffffff","value":"most"}\n'
expect 16 put ordered u 18446744073709551616 v; expect 16 put ordered u -1 v
expect 8 put ordered x 1 v --create --order int; says "1 to 16 bytes"
expect 16 put ordered x 1 v --create --order integer
expect 0 put ordered w abc v --create --no-prefix-compression --no-suffix-truncation
expect 0 trees ordered; grep -q '^i.*	keys of 1	order int$' out && grep -q '^w.*	whole keys	whole separators$' out && ok || bad "trees does not show the orders"
expect 0 trees ordered --json; grep -q '"order":"uint","prefix_compression":true' out && ok || bad "no order in JSON"
expect 0 save ordered ordered.dump --format dump
fresh ordered2
expect 0 load ordered2 ordered.dump --format dump
pl trees ordered >a.trees; pl trees ordered2 >b.trees; same a.trees b.trees
expect 0 save ordered2 again.dump --format dump; same ordered.dump again.dump
sed 's/pleach.order=int/pleach.order=odd/' ordered.dump >odd.dump; fresh ordered3
expect 8 load ordered3 odd.dump --format dump; says "pleach.order=odd"
expect 0 fsck ordered2

section "create, count, rank, select"
fresh cs
expect 0 create cs t --digest --node 4KiB
expect 8 create cs t; says "exists"
expect 8 create cs ''
expect 8 create cs big --node 128KiB; says "too large"
expect 16 create cs x --node 5KiB
expect 0 create cs c --counted --key-bytes 4 --value-bytes 4
expect 0 create cs plain
for i in $(seq 1000 1999); do echo "{\"tree\":\"t\",\"key\":\"$i\",\"value\":\"v$i\"}"; done >cs.jsonl
expect 0 load cs cs.jsonl
sed 's/"t"/"plain"/' cs.jsonl | pl load cs 2>err; equal $? 0
for tree in t plain; do
  expect 0 count cs $tree; out_is '1000\n'
  expect 0 count cs $tree --from 1100 --to 12; out_is '100\n'
  expect 0 count cs $tree --from 2 --to 1; out_is '0\n'
  expect 0 count cs $tree --to ''; out_is '0\n'
  expect 0 rank cs $tree 1500; out_is '500\n'
  expect 0 rank cs $tree 15005; out_is '501\n'
  expect 0 rank cs $tree ''; out_is '0\n'
done
expect 0 count cs c; out_is '0\n'
expect 0 select cs t 0; out_is '{"tree":"t","key":"1000","value":"v1000"}\n'
expect 0 select cs t 999 --keys-only; out_is '{"tree":"t","key":"1999"}\n'
expect 1 select cs t 1000; out_empty
expect 8 select cs plain 0; says "--counted"
expect 16 select cs t -1
expect 16 select cs t many
echo '{"tree":"marked","key":"k","value":"v","flags":"1f"}' >marked.jsonl; expect 0 create cs marked --counted
expect 0 load cs marked.jsonl; expect 0 select cs marked 0; same out marked.jsonl
expect 16 create cs x --node ''; expect 16 load cs marked.jsonl --batch ''
expect 16 put cs t 1000 v --offset 18446744073709551615
expect 8 count cs missing; says "unknown tree"
expect 0 trees cs; grep -q '^t	.*	digest$' out && grep -q '^c	.*	counted$' out && ok || bad "trees does not show the options"
expect 0 trees cs --json; grep -q '"counted":true,"digest":true' out && ok || bad "no options in JSON"
expect 0 fsck cs

section "compare"
fresh cs2
expect 0 create cs2 u --digest
sort -r cs.jsonl | sed 's/"t"/"u"/' | pl load cs2 2>err; equal $? 0
expect 0 compare cs t cs2 u; out_empty
expect 0 compare cs2 u cs t; out_empty
expect 0 compare cs t cs plain; out_empty
expect 0 compare cs t cs t
expect 0 put cs2 u 1077 other; expect 0 del cs2 u 1099; expect 0 put cs2 u 1100x new
for tree in t plain; do
  expect 1 compare cs $tree cs2 u
  printf '!< {"tree":"%s","key":"1077","value":"v1077"}\n!> {"tree":"u","key":"1077","value":"other"}\n< {"tree":"%s","key":"1099","value":"v1099"}\n> {"tree":"u","key":"1100x","value":"new"}\n' $tree $tree >wanted
  same out wanted
  expect 1 compare cs $tree cs2 u --brief; out_empty
done
expect 1 compare cs t cs2 u --keys-only
out_is '! {"tree":"t","key":"1077"}\n< {"tree":"t","key":"1099"}\n> {"tree":"u","key":"1100x"}\n'
expect 8 compare cs t cs2 missing; says "unknown tree"; says "cs2"
expect 8 compare cs t nowhere u
expect 16 compare cs t cs2
expect 16 compare cs t cs2 u --brief --keys-only

section "digests in saved files"
expect 0 save cs --tree t --tree c --digest with.jsonl
equal "$(grep -c '"digest"' with.jsonl)" 2
head -1 with.jsonl >out; out_is '{"tree":"c","records":"0","digest":"00000000000000000000000000000000"}\n'
fresh cs3
expect 0 load cs3 with.jsonl; expect 0 compare cs t cs3 t; expect 0 count cs3 c; out_is '0\n'
expect 0 save cs2 --tree u --digest other.jsonl
if [ "$(tail -1 with.jsonl | jq -r .digest)" != "$(tail -1 other.jsonl | jq -r .digest)" ]; then ok; else bad "different records, same digest"; fi
sed 's/v1500/w1500/' with.jsonl >bent.jsonl
fresh cs4; expect 8 load cs4 bent.jsonl; says "line 1002"; says "corrupt"; says "digest"
grep -v 1500 with.jsonl >short.jsonl
expect 8 load cs4 short.jsonl; says "999"
echo '{"tree":"t","digest":"00"}' | pl load cs4 2>err; equal $? 8; says "records"
expect 16 save cs --digest --format dump

section "scan"
fresh r
for key in b/1 b/2 b/3 a c d; do echo "{\"tree\":\"t\",\"key\":\"$key\",\"value\":\"v$key\"}"; done | pl load r 2>err
keys() { pl scan r t --keys-only "$@" 2>err | sed 's/.*"key":"\([^"]*\)".*/\1/' | tr '\n' ' '; }
equal "$(keys)" "a b/1 b/2 b/3 c d "
equal "$(keys --reverse)" "d c b/3 b/2 b/1 a "
equal "$(keys --prefix b/)" "b/1 b/2 b/3 "
equal "$(keys --prefix b/ --reverse)" "b/3 b/2 b/1 "
equal "$(keys --from b/2)" "b/2 b/3 c d "
equal "$(keys --to b/2)" "a b/1 "
equal "$(keys --from b/2 --to d)" "b/2 b/3 c "
equal "$(keys --from b/2 --to d --reverse)" "c b/3 b/2 "
equal "$(keys --from b/15 --to b/25)" "b/2 "
equal "$(keys --from b/15 --to b/25 --reverse)" "b/2 "
equal "$(keys --prefix b/ --from b/2)" "b/2 b/3 "
equal "$(keys --limit 2)" "a b/1 "
equal "$(keys --limit 2 --reverse)" "d c "
equal "$(keys --limit 0)" ""
equal "$(keys --from d --to a)" ""
equal "$(keys --from x)" ""
equal "$(keys --from "")" "a b/1 b/2 b/3 c d "
equal "$(keys --to "")" ""
equal "$(keys --prefix zz)" ""
equal "$(keys --prefix 622f --hex)" "b/1 b/2 b/3 "
expect 0 scan r t --count; out_is '6\n'
expect 0 scan r t --count --prefix b/; out_is '3\n'
expect 0 scan r t --count --from b/2 --to d; out_is '3\n'
expect 0 scan r t --count --from d --to a; out_is '0\n'
expect 0 scan r t --count --to ""; out_is '0\n'
for other in "--limit 2" --reverse --keys-only; do expect 16 scan r t --count $other; done
expect 0 scan r t --limit 1; out_is '{"tree":"t","key":"a","value":"va"}\n'
expect 0 scan r t --limit 1 --keys-only; out_is '{"tree":"t","key":"a"}\n'
pl --hex put r t ff00 01; pl --hex put r t ffff 02; pl --hex put r t fe 03
equal "$(pl scan r t --hex --prefix ff --keys-only)" '{"tree":"t","key_hex":"ff00"}
{"tree":"t","key_hex":"ffff"}'
equal "$(pl scan r t --hex --prefix ff --keys-only --reverse | head -1)" '{"tree":"t","key_hex":"ffff"}'
expect 8 scan r nonsense; says "unknown tree"; out_empty

section "delete-range"
fresh dr
fill_dr() { for key in b/1 b/2 b/3 a c d; do echo "{\"tree\":\"t\",\"key\":\"$key\",\"value\":\"v\"}"; done | pl load dr 2>err; }
left() { pl scan dr t --keys-only 2>err | sed 's/.*"key":"\([^"]*\)".*/\1/' | tr '\n' ' '; }
fill_dr; expect 0 delete-range dr t b/2 c; out_is '2\n'; equal "$(left)" "a b/1 c d "; expect 0 fsck dr
fill_dr; expect 0 delete-range dr t --prefix b/; out_is '3\n'; equal "$(left)" "a c d "
fill_dr; expect 0 delete-range dr t c; out_is '2\n'; equal "$(left)" "a b/1 b/2 b/3 "
fill_dr; expect 0 delete-range dr t --to b/2; out_is '2\n'; equal "$(left)" "b/2 b/3 c d "
fill_dr; expect 0 delete-range dr t b/2 --to b/3 --quiet; out_is '1\n'; err_empty
fill_dr; expect 0 delete-range dr t --hex 622f32 622f33; out_is '1\n'; equal "$(left)" "a b/1 b/3 c d "
pl create dr numbers --order uint --key-bytes 8 2>err; for n in 1 2 3; do expect 0 put dr numbers $n v; done
expect 0 delete-range dr numbers '' '' --hex; out_is '0\n'; expect 0 scan dr numbers --to '' --hex; out_empty
expect 0 scan dr numbers --count --to '' --hex; out_is '0\n'; expect 0 count dr numbers --to '' --hex; out_is '0\n'
expect 0 delete-range dr t d a; out_is '0\n'; expect 0 delete-range dr t ""  ""; out_is '0\n'
equal "$(left)" "a b/1 b/3 c d "
expect 0 delete-range dr t; out_is '5\n'; equal "$(left)" ""
expect 0 delete-range dr t; out_is '0\n'; expect 0 fsck dr
expect 16 delete-range dr t a --from b; expect 16 delete-range dr t a b --to c; expect 16 delete-range dr t a b c
expect 16 delete-range dr t --hex 62x; expect 16 delete-range dr
expect 8 delete-range dr nonsense; says "unknown tree"; out_empty
expect 0 delete-range dr t "$(head -c 2000 /dev/zero | tr '\0' k)"; out_is '0\n'
seq 1 100000 | sed 's/.*/{"tree":"t","key":"k&","value":"some value of &"}/' | pl load dr --batch 5000 2>err
expect 0 delete-range dr t k2 k3; out_is '11111\n'; expect 0 scan dr t --count; out_is '88889\n'; expect 0 fsck dr
expect 0 delete-range dr t; out_is '88889\n'; expect 0 fsck dr

section "load and save: JSON Lines"
fresh j
cat >in.jsonl <<'END'
{"value":"plain","key":"k1","tree":"t"}
 { "tree" : "t" , "key" : "k2" , "value" : "\u0041\n\t\"\\\/\b\f\r\u00e9\ud83d\ude00" } 
{"tree":"t","key_hex":"00FF","value":"v"}
{"tree":"t","key":"k4","value_hex":"deADbe"}
{"tree":"u","key":"","value":""}
{"tree":"t","key":"k1","value":"replaced"}
{"tree":"t","key_hex":"6b35","value_hex":""}
END
expect 0 load j in.jsonl; out_empty
cat >want.jsonl <<'END'
{"tree":"t","key_hex":"00ff","value":"v"}
{"tree":"t","key":"k1","value":"replaced"}
{"tree":"t","key":"k2","value":"A\n\t\"\\/\b\f\ré😀"}
{"tree":"t","key":"k4","value_hex":"deadbe"}
{"tree":"t","key":"k5","value":""}
{"tree":"u","key":"","value":""}
END
expect 0 save j; same out want.jsonl
expect 0 save j saved.jsonl; out_empty; same saved.jsonl want.jsonl
expect 0 save --tree u j; out_is '{"tree":"u","key":"","value":""}\n'
expect 0 save j --tree u --tree t; same out want.jsonl
expect 8 save j --tree t --tree missing; says "unknown tree"; out_empty
expect 8 save j nowhere/file
expect 8 save j --tree missing new.jsonl
if [ ! -e new.jsonl ]; then ok; else bad "a failed save left a file"; fi
expect 8 save j j; expect 0 fsck j
fresh j2
expect 0 load j2 saved.jsonl
expect 0 save j2; same out want.jsonl
printf '{"key":"a","value":"b"}\n' >notree.jsonl
expect 8 load j2 notree.jsonl; says "line 1"
expect 0 load j2 notree.jsonl --tree named; expect 0 get j2 named a; out_is 'b'
printf '{"tree":"own","key":"a","value":"b"}' | pl load j2 --tree named >out 2>err; equal $? 0
expect 0 get j2 own a; out_is 'b'
pl load j2 - <in.jsonl >out 2>err; equal $? 0
expect 8 load j2 nowhere.jsonl

section "load: bad lines"
n=0
while IFS= read -r line; do
  n=$((n + 1))
  fresh bad 16MiB
  printf '{"tree":"t","key":"1","value":"1"}\n{"tree":"t","key":"2","value":"2"}\n%s\n{"tree":"t","key":"4","value":""}\n' \
    "$line" >bad.jsonl
  expect 8 load bad bad.jsonl --batch 2 --ack; says "line 3"; out_is 'acked 2\n'
  expect 0 scan bad t --keys-only; out_is '{"tree":"t","key":"1"}\n{"tree":"t","key":"2"}\n'
  [ $n -gt 3 ] && continue
  fresh bad 16MiB
  expect 8 load bad bad.jsonl --ack; says "line 3"; out_empty
done <<'END'
{"tree":"t","key":"k","value":"\ud83d"}
{"tree":"t","key":"k","value":"\ude00\ud83d"}
{"tree":"t","key":"k","value_hex":"abc"}
{"tree":"t","key":"k","value_hex":"zz"}
{"tree":"t","key":"k"}
{"tree":"t","value":"k"}
{"tree":"t","key":"k","value":"v","more":"x"}
{"tree":"t","key":"k","value":1}
{"tree":"t","key":"k","value":"v"
{"tree":"t","key":"k","value":"v"} x
{"tree":"t","key":"k","key_hex":"00","value":"v"}
{"tree":"t","key":"k","value":"\q"}
hello
[]
END
printf '{"tree":"t","key":"1","value":"1"}\n{"tree":"t","key":"2","val' >cut.jsonl
fresh bad 16MiB
expect 8 load bad cut.jsonl; says "line 2"
printf '{"tree":"t","key":"%s","value":"1"}\n' "$(head -c 1048577 /dev/zero | tr '\0' k)" >longkey.jsonl
expect 8 load bad longkey.jsonl; says "too large"; says "line 1"

section "load: batches and acknowledgements"
awk 'BEGIN { for (i = 0; i < 2500; ++i) printf "{\"tree\":\"t%d\",\"key\":\"%06d\",\"value\":\"value %d\"}\n", i % 3, i, i }' >many.jsonl
fresh b
expect 0 load b many.jsonl --batch 1000 --ack; out_is 'acked 1000\nacked 2000\nacked 2500\n'
fresh b
expect 0 load b many.jsonl --ack; out_is 'acked 1000\nacked 2000\nacked 2500\n'
fresh b
expect 0 load b many.jsonl --ack --batch 7
equal "$(wc -l <out)" 358; equal "$(tail -1 out)" "acked 2500"; equal "$(head -1 out)" "acked 7"
pl save b >saved
sort many.jsonl >wanted; sort saved | cmp -s - wanted && ok || bad "save is not what was loaded"
expect 0 load b /dev/null --ack; out_empty
expect 0 fsck b
# A small cache takes the batches that it promises, and names what to change for others.
awk 'BEGIN { srand(5); for (i = 0; i < 500; ++i) { s = ""; n = int(rand() * 900) + 100; for (j = 0; j < n; j += 10) s = s sprintf("%010d", int(rand() * 1e9));
  printf "{\"tree\":\"t%d\",\"key\":\"%d-%d\",\"value\":\"%s\"}\n", i % 3, int(rand() * 1e9), i, s } }' >random.jsonl
fresh c
expect 0 load c random.jsonl --cache 8MiB --batch 50
fresh c
expect 0 load c random.jsonl --cache 16MiB --batch 100
awk 'BEGIN { s = "x"; while (length(s) < 50000) s = s s; for (i = 0; i < 400; ++i) print "{\"tree\":\"t\",\"key\":\"" i * 7919 "\",\"value\":\"" s "\"}" }' >wide.jsonl
fresh c 256MiB
expect 8 load c wide.jsonl --cache 8MiB --batch 400; says "too large"; says "--batch"; says "--cache"
# Many small records are as bad as few large ones: none may be gathered beyond the budget.
awk 'BEGIN { for (i = 0; i < 100000; ++i) printf "{\"tree\":\"t\",\"key\":\"%d\",\"value\":\"\"}\n", i }' >tiny.jsonl
expect 8 load c tiny.jsonl --cache 8MiB --batch 100000; says "too large"; says "line 10001"
expect 0 fsck c

section "dump"
fresh du
{ cat in.jsonl; printf '{"tree":"bin","key_hex":"000102ff","value_hex":"5c0a20"}\n'; } | pl load du >out 2>err
expect 0 save du --format dump
cp out a.dump
head -6 a.dump >out; out_is 'VERSION=3\nformat=bytevalue\ndatabase=bin\ntype=btree\ndb_pagesize=4096\nHEADER=END\n'
equal "$(sed -n 7,9p a.dump)" ' 000102ff
 5c0a20
DATA=END'
fresh du2
expect 0 load du2 --format dump a.dump
expect 0 save du2 --format=dump b.dump; same a.dump b.dump
expect 0 save du --print --format dump p.dump
fresh du3
expect 0 load du3 --format dump p.dump
expect 0 save du3 --format dump; same out a.dump
expect 0 save du --format dump --mapsize 64MiB --tree t; grep -q '^mapsize=67108864$' out && ok || bad "no mapsize line"
expect 16 save du --mapsize 64MiB
dump() { printf 'VERSION=3\nformat=%s\n%stype=btree\n%sHEADER=END\n%s' "$1" "$2" "$3" "$4"; }
refused() { # DUMP WORD
  rm -f du4; fresh du4 16MiB
  printf '%s' "$1" >x.dump
  expect 8 load du4 --format dump x.dump; says "$2"
}
refused "$(dump bytevalue $'database=t\n' $'dupsort=1\n' $' 61\n 62\nDATA=END\n')" dupsort
refused "$(dump bytevalue $'database=t\n' $'strange=1\n' $' 61\n 62\nDATA=END\n')" strange
refused "$(dump bytevalue $'database=t\n' '' $' 6\n 62\nDATA=END\n')" "line 6"
refused "$(dump bytevalue $'database=t\n' '' $' 61\n 6g\nDATA=END\n')" "line 7"
refused "$(dump print $'database=t\n' '' $' a\\zz\n b\nDATA=END\n')" "line 6"
refused "$(dump bytevalue $'database=t\n' '' $' 61\n 62\n')" truncated
refused "$(dump bytevalue '' '' $' 61\n 62\nDATA=END\n')" "--tree"
printf 'VERSION=3\nformat=bytevalue\ntype=recno\nHEADER=END\n 61\nDATA=END\n' >x.dump
expect 8 load du4 --format dump x.dump --tree t; says recno
dump bytevalue $'database=t\n' $'strange=1\n' $' 61\n 62\nDATA=END\n' >x.dump
expect 0 load du4 --format dump --lenient x.dump; says strange
expect 0 get du4 t a; out_is 'b'
fresh du5
dump bytevalue '' '' $' 61\n 62\nDATA=END\n' >x.dump
expect 0 load du5 --format dump --tree named x.dump; expect 0 get du5 named a; out_is 'b'
dump bytevalue $'database=own\n' '' $' 61\n 63\nDATA=END\n' >x.dump
expect 0 load du5 --format dump --tree renamed x.dump; expect 0 get du5 renamed a; out_is 'c'
expect 8 get du5 own a; says "unknown tree"
pl load du5 --format dump --tree piped <x.dump 2>err; cat x.dump | pl load du5 --format dump --tree pipe2 >out 2>err
expect 0 get du5 pipe2 a; out_is 'c'
dump bytevalue $'database=two\n' '' $' 61\n 64\nDATA=END\n' >>x.dump
expect 0 load du5 --format dump --tree other x.dump
expect 0 get du5 own a; expect 0 get du5 two a; expect 8 get du5 other a
dump bytevalue $'database=vacant\n' '' $'DATA=END\n' >x.dump
expect 0 load du5 --format dump x.dump; expect 0 trees du5; grep -q '^vacant	0	' out && ok || bad "an empty section made no tree"

section "dump: the peers"
awk 'BEGIN { for (i = 0; i < 300; ++i) printf "{\"tree\":\"peer\",\"key\":\"key %04d\",\"value\":\"v\\\\%d\\u0001\"}\n", i, i }' >peer.jsonl
fresh p
expect 0 load p peer.jsonl
for print in "" "--print"; do
  expect 0 save p --format dump $print --tree peer; cp out peer.dump
  if command -v mdb_load >/dev/null; then
    rm -rf env; mkdir env
    if mdb_load -f peer.dump env 2>err; then ok; else bad "mdb_load refuses the dump"; fi
    mdb_dump -s peer env >back.dump 2>err
    fresh q; expect 0 load q --format dump --tree peer back.dump
    expect 0 save q; pl save p >want 2>/dev/null; same out want
  else skip "mdb_load is not installed"; fi
  if command -v db5.3_load >/dev/null; then
    rm -f peer.db
    if db5.3_load -f peer.dump peer.db 2>err; then ok; else bad "db_load refuses the dump"; fi
    db5.3_dump -s peer peer.db >back.dump 2>err
    fresh q; expect 0 load q --format dump --tree peer back.dump
    expect 0 save q; pl save p >want 2>/dev/null; same out want
  else skip "db5.3_load is not installed"; fi
done

section "reading changes no byte"
fresh k
pl load k many.jsonl 2>err
readers() { # FILE
  local sum; sum=$(sha256sum <"$1")
  expect 0 trees "$1"; expect 0 get "$1" t0 000000; expect 1 get "$1" t0 nokey; expect 0 scan "$1" t1
  expect 0 save "$1"; expect 0 stat "$1"; expect 0 fsck "$1"; expect 0 fsck "$1" --json
  equal "$(sha256sum <"$1")" "$sum"
}
readers k
chmod a-w k; chmod a-w .
expect 0 get k t0 000000
if [ "$(id -u)" -ne 0 ]; then expect 8 put k t0 a b; fi
chmod u+w . k

section "load: in bulk"
numbers() { awk -v from="$1" -v to="$2" -v tree="$3" 'BEGIN { for (i = from; i < to; ++i) printf "{\"tree\":\"%s\",\"key\":\"%06d\",\"value\":\"value %d\"}\n", tree, i, i }'; }
holds() { # STORE FILE: the store has exactly the lines of FILE
  expect 0 save "$1" held; expect 0 fsck "$1"
  sort -u "$2" >want; sort held | cmp -s - want && ok || bad "$1 does not hold $2"
}
numbers 0 5000 t >sorted
for how in "" --no-bulk "--batch 700"; do
  fresh y; expect 0 load y sorted $how; holds y sorted
done
# Out of order after some thousands: what came before is kept, the rest goes on in batches.
{ cat sorted; numbers 3000 3001 t; numbers 7000 8500 t; numbers 6000 6100 t; } >mixed
fresh y; expect 0 load y mixed; sort -u mixed >unique; holds y unique
# Out of order at once, and in the first batch.
{ numbers 5 6 t; numbers 1 4 t; numbers 10 4000 t; } >mixed; fresh y; expect 0 load y mixed; holds y mixed
# The same key again, with another value: the last one counts.
{ numbers 0 2000 t; echo '{"tree":"t","key":"001999","value":"last"}'; } >mixed
fresh y; expect 0 load y mixed; expect 0 get y t 001999; out_is last
# Trees by turns, and one after the other; a small one between large ones.
{ numbers 0 3000 a; numbers 0 5 b; numbers 0 3000 c; numbers 3000 3010 a; } >mixed
fresh y; expect 0 load y mixed; holds y mixed
paste -d '\n' <(numbers 0 1500 a) <(numbers 0 1500 b) >mixed; fresh y; expect 0 load y mixed; holds y mixed
# A tree that has records; one that had some.
fresh y; pl put y t 000001 old --create; expect 0 load y sorted; holds y sorted
numbers 0 2500 t >some; fresh y; expect 0 load y some
expect 0 load y sorted; holds y sorted
# A bad record: what is complete of the batches before it is kept.
{ cat sorted; echo '{"tree":"t","key":1}'; } >mixed
fresh y; expect 8 load y mixed; says "line 5001"; says "5000 records are committed and kept"; holds y sorted
{ numbers 0 2345 t; echo nonsense; } >mixed; fresh y; expect 8 load y mixed; says "2000 records"
numbers 0 2000 t >some; holds y some
# Fixed lengths, large values, a dump.
awk 'BEGIN { for (i = 0; i < 3000; ++i) printf "{\"tree\":\"f\",\"key\":\"%08d\",\"value\":\"%08d\"}\n", i, i }' >fixed.jsonl
fresh y; expect 0 load y fixed.jsonl --key-bytes 8 --value-bytes 8; holds y fixed.jsonl
awk 'BEGIN { s = "0123456789abcdef"; while (length(s) < 40000) s = s s; for (i = 0; i < 300; ++i) printf "{\"tree\":\"v\",\"key\":\"%04d\",\"value\":\"%s\"}\n", i, substr(s, 1, 1 + i * 131) }' >values.jsonl
fresh y; expect 0 load y values.jsonl; holds y values.jsonl
expect 0 save y d --format dump; fresh again; expect 0 load again d --format dump; holds again values.jsonl
# No space: named, and all of it is free again.
numbers 0 400000 t >many; fresh y 8MiB; expect 8 load y many; says "no space"
expect 0 fsck y; expect 0 load y sorted; holds y sorted

section "long keys"
rep() { head -c "$1" /dev/zero | tr '\0' "${2:-k}"; }
wide=$(rep 100000) stem=$(rep 1500 s)
fresh lk 128MiB
expect 0 put lk t "$wide" 'of 100000' --create; expect 0 get lk t "$wide"; out_is 'of 100000'
expect 1 get lk t "${wide}k"; expect 1 get lk t "${wide%k}"; expect 1 del lk t "${wide%k}x"
expect 0 put lk t "${wide}k" one; expect 0 put lk t "${wide%k}" less; expect 0 put lk t "$wide" other
expect 0 get lk t "${wide}k"; out_is 'one'; expect 0 get lk t "${wide%k}"; out_is 'less'; expect 0 get lk t "$wide"; out_is 'other'
head -c 3000000 /dev/urandom >streamed
expect 0 put lk t "$wide" --value-file streamed --cache 8MiB; expect 0 get lk t "$wide" --cache 8MiB; same out streamed
expect 0 put lk t "$wide" end --offset end; expect 0 get lk t "$wide" --offset 2999999; tail -c 1 streamed >want; printf end >>want; same out want
expect 0 --hex put lk t "$(rep 120000 0)" 0a0b; expect 0 --hex get lk t "$(rep 120000 0)"; out_is '0a0b\n'
expect 0 fsck lk; expect 0 stat lk; expect 0 stat lk --json; expect 0 trees lk; expect 0 upgrade lk
expect 0 rank lk t "$wide"; out_is '2\n'; expect 0 count lk t --from "$wide"; out_is '2\n'
expect 0 del lk t "$wide"; expect 1 get lk t "$wide"; expect 0 get lk t "${wide}k"; out_is 'one'; expect 0 fsck lk
# A group that shares more than nodes hold of a key, keys around 1 KiB that begin one another, one of 1 MiB, some bytes that are no text.
awk 'BEGIN { s = "0123456789abcdef"; while (length(s) < 1048576) s = s s
  for (i = 0; i < 250; ++i) printf "{\"tree\":\"l\",\"key\":\"%s%05d\",\"value\":\"value %d\"}\n", substr(s, 1, 1500), i * 7919 % 250, i
  for (i = 1020; i < 1030; ++i) printf "{\"tree\":\"l\",\"key\":\"%s\",\"value\":\"\"}\n", substr(s, 1, i)
  for (i = 0; i < 100; ++i) printf "{\"tree\":\"l\",\"key\":\"%05d\",\"value\":\"short %d\"}\n", i * 37 % 100, i
  printf "{\"tree\":\"l\",\"key\":\"%s\",\"value\":\"longest\"}\n", substr(s, 1, 1048576)
  z = "00"; while (length(z) < 2200) z = z z
  for (i = 0; i < 10; ++i) printf "{\"tree\":\"l\",\"key_hex\":\"%sff0%d\",\"value\":\"hex\"}\n", substr(z, 1, 2200), i }' >lk.jsonl
sort lk.jsonl >lk.sorted; shuf --random-source=noise lk.jsonl >lk.shuffled
for how in "lk.jsonl" "lk.sorted" "lk.shuffled" "lk.sorted --no-bulk --batch 30" "lk.shuffled --node 4KiB --cache 8MiB --batch 40" "lk.sorted --key-checksums --value-checksums"; do
  fresh lk2 128MiB
  expect 0 load lk2 $how; expect 0 fsck lk2
  expect 0 save lk2; sort out >held; same held lk.sorted
done
expect 0 scan lk2 l --count; out_is '371\n'
expect 0 save lk2 lk.out; cp lk.out first.out
for form in "jsonl" "jsonl --digest" "dump" "dump --print"; do
  expect 0 save lk2 lk.out --format $form; fresh lk3 128MiB
  expect 0 load lk3 lk.out --format ${form%% *}; expect 0 fsck lk3; expect 0 compare lk2 l lk3 l; out_empty
  expect 0 save lk3 again.out --format $form; same again.out lk.out
  expect 0 save lk3; same out first.out
done
expect 0 create lk3 digests --digest --node 4KiB
sed 's/"tree":"l"/"tree":"digests"/' lk.shuffled | pl load lk3 >out 2>err; equal $? 0
expect 0 compare lk2 l lk3 digests; out_empty
expect 0 select lk3 digests 370 --keys-only; pl scan lk3 digests --reverse --limit 1 --keys-only >want; same out want
digits=$(pl select lk3 digests 200 --keys-only | sed 's/.*"key":"\([^"]*\)".*/\1/')
expect 0 rank lk3 digests "$digits"; out_is '200\n'; expect 0 rank lk2 l "$digits"; out_is '200\n'
expect 0 scan lk2 l --prefix "${digits%??}" --count; out_is '100\n'
expect 0 put lk3 digests "$digits" changed; expect 1 compare lk2 l lk3 digests --brief
# The range of the group's numbers from 00050 up to 00200, by bounds that are keys, or begin before any, or go on behind one.
low=${digits%?????}00050 high=${digits%?????}00200
expect 0 count lk2 l --from "$low" --to "$high"; out_is '150\n'
expect 0 delete-range lk2 l "$low" "$high"; out_is '150\n'; expect 0 fsck lk2; expect 0 scan lk2 l --count; out_is '221\n'
expect 0 delete-range lk3 digests "${low}x" "${high}x"; out_is '150\n'; expect 0 fsck lk3; expect 0 get lk3 digests "$low"; expect 1 get lk3 digests "$high"
expect 0 delete-range lk2 l --prefix "${digits%?????}"; out_is '101\n'
expect 0 load lk2 lk.shuffled; expect 0 save lk2; same out first.out; expect 0 fsck lk2
# One byte more than 1 MiB: named, with its line; what came before is kept.
{ head -5 lk.sorted; printf '{"tree":"l","key":"%s","value":"1"}\n' "$(rep 1048577)"; } >over.jsonl
fresh lk4; expect 8 load lk4 over.jsonl; says "too large"; says "line 6"; expect 0 fsck lk4
expect 8 load lk4 over.jsonl --no-bulk; says "too large"; says "line 6"; expect 0 fsck lk4
# Behind a bulk part that has begun; and the first record of all.
seq -f '{"tree":"s","key":"a%05g","value":"v"}' 1 2500 >behind.jsonl
printf '{"tree":"s","key":"b%s","value":"long"}\n' "$(rep 2000)" >>behind.jsonl
echo '{"tree":"s","key":"c","value":"last"}' >>behind.jsonl
expect 0 load lk2 behind.jsonl; expect 0 scan lk2 s --count; out_is '2502\n'; expect 0 get lk2 s c; out_is 'last'; expect 0 fsck lk2
tail -2 behind.jsonl | sed 's/"tree":"s"/"tree":"s2"/' | pl load lk2 >out 2>err; equal $? 0; expect 0 scan lk2 s2 --count; out_is '2\n'
expect 0 create lk2 narrow --key-bytes 8; expect 1 get lk2 narrow "$(rep 1500)"; expect 1 del lk2 narrow "$(rep 1500)"
expect 0 drop lk2 l; expect 0 fsck lk2
sum=$(sha256sum <lk3); pl scan lk3 l >out 2>err; pl get lk3 l "$low" >out 2>err; pl fsck lk3 >out 2>err; equal "$(sha256sum <lk3)" "$sum"
rm -f lk lk2 lk3 lk4 lk.* streamed first.out again.out over.jsonl

section "killed while loading"
awk 'BEGIN { for (i = 0; i < 60000; ++i) printf "{\"tree\":\"t%d\",\"key\":\"%08d\",\"value\":\"some value of the record %d\"}\n", i % 3, (i * 7919) % 60000, i }' >long.jsonl
fresh x 256MiB
mkfifo acks
"$pleach" --device "$device" load x long.jsonl --batch 250 --ack >acks 2>load.err &
loader=$!
count=0
while read -r word number; do
  count=$number
  if [ "$count" -ge 20000 ]; then kill -9 $loader; break; fi
done <acks
wait $loader 2>/dev/null
equal $? 137
readers_of_killed() {
  local sum; sum=$(sha256sum <x)
  expect 0 fsck x; expect 0 save x held.jsonl; expect 0 get x t0 00000000
  equal "$(sha256sum <x)" "$sum"
}
expect 0 trees x # waits until the dead process has let go of the store
readers_of_killed
m=$(wc -l <held.jsonl)
if [ "$m" -ge "$count" ] && [ $((m % 250)) -eq 0 ]; then ok; else bad "$m records after a kill at acked $count"; fi
head -n "$m" long.jsonl | sort >want; sort held.jsonl | cmp -s - want && ok || bad "not the first $m records"
expect 0 load x long.jsonl --batch 250
expect 0 save x all.jsonl
sort long.jsonl >want; sort all.jsonl | cmp -s - want && ok || bad "the second load did not complete the store"
expect 0 fsck x

section "already open"
fresh o
pl put o t a b --create
mkfifo feed
"$pleach" --device "$device" load o feed >load.out 2>load.err &
loader=$!
exec 7>feed
printf '{"tree":"t","key":"c","value":"d"}\n' >&7
for _ in $(seq 100); do pl get o t a >out 2>err || break; sleep 0.02; done
expect 8 get o t a; says "already open"
expect 8 put o t a c; says "already open"
expect 8 fsck o; says "already open"
expect 8 mkfs o --force --size 16MiB; says "already open"
exec 7>&-
wait $loader; equal $? 0
expect 0 get o t a; out_is 'b'
expect 0 get o t c; out_is 'd'

section "Ctrl-C and closed pipes"
"$pleach" --device "$device" load o feed --batch 1 --ack >load.out 2>load.err &
loader=$!
exec 7>feed
printf '{"tree":"t","key":"e","value":"f"}\n' >&7
for _ in $(seq 200); do [ -s load.out ] && break; sleep 0.02; done
kill -INT $loader
# A background job of a script may have SIGINT ignored; SIGTERM is the same to pleach.
sleep 0.2; kill -TERM $loader 2>/dev/null
wait $loader; equal $? 8
cp load.err err; says interrupted
exec 7>&-
expect 0 get o t e; out_is 'f'
expect 0 fsck o
pl scan x t0 2>err | head -1 >out; equal "${PIPESTATUS[0]}" 0; err_empty
pl save x 2>err | head -1 >out; equal "${PIPESTATUS[0]}" 8; err_empty
pl save x --format dump 2>err | head -1 >out; equal "${PIPESTATUS[0]}" 8; err_empty
pl load x long.jsonl --batch 10 --ack 2>err | head -1 >out; equal "${PIPESTATUS[0]}" 8; err_empty
expect 0 fsck x
pl --help 2>err | true; equal "${PIPESTATUS[0]}" 0; err_empty
pl get nowhere t k 2>&-; equal $? 8
[ -w /dev/full ] && { pl get nowhere t k 2>/dev/full; equal $? 8; pl get 2>/dev/full; equal $? 16; }
# A closed standard output is never taken for the store's own descriptor.
pl load x long.jsonl --batch 1000 --ack >&- 2>err; equal $? 8
expect 0 fsck x
if [ -w /dev/full ]; then
  pl save x >/dev/full 2>err; equal $? 8; says "no space"
fi

section "full, and growing"
fresh f 16MiB
awk 'BEGIN { s = sprintf("%900s", ""); gsub(/ /, "y", s); for (i = 0; i < 40000; ++i) printf "{\"tree\":\"t\",\"key\":\"%08d\",\"value\":\"%s\"}\n", i, s }' >fill.jsonl
expect 8 load f fill.jsonl --batch 20 --ack; says "no space"
cp out acks.out
acked=$(tail -1 acks.out | cut -d' ' -f2)
expect 0 fsck f
equal "$(pl scan f t --keys-only | wc -l)" "$acked"
equal "$(stat -c %s f)" $((16 << 20))
expect 0 del f t 00000000
expect 8 grow f --size 8MiB
expect 0 grow f --size 96MiB
equal "$(stat -c %s f)" $((96 << 20))
expect 0 load f fill.jsonl --batch 20
equal "$(pl scan f t --keys-only | wc -l)" 40000
expect 0 fsck f
expect 0 drop f t
expect 0 fsck f
expect 0 load f fill.jsonl --batch 20
expect 0 fsck f

section "damage"
cp x damaged
# Every 64 KiB of the second half of the used space: some page is hit.
for at in $(seq 2 2 40); do printf 'damage' | dd of=damaged bs=1 seek=$((at * 524288 + 1000)) conv=notrunc 2>/dev/null; done
expect 4 fsck damaged; says corrupt
expect 4 fsck damaged --json
if command -v jq >/dev/null; then equal "$(jq -c '[.clean, (.problems | length > 0)]' out)" '[false,true]'; fi
sum=$(sha256sum <damaged); pl fsck damaged >out 2>err; equal "$(sha256sum <damaged)" "$sum"

section "repair and undo"
fresh r
for i in $(seq 400); do echo "{\"tree\":\"t\",\"key\":\"key$i\",\"value\":\"value$i\"}"; done | pl load r --node 4KiB >/dev/null 2>&1
pl save r >before 2>/dev/null
expect 0 fsck r -y; err_empty
expect 0 fsck r -p; out_is 'r: clean\n'
expect 16 fsck r -y -n; expect 16 fsck r -y -p; expect 16 fsck r --salvage; expect 16 fsck r -n --undo u
# A leaf of the tree loses a sector, and a superblock copy one byte.
leaf=$(python3 -c '
import struct
d = open("r", "rb").read()
for b in range(len(d) // 4096):
    magic, kind, _, _, addr, _, tree = struct.unpack("<IHHQQQQ", d[b * 4096:b * 4096 + 40])
    if magic == 0x68634c50 and kind == 3 and tree == 2 and addr >> 8 == b and d[b * 4096 + 52] == 0: print(b)' | sed -n 2p)
cp r damaged
dd if=/dev/zero of=damaged bs=512 seek=$((leaf * 8 + 4)) count=1 conv=notrunc 2>/dev/null
printf x | dd of=damaged bs=1 seek=$((256 * 4096 + 100)) conv=notrunc 2>/dev/null
cp damaged d2; cp damaged d3
expect 4 fsck damaged; says 'pleach fsck -y'; same damaged d2
expect 4 fsck damaged -p; says 'corrupt'; expect 1 fsck damaged -y --undo u
if grep -q "page $leaf+1 of tree t" out; then ok; else bad "the damaged page is not named"; fi
expect 0 fsck damaged -y; expect 0 fsck damaged; err_empty
pl save damaged --tree t 2>/dev/null >after
if [ "$(grep -cvxFf before after)" = 0 ] && [ -s after ]; then ok; else bad "a record is another one after the repair"; fi
fresh other; expect 8 undo u other; says 'another store'
cp damaged again; expect 1 fsck d3 -y --undo u3; expect 0 undo u3 d3; same d3 d2
expect 0 put damaged t new v; expect 8 undo u damaged; says 'written since'
expect 8 undo nofile r; expect 8 undo before r; says 'no undo file'; expect 16 undo u
expect 8 fsck d2 -y --undo u3; says 'exists'
expect 1 fsck d2 -y --json
if python3 -c 'import json; r = json.load(open("out")); assert r["repaired"] == 2 and r["left"] == 0 and r["check"]["clean"] and len(r["steps"]) == 2'; then ok; else bad "the JSON of a repair"; fi

section "memory"
awk 'BEGIN { s = sprintf("%800s", ""); gsub(/ /, "z", s); for (i = 0; i < 100000; ++i) printf "{\"tree\":\"t%d\",\"key\":\"%d-%08d\",\"value\":\"%s\"}\n", i % 3, (i * 7919) % 9973, i, s }' >wide.jsonl
fresh m 512MiB
ceiling_kib=$(((16 + 24) * 1024))
# peak WHAT ARGUMENTS...: peak resident memory stays below the cache and 24 MiB.
peak() {
  local what=$1; shift
  if [ ! -x /usr/bin/time ]; then
    "$pleach" --device "$device" --cache 16MiB "$@" >/dev/null 2>err &
    local id=$! most=0 now
    while now=$(awk '/^VmHWM/ { print $2 }' /proc/$id/status 2>/dev/null) && [ -n "$now" ]; do most=$now; sleep 0.02; done
    wait $id; equal $? 0
    if [ "$most" -le $ceiling_kib ]; then ok; else bad "$what: peak of $most KiB, over $ceiling_kib"; fi
    return
  fi
  /usr/bin/time -f %M -o peak "$pleach" --device "$device" --cache 16MiB "$@" >/dev/null 2>err; equal $? 0
  local most; most=$(tail -1 peak)
  if [ "$most" -le $ceiling_kib ]; then ok; else bad "$what: peak of $most KiB, over $ceiling_kib"; fi
}
if [ -z "${PLEACH_SANITIZED:-}" ]; then  # a sanitizer's own memory is not the store's
  peak load load m wide.jsonl --batch 50
  peak save save m
  peak dump save m --format dump
  peak scan scan m t1 --reverse
  peak fsck fsck m
fi

echo "cli: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
