// One call over a zstd decoder: the small one of zstd's source package, compiled in here (BANYAN_ZSTD_DECODER
// names the file that bootstrap/fetch_zstd.sh made), or, where that could not be had, libzstd's.
#include "bootstrap/loader/decode.h"

// No larger window than the largest image: more is a lie about what is to come.
#define WINDOW_MAX (64u << 20)

enum { kDone = 0, kNotSuchAFrame = -1, kCorrupt = 20, kWrongChecksum = 22 };

#ifdef BANYAN_ZSTD_DECODER

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef BANYAN_HOSTED  // in tests
#include <sanitizer/asan_interface.h>
#include <setjmp.h>
static jmp_buf refused;
#define IS_REFUSED setjmp(refused)
#define REFUSE longjmp(refused, 1)
#define HIDE(at, bytes) ASAN_POISON_MEMORY_REGION(at, bytes)
#define SHOW(at, bytes) ASAN_UNPOISON_MEMORY_REGION(at, bytes)
#else
static void* refused[5];
#define IS_REFUSED __builtin_setjmp(refused)
#define REFUSE __builtin_longjmp(refused, 1)
#define HIDE(at, bytes)
#define SHOW(at, bytes)
#endif

// The decoder is made for a program: where it refuses its input it exits, and forgets what it holds.
static _Noreturn void refuse(void) {
  REFUSE;
}

// All its memory. It holds at most the tables of four codes, those of the code one of them is written in, and
// a block's literals and sequences; these two alone may be large.
#define TABLE_BYTES 2048
#define TABLES_MAX 16
#define PART_BYTES (1200 << 10)
#define ROOMS_MAX (TABLES_MAX + 2)
_Static_assert(TABLES_MAX* TABLE_BYTES + (ROOMS_MAX - TABLES_MAX) * PART_BYTES <= BANYAN_DECODE_BYTES, "");
static unsigned char* rooms;
static unsigned char is_taken[ROOMS_MAX];

static unsigned char* room(int i) {
  return rooms +
         (i < TABLES_MAX ? i * TABLE_BYTES : TABLES_MAX * TABLE_BYTES + (i - TABLES_MAX) * PART_BYTES);
}
static size_t room_bytes(int i) {
  return i < TABLES_MAX ? TABLE_BYTES : PART_BYTES;
}

static void* take(size_t bytes) {
  for (int i = 0; i < ROOMS_MAX; ++i)
    if (!is_taken[i] && bytes <= room_bytes(i)) {
      is_taken[i] = 1;
      HIDE(room(i) + bytes, room_bytes(i) - bytes);
      return room(i);
    }
  return 0;
}

static void give_back(const void* at) {
  for (int i = 0; i < ROOMS_MAX; ++i)
    if (at == room(i)) {
      is_taken[i] = 0;
      SHOW(room(i), room_bytes(i));
    }
}

#define ZSTD_decompress small_decompress  // libzstd's name, which the fuzzer links too
#define ZDEC_NO_MESSAGE
#define ZDEC_NO_DICTIONARY
#define malloc(bytes) take(bytes)
#define calloc(count, bytes) take((count) * (bytes))
#define free(at) give_back(at)
#define exit(code) refuse()
#include BANYAN_ZSTD_DECODER

// The low half of the 64-bit xxHash, which the decoder leaves to us.
static uint64_t load(const uint8_t* at, int bytes) {
  uint64_t value = 0;
  while (bytes-- > 0) value = value << 8 | at[bytes];
  return value;
}

static uint64_t rotate(uint64_t value, int bits) {
  return value << bits | value >> (64 - bits);
}

static const uint64_t kPrime1 = 0x9E3779B185EBCA87u, kPrime2 = 0xC2B2AE3D27D4EB4Fu,
                      kPrime3 = 0x165667B19E3779F9u, kPrime4 = 0x85EBCA77C2B2AE63u,
                      kPrime5 = 0x27D4EB2F165667C5u;

static uint64_t stir(uint64_t lane, uint64_t input) {
  return rotate(lane + input * kPrime2, 31) * kPrime1;
}

static uint32_t checksum(const uint8_t* at, size_t bytes) {
  const uint8_t* end = at + bytes;
  uint64_t hash = kPrime5;
  if (bytes >= 32) {
    uint64_t lanes[4] = {kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
    for (; end - at >= 32; at += 32)
      for (int i = 0; i < 4; ++i) lanes[i] = stir(lanes[i], load(at + 8 * i, 8));
    hash = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
    for (int i = 0; i < 4; ++i) hash = (hash ^ stir(0, lanes[i])) * kPrime1 + kPrime4;
  }
  hash += bytes;
  for (; end - at >= 8; at += 8) hash = rotate(hash ^ stir(0, load(at, 8)), 27) * kPrime1 + kPrime4;
  if (end - at >= 4) {
    hash = rotate(hash ^ load(at, 4) * kPrime1, 23) * kPrime2 + kPrime3;
    at += 4;
  }
  for (; at < end; ++at) hash = rotate(hash ^ *at * kPrime5, 11) * kPrime1;
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return (uint32_t)(hash ^ hash >> 32);
}

int banyan_decode(const void* frame, size_t frame_bytes, void* plain, size_t plain_bytes, void* workspace) {
  static frame_context_t context;
  static int outcome;  // if it is refused here and now
  outcome = kNotSuchAFrame;
  rooms = workspace;
  memset(is_taken, 0, sizeof is_taken);
  if (IS_REFUSED) {
    SHOW(workspace, BANYAN_DECODE_BYTES);
    return outcome;
  }

  istream_t in = IO_make_istream(frame, frame_bytes);
  ostream_t out = IO_make_ostream(plain, plain_bytes);
  if (IO_read_bits(&in, 32) != ZSTD_MAGIC_NUMBER) refuse();
  init_frame_context(&context, &in, 0);
  if (context.header.frame_content_size != plain_bytes || !context.header.content_checksum_flag ||
      context.header.window_size > WINDOW_MAX || context.header.dictionary_id != 0)
    refuse();

  outcome = kCorrupt;
  decompress_data(&context, &out, &in);  // and past the checksum
  if (IO_istream_len(&in) != 0 || out.len != 0) refuse();
  SHOW(workspace, BANYAN_DECODE_BYTES);
  return load(in.ptr - 4, 4) == checksum(plain, plain_bytes) ? kDone : kWrongChecksum;
}

#else  // libzstd

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

int banyan_decode(const void* frame, size_t frame_bytes, void* plain, size_t plain_bytes, void* workspace) {
  ZSTD_frameHeader header;
  if (ZSTD_getFrameHeader(&header, frame, frame_bytes) != 0) return kNotSuchAFrame;
  if (header.frameType != ZSTD_frame || header.frameContentSize != plain_bytes || !header.checksumFlag ||
      header.windowSize > WINDOW_MAX || header.dictID != 0)
    return kNotSuchAFrame;

  // Straight into the result, which serves as the window: no other memory grows with what the frame says.
  ZSTD_DCtx* context = ZSTD_initStaticDCtx(workspace, BANYAN_DECODE_BYTES);
  if (!context) return kCorrupt;
  size_t count = ZSTD_decompressDCtx(context, plain, plain_bytes, frame, frame_bytes);
  if (ZSTD_getErrorCode(count) == ZSTD_error_checksum_wrong) return kWrongChecksum;
  return count == plain_bytes ? kDone : kCorrupt;
}

#endif
