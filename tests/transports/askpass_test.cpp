// Goal: who asks for an ssh is known before it hides, and a secret is read only after; strangers get nothing.
// Method: the asking process alone, with us as the root; the root's side, with a shell in ssh's place.
#include "transports/askpass.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <thread>

#include "core/epoll_loop.h"
#include "core/text.h"
#include "parent/carrier.h"

using namespace banyan;

namespace {

constexpr uid_t kNobody = 65'534;

class Nobody final : public Asker {
 public:
  bool can_ask() const override { return false; }
  Id ask(Question, OnAnswer) override { return 1; }
  void cancel(Id) override {}
  bool is_waiting(Id) const override { return false; }
};

sockaddr_un named(const std::string& name, socklen_t& size) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  size = socklen_t(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return address;
}

// /proc shows what nobody may look into as root's.
bool is_hidden(pid_t pid) {
  struct stat status {};
  return ::stat(cat("/proc/", pid, "/environ").c_str(), &status) == 0 && status.st_uid == 0;
}

struct Listener final : Carrier::Owner {
  void on_carrier_phase(Phase) override {}
  void on_carrier_asks(bool) override {}
  void on_carrier_text(std::string_view text) override { said += text; }
  void on_carrier_end(const Carrier::Ending&) override { ended = true; }
  std::string said;
  bool ended = false;
};

}  // namespace

TEST_CASE("who asks can be seen until the root knows it, and hides before it reads the secret") {
  const std::string name = cat("banyan-test-", ::getpid());
  socklen_t size = 0;
  const sockaddr_un address = named(name, size);
  const Fd root(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(root.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(root.get(), 1) == 0);
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const Fd out(ends[0]);
  std::fflush(nullptr);  // under ThreadSanitizer even _exit() writes what we have not written
  const pid_t asker = ::fork();
  REQUIRE(asker >= 0);
  if (asker == 0) {
    if (::getuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) ::_exit(98);
    ::prctl(PR_SET_DUMPABLE, 1);
    ::dup2(ends[1], STDOUT_FILENO);
    ::_exit(ask_through_socket(name, "Password: "));
  }
  ::close(ends[1]);
  const Fd client(::accept4(root.get(), nullptr, nullptr, SOCK_CLOEXEC));
  char question[100];
  const ssize_t got = ::recv(client.get(), question, sizeof question, 0);
  CHECK(std::string_view(question, std::size_t(got)) == std::string_view("\0Password: ", 11));
  CHECK_FALSE(is_hidden(asker));
  REQUIRE(::send(client.get(), "K", 1, 0) == 1);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!is_hidden(asker) && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  CHECK(is_hidden(asker));
  REQUIRE(::send(client.get(), "Asecret", 7, 0) == 7);
  char answer[100];
  const ssize_t length = ::read(out.get(), answer, sizeof answer);
  CHECK(std::string_view(answer, std::size_t(std::max<ssize_t>(length, 0))) == "secret\n");
  int status = -1;
  REQUIRE(::waitpid(asker, &status, 0) == asker);
  CHECK(status == 0);
}

TEST_CASE("who asks and descends from no ssh of ours gets nothing, and that is said once") {
  EpollLoop loop;
  Nobody nobody;
  Secrets secrets(loop, nobody);
  std::vector<std::string> notices;
  Askpass askpass(loop, secrets, "/bin/true", [&](std::string text) { notices.push_back(std::move(text)); });
  Recipe recipe;
  recipe.argv = {"sh", "-c", "echo \"$BANYAN_ASKPASS.\" >&2; exec cat"};
  askpass.serve(recipe, secrets.open("web1"));
  int pair[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  Fd ours(pair[0]), theirs(pair[1]);
  Listener listener;
  Result<std::unique_ptr<Carrier>> ssh = recipe.source->carry(std::move(theirs), listener);
  REQUIRE(ssh);
  const auto run_until = [&](const auto& is_done) {
    const Nanos deadline = loop.now() + 20 * kSecond;
    while (!is_done() && loop.now() < deadline) loop.run_once(10 * kMillisecond);
    return is_done();
  };
  REQUIRE(run_until([&] { return listener.said.find('.') != std::string::npos; }));
  const std::string name = listener.said.substr(0, listener.said.find('.'));
  for (int i = 0; i < 2; ++i) {
    socklen_t size = 0;
    const sockaddr_un address = named(name, size);
    const Fd stranger(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    REQUIRE(::connect(stranger.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0);
    char byte = 0;
    ssize_t got = -1;
    CHECK(run_until([&] { return (got = ::recv(stranger.get(), &byte, 1, 0)) >= 0; }));
    CHECK(got == 0);
  }
  CHECK(notices.size() == 1);
  ours.reset();
  CHECK(run_until([&] { return listener.ended; }));
}
