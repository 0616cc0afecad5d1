// The images built into this program: bytes from images.S, descriptions from images_table.inc, both made by
// bootstrap/embed.cmake.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zstd.h>

#include <array>
#include <cstdlib>

#include "bootstrap/branches.h"
#include "core/fd.h"
#include "core/text.h"
#include "parent/image.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U  // Linux 6.3
#endif

namespace banyan {

namespace {

#include "images_table.inc"

Error cannot(std::string_view what) {
  return system_error(ErrorClass::kBootstrap, Phase::kUpload, what, errno);
}

// In memory, and nobody may change it any more.
Result<Fd> make_memory_file(const Buffer& plain) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  Fd file(::memfd_create("banyan", kFlags | MFD_EXEC));
  // Only EINVAL means a kernel that does not know the flag; see bootstrap/loader/loader.cpp.
  if (!file && errno == EINVAL) file = Fd(::memfd_create("banyan", kFlags));
  if (!file) return cannot("memfd_create for our own image");
  if (!write_all(file.get(), plain.data(), plain.size()) ||
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
    return cannot("writing our own image to memory");
  return file;
}

// Where memory may not be executed (vm.memfd_noexec=2): a file that never has a name.
Fd make_nameless_file(const Buffer& plain, const char* folder) {
  Fd writer(::open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0700));
  if (!writer || !write_all(writer.get(), plain.data(), plain.size())) return {};
  std::string name = cat("/proc/self/fd/", writer.get());
  if (::access(name.c_str(), X_OK) != 0) return {};  // noexec
  // Opened anew for reading: what is open for writing cannot be executed.
  return Fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
}

Result<Fd> make_executable(const Image& image) {
  Buffer plain(image.plain_bytes);
  std::size_t count =
      ZSTD_decompress(plain.data(), plain.size(), image.compressed.data(), image.compressed.size());
  ASSERT(count == plain.size());  // we made it ourselves
  write_targets(plain.data(), plain.size(), Targets::kByDistance);

  Result<Fd> in_memory = make_memory_file(plain);
  if (in_memory) return in_memory;
  for (const char* folder : std::initializer_list<const char*>{std::getenv("XDG_RUNTIME_DIR"), "/dev/shm",
                                                               "/tmp", "/var/tmp", std::getenv("HOME")}) {
    if (!folder) continue;
    if (Fd file = make_nameless_file(plain, folder)) return file;
  }
  Error error = in_memory.error();
  error.remedy = "let this machine execute memory (vm.memfd_noexec) or files in XDG_RUNTIME_DIR";
  return error;
}

class EmbeddedImages final : public ImageStore {
 public:
  const Image* find(std::string_view machine, ImageKind kind) const override {
    for (const Image& image : kImages)
      if (image.kind == kind && image.architecture == image_architecture(machine)) return &image;
    return nullptr;
  }

  void obtain(std::string_view, ImageKind, Function<void()> done) override { done(); }

  std::vector<std::string_view> architectures() const override {
    std::vector<std::string_view> names;
    for (const Image& image : kImages)
      if (image.kind == ImageKind::kAgent) names.push_back(image.architecture);
    return names;
  }

  Result<int> local_image(ImageKind kind) override {
    Fd& local = local_[std::size_t(kind)];
    if (!local) {
      utsname machine{};
      ::uname(&machine);
      const Image* image = find(machine.machine, kind);
      if (!image) return -1;
      Result<Fd> made = make_executable(*image);
      if (!made) return made.error();
      local = std::move(*made);
    }
    return local.get();
  }

 private:
  Fd local_[kImageKindCount];
};

}  // namespace

ImageStore& embedded_images() {
  static EmbeddedImages images;
  return images;
}

std::size_t loader_bytes() {
  return kLoaderBytes;
}

}  // namespace banyan
