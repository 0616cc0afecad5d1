#include "transports/connector_protocol.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/msgpack.h"

namespace banyan {
namespace {

enum Kind : std::uint8_t { kOrder = 1, kStop, kPhase, kText, kEnd };

Error malformed() {
  return Error{ErrorClass::kProtocol, Phase::kConnect,
               "a connector and the root do not understand each other",
               "use banyan and banyan-connector of the same build"};
}

Packer opened(Kind kind, std::uint32_t elements, SessionId id) {
  Packer packer;
  packer.array(elements + 2).number(std::uint8_t(kind)).number(id);
  return packer;
}

void pack(Packer& packer, const std::vector<std::string>& list) {
  const std::size_t count = std::min(list.size(), kConnectorListMax);
  packer.array(std::uint32_t(count));
  for (std::size_t i = 0; i < count; ++i) packer.text(list[i]);
}

bool unpack(Unpacker& unpacker, std::vector<std::string>& list) {
  const std::uint32_t count = unpacker.array();
  if (count > kConnectorListMax) return false;
  for (std::uint32_t i = 0; i < count; ++i) list.emplace_back(unpacker.text());
  return unpacker.ok();
}

std::string_view cut(std::string_view text) {
  return text.substr(0, kConnectorTextMax);
}

}  // namespace

Buffer encode(const ToConnector& message) {
  if (const auto* stop = std::get_if<SessionStop>(&message)) return opened(kStop, 0, stop->id).take();
  const SessionOrder& order = std::get<SessionOrder>(message);
  const SessionSettings& settings = order.settings;
  Packer packer = opened(kOrder, 19, order.id);
  packer.text(settings.host).number(settings.port).number(std::uint8_t(settings.family)).text(settings.user);
  packer.text(settings.key_name).number(settings.key_port);
  pack(packer, settings.known_hosts);
  packer.text(settings.accept_new).boolean(settings.hash_known_hosts);
  pack(packer, settings.identities);
  packer.text(settings.key_agent).boolean(settings.only_identities);
  pack(packer, settings.environment);
  for (const auto* list :
       {&settings.key_exchanges, &settings.ciphers, &settings.macs, &settings.host_key_algorithms})
    pack(packer, *list);
  packer.number(settings.window);
  packer.text(order.command);
  return packer.take();
}

Result<ToConnector> decode_to_connector(Bytes message) {
  Unpacker unpacker(message);
  const std::uint32_t elements = unpacker.array();
  const std::uint64_t kind = unpacker.number(kEnd);
  const SessionId id = unpacker.number();
  if (kind == kStop && elements == 2 && unpacker.finish()) return ToConnector(SessionStop{id});
  if (kind != kOrder || elements != 21) return malformed();
  SessionOrder order;
  order.id = id;
  SessionSettings& settings = order.settings;
  settings.host = unpacker.text();
  settings.port = std::uint16_t(unpacker.number(UINT16_MAX));
  settings.family = AddressFamily(unpacker.number(std::uint8_t(AddressFamily::kIpv6)));
  settings.user = unpacker.text();
  settings.key_name = unpacker.text();
  settings.key_port = std::uint16_t(unpacker.number(UINT16_MAX));
  if (!unpack(unpacker, settings.known_hosts)) return malformed();
  settings.accept_new = unpacker.text();
  settings.hash_known_hosts = unpacker.boolean();
  if (!unpack(unpacker, settings.identities)) return malformed();
  settings.key_agent = unpacker.text();
  settings.only_identities = unpacker.boolean();
  for (auto* list : {&settings.environment, &settings.key_exchanges, &settings.ciphers, &settings.macs,
                     &settings.host_key_algorithms})
    if (!unpack(unpacker, *list)) return malformed();
  settings.window = std::uint32_t(unpacker.number(UINT32_MAX));
  order.command = unpacker.text();
  if (!unpacker.finish()) return malformed();
  return ToConnector(std::move(order));
}

Buffer encode(const FromConnector& message) {
  if (const auto* phase = std::get_if<SessionPhase>(&message))
    return opened(kPhase, 1, phase->id).number(std::uint8_t(phase->phase)).take();
  if (const auto* text = std::get_if<SessionText>(&message))
    return opened(kText, 1, text->id).bytes(as_bytes(cut(text->text))).take();
  const SessionEnd& end = std::get<SessionEnd>(message);
  if (!end.error) {
    if (!end.exit_code) return opened(kEnd, 0, end.id).take();
    return opened(kEnd, 1, end.id).number(*end.exit_code).take();
  }
  Packer packer = opened(kEnd, 6, end.id);
  packer.number(std::uint8_t(end.error->error_class)).number(std::uint8_t(end.error->phase));
  packer.bytes(as_bytes(cut(end.error->text))).bytes(as_bytes(cut(end.error->remedy)));
  packer.number(std::uint8_t(end.error->started)).number(end.error->system_error);
  return packer.take();
}

Result<FromConnector> decode_from_connector(Bytes message) {
  Unpacker unpacker(message);
  const std::uint32_t elements = unpacker.array();
  const std::uint64_t kind = unpacker.number(kEnd);
  const SessionId id = unpacker.number();
  FromConnector decoded;
  if (kind == kPhase && elements == 3) {
    decoded = SessionPhase{id, Phase(unpacker.number(kPhaseCount - 1))};
  } else if (kind == kText && elements == 3) {
    decoded = SessionText{id, std::string(cut(as_text(unpacker.bytes())))};
  } else if (kind == kEnd && elements == 2) {
    decoded = SessionEnd{.id = id, .error = {}};
  } else if (kind == kEnd && elements == 3) {
    decoded = SessionEnd{.id = id, .error = {}, .exit_code = std::uint8_t(unpacker.number(UINT8_MAX))};
  } else if (kind == kEnd && elements == 8) {
    Error error;
    error.error_class = ErrorClass(unpacker.number(kErrorClassCount - 1));
    error.phase = Phase(unpacker.number(kPhaseCount - 1));
    error.text = cut(as_text(unpacker.bytes()));
    error.remedy = cut(as_text(unpacker.bytes()));
    error.started = Started(unpacker.number(std::uint8_t(Started::kUnknown)));
    error.system_error = int(unpacker.number(INT32_MAX));
    decoded = SessionEnd{.id = id, .error = std::move(error)};
  } else {
    return malformed();
  }
  if (!unpacker.finish()) return malformed();
  return decoded;
}

bool send_datagram(int socket, Bytes message, int fd) {
  iovec part{const_cast<std::uint8_t*>(message.data()), message.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)];
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  return retry([&] { return ::sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL); }) >= 0;
}

Datagram receive_datagram(int socket) {
  Datagram datagram;
  datagram.message.resize(kConnectorMessageMax);
  iovec part{datagram.message.data(), datagram.message.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t got = retry([&] { return ::recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC); });
  if (got < 0 && errno == EAGAIN) datagram.status = Datagram::Status::kWouldBlock;
  if (got <= 0) return datagram;
  if (const cmsghdr* rights = CMSG_FIRSTHDR(&header); rights != nullptr && rights->cmsg_level == SOL_SOCKET &&
                                                      rights->cmsg_type == SCM_RIGHTS &&
                                                      rights->cmsg_len == CMSG_LEN(sizeof(int))) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    datagram.fd = Fd(fd);
  }
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return datagram;
  datagram.message.resize(std::size_t(got));
  datagram.status = Datagram::Status::kOk;
  return datagram;
}

}  // namespace banyan
