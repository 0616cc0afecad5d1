// bootstrap/pack.cpp -- build tool: trims and compresses an image, or pads a loader.
//
//   pack trim FILE TO           without the table of sections, which is for debuggers
//   pack compress FILE TO       targets of branches by place, one zstd frame, level 19, with its size and
//   checksum pack pad FILE TO BYTES      zeros, then the word that tells stage 0 the file is whole
#include <elf.h>
#include <zstd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "bootstrap/branches.h"
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

// The beginning of an ELF file, which 32-bit and 64-bit ones have in common.
Elf32_Ehdr elf_header(const std::string& image) {
  Elf32_Ehdr header;
  if (image.size() < sizeof(Elf64_Ehdr)) fail("not an ELF file");
  std::memcpy(&header, image.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) fail("not an ELF file");
  return header;
}

template <class FileHeader, class Segment>
std::string trim_as(std::string image) {
  FileHeader header;
  std::memcpy(&header, image.data(), sizeof header);
  std::size_t end = 0;
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Segment segment;
    if (header.e_phoff + (i + 1) * sizeof segment > image.size()) fail("a table of segments beyond the end");
    std::memcpy(&segment, image.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    end = std::max<std::size_t>(end, segment.p_offset + segment.p_filesz);
  }
  header.e_shoff = header.e_shnum = header.e_shstrndx = 0;
  std::memcpy(image.data(), &header, sizeof header);
  image.resize(end);
  return image;
}

std::string trim(std::string image) {
  const auto size = elf_header(image).e_ident[EI_CLASS];
  if (size == ELFCLASS64) return trim_as<Elf64_Ehdr, Elf64_Phdr>(std::move(image));
  if (size == ELFCLASS32) return trim_as<Elf32_Ehdr, Elf32_Phdr>(std::move(image));
  fail("neither a 32-bit nor a 64-bit ELF file");
}

std::string compress(std::string plain) {
  auto* bytes = reinterpret_cast<std::uint8_t*>(plain.data());
  const auto machine = elf_header(plain).e_machine;
  if (machine == EM_X86_64)
    banyan::write_targets_x86_64(bytes, std::int32_t(plain.size()), banyan::Targets::kByPlace);
  if (machine == EM_AARCH64)
    banyan::write_targets_aarch64(bytes, std::int32_t(plain.size()), banyan::Targets::kByPlace);
  if (machine == EM_ARM)
    banyan::write_targets_armv7l(bytes, std::int32_t(plain.size()), banyan::Targets::kByPlace);
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
  if (verb == "trim" && argc == 4)
    write_file(argv[3], trim(read_file(argv[2])));
  else if (verb == "compress" && argc == 4)
    write_file(argv[3], compress(read_file(argv[2])));
  else if (verb == "pad" && argc == 5)
    write_file(argv[3], pad(read_file(argv[2]), std::strtoul(argv[4], nullptr, 10)));
  else
    fail("usage: pack trim FILE TO | pack compress FILE TO | pack pad FILE TO BYTES");
}
