#include "tests/support/key_agent.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>

#include "core/text.h"
#include "tests/support/processes.h"

namespace banyan::test {
namespace {

constexpr int kStartsInMs = 10'000;

}  // namespace

KeyAgentProcess::KeyAgentProcess(const std::string& folder, const std::vector<std::string>& keys)
    : socket_(folder + "/agent-socket") {
  int out[2];
  REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
  pid_ = ::fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    ::dup2(out[1], 1);
    ::execlp("ssh-agent", "ssh-agent", "-D", "-a", socket_.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(out[1]);
  said_ = Fd(out[0]);
  // It tells where it listens once it does.
  pollfd wait{said_.get(), POLLIN, 0};
  REQUIRE(::poll(&wait, 1, kStartsInMs) == 1);
  char byte;
  REQUIRE(::read(said_.get(), &byte, 1) == 1);
  for (const std::string& key : keys)
    REQUIRE(std::system(cat("SSH_AUTH_SOCK='", socket_, "' ssh-add -q '", key, "'").c_str()) == 0);
}

KeyAgentProcess::~KeyAgentProcess() {
  end_server(pid_);
  ::unlink(socket_.c_str());
}

SilentSocket::SilentSocket(const std::string& path)
    : path_(path), listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(path_.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
  REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(listener_.get(), 16) == 0);
}

SilentSocket::~SilentSocket() {
  ::unlink(path_.c_str());
}

}  // namespace banyan::test
