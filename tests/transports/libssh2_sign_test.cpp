// Goal: what PrivateKey and KeyAgent sign, handed to libssh2's callback, logs in at a real server, with every
// type of key. Method: a session of libssh2 to an sshd on the loopback interface, once for each type and
// algorithm; the server's log says what it saw.
#include <libssh2.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

#include "core/epoll_loop.h"
#include "tests/support/sshd.h"
#include "tests/transports/ssh_tools.h"
#include "transports/connector/key_agent.h"
#include "transports/connector/key_request.h"
#include "transports/connector/known_hosts.h"
#include "transports/connector/known_hosts_file.h"
#include "transports/connector/private_key.h"
#include "transports/connector/public_key.h"

using namespace banyan;
using namespace banyan::connector;
using test::SshFolder;

namespace {

// What the callback is given: a signature, an error, or nothing yet.
using Signer = Function<std::optional<Result<Buffer>>(Bytes data)>;

int sign_callback(LIBSSH2_SESSION* /*session*/, unsigned char** signature, std::size_t* length,
                  const unsigned char* data, std::size_t data_length, void** held) {
  const std::optional<Result<Buffer>> made =
      (*static_cast<Signer*>(static_cast<void*>(held)))({data, data_length});
  if (!made) return LIBSSH2_ERROR_EAGAIN;
  if (!*made) return -1;
  *signature = static_cast<unsigned char*>(std::malloc((*made)->size()));
  std::memcpy(*signature, (*made)->data(), (*made)->size());
  *length = (*made)->size();
  return 0;
}

class Session {
 public:
  explicit Session(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(libssh2_init(0) == 0);
    session_ = libssh2_session_init_ex(allocate, release, reallocate, this);
    REQUIRE(session_ != nullptr);
    REQUIRE(libssh2_session_method_pref(session_, LIBSSH2_METHOD_HOSTKEY, "ssh-ed25519") == 0);
    REQUIRE(libssh2_session_handshake(session_, socket_.get()) == 0);
  }
  ~Session() {
    libssh2_session_free(session_);
    libssh2_exit();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Bytes host_key() const {
    std::size_t length = 0;
    int type = 0;
    const char* key = libssh2_session_hostkey(session_, &length, &type);
    return as_bytes(std::string_view(key, length));
  }

  // `idle` runs while the signer has nothing yet.
  int log_in(
      Bytes blob, std::string_view algorithm, Signer signer, Function<void()> idle = [] {}) {
    libssh2_session_set_blocking(session_, 0);
    request_.emplace(blob, algorithm);
    const std::string user = ::getpwuid(::geteuid())->pw_name;
    int code;
    while ((code = libssh2_userauth_publickey(session_, user.c_str(), request_->shown().data(),
                                              request_->shown().size(), sign_callback,
                                              reinterpret_cast<void**>(&signer))) == LIBSSH2_ERROR_EAGAIN) {
      pollfd wait{socket_.get(), POLLIN, 0};
      ::poll(&wait, 1, 1);
      idle();
    }
    return code;
  }

 private:
  static void* allocate(std::size_t bytes, void** self) {
    if (auto& request = static_cast<Session*>(*self)->request_) request->on_allocation(bytes);
    return std::malloc(bytes);
  }
  static void* reallocate(void* memory, std::size_t bytes, void** /*self*/) {
    return std::realloc(memory, bytes);
  }
  static void release(void* memory, void** /*self*/) { std::free(memory); }

  Fd socket_;
  LIBSSH2_SESSION* session_;
  std::optional<KeyRequest> request_;
};

void allow(const test::Sshd& server, const SshFolder& folder) {
  std::ofstream(server.folder() + "/authorized_keys", std::ios::app) << folder.read("key.pub");
}

}  // namespace

TEST_CASE("libssh2 logs in with our signatures, with every type of key and both algorithms of RSA") {
  if (!test::has_sshd()) return;
  const test::Sshd server;
  for (const char* type : {"ed25519", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "rsa -b 2048"}) {
    SshFolder folder;
    folder.must_run(cat("ssh-keygen -q -N '' -f key -t ", type));
    allow(server, folder);
    const Result<Secret> text = read_private_key(folder.path("key"));
    REQUIRE(text);
    const Result<PrivateKey> key = parse_private_key(text->bytes(), "key", "");
    REQUIRE(key);
    for (const std::string_view algorithm : key->algorithms()) {
      CAPTURE(algorithm);
      Session session(server.port());
      CHECK(session.log_in(key->public_blob(), algorithm,
                           [&](Bytes data) { return key->sign(algorithm, data); }) == 0);
    }
  }
}

TEST_CASE("libssh2 waits for a key agent without blocking, and logs in with its signature") {
  if (!test::has_sshd()) return;
  const test::Sshd server;
  SshFolder folder;
  folder.must_run("ssh-keygen -q -N '' -f key -t rsa -b 2048");
  allow(server, folder);
  folder.must_run("ssh-agent -a agent >started");
  folder.must_run("SSH_AUTH_SOCK=agent ssh-add -q key");
  const Buffer key = *parse_public_key(folder.read("key.pub"));

  EpollLoop loop;
  KeyAgent agent(loop, folder.path("agent"));
  std::optional<Result<Buffer>> signature;
  int asked = 0;
  const auto signer = [&](Bytes data) {
    if (++asked == 1) {
      const auto queued = agent.sign(key, data, "rsa-sha2-512", 10 * kSecond,
                                     [&](Result<Buffer> made) { signature = std::move(made); });
      REQUIRE(queued);
    }
    return signature;
  };
  Session session(server.port());
  CHECK(session.log_in(key, "rsa-sha2-512", signer, [&] { loop.run_once(0); }) == 0);
  CHECK(asked > 1);
  folder.must_run(". ./started && kill $SSH_AGENT_PID");
}

TEST_CASE("a signature of another key does not log in") {
  if (!test::has_sshd()) return;
  const test::Sshd server;
  SshFolder folder, other;
  for (const SshFolder* each : {&folder, &other}) each->must_run("ssh-keygen -q -N '' -f key -t ed25519");
  allow(server, folder);
  const std::string text = other.read("key");
  const Result<PrivateKey> key = parse_private_key(as_bytes(text), "key", "");
  REQUIRE(key);
  Session session(server.port());
  const Buffer blob = *parse_public_key(folder.read("key.pub"));
  CHECK(session.log_in(blob, "ssh-ed25519", [&](Bytes data) { return key->sign("ssh-ed25519", data); }) != 0);
}

TEST_CASE("the host key that libssh2 reports is the one in known_hosts") {
  if (!test::has_sshd()) return;
  const test::Sshd server;
  KnownHosts hosts;
  REQUIRE(read_known_hosts(server.known_hosts(), hosts));
  const Session session(server.port());
  CHECK(hosts.check("127.0.0.1", server.port(), session.host_key()).answer == KnownHosts::Answer::kKnown);
  CHECK(hosts.key_types("127.0.0.1", server.port()) == std::vector<std::string_view>{"ssh-ed25519"});
  CHECK(hosts.check("127.0.0.1", 22, session.host_key()).answer == KnownHosts::Answer::kUnknown);
}
