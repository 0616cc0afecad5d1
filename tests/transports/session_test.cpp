// Goal: whatever a server sends that libssh2 keeps to itself, a session ends in good time, says why, and
// costs neither processor time nor memory without bound; and an account is not charged for answers nobody
// gave. Method: sessions of a connector over a loop of our own, against a server that sends what no sshd
// does.
#include "transports/connector/session.h"

#include <pthread.h>
#include <sys/file.h>
#include <sys/un.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/epoll_loop.h"
#include "core/text.h"
#include "tests/transports/hostile_server.h"
#include "tests/transports/ssh_tools.h"
#include "transports/connector/key_ring.h"

using namespace banyan;
using namespace banyan::connector;
using test::HostileServer;
using test::SshFolder;

namespace {

constexpr Nanos kDeadline = 20 * kSecond;

Nanos processor_time() {
  timespec now;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return Nanos(now.tv_sec) * kSecond + now.tv_nsec;
}

const auto let_in = [](HostileServer&, std::string_view) { return true; };

// A session with the server, in the place of a connector.
class Client final : private connector::Session::Owner {
 public:
  explicit Client(const HostileServer& server) : resolver_(loop_), ring_(loop_) {
    REQUIRE(libssh2_init(0) == 0);
    settings.host = settings.key_name = "127.0.0.1";
    settings.port = settings.key_port = server.port();
    settings.user = "somebody";
    settings.known_hosts = {folder.write("known_hosts", server.known_hosts_line())};
    settings.window = 256 * 1024;
  }
  ~Client() {
    session_.reset();
    libssh2_exit();
  }

  void start() {
    Result<FdPair> pair = make_socketpair();
    REQUIRE(pair);
    root_ = std::move(pair->first);
    session_ = std::make_unique<connector::Session>(
        loop_, resolver_, ring_, SessionOrder{.id = 1, .settings = settings, .command = "x"},
        std::move(pair->second), static_cast<Owner&>(*this));
    session_->start();
  }
  void stop() { session_.reset(); }
  // False: the deadline passed.
  bool run_until(const Function<bool()>& is_so, Nanos deadline = kDeadline) {
    const Nanos over = loop_.now() + deadline;
    while (!is_so() && loop_.now() < over) loop_.run_once(10 * kMillisecond);
    return is_so();
  }
  bool run_to_end() {
    return run_until([this] { return end.has_value(); });
  }

  SshFolder folder;
  SessionSettings settings;
  Phase phase = Phase::kResolve;
  std::optional<SessionEnd> end;
  std::optional<SessionQuestion> question;

 private:
  using Owner = connector::Session::Owner;
  void on_phase(connector::Session&, Phase now) override { phase = now; }
  void on_text(connector::Session&, std::string_view) override {}
  void on_question(connector::Session&, SessionQuestion asked) override { question = std::move(asked); }
  void on_refused(connector::Session&) override {}
  void on_end(connector::Session&, SessionEnd ended) override { end = std::move(ended); }

  EpollLoop loop_;
  Resolver resolver_;
  KeyRing ring_;
  Fd root_;
  std::unique_ptr<connector::Session> session_;
};

}  // namespace

TEST_CASE("data of a stream that there is not ends a session, and makes it go round no more") {
  for (const bool is_empty : {false, true}) {
    CAPTURE(is_empty);
    HostileServer server(let_in, [&](HostileServer& peer) {
      Buffer data = peer.opened_with(95);
      put_number(data, 2);
      put_string(data, is_empty ? "" : "what is this");
      peer.send(data);
      peer.send(peer.opened_with(96));
      peer.wait();
    });
    Client client(server);
    client.start();
    const Nanos before = processor_time();
    REQUIRE(client.run_to_end());
    CHECK(processor_time() - before < 5 * kSecond);
    REQUIRE(client.end->error);
    CHECK(client.end->error->error_class == ErrorClass::kProtocol);
    CHECK(client.end->error->text.find("stream") != std::string::npos);
  }
}

TEST_CASE("a command that fills its error output, then ends, ends well") {
  HostileServer server(let_in, [](HostileServer& peer) {
    for (int i = 0; i < 20; ++i) {
      Buffer text = peer.opened_with(95);
      put_number(text, 1);
      put_string(text, std::string(10'000, 'e'));
      peer.send(text);
    }
    peer.send(peer.opened_with(96));
    Buffer status = peer.opened_with(98);
    put_string(status, "exit-status");
    status.push_back(0);
    put_number(status, 7);
    peer.send(status);
    peer.send(peer.opened_with(97));
    peer.wait();
  });
  Client client(server);
  client.start();
  REQUIRE(client.run_to_end());
  INFO((client.end->error ? client.end->error->text : ""));
  CHECK_FALSE(client.end->error);
  CHECK(client.end->exit_code == std::uint8_t(7));
}

TEST_CASE("packets of a kind that does not exist are taken up to a bound, then the session ends") {
  constexpr std::size_t kPacket = 1'000, kSentMax = 256 * 1024 * 1024;
  std::atomic<std::size_t> sent = 0;
  HostileServer server(let_in, [&](HostileServer& peer) {
    const Buffer unknown(kPacket, 201);
    while (sent < kSentMax && peer.send(unknown)) sent += kPacket;
    peer.wait();
  });
  Client client(server);
  client.start();
  REQUIRE(client.run_to_end());
  REQUIRE(client.end->error);
  CHECK(client.end->error->error_class == ErrorClass::kProtocol);
  CHECK(client.end->error->text.find("nobody asked for") != std::string::npos);
  CHECK(sent < 64 * 1024 * 1024);  // the bound, and what sockets hold
}

TEST_CASE("an account is not charged for a question that nobody answered") {
  enum class What { kStopped, kTooMany };
  for (const What what : {What::kStopped, What::kTooMany}) {
    CAPTURE(int(what));
    std::atomic<int> packets_after = 0;
    std::atomic<bool> was_asked = false;
    {
      HostileServer server(
          [&](HostileServer& peer, std::string_view method) {
            if (method != "keyboard-interactive") {
              Buffer refused = {51};
              put_string(refused, "keyboard-interactive");
              refused.push_back(0);
              peer.send(refused);
              return false;
            }
            Buffer request = {60};
            for (const char* text : {"", "", ""}) put_string(request, text);
            const std::uint32_t prompts = what == What::kTooMany ? kPromptsMax + 1 : 1;
            put_number(request, prompts);
            for (std::uint32_t i = 0; i < prompts; ++i) {
              put_string(request, "Password: ");
              request.push_back(0);
            }
            was_asked = true;
            peer.send(request);
            while (!peer.receive().empty()) ++packets_after;
            return false;
          },
          [](HostileServer&) {});
      Client client(server);
      client.settings.methods = {"keyboard-interactive"};
      client.settings.may_ask = true;
      client.start();
      if (what == What::kStopped) {
        REQUIRE(client.run_until([&] { return client.question.has_value() || client.end.has_value(); }));
        CHECK(client.question.has_value());
        client.stop();
      } else {
        REQUIRE(client.run_to_end());
        REQUIRE(client.end->error);
        CHECK(client.end->error->error_class == ErrorClass::kAuth);
        CHECK(client.end->error->text.find("questions at once") != std::string::npos);
      }
    }
    CHECK(was_asked);
    CHECK(packets_after == 0);
  }
}

TEST_CASE("what a server says while the key agent thinks costs no processor time") {
  HostileServer server(let_in, [](HostileServer&) {});
  Client client(server);
  // One that takes connections and says nothing.
  const Fd agent(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = client.folder.path("agent");
  REQUIRE(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.c_str(), path.size());
  REQUIRE(::bind(agent.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(agent.get(), 1) == 0);
  client.settings.key_agent = path;
  client.start();
  REQUIRE(client.run_until([&] { return server.has_keys() && client.phase == Phase::kAuth; }));
  REQUIRE(server.send(Buffer{2, 0, 0, 0, 0}));
  const Nanos before = processor_time();
  client.run_until([&] { return client.end.has_value(); }, kSecond);
  CHECK_FALSE(client.end.has_value());
  CHECK(processor_time() - before < kSecond / 2);
}

TEST_CASE("a known_hosts file that another program has locked stops its own session only") {
  HostileServer server(let_in, [](HostileServer&) {});
  Client client(server);
  const std::string path = client.folder.write("new_hosts", "");
  const Fd holder(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(::flock(holder.get(), LOCK_EX) == 0);
  client.settings.known_hosts.clear();
  client.settings.accept_new = path;
  client.start();
  Nanos longest = 0;
  REQUIRE(client.run_until([&, last = EpollLoop().now()]() mutable {
    const Nanos now = EpollLoop().now();
    longest = std::max(longest, now - std::exchange(last, now));
    return client.end.has_value();
  }));
  CHECK(longest < kSecond);
  REQUIRE(client.end->error);
  CHECK(client.end->error->error_class == ErrorClass::kHostKey);
  CHECK(client.end->error->text.find("locked") != std::string::npos);
  CHECK(client.folder.read("new_hosts").empty());
}

TEST_CASE("where threads run out, a name and a key end in an error of their own") {
  pthread_attr_t usual, huge;
  REQUIRE(::pthread_getattr_default_np(&usual) == 0);
  REQUIRE(::pthread_attr_init(&huge) == 0);
  // No address space has room for that stack.
  REQUIRE(::pthread_attr_setstacksize(&huge, std::size_t(1) << 62) == 0);
  EpollLoop loop;
  Resolver resolver(loop);
  KeyRing ring(loop);
  std::optional<Error> of_name, of_key;
  REQUIRE(::pthread_setattr_default_np(&huge) == 0);
  resolver.resolve("127.0.0.1", 22, AddressFamily::kAny, [&](Result<std::vector<Address>> addresses) {
    of_name = addresses ? Error() : addresses.error();
  });
  ring.open("/nowhere", Secret(), [&](Result<KeyRing::Key> key) { of_key = key ? Error() : key.error(); });
  ::pthread_setattr_default_np(&usual);
  ::pthread_attr_destroy(&huge);
  ::pthread_attr_destroy(&usual);
  const Nanos deadline = loop.now() + kDeadline;
  while ((!of_name || !of_key) && loop.now() < deadline) loop.run_once(10 * kMillisecond);
  REQUIRE(of_name);
  REQUIRE(of_key);
  CHECK(of_name->error_class == ErrorClass::kResource);
  CHECK(of_key->error_class == ErrorClass::kResource);
}
