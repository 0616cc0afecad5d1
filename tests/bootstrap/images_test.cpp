// Goal: what the program carries is what was built, as small as promised, and cannot be changed once it is
// out. Method: looks at the embedded images themselves, and runs the local one's bytes through other tools.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zstd.h>

#include <catch2/catch.hpp>
#include <sstream>

#include "core/text.h"
#include "parent/image.h"
#include "parent/image_header.h"
#include "tests/support/not_tested.h"

using namespace banyan;

namespace {

// Of loader and agent as sent. Other machines' instructions take more room than x86-64's.
constexpr std::size_t kBudget = 64 * 1024, kBudgetElsewhere = 66 * 1024;
constexpr std::size_t kHopMore = 21 * 1024;  // what transports may cost: docs/design/006-hops.md
constexpr std::size_t kAim = 40 * 1024;

// The store keeps this descriptor, so it is opened before any test can seem to leave it behind.
const bool kOpened = bool(embedded_images().local_image(ImageKind::kAgent));

std::string hash_of(int fd) {
  std::FILE* pipe = ::popen(cat("sha256sum </proc/", ::getpid(), "/fd/", fd).c_str(), "r");
  char line[65] = {};
  auto count = std::fread(line, 1, 64, pipe);
  ::pclose(pipe);
  return {line, count};
}

}  // namespace

TEST_CASE("loader and agent, and loader and hop, are sent within their budgets") {
  std::istringstream small(BANYAN_SMALL_IMAGES);
  std::size_t checked = 0;
  for (std::string architecture; small >> architecture; ++checked) {
    for (const ImageKind kind : {ImageKind::kAgent, ImageKind::kHop}) {
      const Image* image = embedded_images().find(architecture, kind);
      REQUIRE(image != nullptr);
      const bool is_hop = kind == ImageKind::kHop;
      const std::size_t budget =
          (architecture == "x86_64" ? kBudget : kBudgetElsewhere) + (is_hop ? kHopMore : 0);
      const std::size_t sent = image->loader.size() + kImageHeaderBytes + image->compressed.size();
      std::printf("sent to %s: loader %zu + %s %zu = %zu bytes of %zu (aim %zu)\n", architecture.c_str(),
                  image->loader.size(), is_hop ? "hop" : "agent",
                  kImageHeaderBytes + image->compressed.size(), sent, budget, kAim);
      CHECK(sent <= budget);
    }
  }
  if (checked == 0)
    test::not_tested("small-image", "no image was built small (musl and zstd's decoder source)");
}

TEST_CASE("every loader has the one size stage 0 asks for, and its end mark") {
  for (auto architecture : embedded_images().architectures()) {
    const Image* image = embedded_images().find(architecture, ImageKind::kAgent);
    REQUIRE(image != nullptr);
    CHECK(image->loader.size() == loader_bytes());
    CHECK(as_text(image->loader).ends_with(kLoaderTail));
    CHECK(as_text(image->loader)
              .starts_with("\x7f"
                           "ELF"));
  }
  CHECK(loader_bytes() % 8 == 0);
  CHECK(embedded_images().find("pdp11", ImageKind::kAgent) == nullptr);
  CHECK(embedded_images().find("armv8l", ImageKind::kAgent) ==
        embedded_images().find("armv7l", ImageKind::kAgent));
}

TEST_CASE("every image is one frame with its size and checksum, and is what its id says") {
  for (auto architecture : embedded_images().architectures()) {
    const Image* image = embedded_images().find(architecture, ImageKind::kAgent);
    REQUIRE(image != nullptr);
    CHECK(ZSTD_getFrameContentSize(image->compressed.data(), image->compressed.size()) == image->plain_bytes);
    CHECK((image->compressed[4] & 4) != 0);  // checksum flag
    CHECK(ZSTD_findFrameCompressedSize(image->compressed.data(), image->compressed.size()) ==
          image->compressed.size());
    Buffer plain(image->plain_bytes);
    CHECK(ZSTD_decompress(plain.data(), plain.size(), image->compressed.data(), image->compressed.size()) ==
          plain.size());
  }
}

TEST_CASE("the local image is made once, sealed, and the bytes its id was made of") {
  utsname machine{};
  ::uname(&machine);
  const Image* image = embedded_images().find(machine.machine, ImageKind::kAgent);
  if (!image) {
    test::not_tested("image", "no image for this machine");
    return;
  }
  auto fd = embedded_images().local_image(ImageKind::kAgent);
  REQUIRE(kOpened);
  REQUIRE(fd);
  CHECK(*embedded_images().local_image(ImageKind::kAgent) == *fd);

  struct stat status {};
  REQUIRE(::fstat(*fd, &status) == 0);
  CHECK(status.st_size == image->plain_bytes);
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  CHECK((::fcntl(*fd, F_GET_SEALS) & kSeals) == kSeals);
  CHECK(::write(*fd, "x", 1) < 0);
  CHECK(::access(cat("/proc/self/fd/", *fd).c_str(), X_OK) == 0);

  std::string id;
  for (int i = 0; i < 8; ++i) id += hex64(image->id >> (8 * i) & 0xff).substr(14);
  CHECK(hash_of(*fd).substr(0, 16) == id);
}
