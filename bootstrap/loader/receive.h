// bootstrap/loader/receive.h -- takes an image off the wire: exactly its bytes, decompressed and checked.
//
// Knows no system call: whoever links it gives the functions of namespace `world` below. The loader's are in
// system.cpp, the fuzzer's in its own file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace banyan::loader {

// What went wrong, as the words of the error line (docs/how_it_works.md), and a number that says more: an
// errno or zstd's error code. No word: all is well.
struct Failure {
  const char* word = nullptr;
  int code = 0;
};

struct Plain {
  std::uint8_t* bytes = nullptr;
  std::size_t count = 0;
};

// Reads a header and the frame it announces, not a byte more, and decompresses it into `plain`.
Failure receive(Plain* plain);

// Decompresses one whole zstd frame that must announce exactly `plain_bytes` and carry a checksum, and puts
// its branches right (bootstrap/branches.h).
Failure decompress(const std::uint8_t* frame, std::size_t frame_bytes, std::uint8_t* plain,
                   std::size_t plain_bytes);

namespace world {

// Waits for bytes. More than 0: that many were read; 0: the end; less: -errno.
long read_input(std::uint8_t* to, std::size_t max);
// Zeroed pages, used only as far as they are touched; nullptr: none to be had.
std::uint8_t* allocate(std::size_t bytes);
void release(std::uint8_t* memory, std::size_t bytes);

}  // namespace world

}  // namespace banyan::loader
