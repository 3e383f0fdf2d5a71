#!/bin/bash
# Installs into a folder of its own, builds a program against that with pkg-config, and runs it.
#
# Usage: consumer_test.sh BUILD CONSUMER.CC
set -eu
build=$1 source=$2
# The library of a sanitizer build does not link into a plain program.
if meson introspect "$build" --buildoptions | grep -o '"name": "b_sanitize", "value": "[^"]*"' | grep -qv '"none"'; then
  echo "skipped: a sanitizer build"
  exit 77
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/pleach-consumer-XXXXXX")
trap 'rm -rf "$work"' EXIT
meson install -C "$build" --no-rebuild --destdir "$work" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
config=$(find "$work" -name pleach.pc)
[ -n "$config" ] || { echo "pleach.pc is not installed"; exit 1; }
export PKG_CONFIG_PATH=${config%/*}
prefix=$(pkg-config --variable=prefix pleach)
cd "$work"
# shellcheck disable=SC2046
g++ -std=c++23 -Wall -Wextra -Werror "$source" -o consumer \
  $(pkg-config --define-variable=prefix="$work$prefix" --cflags --libs pleach)
[ "$(./consumer)" = "$(pkg-config --modversion pleach)" ]
"$work$prefix/bin/pleach" --version
