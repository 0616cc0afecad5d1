#include "core/identity.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "core/msgpack.h"

namespace banyan {

namespace {

constexpr std::uint32_t kHelloFields = 6, kIdentityFields = 13;

Error malformed(const char* what) {
  return Error{ErrorClass::kProtocol, Phase::kHello, what, "use the same version of banyan on both sides"};
}

std::string short_text(Unpacker& in) {
  return std::string(in.text().substr(0, kNameMax));
}

std::uint64_t milliseconds(Nanos nanos) {
  return std::uint64_t(nanos / kMillisecond);
}

Nanos duration(Unpacker& in) {
  return Nanos(in.number(UINT32_MAX)) * kMillisecond;
}

}  // namespace

Hello Hello::of_this_process(std::uint64_t nonce) {
  utsname machine{};
  ::uname(&machine);
  Hello hello;
  hello.architecture = std::string(machine.machine);
  hello.kernel = std::string(machine.release);
  hello.host_name = std::string(machine.nodename);
  hello.uid = ::getuid();
  hello.pid = ::getpid();
  hello.nonce = nonce;
  return hello;
}

Buffer Hello::encode() const {
  return Packer()
      .array(kHelloFields)
      .text(architecture)
      .text(kernel)
      .text(host_name)
      .number(uid)
      .number(std::uint64_t(pid))
      .number(nonce)
      .take();
}

Result<Hello> Hello::decode(Bytes bytes) {
  Unpacker in(bytes);
  Hello hello;
  if (in.array() != kHelloFields) return malformed("a hello of another shape");
  hello.architecture = short_text(in);
  hello.kernel = short_text(in);
  hello.host_name = short_text(in);
  hello.uid = std::uint32_t(in.number(UINT32_MAX));
  hello.pid = std::int64_t(in.number(INT32_MAX));
  hello.nonce = in.number();
  if (!in.finish()) return malformed("a hello that does not parse");
  return hello;
}

Buffer Identity::encode() const {
  Packer out;
  out.array(kIdentityFields).number(id).number(first_id).number(id_count);
  out.array(std::uint32_t(ancestors.size()));
  for (const ContextId ancestor : ancestors) out.number(ancestor);
  out.text(name).number(std::uint8_t(sideways)).number(message_max).number(log_level);
  out.number(milliseconds(limits.heartbeat_every))
      .number(milliseconds(limits.lost_after))
      .number(milliseconds(limits.parent_lost_after))
      .number(milliseconds(limits.frame_deadline))
      .number(limits.window_max);
  return out.take();
}

Result<Identity> Identity::decode(Bytes bytes) {
  Unpacker in(bytes);
  Identity identity;
  if (in.array() != kIdentityFields) return malformed("an identity of another shape");
  identity.id = ContextId(in.number(UINT32_MAX));
  identity.first_id = ContextId(in.number(UINT32_MAX));
  identity.id_count = std::uint32_t(in.number(UINT32_MAX - identity.first_id));
  const std::uint32_t depth = in.array();
  if (depth == 0 || depth > kAncestorsMax) return malformed("an identity without ancestors");
  for (std::uint32_t i = 0; i < depth; ++i) identity.ancestors.push_back(ContextId(in.number(UINT32_MAX)));
  identity.name = short_text(in);
  identity.sideways = Sideways(in.number(std::uint64_t(Sideways::kPeers)));
  identity.message_max = std::uint32_t(in.number(UINT32_MAX));
  identity.log_level = std::uint8_t(in.number(UINT8_MAX));
  identity.limits.heartbeat_every = std::max(duration(in), kMillisecond);
  identity.limits.lost_after = duration(in);
  identity.limits.parent_lost_after = duration(in);
  identity.limits.frame_deadline = duration(in);
  identity.limits.window_max = std::uint32_t(in.number(UINT32_MAX));
  if (!in.finish()) return malformed("an identity that does not parse");
  return identity;
}

RouterConfig Identity::router_config() const {
  RouterConfig config{.id = id, .sideways = sideways, .ancestors = ancestors, .inbox = {}};
  config.inbox.message_max = message_max;
  return config;
}

Header handshake_header(Handle handle) {
  Header header;
  header.flags = kControl | kFirst | kLast;
  header.handle = handle;
  return header;
}

}  // namespace banyan
