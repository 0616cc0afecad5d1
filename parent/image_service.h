// parent/image_service.h -- images for those beneath: a hop that starts children through transports asks its
// parent for what it has not, and keeps it. So an image crosses each link once, however many hosts of its
// kind lie beneath.
//
// A call to kGetImage carries an ImageRequest; its reply is the image, or says that there is none. Images are
// no secret: whoever may send to us may ask. See docs/protocol.md. Thread: the loop's.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "core/router.h"
#include "parent/own_image.h"

namespace banyan {

constexpr std::size_t kArchitectureNameMax = 64;  // as uname -m says; the kernel's own limit
constexpr std::size_t kImageBytesMax = 1 << 20;   // of one, compressed: the toolbox has a quarter of that
constexpr std::size_t kImagesHeldMax = 16;        // so at most 16 MiB and a little
constexpr std::size_t kImageWaitersMax = 1'024;   // of the service; beyond: dead, busy

struct ImageRequest {
  std::string architecture;
  ImageKind kind = ImageKind::kAgent;

  Buffer encode() const;
  static Result<ImageRequest> decode(Bytes bytes);
};

// Hands out what the store has, or can get.
class ImageService {
 public:
  // Registers itself for kGetImage. Both outlive it.
  ImageService(Router& router, ImageStore& images);
  ImageService(const ImageService&) = delete;
  ImageService& operator=(const ImageService&) = delete;
  ~ImageService();

 private:
  void on_request(Incoming& request);
  void answer(const Header& call, const ImageRequest& wanted);

  Router& router_;
  ImageStore& images_;
  std::size_t waiting_ = 0;
  Alive alive_;
};

// Those that our parent has given us. Our own for children on this machine.
class RemoteImages final : public OwnImage {
 public:
  // From when we are up; before that nothing can be obtained. The router outlives it.
  void ask(Router& router) { router_ = &router; }

  const Image* find(std::string_view machine, ImageKind kind) const override;
  void obtain(std::string_view machine, ImageKind kind, Function<void()> done) override;

 private:
  struct Held {
    ImageRequest key;
    Buffer bytes;  // the reply
    Image image;   // views of it; without compressed bytes: there is none
    bool is_known = false;
    std::vector<Function<void()>> waiters;
  };
  using Place = std::list<Held>::iterator;
  Place look(std::string_view machine, ImageKind kind);
  void on_reply(Place held, const Reply& reply);

  Router* router_ = nullptr;
  std::list<Held> held_;  // never moved: views lead into it
  Alive alive_;
};

}  // namespace banyan
