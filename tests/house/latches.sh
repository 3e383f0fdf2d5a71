#!/bin/bash
# Proves: the bytes of a page are reached through page_reader and page_writer only. Where a frame stands is known to the cache,
# which moves and fills frames, and to engine::write, which makes the writers; nobody casts constness of bytes away.
# Usage: latches.sh ROOT
set -u
cd "$1" || exit 2
# `data` of a descriptor (frames.cc and page_cache.cc set it, loader.cc reads into it, page_table.cc prefetches it).
may_touch='^(pagecache/(descriptor\.hh|core\.cc|frames\.cc|loader\.cc|page_cache\.cc|page_table\.cc|images\.cc)|txn/engine_state\.cc)$'
may_cast='^(pagecache/page_writer\.hh|txn/extent_op\.cc)$'  # extent_op: the caller's buffer, which a write only reads
may_make='^(txn/engine_state\.cc|pagecache/page_writer\.hh|store/core\.cc)$'  # core.cc: the images that mkfs writes
wrong=0 seen=0
report() { echo "$1: $2: $3"; wrong=1; }

# A member `data` that is no function call; requests of a device, the caller's spans and planted bugs have their own.
while IFS=: read -r file line text; do
  case $text in *//*data*) continue ;; esac
  sed -n "$((line - 4)),${line}p" "$file" | grep -q PLEACH_PLANTED && continue
  seen=$((seen + 1))
  grep -qE "$may_touch" <<<"$file" || report "$file" "$line" "the bytes of a page without a bracket: $text"
done < <(grep -rnP '(->|\.)data\b(?!\s*\()' pagecache txn btree store --include='*.cc' --include='*.hh' 2>/dev/null |
  grep -vP '\b(r|request|request_|requests_\S*|aux_|p)(\.|->)data\b')
while IFS=: read -r file line text; do
  # A planted bug stands under its name.
  sed -n "$((line - 1)),${line}p" "$file" | grep -q PLEACH_PLANTED && continue
  case $text in *request*.data*=*const_cast*) continue ;; esac  # what a device writes it only reads
  grep -qE "$may_cast" <<<"$file" || report "$file" "$line" "constness of bytes is cast away: $text"
done < <(grep -rnE 'const_cast<(std::byte ?\*|page_header|node_header)' pagecache txn btree store --include='*.cc' --include='*.hh' 2>/dev/null)
# Writers are made where the page joins the open group (mkfs has no group, nor pages in a cache).
while IFS=: read -r file line text; do
  grep -qE "$may_make" <<<"$file" ||
    report "$file" "$line" "a page_writer made outside of engine::write: $text"
done < <(grep -rnE '\bcapture\}|page_writer[({]' pagecache txn btree store --include='*.cc' --include='*.hh' 2>/dev/null | grep -v 'page_writer(std::byte\* base')
[ "$seen" -gt 0 ] || { echo "no page's bytes found"; exit 1; }
[ $wrong = 0 ] && echo "$seen places, all of the cache"
exit $wrong
