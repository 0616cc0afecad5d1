#include "transports/connector_protocol.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/msgpack.h"

namespace banyan {
namespace {

enum Kind : std::uint8_t {
  kOrder = 1,
  kStop,
  kPhase,
  kText,
  kEnd,
  kAnswer,
  kQuestion,
  kRefused,
  kKeyRequest,
  kKeyReply
};
constexpr std::uint64_t kKindMax = kKeyReply;
constexpr std::uint32_t kSettingsElements = 24;

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

// Without the hops: they have none of their own.
void pack(Packer& packer, const SessionSettings& settings) {
  packer.array(kSettingsElements);
  packer.text(settings.name);
  packer.text(settings.host).number(settings.port).number(std::uint8_t(settings.family));
  packer.text(settings.bind_address).text(settings.user);
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
  pack(packer, settings.methods);
  packer.number(settings.password_prompts).boolean(settings.may_ask).boolean(settings.tells_steps);
}

bool unpack(Unpacker& unpacker, SessionSettings& settings) {
  if (unpacker.array() != kSettingsElements) return false;
  settings.name = unpacker.text();
  settings.host = unpacker.text();
  settings.port = std::uint16_t(unpacker.number(UINT16_MAX));
  settings.family = AddressFamily(unpacker.number(std::uint8_t(AddressFamily::kIpv6)));
  settings.bind_address = unpacker.text();
  settings.user = unpacker.text();
  settings.key_name = unpacker.text();
  settings.key_port = std::uint16_t(unpacker.number(UINT16_MAX));
  if (!unpack(unpacker, settings.known_hosts)) return false;
  settings.accept_new = unpacker.text();
  settings.hash_known_hosts = unpacker.boolean();
  if (!unpack(unpacker, settings.identities)) return false;
  settings.key_agent = unpacker.text();
  settings.only_identities = unpacker.boolean();
  for (auto* list : {&settings.environment, &settings.key_exchanges, &settings.ciphers, &settings.macs,
                     &settings.host_key_algorithms})
    if (!unpack(unpacker, *list)) return false;
  settings.window = std::uint32_t(unpacker.number(UINT32_MAX));
  settings.methods.clear();
  if (!unpack(unpacker, settings.methods)) return false;
  settings.password_prompts = std::uint32_t(unpacker.number(UINT32_MAX));
  settings.may_ask = unpacker.boolean();
  settings.tells_steps = unpacker.boolean();
  return unpacker.ok();
}

std::string_view cut(std::string_view text) {
  return text.substr(0, kConnectorTextMax);
}

std::string_view cut_prompt(std::string_view text) {
  return text.substr(0, kPromptTextMax);
}

Buffer encode_answer(const SessionAnswer& answer) {
  constexpr std::size_t kHeads = 64, kHeadOfOne = 8;
  std::size_t room = kHeads;
  for (const Secret& secret : answer.secrets) room += kHeadOfOne + secret.bytes().size();
  Packer packer;
  packer.reserve(room);
  packer.array(4).number(std::uint8_t(kAnswer)).number(answer.id).number(answer.number);
  packer.array(std::uint32_t(answer.secrets.size()));
  for (const Secret& secret : answer.secrets) packer.bytes(secret.bytes());
  ASSERT(packer.buffer().size() <= room);
  return packer.take();
}

Buffer encode_question(const SessionQuestion& question) {
  Packer packer = opened(kQuestion, 7, question.id);
  packer.number(question.number)
      .number(question.session)
      .number(std::uint8_t(question.kind))
      .text(question.file);
  packer.bytes(as_bytes(cut_prompt(question.name))).bytes(as_bytes(cut_prompt(question.instruction)));
  packer.array(std::uint32_t(2 * question.items.size()));
  for (const SessionQuestion::Item& item : question.items)
    packer.bytes(as_bytes(cut_prompt(item.text))).boolean(item.echo);
  return packer.take();
}

// False: it is none.
bool decode_question(Unpacker& unpacker, SessionQuestion& question) {
  using Asked = SessionQuestion::Kind;
  question.number = std::uint32_t(unpacker.number(UINT32_MAX));
  question.session = std::uint32_t(unpacker.number(kSessionHopsMax));
  question.kind = Asked(unpacker.number(std::uint8_t(Asked::kInteractive)));
  question.file = unpacker.text();
  question.name = cut_prompt(as_text(unpacker.bytes()));
  question.instruction = cut_prompt(as_text(unpacker.bytes()));
  const std::uint32_t count = unpacker.array();
  if (count % 2 != 0 || count / 2 > kPromptsMax) return false;
  for (std::uint32_t i = 0; i < count; i += 2) {
    SessionQuestion::Item& item = question.items.emplace_back();
    item.text = cut_prompt(as_text(unpacker.bytes()));
    item.echo = unpacker.boolean();
  }
  return (question.kind == Asked::kPassphrase) == !question.file.empty() &&
         (question.kind == Asked::kInteractive) == !question.items.empty();
}

}  // namespace

Buffer encode(const ToConnector& message) {
  if (const auto* stop = std::get_if<SessionStop>(&message)) return opened(kStop, 0, stop->id).take();
  if (const auto* answer = std::get_if<SessionAnswer>(&message)) return encode_answer(*answer);
  if (const auto* request = std::get_if<KeyRequestMessage>(&message))
    return opened(kKeyRequest, 2, request->id).number(request->visitor).bytes(request->bytes).take();
  const SessionOrder& order = std::get<SessionOrder>(message);
  ASSERT(order.settings.hops.size() <= kSessionHopsMax);
  Packer packer = opened(kOrder, 4, order.id);
  packer.number(std::uint8_t(order.task));
  pack(packer, order.settings);
  packer.array(std::uint32_t(order.settings.hops.size()));
  for (const SessionSettings& hop : order.settings.hops) pack(packer, hop);
  packer.text(order.command);
  return packer.take();
}

Result<ToConnector> decode_to_connector(Bytes message) {
  Unpacker unpacker(message);
  const std::uint32_t elements = unpacker.array();
  const std::uint64_t kind = unpacker.number(kKindMax);
  const SessionId id = unpacker.number();
  if (kind == kStop && elements == 2 && unpacker.finish()) return ToConnector(SessionStop{id});
  if (kind == kAnswer && elements == 4) {
    SessionAnswer answer{.id = id, .number = std::uint32_t(unpacker.number(UINT32_MAX)), .secrets = {}};
    const std::uint32_t count = unpacker.array();
    if (count > kPromptsMax) return malformed();
    for (std::uint32_t i = 0; i < count; ++i) answer.secrets.push_back(Secret::copy_of(unpacker.bytes()));
    if (!unpacker.finish()) return malformed();
    return ToConnector(std::move(answer));
  }
  if (kind == kKeyRequest && elements == 4) {
    KeyRequestMessage request{.id = id, .visitor = std::uint32_t(unpacker.number(UINT32_MAX))};
    const Bytes bytes = unpacker.bytes();
    request.bytes.assign(bytes.begin(), bytes.end());
    if (!unpacker.finish()) return malformed();
    return ToConnector(std::move(request));
  }
  if (kind != kOrder || elements != 6) return malformed();
  SessionOrder order;
  order.id = id;
  order.task = SessionOrder::Task(unpacker.number(std::uint8_t(SessionOrder::Task::kSignTrustingly)));
  if (!unpack(unpacker, order.settings)) return malformed();
  const std::uint32_t hops = unpacker.array();
  if (hops > kSessionHopsMax) return malformed();
  for (std::uint32_t i = 0; i < hops; ++i)
    if (!unpack(unpacker, order.settings.hops.emplace_back())) return malformed();
  order.command = unpacker.text();
  if (!unpacker.finish()) return malformed();
  return ToConnector(std::move(order));
}

Buffer encode(const FromConnector& message) {
  if (const auto* phase = std::get_if<SessionPhase>(&message))
    return opened(kPhase, 1, phase->id).number(std::uint8_t(phase->phase)).take();
  if (const auto* text = std::get_if<SessionText>(&message))
    return opened(kText, 2, text->id).bytes(as_bytes(cut(text->text))).number(text->is_excess ? 1 : 0).take();
  if (const auto* question = std::get_if<SessionQuestion>(&message)) return encode_question(*question);
  if (const auto* refused = std::get_if<SessionRefused>(&message))
    return opened(kRefused, 0, refused->id).take();
  if (const auto* reply = std::get_if<KeyReplyMessage>(&message))
    return opened(kKeyReply, 2, reply->id).number(reply->visitor).bytes(reply->bytes).take();
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
  const std::uint64_t kind = unpacker.number(kKindMax);
  const SessionId id = unpacker.number();
  FromConnector decoded;
  if (kind == kPhase && elements == 3) {
    decoded = SessionPhase{id, Phase(unpacker.number(kPhaseCount - 1))};
  } else if (kind == kText && elements == 4) {
    SessionText text{id, std::string(cut(as_text(unpacker.bytes())))};
    text.is_excess = unpacker.number(1) != 0;
    decoded = std::move(text);
  } else if (kind == kQuestion && elements == 9) {
    SessionQuestion question;
    question.id = id;
    if (!decode_question(unpacker, question)) return malformed();
    decoded = std::move(question);
  } else if (kind == kRefused && elements == 2) {
    decoded = SessionRefused{id};
  } else if (kind == kKeyReply && elements == 4) {
    KeyReplyMessage reply{.id = id, .visitor = std::uint32_t(unpacker.number(UINT32_MAX))};
    const Bytes bytes = unpacker.bytes();
    reply.bytes.assign(bytes.begin(), bytes.end());
    decoded = std::move(reply);
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
