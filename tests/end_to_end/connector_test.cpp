// Goal: a context comes up behind an ssh session that a connector keeps, and every refusal says why.
// Method: a Runner and connectors as the program uses them, against a real sshd on loopback.
#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/text.h"
#include "parent/command.h"
#include "tests/support/processes.h"
#include "tests/support/root.h"
#include "tests/support/sshd.h"
#include "transports/libssh2.h"

using namespace banyan;
using namespace banyan::test;

namespace {

struct SshRoot : Root {
  Connectors connectors{loop, BANYAN_CONNECTOR_PROGRAM};

  ~SshRoot() { end_all(); }  // while there are connectors

  void connect(const SessionSettings& settings, Nanos timeout = 0) {
    SshOptions options;
    options.connect_timeout = timeout;
    start(libssh2("it", settings, options, loop.random(), "", connectors));
  }
};

std::string user_of_this_test() {
  const passwd* account = ::getpwuid(::getuid());
  return account == nullptr ? "root" : account->pw_name;
}

// A port of ours on which `answer` is said to whoever connects; then nothing, or the end.
class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(socket_.get(), 8) == 0);
    REQUIRE(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
  }
  std::uint16_t port() const { return port_; }
  void serve(EpollLoop& loop, std::string answer, bool hang_up) {
    loop.watch(socket_.get(), {.read = true}, [this, answer, hang_up](Ready) {
      Fd one(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!one) return;
      CHECK(::send(one.get(), answer.data(), answer.size(), MSG_NOSIGNAL) == ssize_t(answer.size()));
      if (!hang_up) open_.push_back(std::move(one));
    });
  }

 private:
  Fd socket_;
  std::uint16_t port_ = 0;
  std::vector<Fd> open_;
};

SessionSettings settings_for(const Sshd& server) {
  SessionSettings settings;
  settings.host = "127.0.0.1";
  settings.port = server.port();
  settings.user = user_of_this_test();
  settings.key_name = "127.0.0.1";
  settings.key_port = server.port();
  settings.known_hosts = {server.known_hosts()};
  settings.identities = {server.folder() + "/user_key"};
  return settings;
}

}  // namespace

TEST_CASE("a context comes up behind a session of a connector, and is gone when it was shut down") {
  if (!has_sshd()) return;
  const Sshd server;
  SshRoot root;
  root.connect(settings_for(server));
  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
  INFO(root.told.error.text);
  REQUIRE(root.told.child.has_value());
  CHECK(root.told.child->method == "ssh");
}

TEST_CASE("the host's key is checked before anything of ours is shown") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string empty = server.folder() + "/empty", other = server.folder() + "/other",
                    revoked = server.folder() + "/revoked";
  const std::string name = cat("[127.0.0.1]:", server.port(), " ");
  std::ofstream(empty) << "";
  std::ifstream user_key(server.folder() + "/user_key.pub");
  std::string type, key;
  user_key >> type >> key;
  std::ofstream(other) << name << type << " " << key << "\n";
  std::ofstream(revoked) << "@revoked * " << server.host_key() << "\n" << name << server.host_key() << "\n";
  const struct {
    std::string file;
    std::string_view says;
  } table[] = {{empty, "is not known"}, {other, "has changed"}, {revoked, "revoked"}};
  for (const auto& row : table) {
    CAPTURE(row.file);
    SshRoot root;
    SessionSettings settings = settings_for(server);
    settings.known_hosts = {row.file};
    root.connect(settings);
    REQUIRE(root.settle());
    REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
    CAPTURE(root.told.error.text);
    CHECK(root.told.error.error_class == ErrorClass::kHostKey);
    CHECK(root.told.error.phase == Phase::kKex);
    CHECK(root.told.error.text.find(row.says) != std::string::npos);
    CHECK(root.told.error.text.find("SHA256:") != std::string::npos);
    CHECK_FALSE(root.told.error.remedy.empty());
  }
  CHECK(server.log().find("Accepted publickey") == std::string::npos);
}

TEST_CASE("with accept_new a key nobody knew is written down once, and known from then on") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string file = server.folder() + "/new_known_hosts";
  for (int i = 0; i < 2; ++i) {
    SshRoot root;
    SessionSettings settings = settings_for(server);
    settings.known_hosts = {file};
    settings.accept_new = file;
    root.connect(settings);
    REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
    INFO(root.told.error.text);
    REQUIRE(root.told.child.has_value());
    CHECK((root.told.child->said.find("Permanently added") != std::string::npos) == (i == 0));
  }
  std::ifstream written(file);
  std::string line, more;
  std::getline(written, line);
  CHECK(line == cat("[127.0.0.1]:", server.port(), " ", server.host_key()));
  CHECK_FALSE(std::getline(written, more));
}

TEST_CASE("a key that the server does not take, and none at all, are refusals that name what was tried") {
  if (!has_sshd()) return;
  const Sshd server;
  SshRoot root;
  SessionSettings settings = settings_for(server);
  settings.identities = {server.folder() + "/host_key0", server.folder() + "/none"};
  root.connect(settings);
  REQUIRE(root.settle());
  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
  CAPTURE(root.told.error.text);
  CHECK(root.told.error.error_class == ErrorClass::kAuth);
  CHECK(root.told.error.phase == Phase::kAuth);
  CHECK(root.told.error.text.find("refused: " + server.folder() + "/host_key0") != std::string::npos);
  CHECK(root.told.error.text.find("publickey") != std::string::npos);
}

TEST_CASE("what listens there and is no sshd is told in the phase where it showed") {
  struct Row {
    const char* answer;
    bool hang_up;
    ErrorClass error_class;
    Phase phase;
  };
  for (const Row& row : {Row{"", true, ErrorClass::kRefused, Phase::kKex},
                         Row{"SSH-2.0-x\r\nthis is no packet, and goes on for a while like that", true,
                             ErrorClass::kProtocol, Phase::kKex}}) {
    CAPTURE(row.answer);
    SshRoot root;
    Listener listener;
    listener.serve(root.loop, row.answer, row.hang_up);
    SessionSettings settings;
    settings.host = settings.key_name = "127.0.0.1";
    settings.port = listener.port();
    settings.user = "nobody";
    root.connect(settings);
    REQUIRE(root.settle());
    REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
    CAPTURE(root.told.error.text);
    CHECK(root.told.error.error_class == row.error_class);
    CHECK(root.told.error.phase == row.phase);
    CHECK_FALSE(root.told.error.remedy.empty());
  }
}

TEST_CASE("a port that takes the connection and stays silent costs the time allowed and no more") {
  SshRoot root;
  Listener listener;
  listener.serve(root.loop, "", false);
  SessionSettings settings;
  settings.host = settings.key_name = "127.0.0.1";
  settings.port = listener.port();
  settings.user = "nobody";
  root.connect(settings, kSecond);
  REQUIRE(root.settle());
  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
  CHECK(root.told.error.error_class == ErrorClass::kTimeout);
  CHECK(root.told.error.phase == Phase::kConnect);
}

TEST_CASE("a name nobody knows and a port nobody listens on fail in their phases") {
  {
    SshRoot root;
    SessionSettings settings;
    settings.host = settings.key_name = "no-such-host.invalid";
    root.connect(settings);
    REQUIRE(root.settle());
    REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
    CHECK(root.told.error.error_class == ErrorClass::kUnreachable);
    CHECK(root.told.error.phase == Phase::kResolve);
  }
  std::uint16_t closed = 0;
  {
    const Listener gone;
    closed = gone.port();
  }
  SshRoot root;
  SessionSettings settings;
  settings.host = settings.key_name = "127.0.0.1";
  settings.port = closed;
  root.connect(settings);
  REQUIRE(root.settle());
  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
  CHECK(root.told.error.error_class == ErrorClass::kUnreachable);
  CHECK(root.told.error.phase == Phase::kConnect);
  CHECK(root.told.error.text.find("Connection refused") != std::string::npos);
}

TEST_CASE("a connector that is killed takes its sessions with it, and the next child gets another") {
  if (!has_sshd()) return;
  const Sshd server;
  SshRoot root;
  root.connect(settings_for(server));
  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
  REQUIRE(root.told.child.has_value());
  for (pid_t pid : descendants_of(::getpid()))
    if (read_file(cat("/proc/", pid, "/comm")) == "banyan-connecto\n") ::kill(pid, SIGKILL);
  REQUIRE(run_until(root.loop, [&] { return root.told.lost > 0; }));
  CAPTURE(root.told.error.text);
  CHECK(root.told.error.error_class == ErrorClass::kLost);
  CHECK(root.told.error.phase == Phase::kLink);

  root.told.child.reset();
  root.connect(settings_for(server));
  REQUIRE(run_until(root.loop, [&] { return root.told.up > 1; }));
  CHECK(root.told.child.has_value());
}

TEST_CASE("fifty sessions at once all come up, in no more connectors than there are processors") {
  if (!has_sshd()) return;
  const Sshd server;
  SshRoot root;
  std::vector<ContextId> ids;
  for (int i = 0; i < 50; ++i)
    root.runner.start(
        libssh2(cat("h", i), settings_for(server), {}, root.loop.random(), "", root.connectors),
        [&](Result<Child> child) { ids.push_back(child ? child->id : 0); }, [](ContextId, const Error&) {});
  REQUIRE(run_until(
      root.loop, [&] { return ids.size() == 50; }, 60 * kSecond));
  std::sort(ids.begin(), ids.end());
  CHECK(ids.front() > 0);
  int connectors = 0;
  for (pid_t pid : descendants_of(::getpid()))
    if (read_file(cat("/proc/", pid, "/comm")) == "banyan-connecto\n") ++connectors;
  CHECK(connectors >= 1);
  CHECK(connectors <= int(std::thread::hardware_concurrency()));
}
