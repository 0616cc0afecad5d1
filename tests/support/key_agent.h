// tests/support/key_agent.h -- a real ssh-agent for one test, with the keys it is given.
#pragma once

#include <string>
#include <vector>

#include "core/fd.h"

namespace banyan::test {

class KeyAgentProcess {
 public:
  // `folder`: private, where its socket may lie. `keys`: files of private keys without a passphrase.
  KeyAgentProcess(const std::string& folder, const std::vector<std::string>& keys);
  ~KeyAgentProcess();
  KeyAgentProcess(const KeyAgentProcess&) = delete;
  KeyAgentProcess& operator=(const KeyAgentProcess&) = delete;

  const std::string& socket() const { return socket_; }
  pid_t pid() const { return pid_; }

 private:
  std::string socket_;
  pid_t pid_ = -1;
  Fd said_;
};

// A socket where somebody connects, writes, and is never answered: a key agent that hangs.
class SilentSocket {
 public:
  explicit SilentSocket(const std::string& path);
  ~SilentSocket();
  SilentSocket(const SilentSocket&) = delete;
  SilentSocket& operator=(const SilentSocket&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  Fd listener_;
};

}  // namespace banyan::test
