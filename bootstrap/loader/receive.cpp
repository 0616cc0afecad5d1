#include "bootstrap/loader/receive.h"

#include "bootstrap/branches.h"
#include "bootstrap/loader/decode.h"
#include "core/bytes.h"
#include "parent/image_header.h"

namespace banyan::loader {

namespace {

Failure read_exactly(std::uint8_t* to, std::size_t bytes) {
  while (bytes > 0) {
    long count = world::read_input(to, bytes);
    if (count < 0) return {"input", int(-count)};
    if (count == 0) return {"truncated", 0};
    to += count;
    bytes -= std::size_t(count);
  }
  return {};
}

}  // namespace

Failure receive(Plain* plain) {
  std::uint8_t header[kImageHeaderBytes];
  if (Failure failure = read_exactly(header, sizeof header); failure.word) return failure;
  auto magic = load_le<std::uint32_t>(header);
  auto compressed_bytes = load_le<std::uint32_t>(header + 4);
  auto plain_bytes = load_le<std::uint32_t>(header + 8);
  if (magic != kImageMagic || compressed_bytes == 0 || compressed_bytes > kImageBytesMax ||
      plain_bytes == 0 || plain_bytes > kImageBytesMax)
    return {"header", 0};

  std::uint8_t* compressed = world::allocate(compressed_bytes);
  if (!compressed) return {"memory", 0};
  Failure failure = read_exactly(compressed, compressed_bytes);
  if (!failure.word) {
    plain->bytes = world::allocate(plain_bytes);
    plain->count = plain_bytes;
    if (!plain->bytes)
      failure = {"memory", 0};
    else
      failure = decompress(compressed, compressed_bytes, plain->bytes, plain_bytes);
  }
  world::release(compressed, compressed_bytes);
  return failure;
}

Failure decompress(const std::uint8_t* frame, std::size_t frame_bytes, std::uint8_t* plain,
                   std::size_t plain_bytes) {
  std::uint8_t* workspace = world::allocate(BANYAN_DECODE_BYTES);
  if (!workspace) return {"memory", 0};
  int code = banyan_decode(frame, frame_bytes, plain, plain_bytes, workspace);
  world::release(workspace, BANYAN_DECODE_BYTES);
  if (code < 0) return {"frame", 0};
  if (code > 0) return {"corrupt", code};
  write_targets(plain, plain_bytes, Targets::kByDistance);
  return {};
}

}  // namespace banyan::loader
