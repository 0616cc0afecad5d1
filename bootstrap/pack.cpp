// bootstrap/pack.cpp -- build tool: compresses an image, or pads a loader.
//
//   pack compress FILE TO       one zstd frame, level 19, with content size and checksum
//   pack pad FILE TO BYTES      zeros, then the word that tells stage 0 the file is whole
#include <zstd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "parent/image.h"

namespace {

[[noreturn]] void fail(const std::string& text) {
  std::fprintf(stderr, "pack: %s\n", text.c_str());
  std::exit(1);
}

std::string read_file(const char* name) {
  std::FILE* file = std::fopen(name, "rb");
  if (!file) fail(std::string("cannot open ") + name);
  std::string bytes;
  char part[65536];
  for (std::size_t count; (count = std::fread(part, 1, sizeof part, file)) > 0;) bytes.append(part, count);
  std::fclose(file);
  return bytes;
}

void write_file(const char* name, const std::string& bytes) {
  std::FILE* file = std::fopen(name, "wb");
  if (!file || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size() || std::fclose(file) != 0)
    fail(std::string("cannot write ") + name);
}

std::string compress(const std::string& plain) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 19);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  std::string frame(ZSTD_compressBound(plain.size()), '\0');
  std::size_t count = ZSTD_compress2(context, frame.data(), frame.size(), plain.data(), plain.size());
  if (ZSTD_isError(count)) fail(ZSTD_getErrorName(count));
  frame.resize(count);
  ZSTD_freeCCtx(context);
  return frame;
}

std::string pad(std::string loader, std::size_t bytes) {
  if (loader.size() + banyan::kLoaderTail.size() > bytes) fail("loader larger than its padded size");
  loader.resize(bytes - banyan::kLoaderTail.size(), '\0');
  return loader.append(banyan::kLoaderTail);
}

}  // namespace

int main(int argc, char** argv) {
  std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "compress" && argc == 4)
    write_file(argv[3], compress(read_file(argv[2])));
  else if (verb == "pad" && argc == 5)
    write_file(argv[3], pad(read_file(argv[2]), std::strtoul(argv[4], nullptr, 10)));
  else
    fail("usage: pack compress FILE TO | pack pad FILE TO BYTES");
}
