// bootstrap/loader/decode.h -- the one thing the loader asks of zstd.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// What decoding needs beside frame and result, whatever the frame says.
#define BANYAN_DECODE_BYTES (2500u << 10)

// Decompresses one whole frame that announces exactly `plain_bytes`, carries a checksum and wants no
// dictionary; writes nowhere else but to `workspace`, of BANYAN_DECODE_BYTES. 0: done; -1: not such a frame;
// else as zstd counts errors: 20 damaged, 22 a wrong checksum. Thread: one at a time.
int banyan_decode(const void* frame, size_t frame_bytes, void* plain, size_t plain_bytes, void* workspace);

#ifdef __cplusplus
}
#endif
