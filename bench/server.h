// bench/server.h -- an sshd of our own on the loopback interface, with keys of its own; and who counts its
// bytes.
#pragma once

#include <string>

#include "bench/measure.h"
#include "bench/processes.h"

namespace banyan::bench {

// Listens from the constructor to the destructor; accepts as many connections as come.
class Server {
 public:
  Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  // A configuration for ssh in which h1, h2, ... all lead here. `key_exchange` empty: ssh's own choice.
  std::string config(const std::string& key_exchange, int port = 0) const;
  int port() const { return port_; }
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
