#!/bin/sh
# fetch_musl.sh ARCH FOLDER -- unpacks Debian's musl for ARCH (as uname -m says: aarch64, x86_64) under FOLDER.
#
# For images of other architectures than this machine's: headers and static library only, nothing is installed
# and dpkg's architectures stay as they are. Does nothing where FOLDER has it. Needs apt-get and dpkg-deb; no root.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/private_apt.sh"

arch=${1:?usage: fetch_musl.sh ARCH FOLDER}
target=${2:?usage: fetch_musl.sh ARCH FOLDER}
[ ! -s "$target/usr/lib/$arch-linux-musl/libc.a" ] || exit 0
case $arch in
  x86_64) debian_arch=amd64 ;;
  aarch64) debian_arch=arm64 ;;
  *)
    echo "no Debian name known for architecture $arch" >&2
    exit 1
    ;;
esac
mkdir -p "$target"
target=$(cd "$target" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

private_apt "$folder/apt" deb "$debian_arch"
cd "$folder"
private_apt_get download "musl-dev:$debian_arch"
mkdir unpacked
dpkg-deb -x musl-dev_*.deb unpacked
# The library comes last: it marks a complete folder.
mkdir -p "$target/usr/include" "$target/usr/lib/$arch-linux-musl"
cp -R "unpacked/usr/include/$arch-linux-musl" "$target/usr/include/"
cp unpacked/usr/lib/"$arch"-linux-musl/*.o "$target/usr/lib/$arch-linux-musl/"
cp unpacked/usr/lib/"$arch"-linux-musl/libc.a "$target/usr/lib/$arch-linux-musl/"
