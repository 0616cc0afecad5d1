// bootstrap/loader/decode.h -- the one thing the loader asks of zstd.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Decompresses one whole frame that announces exactly `plain_bytes` and carries a checksum; writes nowhere
// else. 0: done; -1: not such a frame; more: zstd's error code, 22 for a wrong checksum.
int banyan_decode(const void* frame, size_t frame_bytes, void* plain, size_t plain_bytes);

#ifdef __cplusplus
}
#endif
