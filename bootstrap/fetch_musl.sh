#!/bin/sh
# fetch_musl.sh ARCH FOLDER -- unpacks Debian's musl for ARCH (as uname -m says: aarch64, armv7l, x86_64) under FOLDER.
#
# For images of other architectures than this machine's: headers and static library only, nothing is installed
# and dpkg's architectures stay as they are. Does nothing where FOLDER has it. Needs apt-get and dpkg-deb; no root.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/private_apt.sh"

arch=${1:?usage: fetch_musl.sh ARCH FOLDER}
target=${2:?usage: fetch_musl.sh ARCH FOLDER}
triplet=$arch-linux-musl
case $arch in
  x86_64) debian_arch=amd64 ;;
  aarch64) debian_arch=arm64 ;;
  armv7l)
    debian_arch=armhf
    triplet=arm-linux-musleabihf
    ;;
  *)
    echo "no Debian name known for architecture $arch" >&2
    exit 1
    ;;
esac
[ ! -s "$target/usr/lib/$triplet/libc.a" ] || exit 0
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
mkdir -p "$target/usr/include" "$target/usr/lib/$triplet"
cp -R "unpacked/usr/include/$triplet" "$target/usr/include/"
cp unpacked/usr/lib/"$triplet"/*.o "$target/usr/lib/$triplet/"
cp unpacked/usr/lib/"$triplet"/libc.a "$target/usr/lib/$triplet/"
