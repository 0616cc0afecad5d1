#include "parent/image_service.h"

#include <utility>

#include "core/msgpack.h"
#include "core/text.h"

namespace banyan {

namespace {

constexpr std::uint32_t kRequestFields = 2, kImageFields = 4;

// Without one: an empty array.
Buffer encode_image(const Image* image) {
  Packer out;
  if (image == nullptr) return out.array(0).take();
  out.array(kImageFields).number(image->id).number(image->plain_bytes);
  return out.bytes(image->loader).bytes(image->compressed).take();
}

// Views of `bytes`. False: it is none.
bool decode_image(Bytes bytes, Image& image) {
  Unpacker in(bytes);
  if (in.array() != kImageFields) return false;
  image.id = in.number();
  image.plain_bytes = std::uint32_t(in.number(UINT32_MAX));
  image.loader = in.bytes();
  image.compressed = in.bytes();
  return in.finish();
}

}  // namespace

Buffer ImageRequest::encode() const {
  return Packer().array(kRequestFields).bytes(as_bytes(architecture)).number(std::uint8_t(kind)).take();
}

Result<ImageRequest> ImageRequest::decode(Bytes bytes) {
  Unpacker in(bytes);
  ImageRequest request;
  const bool has_all = in.array() == kRequestFields;
  request.architecture = std::string(as_text(in.bytes()));
  request.kind = ImageKind(in.number(kImageKindCount - 1));
  if (!has_all || !in.finish() || request.architecture.size() > kArchitectureNameMax)
    return Error{ErrorClass::kProtocol, Phase::kUpload, "a request for an image that does not parse", {}};
  return request;
}

ImageService::ImageService(Router& router, ImageStore& images) : router_(router), images_(images) {
  router_.add_handler(kGetImage, Access::anyone(), [this](Incoming& request) { on_request(request); });
}

ImageService::~ImageService() {
  *alive_ = false;
  router_.remove_handler(kGetImage);
}

void ImageService::on_request(Incoming& request) {
  const Header& call = request.header;
  if (call.reply_to == kNoReply) return;
  if (router_.way_to(call.source) != call.source)
    return router_.reply_dead(call, DeadReason::kRefused, "images are for children; ask your parent");
  const Result<ImageRequest> image = ImageRequest::decode(request.payload);
  if (!image) return router_.reply_dead(call, DeadReason::kRefused, image.error().text);
  if (router_.replies_waiting(call.source) + waiting(call.source) >= kImagesOfChildMax)
    return router_.reply_dead(call, DeadReason::kBusy, "you wait for many images already");
  if (images_.find(image->architecture, image->kind)) return answer(call, *image);
  want(*image, call);
}

std::size_t ImageService::waiting(ContextId child) const {
  std::size_t count = 0;
  for (const Wanted& wanted : wanted_)
    for (const Header& call : wanted.calls) count += call.source == child;
  return count;
}

void ImageService::want(const ImageRequest& image, const Header& call) {
  for (Wanted& wanted : wanted_)
    if (wanted.image == image) return wanted.calls.push_back(call);
  if (wanted_.size() >= kImagesWantedMax)
    return router_.reply_dead(call, DeadReason::kBusy, "many images are on their way already");
  const auto wanted = wanted_.insert(wanted_.end(), {image, {call}});
  images_.obtain(image.architecture, image.kind, [this, alive = alive_, wanted] {
    if (!*alive) return;
    for (const Header& waiting : wanted->calls) answer(waiting, wanted->image);
    wanted_.erase(wanted);
  });
}

void ImageService::answer(const Header& call, const ImageRequest& image) {
  router_.reply(call, encode_image(images_.find(image.architecture, image.kind)));
}

RemoteImages::Place RemoteImages::place_of(std::string_view architecture, ImageKind kind) {
  auto at = held_.begin();
  while (at != held_.end() && (at->key.architecture != architecture || at->key.kind != kind)) ++at;
  return at;
}

const Image* RemoteImages::find(std::string_view machine, ImageKind kind) const {
  for (const Held& held : held_)
    if (held.key.kind == kind && held.key.architecture == image_architecture(machine) &&
        !held.image.compressed.empty())
      return &held.image;
  return nullptr;
}

void RemoteImages::obtain(std::string_view machine, ImageKind kind, Function<void()> done) {
  const std::string_view architecture = image_architecture(machine);
  Place held = place_of(architecture, kind);
  if (held == held_.end()) {
    // That there is none costs a question when it is asked for again, and no more.
    if (held_.size() >= kImagesHeldMax)
      held_.remove_if([](const Held& old) { return old.is_known && old.image.compressed.empty(); });
    if (router_ == nullptr || router_->config().ancestors.empty() || held_.size() >= kImagesHeldMax ||
        architecture.size() > kArchitectureNameMax)
      return done();
    held = held_.insert(held_.end(), Held{{std::string(architecture), kind}, {}, {}, false, {}});
    router_->call(router_->config().ancestors.front(), kGetImage, held->key.encode(),
                  [this, alive = alive_, held](const Reply& reply) {
                    if (*alive) on_reply(held, reply);
                  });
  }
  if (held->is_known) return done();
  held->waiters.push_back(std::move(done));
}

// What nobody has answered is asked for again when it is wanted again.
void RemoteImages::on_reply(Place held, const Reply& reply) {
  const auto waiters = std::exchange(held->waiters, {});
  if (reply.dead != nullptr) {
    held_.erase(held);
  } else {
    held->is_known = true;
    if (reply.payload.size() <= kImageBytesMax)
      held->bytes.assign(reply.payload.begin(), reply.payload.end());
    if (decode_image(held->bytes, held->image)) {
      held->image.architecture = held->key.architecture;
      held->image.kind = held->key.kind;
    } else {
      held->image.compressed = {};
      held->bytes = {};
    }
  }
  for (const auto& done : waiters) done();
}

}  // namespace banyan
