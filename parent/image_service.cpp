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
  const Result<ImageRequest> wanted = ImageRequest::decode(request.payload);
  if (!wanted) return router_.reply_dead(call, DeadReason::kRefused, wanted.error().text);
  if (images_.find(wanted->architecture, wanted->kind)) return answer(call, *wanted);
  if (waiting_ >= kImageWaitersMax)
    return router_.reply_dead(call, DeadReason::kBusy, cat(kImageWaitersMax, " wait for images already"));
  ++waiting_;
  images_.obtain(wanted->architecture, wanted->kind, [this, alive = alive_, call, wanted = *wanted] {
    if (!*alive) return;
    --waiting_;
    answer(call, wanted);
  });
}

void ImageService::answer(const Header& call, const ImageRequest& wanted) {
  router_.reply(call, encode_image(images_.find(wanted.architecture, wanted.kind)));
}

RemoteImages::Place RemoteImages::look(std::string_view machine, ImageKind kind) {
  auto at = held_.begin();
  while (at != held_.end() && (at->key.architecture != machine || at->key.kind != kind)) ++at;
  return at;
}

const Image* RemoteImages::find(std::string_view machine, ImageKind kind) const {
  for (const Held& held : held_)
    if (held.key.kind == kind && held.key.architecture == machine && !held.image.compressed.empty())
      return &held.image;
  return nullptr;
}

void RemoteImages::obtain(std::string_view machine, ImageKind kind, Function<void()> done) {
  Place held = look(machine, kind);
  if (held == held_.end()) {
    if (router_ == nullptr || held_.size() >= kImagesHeldMax || machine.size() > kArchitectureNameMax)
      return done();
    held = held_.insert(held_.end(), Held{{std::string(machine), kind}, {}, {}, false, {}});
    const auto& above = router_->config().ancestors;
    if (above.empty()) return held_.erase(held), done();  // it has left its tree
    router_->call(above.front(), kGetImage, held->key.encode(),
                  [this, alive = alive_, held](const Reply& reply) {
                    if (*alive) on_reply(held, reply);
                  });
  }
  if (held->is_known) return done();
  held->waiters.push_back(std::move(done));
}

// Of a parent that gave no answer another may be asked for.
void RemoteImages::on_reply(Place held, const Reply& reply) {
  const auto waiters = std::exchange(held->waiters, {});
  held->is_known = reply.dead == nullptr && reply.payload.size() <= kImageBytesMax;
  if (!held->is_known) {
    held_.erase(held);
  } else {
    held->bytes.assign(reply.payload.begin(), reply.payload.end());
    held->image.architecture = held->key.architecture;
    held->image.kind = held->key.kind;
    if (!decode_image(held->bytes, held->image)) held->image.compressed = {};
  }
  for (const auto& done : waiters) done();
}

}  // namespace banyan
