// Goal: the loader takes exactly one image off its input, decompresses it rightly, and refuses everything
// else within the memory that was announced. Method: its receiving and decompressing code, hosted. The first
// byte chooses: the input as it is, in small pieces; the input as a frame, decoded beside libzstd, which must
// agree; or the input as an image, compressed, which must come back.
#include <zstd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "bootstrap/branches.h"
#include "bootstrap/loader/receive.h"
#include "core/assert.h"
#include "core/bytes.h"
#include "parent/image_header.h"

using namespace banyan;
using namespace banyan::loader;

namespace {

constexpr std::size_t kMemoryMax =
    4 << 20;  // larger images are refused for want of memory, which is a case too

struct Input {
  Bytes bytes;
  std::size_t taken = 0;
};
Input input;
std::size_t allocated = 0;

Buffer with_header(Bytes frame, std::size_t plain_bytes) {
  Buffer image(kImageHeaderBytes);
  store_le(image.data(), kImageMagic);
  store_le(image.data() + 4, std::uint32_t(frame.size()));
  store_le(image.data() + 8, std::uint32_t(plain_bytes));
  image.insert(image.end(), frame.begin(), frame.end());
  return image;
}

// What came of it; empty: refused. Takes no byte that follows the image.
Buffer receive_from(Bytes bytes) {
  input = {bytes, 0};
  Plain plain;
  const Failure failure = receive(&plain);
  Buffer result;
  if (failure.word == nullptr) {
    ASSERT(plain.bytes != nullptr && plain.count > 0 && plain.count <= kImageBytesMax);
    ASSERT(input.taken == kImageHeaderBytes + load_le<std::uint32_t>(bytes.data() + 4));
    result.assign(plain.bytes, plain.bytes + plain.count);
  }
  if (plain.bytes != nullptr) world::release(plain.bytes, plain.count);
  ASSERT(allocated == 0);
  return result;
}

void check_beside_libzstd(Bytes frame) {
  const auto size = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (size == 0 || size > kMemoryMax) return;
  Buffer expected(size);
  const std::size_t count = ZSTD_decompress(expected.data(), expected.size(), frame.data(), frame.size());
  const Buffer image = with_header(frame, size);
  const Buffer plain = receive_from(image);
  if (plain.empty()) return;  // it asks for more than libzstd does: a checksum, one frame, no dictionary
  ASSERT(count == size);
  write_targets(expected.data(), expected.size(), Targets::kByDistance);
  ASSERT(plain == expected);
}

void check_round_trip(Bytes plain, int level) {
  if (plain.empty()) return;
  // Long enough to be more than one block.
  Buffer repeated;
  while (repeated.size() < 300'000 && repeated.size() < plain.size() * 40)
    repeated.insert(repeated.end(), plain.begin(), plain.end());
  Buffer filtered = repeated;
  write_targets(filtered.data(), filtered.size(), Targets::kByPlace);
  Buffer frame(ZSTD_compressBound(filtered.size()));
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  frame.resize(ZSTD_compress2(context, frame.data(), frame.size(), filtered.data(), filtered.size()));
  ZSTD_freeCCtx(context);
  Buffer image = with_header(frame, repeated.size());
  image.insert(image.end(), {'m', 'o', 'r', 'e'});
  ASSERT(receive_from(image) == repeated);
}

}  // namespace

namespace banyan::loader::world {

long read_input(std::uint8_t* to, std::size_t max) {
  const std::size_t left = input.bytes.size() - input.taken;
  // Pieces as a slow connection brings them; the bytes themselves choose.
  const std::size_t count =
      std::min({left, max, left > 0 ? 1 + input.bytes[input.taken] * std::size_t(16) : 0});
  if (count > 0) std::memcpy(to, input.bytes.data() + input.taken, count);
  input.taken += count;
  return long(count);
}

std::uint8_t* allocate(std::size_t bytes) {
  if (bytes > kMemoryMax) return nullptr;
  allocated += bytes;
  return static_cast<std::uint8_t*>(std::calloc(bytes, 1));
}

void release(std::uint8_t* memory, std::size_t bytes) {
  allocated -= bytes;
  std::free(memory);
}

}  // namespace banyan::loader::world

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Bytes bytes(data + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      receive_from(bytes);
      break;
    case 1:
      check_beside_libzstd(bytes);
      break;
    default:
      check_round_trip(bytes, 1 + data[0] / 3 % 12);
  }
  return 0;
}
