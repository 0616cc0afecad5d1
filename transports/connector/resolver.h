// transports/connector/resolver.h -- names to addresses, without stopping the loop.
//
// The C library's resolver blocks, so each question has a thread for as long as it takes; kLookupsMax at a
// time, the others wait. Thread: the loop's. Lifetime: until the process ends; a thread may outlive every
// question.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/loop.h"
#include "core/result.h"
#include "transports/connector_protocol.h"

namespace banyan::connector {

constexpr std::size_t kLookupsMax = 16;    // at a time: a name server drops what comes faster
constexpr std::size_t kAddressesMax = 16;  // of one host

struct Address {
  sockaddr_storage bytes;
  socklen_t size;
};
std::string text_of(const Address& address);  // "192.0.2.1", "2001:db8::1"

class Resolver {
 public:
  using OnResolved = Function<void(Result<std::vector<Address>>)>;
  explicit Resolver(Loop& loop) : loop_(loop) {}

  // Never an empty list. Addresses are in the order in which they should be tried.
  void resolve(const std::string& host, std::uint16_t port, AddressFamily family, OnResolved on_resolved);
  // No thread is at work: then it, and the loop, may be destroyed.
  bool is_idle() const { return asked_.empty(); }

 private:
  struct Question {
    std::string host;
    std::uint16_t port;
    AddressFamily family;
    OnResolved on_resolved;
  };
  void start_more();
  void tell(std::uint64_t id, Result<std::vector<Address>> addresses);

  Loop& loop_;
  std::deque<Question> waiting_;
  // Being looked up. Who waits stays here: what he brings with him is the loop's thread's to destroy.
  std::map<std::uint64_t, OnResolved> asked_;
  std::uint64_t next_ = 1;
};

}  // namespace banyan::connector
