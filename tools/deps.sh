#!/bin/bash
# Installs the Debian packages that are missing, and only those. Works as root or with sudo.
#
# Usage: tools/deps.sh [--tests] [--bench]
set -euo pipefail

packages="meson ninja-build g++ pkg-config liburing-dev libxxhash-dev libfmt-dev libcli11-dev
          libboost-context1.81-dev doctest-dev"
for option in "$@"; do
  case $option in
    --tests) packages="$packages clang-19 lld-19 libclang-rt-19-dev python3-minimal util-linux mount lmdb-utils db5.3-util
                      e2fsprogs xfsprogs btrfs-progs" ;;
    --bench) packages="$packages librocksdb-dev liblmdb-dev" ;;
    *) echo "deps.sh: unknown option $option; it takes --tests and --bench" >&2; exit 16 ;;
  esac
done

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=""
for package in $packages; do
  installed "$package" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "deps.sh: install as root:$missing" >&2; exit 8; }
  as_root="sudo"
fi
export DEBIAN_FRONTEND=noninteractive
install_all() {
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
}

known() {
  local package
  for package in $missing; do apt-cache show "$package" >/dev/null 2>&1 || return 1; done
}

echo "installing:$missing"
if ! known; then $as_root apt-get update; fi
# Lists that are there may be too old for the archive: try once more with new ones.
install_all || { $as_root apt-get update && install_all; }
