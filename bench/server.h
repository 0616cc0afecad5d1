// bench/server.h -- an sshd of our own on the loopback interface, with keys of its own; and who counts its
// bytes.
#pragma once

#include <string>

#include "bench/measure.h"
#include "bench/processes.h"
#include "transports/connector_protocol.h"

namespace banyan::bench {

// Dies when there is none.
std::string find_sshd();

// Which algorithms a client uses.
enum class Algorithms {
  kOwnChoice,  // as ssh likes it: sntrup761 and chacha20
  kCommon,     // what ssh and libssh2 1.10 both know, cheap: curve25519-sha256, aes128-ctr, hmac-sha2-256
};

// Listens from the constructor to the destructor; accepts as many connections as come. Its sessions have a
// home of their own, without start-up files: those of an account may take any time, and locks.
class Server {
 public:
  Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  // A file of configuration for ssh in which h1, h2, ... all lead here, or to `port`.
  std::string config(Algorithms algorithms, int port = 0) const;
  // The same for a connector, with the common algorithms.
  SessionSettings session(int port = 0) const;
  int port() const { return port_; }
  // Processor time of sessions that have ended, and of all below them. Waits until none is open.
  double ended_sessions_us() const;
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }

 private:
  TemporaryFolder folder_;
  pid_t pid_ = -1;
  int port_ = 0;
};

// Listens on a port of its own, passes everything on to another port, and counts.
class CountingRelay {
 public:
  explicit CountingRelay(int to_port);
  int port() const { return port_; }
  // Since the last time. Only when no connection is open.
  struct Counted {
    std::uint64_t to_server, to_client;
  };
  Counted take();

 private:
  SharedCounters counters_{3};
  Children children_;
  int port_ = 0;
};

}  // namespace banyan::bench
