#!/bin/sh
# fetch_zstd.sh FILE -- makes FILE: zstd's decoder as one C file, out of Debian's zstd source package.
#
# The loader is compiled from it. libzstd-dev does not have it; the source package has a script that puts it
# together. Does nothing where FILE exists. Needs apt-get, tar and xz; no root.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/private_apt.sh"

file=${1:?usage: fetch_zstd.sh FILE}
[ ! -s "$file" ] || exit 0
mkdir -p "$(dirname "$file")"
file=$(cd "$(dirname "$file")" && pwd)/$(basename "$file")
folder=$(mktemp -d)
trap 'rm -rf "$folder" "$file.$$"' EXIT

private_apt "$folder/apt" deb-src "$(dpkg --print-architecture)"
cd "$folder"
# --download-only: apt checks the files against the signed index; unpacking by hand needs no dpkg-dev.
private_apt_get source --download-only zstd >/dev/null
mkdir source
tar -C source --strip-components=1 -xf libzstd_*.orig.tar.xz
cd source/build/single_file_libs
sh ./combine.sh -r ../../lib -x legacy/zstd_legacy.h -o "$file.$$" zstddeclib-in.c >"$folder/log" 2>&1 || {
  cat "$folder/log" >&2
  exit 1
}
mv "$file.$$" "$file"
