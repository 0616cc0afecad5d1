// parent/image.h -- what is shipped: a loader and a compressed image for one architecture.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/fd.h"
#include "core/function.h"

namespace banyan {

// What a context will be used for. A hop can start children through transports, and hands images on; an agent
// starts children on its own machine alone, for which it is an eighth lighter (docs/design/006-hops.md).
enum class ImageKind : std::uint8_t { kAgent, kHop };
constexpr std::uint8_t kImageKindCount = 2;

// All views point into storage that lives as long as the program, or the store.
struct Image {
  std::string_view architecture;  // as uname -m says: "x86_64"
  Bytes loader;                   // already padded to loader_bytes(), ending in kLoaderTail
  Bytes compressed;               // one zstd frame with its length and checksum
  std::uint32_t plain_bytes = 0;
  std::uint64_t id = 0;  // of the plain bytes: the first 8 of their SHA-256
  ImageKind kind = ImageKind::kAgent;
};

// The architecture of the images for a machine, as its uname -m says: armv8l is a 64-bit kernel that shows
// itself to a program as a 32-bit one.
constexpr std::string_view image_architecture(std::string_view machine) {
  return machine == "armv8l" ? "armv7l" : machine;
}

// Knows the images this program carries, or can get.
class ImageStore {
 public:
  virtual ~ImageStore() = default;
  // As uname -m says; nullptr: none, or not here yet.
  virtual const Image* find(std::string_view machine, ImageKind kind) const = 0;
  virtual std::vector<std::string_view> architectures() const = 0;
  // Gets it from elsewhere, where that is possible. `done` once, at once or from the loop: find() knows then.
  virtual void obtain(std::string_view machine, ImageKind kind, Function<void()> done) = 0;
  // The image of this machine, decompressed into a sealed, executable memfd, made once; -1 in the Fd when
  // there is none. The descriptor stays the store's.
  virtual Result<int> local_image(ImageKind kind) = 0;
};

// The images built into this program (bootstrap/). Lives as long as the program.
ImageStore& embedded_images();

// What may be in a command text as the architecture of a machine, whoever says that it is.
constexpr std::size_t kArchitectureNameMax = 64;  // of uname -m: the kernel's own limit
constexpr bool is_architecture(std::string_view text) {
  for (const char c : text)
    if (c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')) return false;
  return !text.empty() && text.size() <= kArchitectureNameMax;
}

// What stage 0 receives before the image: the same for every architecture, so it can be asked for before the
// architecture is known.
std::size_t loader_bytes();

// The last bytes of every padded loader, by which stage 0 knows that it has all of it.
constexpr std::string_view kLoaderTail = "banyan";

}  // namespace banyan
