// parent/image_service.h -- images for those beneath: a hop that starts children through transports asks its
// parent for what it has not, and keeps it. So an image crosses each link once, however many hosts of its
// kind lie beneath.
//
// A call to kGetImage carries an ImageRequest; its reply is the image, or says that there is none. Only a
// child may ask, and so much at a time that it holds little of us and takes no place from others. See
// docs/protocol.md. Thread: the loop's.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "core/router.h"
#include "parent/own_image.h"

namespace banyan {

constexpr std::size_t kImageBytesMax = 1 << 20;  // with its loader: the toolbox has a quarter of that
constexpr std::size_t kImagesHeldMax = 32;       // so 32 MiB and a little; there are six
// Of these, so many may be asked for on behalf of children at a time; the rest are for what we start
// ourselves.
constexpr std::size_t kImagesWantedMax = 24;
// So much one child may wait for, and have unread: it keeps what it gets, and asks for each image once.
constexpr std::size_t kImagesOfChildMax = 8;

struct ImageRequest {
  std::string architecture;
  ImageKind kind = ImageKind::kAgent;

  Buffer encode() const;
  static Result<ImageRequest> decode(Bytes bytes);
  bool operator==(const ImageRequest&) const = default;
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
  struct Wanted {  // the store is getting it
    ImageRequest image;
    std::vector<Header> calls;
  };
  void on_request(Incoming& request);
  std::size_t waiting(ContextId child) const;
  void want(const ImageRequest& image, const Header& call);
  void answer(const Header& call, const ImageRequest& image);

  Router& router_;
  ImageStore& images_;
  std::list<Wanted> wanted_;
  Alive alive_;
};

// Those that our parent has given us. Our own for children on this machine.
class RemoteImages final : public OwnImage {
 public:
  ~RemoteImages() override { *alive_ = false; }

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
  Place place_of(std::string_view architecture, ImageKind kind);
  void on_reply(Place held, const Reply& reply);

  Router* router_ = nullptr;
  std::list<Held> held_;  // never moved: views lead into it
  Alive alive_;
};

}  // namespace banyan
