// Goal: whatever a server sends that libssh2 keeps to itself, a session ends in good time, says why, and
// costs neither processor time nor memory without bound; bytes go both ways though sockets are full, and the
// server never has more credit than the window; and an account is not charged for answers nobody gave.
// Method: sessions of a connector over a loop of our own, against a server that sends what no sshd does.
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
#include <thread>
#include <utility>
#include <vector>

#include "core/epoll_loop.h"
#include "core/text.h"
#include "tests/transports/hostile_server.h"
#include "tests/transports/ssh_tools.h"
#include "transports/connector/key_ring.h"
#include "transports/connector/remote_command.h"

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
    root = std::move(pair->first);
    session_ = std::make_unique<connector::Session>(
        loop_, resolver_, ring_, SessionOrder{.id = 1, .settings = settings, .command = "x"},
        std::move(pair->second), static_cast<Owner&>(*this));
    session_->start();
  }
  void stop() { session_.reset(); }
  void answer(std::string_view secret) {
    std::vector<Secret> secrets;
    secrets.push_back(Secret::copy_of(as_bytes(secret)));
    session_->answer({.id = 1, .number = std::exchange(question, {})->number, .secrets = std::move(secrets)});
  }
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
  Fd root;  // where its bytes go and come from
  Phase phase = Phase::kResolve;
  std::optional<SessionEnd> end;
  std::optional<SessionQuestion> question;
  int refusals = 0;

 private:
  using Owner = connector::Session::Owner;
  void on_phase(connector::Session&, Phase now) override { phase = now; }
  void on_text(connector::Session&, std::string_view) override {}
  void on_question(connector::Session&, SessionQuestion asked) override { question = std::move(asked); }
  void on_refused(connector::Session&) override { ++refusals; }
  void on_end(connector::Session&, SessionEnd ended) override { end = std::move(ended); }

  EpollLoop loop_;
  Resolver resolver_;
  KeyRing ring_;
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

// What a test sends: no two places look alike for long.
std::uint8_t byte_at(std::size_t place) {
  return std::uint8_t(place * 2'654'435'761U >> 13);
}

void put_bytes(Buffer& to, std::size_t from, std::size_t count) {
  put_number(to, std::uint32_t(count));
  for (std::size_t i = 0; i < count; ++i) to.push_back(byte_at(from + i));
}

// Both ends of a command's bytes, at the server.
struct Command {
  HostileServer& peer;
  std::size_t credit, most_credit, sent = 0, received = 0;
  bool all_as_sent = true, has_ended = false;

  // One packet of the client's. False: the connection is over.
  bool receive() {
    const Buffer packet = peer.receive();
    if (packet.empty()) return false;
    WireReader reader(Bytes(packet).subspan(1));
    reader.number();
    if (packet[0] == 93) {
      credit += reader.number();
      most_credit = std::max(most_credit, credit);
    } else if (packet[0] == 94) {
      const Bytes bytes = reader.string();
      for (const std::uint8_t byte : bytes) all_as_sent = all_as_sent && byte == byte_at(received++);
    }
    has_ended = has_ended || packet[0] == 96;
    return true;
  }
  void send(std::size_t bytes) {
    Buffer data = peer.opened_with(94);
    put_bytes(data, sent, bytes);
    peer.send(data);
    sent += bytes;
    credit -= bytes;
  }
  void end() {
    peer.send(peer.opened_with(96));
    peer.send(peer.opened_with(97));
    peer.wait();
  }
};

TEST_CASE("bytes go both ways though the server reads none until it has sent all it may") {
  constexpr std::size_t kUp = 12'000'000, kDown = 4'000'000, kPacket = 16 * 1024, kWindow = 256 * 1024;
  std::atomic<bool> is_stuck = false, is_read_up = false, is_right = false;
  std::atomic<std::size_t> most_credit = 0;
  HostileServer server(let_in, [&](HostileServer& peer) {
    Command command{.peer = peer, .credit = 64 * 1024, .most_credit = 0};
    Buffer more = peer.opened_with(93);
    put_number(more, 2 * kUp);
    peer.send(more);
    while (command.most_credit < kWindow && command.receive()) {
    }
    while (!is_stuck) std::this_thread::yield();
    while (command.credit >= kPacket) command.send(kPacket);
    bool goes_on = true;
    while (goes_on && (command.sent < kDown || !command.has_ended)) {
      goes_on = command.receive();
      while (command.sent < kDown && command.credit >= kPacket) command.send(kPacket);
    }
    is_right = command.all_as_sent;
    is_read_up = command.received == kUp;
    most_credit = command.most_credit;
    command.end();
  });
  Client client(server);
  client.settings.window = kWindow;
  client.start();

  std::size_t written = 0, read = 0;
  bool as_sent = true;
  Buffer piece;
  const auto write_some = [&] {
    if (piece.empty())
      for (std::size_t i = 0; i < 64 * 1024 && written + i < kUp; ++i) piece.push_back(byte_at(written + i));
    const ssize_t put = ::send(client.root.get(), piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put <= 0) return false;
    written += std::size_t(put);
    piece.erase(piece.begin(), piece.begin() + put);
    if (written == kUp) ::shutdown(client.root.get(), SHUT_WR);
    return true;
  };
  const auto read_some = [&] {
    std::uint8_t bytes[64 * 1024];
    const ssize_t got = ::recv(client.root.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    for (ssize_t i = 0; i < got; ++i) as_sent = as_sent && bytes[i] == byte_at(read++);
  };
  // Nothing is taken any more once the session has not made room for a while.
  int idle_rounds = 0;
  REQUIRE(client.run_until([&] {
    while (written < kUp && write_some()) idle_rounds = 0;
    return (client.phase == Phase::kShell && written > 1'000'000 && ++idle_rounds > 20) || client.end;
  }));
  CHECK(written < kUp);
  is_stuck = true;
  REQUIRE(client.run_until([&] {
    while (written < kUp && write_some()) {
    }
    read_some();
    return client.end.has_value();
  }));
  for (std::size_t before = SIZE_MAX; std::exchange(before, read) != read;) read_some();

  INFO((client.end->error ? client.end->error->text : ""));
  CHECK_FALSE(client.end->error);
  CHECK(as_sent);
  CHECK(read >= kDown);
  CHECK(is_right);
  CHECK(is_read_up);
  CHECK(most_credit <= kWindow);
}

TEST_CASE("the window of a long wire is wide, of a short one as ssh's, and of many sessions narrow") {
  CHECK(window_for(0, 16 << 20) == 2 << 20);
  CHECK(window_for(5 * kMillisecond, 16 << 20) == 2 << 20);
  CHECK(window_for(20 * kMillisecond, 16 << 20) == 8'000'000);
  CHECK(window_for(50 * kMillisecond, 16 << 20) == 16 << 20);
  CHECK(window_for(3600 * kSecond, 16 << 20) == 16 << 20);
  CHECK(window_for(50 * kMillisecond, 256 << 10) == 256 << 10);
  CHECK(window_for(0, 256 << 10) == 256 << 10);

  std::atomic<std::size_t> given = 0;
  HostileServer server(let_in, [&](HostileServer& peer) {
    Command command{.peer = peer, .credit = 64 * 1024, .most_credit = 0};
    while (command.most_credit == 0 && command.receive()) {
    }
    given = command.credit;
    command.end();
  });
  server.answer_late(std::chrono::milliseconds(100));
  Client client(server);
  client.settings.window = 16 << 20;
  client.start();
  REQUIRE(client.run_to_end());
  CHECK(given == 16 << 20);
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

// sshd counts each request to log in that fails, but for one that asks what there is if it is the first.
TEST_CASE("what a server takes is asked once at the beginning, or not at all: each refusal says it") {
  const struct {
    const char* name;
    std::vector<std::string> methods;
    int keys;
    const char* takes;
    const char* requests;
  } table[] = {
      {"no key", {"publickey", "password"}, 0, "publickey,password", "none password password password "},
      {"a key", {"publickey", "password"}, 1, "publickey,password", "publickey password password password "},
      {"a server that takes no keys",
       {"publickey", "password"},
       2,
       "password",
       "publickey password password password "},
      {"keys last",
       {"password", "publickey"},
       1,
       "publickey,password",
       "none password password password publickey "},
      {"keys alone", {"publickey"}, 2, "publickey,password", "publickey publickey "},
  };
  for (const auto& row : table) {
    CAPTURE(row.name);
    std::string requests;
    std::optional<SessionEnd> end;
    {
      HostileServer server(
          [&](HostileServer& peer, std::string_view method) {
            requests += cat(method, " ");
            Buffer refused = {51};
            put_string(refused, row.takes);
            refused.push_back(0);
            peer.send(refused);
            return false;
          },
          [](HostileServer&) {});
      Client client(server);
      client.settings.methods = row.methods;
      client.settings.may_ask = true;
      for (int i = 0; i < row.keys; ++i) {
        REQUIRE(client.folder.run(cat("ssh-keygen -q -t ed25519 -N '' -f key", i)).code == 0);
        client.settings.identities.push_back(client.folder.path(cat("key", i)));
      }
      client.start();
      for (int i = 0; i < 3; ++i) {
        REQUIRE(client.run_until([&] { return client.question.has_value() || client.end.has_value(); }));
        if (client.question) client.answer("wrong");
      }
      REQUIRE(client.run_to_end());
      end = client.end;
    }
    CHECK(requests == row.requests);
    REQUIRE(end->error);
    CHECK(end->error->error_class == ErrorClass::kAuth);
    CHECK(end->error->text.find(cat("(the server takes: ", row.takes, ")")) != std::string::npos);
  }
}

TEST_CASE("who is right and has to give something else too is not told that it was refused") {
  std::string requests;
  std::optional<SessionEnd> end;
  int refusals = 0;
  {
    HostileServer server(
        [&](HostileServer& peer, std::string_view method) {
          requests += cat(method, " ");
          const bool is_half_way = method == "password";
          if (method == "keyboard-interactive") return true;
          Buffer refused = {51};
          // A way that was gone may be offered again.
          put_string(refused, is_half_way ? "keyboard-interactive,password" : "password");
          refused.push_back(is_half_way ? 1 : 0);
          peer.send(refused);
          return false;
        },
        [](HostileServer& peer) { peer.send(peer.opened_with(97)); });
    Client client(server);
    client.settings.methods = {"keyboard-interactive", "password"};
    client.settings.may_ask = true;
    client.start();
    REQUIRE(client.run_until([&] { return client.question.has_value() || client.end.has_value(); }));
    REQUIRE(client.question);
    client.answer("right");
    REQUIRE(client.run_until([&] { return client.phase == Phase::kShell || client.end.has_value(); }));
    client.run_to_end();
    end = client.end;
    refusals = client.refusals;
  }
  CHECK(requests == "none password keyboard-interactive ");
  CHECK(refusals == 0);
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
