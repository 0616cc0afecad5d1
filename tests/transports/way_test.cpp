// Goal: whatever a host on the way does, the way ends in good time and says which host it was, in its phase
// and class; and nothing of it is left.
// Method: ways of a connector over a loop of our own, through a server that does what no sshd does.
#include "transports/connector/way.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <utility>

#include "core/epoll_loop.h"
#include "core/text.h"
#include "tests/transports/hostile_server.h"
#include "tests/transports/ssh_tools.h"

using namespace banyan;
using namespace banyan::connector;
using test::HostileServer;
using test::SshFolder;

namespace {

constexpr Nanos kDeadline = 20 * kSecond;

const auto let_in = [](HostileServer&, std::string_view) { return true; };

// A way through the server to a host that nobody is to reach, in the place of a connector.
class Client final : private Way::Owner {
 public:
  explicit Client(const HostileServer& server) : resolver_(loop_), ring_(loop_) {
    REQUIRE(libssh2_init(0) == 0);
    SessionSettings hop;
    hop.name = "gw";
    hop.host = hop.key_name = "127.0.0.1";
    hop.port = hop.key_port = server.port();
    hop.user = "somebody";
    hop.known_hosts = {folder.write("known_hosts", server.known_hosts_line())};
    hop.window = 256 * 1024;
    settings.host = settings.key_name = "behind.invalid";
    settings.user = "somebody";
    settings.window = 256 * 1024;
    settings.hops = {std::move(hop)};
  }
  ~Client() {
    way_.reset();
    run_until([this] { return resolver_.is_idle(); });  // its thread tells the loop
    libssh2_exit();
  }

  void start() {
    Result<FdPair> pair = make_socketpair();
    REQUIRE(pair);
    root = std::move(pair->first);
    way_ = std::make_unique<Way>(loop_, resolver_, ring_,
                                 SessionOrder{.id = 1, .settings = settings, .command = "x"},
                                 std::move(pair->second), static_cast<Owner&>(*this));
    CHECK(way_->length() == settings.hops.size() + 1);
    way_->start();
  }
  void stop() { way_.reset(); }
  bool run_until(const Function<bool()>& is_so) {
    const Nanos over = loop_.now() + kDeadline;
    while (!is_so() && loop_.now() < over) loop_.run_once(10 * kMillisecond);
    return is_so();
  }
  // How it ended.
  Error error() {
    start();
    REQUIRE(run_until([this] { return end.has_value(); }));
    REQUIRE(end->error);
    return *end->error;
  }

  SshFolder folder;
  SessionSettings settings;
  Fd root;
  std::vector<Phase> phases;
  std::optional<SessionEnd> end;
  int ends = 0;

 private:
  using Owner = Way::Owner;
  void on_phase(Way&, Phase now) override { phases.push_back(now); }
  void on_text(Way&, std::string_view) override {}
  void on_question(Way&, SessionQuestion) override {}
  void on_refused(Way&) override {}
  void on_end(Way&, SessionEnd ended) override {
    end = std::move(ended);
    ++ends;
  }

  EpollLoop loop_;
  Resolver resolver_;
  KeyRing ring_;
  std::unique_ptr<Way> way_;
};

Buffer data_of(HostileServer& server, std::string_view text) {
  Buffer data = server.opened_with(94);
  put_string(data, text);
  return data;
}

}  // namespace

TEST_CASE("for each reason not to let us through a jump has a class, and the error its name") {
  const struct {
    std::uint32_t reason;
    ErrorClass error_class;
    std::string_view said;
  } table[] = {
      {1, ErrorClass::kRefused, "jump gw: it does not let us through to behind.invalid port 22"},
      {2, ErrorClass::kUnreachable, "jump gw: it cannot connect to behind.invalid port 22"},
      {3, ErrorClass::kRefused, "jump gw: it opens no tunnel to behind.invalid port 22"},
      {4, ErrorClass::kResource, "jump gw: it has no room for a tunnel"},
      {77, ErrorClass::kRefused, "jump gw: it opens no tunnel to behind.invalid port 22"},
  };
  for (const auto& row : table) {
    CAPTURE(row.reason);
    HostileServer server(let_in, [](HostileServer&) {});
    server.refuse_channels(row.reason);
    Client client(server);
    const Error error = client.error();
    CAPTURE(error.text);
    CHECK(error.error_class == row.error_class);
    CHECK(error.phase == Phase::kConnect);
    CHECK(error.text.starts_with(row.said));
    CHECK_FALSE(error.remedy.empty());
    CHECK(client.ends == 1);
    // The phases of the jump, and the first of what is behind it.
    CHECK(client.phases ==
          std::vector{Phase::kResolve, Phase::kConnect, Phase::kKex, Phase::kAuth, Phase::kConnect});
  }
}

TEST_CASE("a jump that hangs up when its tunnel is open is lost, and not the host behind it") {
  HostileServer server(let_in, [](HostileServer&) {});
  Client client(server);
  const Error error = client.error();
  CAPTURE(error.text);
  CHECK(error.error_class == ErrorClass::kLost);
  CHECK(error.text.starts_with("jump gw: "));
  CHECK(client.ends == 1);
}

TEST_CASE("a tunnel that ends, and one that leads to no sshd, are the fault of what is behind the jump") {
  const struct {
    std::string_view sent;
    ErrorClass error_class;
  } table[] = {
      {"", ErrorClass::kRefused},
      {"SSH-2.0-x\r\nthis is no packet, and goes on for a while like that", ErrorClass::kProtocol},
  };
  for (const auto& row : table) {
    CAPTURE(row.sent);
    HostileServer server(let_in, [&](HostileServer& peer) {
      // Until the other side has said who it is: credit comes before.
      for (Buffer packet = peer.receive(); !packet.empty() && packet[0] != 94;) packet = peer.receive();
      if (!row.sent.empty()) peer.send(data_of(peer, row.sent));
      for (const int kind : {96, 97}) peer.send(peer.opened_with(std::uint8_t(kind)));
      peer.wait();
    });
    Client client(server);
    const Error error = client.error();
    CAPTURE(error.text);
    CHECK(error.error_class == row.error_class);
    CHECK(error.phase == Phase::kKex);
    CHECK(error.text.find("jump gw") == error.text.npos);
  }
}

TEST_CASE("a tunnel out of which comes no end of lines that say nothing ends the way") {
  HostileServer server(let_in, [](HostileServer& peer) {
    const std::string line(8 * 1024 - 1, 'x');
    while (peer.send(data_of(peer, line + "\n"))) {
    }
  });
  Client client(server);
  const Error error = client.error();
  CAPTURE(error.text);
  CHECK(error.error_class == ErrorClass::kProtocol);
}

TEST_CASE("a way that is stopped wherever it has come leaves nothing") {
  for (const Phase where : {Phase::kResolve, Phase::kConnect, Phase::kKex, Phase::kAuth}) {
    HostileServer server(let_in, [](HostileServer& peer) { peer.wait(); });
    Client client(server);
    client.start();
    REQUIRE(client.run_until([&] { return std::ranges::find(client.phases, where) != client.phases.end(); }));
    client.stop();
    CHECK(client.ends == 0);
  }
  HostileServer server(let_in, [](HostileServer& peer) { peer.wait(); });
  Client client(server);
  client.start();
  REQUIRE(client.run_until([&] { return client.phases.size() == 5; }));  // the tunnel
  client.stop();
  CHECK(client.ends == 0);
}

TEST_CASE("a jump that shows another key than is known of it is not logged in to") {
  std::atomic<bool> is_asked = false;
  HostileServer server([&](HostileServer&, std::string_view) { return is_asked = true; },
                       [](HostileServer&) {});
  Client client(server);
  client.folder.must_run("ssh-keygen -q -t ed25519 -N '' -f other_host");
  client.settings.hops.front().known_hosts = {client.folder.write(
      "other", cat("[127.0.0.1]:", server.port(), " ", client.folder.read("other_host.pub")))};
  const Error error = client.error();
  CAPTURE(error.text);
  CHECK(error.error_class == ErrorClass::kHostKey);
  CHECK(error.phase == Phase::kKex);
  CHECK(error.text.starts_with("jump gw: "));
  CHECK_FALSE(is_asked);
}
