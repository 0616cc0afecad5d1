#include "parent/start_message.h"

#include "core/msgpack.h"
#include "parent/transport_message.h"

namespace banyan {

namespace {

constexpr std::uint32_t kImageFields = 5, kTransportFields = kImageFields + 1, kChildFields = 5,
                        kErrorFields = 7;

Error malformed(const char* what) {
  return Error{ErrorClass::kProtocol, Phase::kHello, what, {}};
}

void pack_error(Packer& out, const Error& error) {
  out.array(kErrorFields).number(std::uint8_t(error.error_class)).number(std::uint8_t(error.phase));
  out.bytes(as_bytes(error.text)).bytes(as_bytes(error.remedy)).boolean(error.wrong_guess);
  out.number(error.context).number(error.system_error);
}

Error take_error(Unpacker& in, ContextId where) {
  if (in.array() != kErrorFields) return malformed("an error of another shape");
  Error error;
  error.error_class = ErrorClass(in.number(kErrorClassCount - 1));
  error.phase = Phase(in.number(kPhaseCount - 1));
  error.text = take_string(in);
  error.remedy = take_string(in);
  error.wrong_guess = in.boolean();
  error.context = ContextId(in.number(UINT32_MAX));
  error.system_error = int(in.number(INT32_MAX));
  if (error.context == 0) error.context = where;
  if (!in.finish()) return malformed("an error that does not parse");
  return error;
}

}  // namespace

void pack_duration(Packer& out, Nanos time) {
  out.number(std::uint64_t((time + kMillisecond - 1) / kMillisecond));  // a short one is not none
}

Nanos take_duration(Unpacker& in) {
  return Nanos(in.number(UINT32_MAX)) * kMillisecond;
}

std::string take_string(Unpacker& in) {
  return std::string(as_text(in.bytes()));
}

Buffer StartRequest::encode() const {
  Packer out;
  const bool has_transport = recipe.boot != Recipe::Boot::kImage;
  out.array(has_transport ? kTransportFields : kImageFields).number(std::uint8_t(has_transport)).number(lost);
  out.bytes(as_bytes(recipe.name)).bytes(as_bytes(recipe.method));
  pack_duration(out, recipe.deadlines.total);
  if (has_transport) pack_transport(out, recipe);
  return out.take();
}

Result<StartRequest> StartRequest::decode(Bytes bytes, const Runner::Transports* transports) {
  Unpacker in(bytes);
  StartRequest request;
  const std::uint32_t fields = in.array();
  const bool has_transport = in.number(1) != std::uint64_t(Recipe::Boot::kImage);
  if (has_transport && transports == nullptr)
    return Error{ErrorClass::kRefused, Phase::kConnect, "no transport can be started here", {}};
  request.lost = in.number();
  request.recipe.name = take_string(in);
  request.recipe.method = take_string(in);
  request.recipe.deadlines.total = take_duration(in);
  const bool has_all = !has_transport || transports->decode(in, request.recipe);
  if (!has_all || fields != kImageFields + has_transport || !in.finish())
    return malformed("a request for a child that does not parse");
  return request;
}

Buffer StartReply::encode(const Result<Child>& child) {
  Packer out;
  out.array(2).boolean(bool(child));
  if (!child) {
    pack_error(out, child.error());
    return out.take();
  }
  out.array(kChildFields).number(child->id).number(child->bytes_sent).number(std::uint64_t(child->took));
  return out.bytes(as_bytes(child->said)).bytes(child->hello.encode()).take();
}

Result<Child> StartReply::decode(Bytes bytes, ContextId where) {
  Unpacker in(bytes);
  if (in.array() != 2) return malformed("an answer about a child of another shape");
  if (!in.boolean()) return take_error(in, where);
  Child child;
  if (in.array() != kChildFields) return malformed("a child of another shape");
  child.id = ContextId(in.number(UINT32_MAX));
  child.bytes_sent = in.number();
  child.took = Nanos(in.number(INT64_MAX));
  child.said = take_string(in);
  const Result<Hello> hello = Hello::decode(in.bytes());
  if (!hello) return hello.error();
  child.hello = *hello;
  if (!in.finish()) return malformed("a child that does not parse");
  return child;
}

Buffer LossNotice::encode(const Error& why) {
  if (why.detached) return {};
  Packer out;
  pack_error(out, why);
  return out.take();
}

Error LossNotice::decode(Bytes bytes, ContextId where) {
  if (bytes.empty()) return detached_error();
  Unpacker in(bytes);
  return take_error(in, where);
}

Buffer EndRequest::encode() const {
  Packer out;
  out.array(2).number(child);
  pack_duration(out, within);
  return out.take();
}

Result<EndRequest> EndRequest::decode(Bytes bytes) {
  Unpacker in(bytes);
  EndRequest request;
  const bool has_all = in.array() == 2;
  request.child = ContextId(in.number(UINT32_MAX));
  request.within = take_duration(in);
  if (!has_all || !in.finish()) return malformed("a request to end a child that does not parse");
  return request;
}

}  // namespace banyan
