#!/bin/bash
# Proves: a folder includes only itself and folders below it; includes are written from the root, without "..".
# Usage: includes.sh ROOT
set -u
cd "$1" || exit 2
find be pagecache txn btree repair store include tools bench tests \( -name '*.hh' -o -name '*.cc' -o -name '*.h' \) 2>/dev/null |
  LC_ALL=C sort | xargs awk '
  # Houses of the engine, from the ground up.
  BEGIN { n = split("be/base be/sm be/io be pagecache txn btree repair store", house, " ")
          for (i = 1; i <= n; ++i) rank[house[i]] = i }
  function folder_of(path,   parts, k) {
    k = split(path, parts, "/")
    if (parts[1] == "be" && k > 2 && (("be/" parts[2]) in rank)) return "be/" parts[2]
    return parts[1]
  }
  function bad(why) { print FILENAME ":" FNR ": includes \"" target "\": " why; ++wrong }
  function exists(path) {
    if (!(path in known)) { known[path] = (getline line < path) >= 0; close(path) }
    return known[path]
  }
  /^[ \t]*#[ \t]*include[ \t]*["<]/ {
    quoted = $0 ~ /include[ \t]*"/
    target = $0
    sub(/^[^"<]*["<]/, "", target); sub(/[">].*$/, "", target)
    if (target ~ /\.\./) { bad("not from the root"); next }
    from = folder_of(FILENAME)
    public = target ~ /^pleach\//
    if (!quoted && !public) { ++system_; next }
    ++own
    path = public ? "include/" target : target
    if (!exists(path)) { bad("there is no such file from the root"); next }
    to = public ? "include" : folder_of(target)
    if (from == "include" && to != "include") bad("the public headers include nothing internal")
    else if (from == "tools" && to != "tools" && to != "include") bad("tools are clients of the public API")
    else if (from == "bench" && to != "bench" && to != "include") bad("bench is a client of the public API")
    else if (from in rank && !(to in rank) && !(from == "store" && to == "include")) bad("not a folder below " from)
    else if (from in rank && to in rank && rank[to] > rank[from]) bad(to " lies above " from)
  }
  END { print own + 0 " includes of our own files, " wrong + 0 " against the rules"; exit wrong > 0 || own == 0 }'
