// One call over zstd's decoder, which is either compiled in here, small (BANYAN_ZSTD_DECODER names the file
// that bootstrap/fetch_zstd.sh made), or linked from libzstd.
#include "bootstrap/loader/decode.h"

#ifdef BANYAN_ZSTD_DECODER
// All of these trade speed, which an image of some kilobytes does not need, for size.
#define NDEBUG
#define HUF_FORCE_DECOMPRESS_X1
#define ZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT
#define ZSTD_NO_INLINE 1
#define DYNAMIC_BMI2 0
#include BANYAN_ZSTD_DECODER
#else
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>
#endif

// No larger window than the largest image: more is a lie about what is to come.
#define WINDOW_MAX (64u << 20)

int banyan_decode(const void* frame, size_t frame_bytes, void* plain, size_t plain_bytes) {
  ZSTD_frameHeader header;
  if (ZSTD_getFrameHeader(&header, frame, frame_bytes) != 0) return -1;
  if (header.frameType != ZSTD_frame || header.frameContentSize != plain_bytes || !header.checksumFlag ||
      header.windowSize > WINDOW_MAX || header.dictID != 0)
    return -1;

  // Straight into the result, which serves as the window: no other memory grows with what the frame says.
  static _Alignas(64) unsigned char workspace[192 << 10];
  ZSTD_DCtx* context = ZSTD_initStaticDCtx(workspace, sizeof workspace);
  if (!context) return ZSTD_error_memory_allocation;
  size_t count = ZSTD_decompressDCtx(context, plain, plain_bytes, frame, frame_bytes);
  if (ZSTD_isError(count))
    return (int)(0 - count);  // the error code, which is what a size_t above the maximum is
  return count == plain_bytes ? 0 : -1;
}
