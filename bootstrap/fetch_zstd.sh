#!/bin/sh
# fetch_zstd.sh FILE -- makes FILE: the small decoder of Debian's zstd source package, as one C file.
#
# The loader is compiled from it (bootstrap/loader/decode.c); libzstd-dev does not have it. Does nothing where FILE
# exists. Needs apt-get, tar and xz; no root.
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
cd source/doc/educational_decoder

# replace TEXT LINE: LINE in place of the one line that has TEXT.
replace() {
  mv zstd_decompress.c before.c
  awk -v text="$1" -v line="$2" 'index($0, text) { $0 = line; ++count } { print } END { exit count != 1 }' \
    before.c >zstd_decompress.c || {
    echo "zstd's small decoder is not as it was known: $1" >&2
    exit 1
  }
}
# A sequence that is not the last may leave no bit unread, when the next states cost none: these are entered.
costs='states->ll_table.num_bits[states->ll_state] | states->of_table.num_bits[states->of_state]'
replace 'if (*offset != 0) {' "if (*offset != 0 || ($costs | states->ml_table.num_bits[states->ml_state]) == 0) {"
# Codes that the format does not have would shift too far.
replace 'if (ll_code > SEQ_MAX_CODES[seq_literal_length] ||' 'if (of_code > 31 || ll_code > SEQ_MAX_CODES[seq_literal_length] ||'
# Nor may there be nothing to begin with.
replace 'states.ml_table = ctx->ml_dtable;' 'states.ml_table = ctx->ml_dtable; if (IO_istream_len(in) == 0) INP_SIZE();'
replace '#define HUF_MAX_BITS (16)' '#define HUF_MAX_BITS (11)'
# The header, in the place of its inclusion.
{ cat zstd_decompress.h && grep -v '#include "zstd_decompress.h"' zstd_decompress.c; } >"$file.$$"
mv "$file.$$" "$file"
