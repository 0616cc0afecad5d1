// Goal: root and connector understand each other, and neither believes what it cannot understand.
// Method: every message there and back; messages cut at each byte; datagrams with and without a descriptor.
#include "transports/connector_protocol.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>

using namespace banyan;

namespace {

SessionOrder order() {
  SessionOrder order;
  order.id = 7;
  order.command = "exec true";
  SessionSettings& settings = order.settings;
  settings.host = "web1";
  settings.port = 2222;
  settings.family = AddressFamily::kIpv6;
  settings.user = "ann";
  settings.key_name = "alias";
  settings.key_port = 23;
  settings.bind_address = "192.0.2.9";
  settings.known_hosts = {"/a", "/b"};
  settings.accept_new = "/a";
  settings.key_exchanges = {"k1", "k2"};
  settings.ciphers = {"c"};
  settings.macs = {"m"};
  settings.host_key_algorithms = {"h"};
  settings.hash_known_hosts = true;
  settings.identities = {"/id"};
  settings.key_agent = "/agent";
  settings.only_identities = true;
  settings.environment = {"LANG=C"};
  settings.window = 12345;
  settings.methods = {"password", "publickey"};
  settings.password_prompts = 7;
  settings.may_ask = true;
  settings.tells_steps = true;
  for (const char* name : {"gw", "ann@inner:22"}) {
    SessionSettings hop;
    hop.name = name;
    hop.host = "192.0.2.1";
    hop.port = 2022;
    hop.user = "bob";
    hop.known_hosts = {"/of_hop"};
    hop.identities = {"/id_of_hop"};
    hop.may_ask = true;
    settings.hops.push_back(std::move(hop));
  }
  return order;
}

}  // namespace

TEST_CASE("an order arrives with everything in it") {
  const Result<ToConnector> decoded = decode_to_connector(encode(ToConnector(order())));
  REQUIRE(bool(decoded));
  const auto* got = std::get_if<SessionOrder>(&*decoded);
  REQUIRE(got != nullptr);
  CHECK(got->id == 7);
  CHECK(got->command == "exec true");
  const SessionSettings& settings = got->settings;
  CHECK(settings.host == "web1");
  CHECK(settings.port == 2222);
  CHECK(settings.family == AddressFamily::kIpv6);
  CHECK(settings.bind_address == "192.0.2.9");
  CHECK(settings.user == "ann");
  CHECK(settings.key_name == "alias");
  CHECK(settings.key_port == 23);
  CHECK(settings.known_hosts == std::vector<std::string>{"/a", "/b"});
  CHECK(settings.accept_new == "/a");
  CHECK((settings.key_exchanges == std::vector<std::string>{"k1", "k2"}));
  CHECK((settings.ciphers == std::vector<std::string>{"c"}));
  CHECK((settings.macs == std::vector<std::string>{"m"}));
  CHECK((settings.host_key_algorithms == std::vector<std::string>{"h"}));
  CHECK(settings.hash_known_hosts);
  CHECK(settings.identities == std::vector<std::string>{"/id"});
  CHECK(settings.key_agent == "/agent");
  CHECK(settings.only_identities);
  CHECK(settings.environment == std::vector<std::string>{"LANG=C"});
  CHECK(settings.window == 12345);
  CHECK(settings.methods == std::vector<std::string>{"password", "publickey"});
  CHECK(settings.password_prompts == 7);
  CHECK(settings.may_ask);
  CHECK(settings.tells_steps);
  REQUIRE(settings.hops.size() == 2);
  CHECK(settings.hops[0].name == "gw");
  const SessionSettings& hop = settings.hops[1];
  CHECK(hop.name == "ann@inner:22");
  CHECK(hop.host == "192.0.2.1");
  CHECK(hop.port == 2022);
  CHECK(hop.user == "bob");
  CHECK(hop.known_hosts == std::vector<std::string>{"/of_hop"});
  CHECK(hop.identities == std::vector<std::string>{"/id_of_hop"});
  CHECK(hop.may_ask);
  CHECK_FALSE(hop.tells_steps);
  CHECK(hop.hops.empty());
}

TEST_CASE("an order has so many hops and no more") {
  SessionOrder most = order();
  most.settings.hops.assign(kSessionHopsMax, SessionSettings());
  Buffer message = encode(ToConnector(most));
  REQUIRE(bool(decode_to_connector(message)));
  most.settings.hops.assign(2, SessionSettings());
  const std::size_t with_two = encode(ToConnector(most)).size();
  most.settings.hops.assign(1, SessionSettings());
  const auto hop_bytes = std::ptrdiff_t(with_two - encode(ToConnector(most)).size());
  // The head of their list is 0xdc and 16 bits: one more of the same is put behind it.
  const Buffer head = {0xdc, 0, kSessionHopsMax};
  const auto list = std::search(message.begin(), message.end(), head.begin(), head.end());
  REQUIRE(list != message.end());
  list[2] = kSessionHopsMax + 1;
  const auto first = list + std::ptrdiff_t(head.size());
  const Buffer hop(first, first + hop_bytes);
  message.insert(first, hop.begin(), hop.end());
  CHECK_FALSE(bool(decode_to_connector(message)));
}

TEST_CASE("what a connector tells arrives as it was told, long texts cut") {
  Error error{ErrorClass::kHostKey, Phase::kKex, std::string(100'000, 'x'), "ask"};
  error.started = Started::kUnknown;
  const auto decoded = decode_from_connector(encode(FromConnector(SessionEnd{.id = 9, .error = error})));
  REQUIRE(bool(decoded));
  const auto* end = std::get_if<SessionEnd>(&*decoded);
  REQUIRE(end != nullptr);
  REQUIRE(end->error.has_value());
  CHECK(end->id == 9);
  CHECK(end->error->error_class == ErrorClass::kHostKey);
  CHECK(end->error->phase == Phase::kKex);
  CHECK(end->error->text.size() == kConnectorTextMax);
  CHECK(end->error->remedy == "ask");
  CHECK(end->error->started == Started::kUnknown);

  const auto code =
      decode_from_connector(encode(FromConnector(SessionEnd{.id = 9, .error = {}, .exit_code = 3})));
  REQUIRE(bool(code));
  CHECK(std::get<SessionEnd>(*code).exit_code == 3);
  const auto phase = decode_from_connector(encode(FromConnector(SessionPhase{4, Phase::kAuth})));
  REQUIRE(bool(phase));
  CHECK(std::get<SessionPhase>(*phase).phase == Phase::kAuth);
  const auto text = decode_from_connector(encode(FromConnector(SessionText{4, "a\nb"})));
  REQUIRE(bool(text));
  CHECK(std::get<SessionText>(*text).text == "a\nb");
  CHECK_FALSE(std::get<SessionText>(*text).is_excess);
  const auto excess = decode_from_connector(encode(FromConnector(SessionText{4, "it asked", true})));
  REQUIRE(bool(excess));
  CHECK(std::get<SessionText>(*excess).is_excess);
}

TEST_CASE("a message cut anywhere, or with more behind it, is none") {
  for (const bool longer : {false, true}) {
    Buffer message = encode(ToConnector(order()));
    if (longer) {
      message.push_back(0);
      CHECK_FALSE(bool(decode_to_connector(message)));
      continue;
    }
    for (std::size_t size = 0; size < message.size(); ++size) {
      CAPTURE(size);
      CHECK_FALSE(bool(decode_to_connector(Bytes(message).first(size))));
    }
  }
}

TEST_CASE("a datagram brings its descriptor, and its end is told from a pause") {
  int pair[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
  Fd ours(pair[0]), theirs(pair[1]);
  CHECK(receive_datagram(theirs.get()).status == Datagram::Status::kWouldBlock);
  auto pipe = make_pipe();
  REQUIRE(bool(pipe));
  const Buffer message = encode(ToConnector(SessionStop{5}));
  REQUIRE(send_datagram(ours.get(), message, pipe->second.get()));
  REQUIRE(send_datagram(ours.get(), message, -1));
  const Datagram with = receive_datagram(theirs.get());
  CHECK(with.status == Datagram::Status::kOk);
  CHECK(with.message == message);
  REQUIRE(bool(with.fd));
  CHECK(::write(with.fd.get(), "x", 1) == 1);
  CHECK_FALSE(bool(receive_datagram(theirs.get()).fd));
  ours.reset();
  CHECK(receive_datagram(theirs.get()).status == Datagram::Status::kEnd);
}

TEST_CASE("a question arrives as it was asked, long texts cut, and one that makes no sense does not") {
  using Kind = SessionQuestion::Kind;
  const auto arrives = [](const SessionQuestion& question) {
    return decode_from_connector(encode(FromConnector(question)));
  };
  SessionQuestion question{
      .id = 4, .number = 9, .session = 2, .kind = Kind::kInteractive, .file = {}, .name = "n"};
  question.instruction = std::string(100'000, 'i');
  question.items = {{"Code:", true}, {std::string(100'000, 'p'), false}};
  const auto decoded = arrives(question);
  REQUIRE(bool(decoded));
  const SessionQuestion& got = std::get<SessionQuestion>(*decoded);
  CHECK(got.id == 4);
  CHECK(got.number == 9);
  CHECK(got.session == 2);
  CHECK(got.kind == Kind::kInteractive);
  CHECK(got.name == "n");
  CHECK(got.instruction.size() == kPromptTextMax);
  REQUIRE(got.items.size() == 2);
  CHECK(got.items[0].text == "Code:");
  CHECK(got.items[0].echo);
  CHECK(got.items[1].text.size() == kPromptTextMax);
  CHECK_FALSE(got.items[1].echo);

  CHECK(bool(arrives({.id = 1, .number = 1, .kind = Kind::kPassword})));
  CHECK(bool(arrives({.id = 1, .number = 1, .kind = Kind::kPassphrase, .file = "/id"})));
  CHECK(bool(arrives({.id = 1, .number = 1, .session = kSessionHopsMax, .kind = Kind::kPassword})));
  CHECK_FALSE(bool(arrives({.id = 1, .number = 1, .session = kSessionHopsMax + 1, .kind = Kind::kPassword})));
  CHECK_FALSE(bool(arrives({.id = 1, .number = 1, .kind = Kind::kPassphrase})));
  CHECK_FALSE(bool(arrives({.id = 1, .number = 1, .kind = Kind::kPassword, .file = "/id"})));
  CHECK_FALSE(bool(arrives({.id = 1, .number = 1, .kind = Kind::kInteractive})));
  question.items.resize(kPromptsMax + 1);
  CHECK_FALSE(bool(arrives(question)));
  CHECK(bool(decode_from_connector(encode(FromConnector(SessionRefused{3})))));
}

TEST_CASE("an answer arrives with its secrets, in a message that never moved") {
  SessionAnswer answer{.id = 4, .number = 9, .secrets = {}};
  const std::string much(kSecretMax, 's');
  for (const std::string_view text : {std::string_view("one"), std::string_view(), std::string_view(much)})
    answer.secrets.push_back(Secret::copy_of(as_bytes(text)));
  Buffer message = encode(ToConnector(std::move(answer)));
  const Result<ToConnector> decoded = decode_to_connector(message);
  REQUIRE(bool(decoded));
  const SessionAnswer& got = std::get<SessionAnswer>(*decoded);
  CHECK(got.number == 9);
  REQUIRE(got.secrets.size() == 3);
  CHECK(got.secrets[0].text() == "one");
  CHECK(got.secrets[1].empty());
  CHECK(got.secrets[2].text() == much);
  for (std::size_t size = 0; size < message.size(); ++size)
    CHECK_FALSE(bool(decode_to_connector(Bytes(message).first(size))));
}
