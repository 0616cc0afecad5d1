#include "transports/connector/resolver.h"

#include <netdb.h>
#include <netinet/in.h>

#include <cstring>
#include <memory>
#include <utility>

#include "core/text.h"
#include "transports/connector/thread.h"

namespace banyan::connector {
namespace {

Result<std::vector<Address>> look_up(const std::string& host, std::uint16_t port, AddressFamily family) {
  addrinfo hints{};
  hints.ai_family = family == AddressFamily::kIpv4   ? AF_INET
                    : family == AddressFamily::kIpv6 ? AF_INET6
                                                     : AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(host.c_str(), cat(port).c_str(), &hints, &found);
  if (code != 0) {
    const std::string_view why = code == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(code);
    return Error{ErrorClass::kUnreachable, Phase::kResolve, cat(host, ": ", why), "check the name"};
  }
  std::vector<Address> addresses;
  for (const addrinfo* one = found; one != nullptr && addresses.size() < kAddressesMax; one = one->ai_next) {
    Address address{};
    if (one->ai_addrlen > sizeof address.bytes) continue;
    std::memcpy(&address.bytes, one->ai_addr, one->ai_addrlen);
    address.size = one->ai_addrlen;
    addresses.push_back(address);
  }
  ::freeaddrinfo(found);
  if (addresses.empty())
    return Error{ErrorClass::kUnreachable, Phase::kResolve, cat(host, ": no address"), "check the name"};
  return addresses;
}

}  // namespace

std::string text_of(const Address& address) {
  char host[NI_MAXHOST];
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address.bytes), address.size, host, sizeof host,
                    nullptr, 0, NI_NUMERICHOST) != 0)
    return "?";
  return host;
}

void Resolver::resolve(const std::string& host, std::uint16_t port, AddressFamily family,
                       OnResolved on_resolved) {
  waiting_.push_back({host, port, family, std::move(on_resolved)});
  start_more();
}

void Resolver::start_more() {
  while (asked_.size() < kLookupsMax && !waiting_.empty()) {
    Question question = std::move(waiting_.front());
    waiting_.pop_front();
    const std::uint64_t id = next_++;
    asked_[id] = std::move(question.on_resolved);
    const auto work = [this, id, host = question.host, port = question.port, family = question.family] {
      tell(id, look_up(host, port, family));
    };
    if (Result<std::thread> thread = start_thread(work, Phase::kResolve)) {
      thread->detach();
    } else {
      tell(id, thread.error());
    }
  }
}

// From any thread.
void Resolver::tell(std::uint64_t id, Result<std::vector<Address>> addresses) {
  auto answer = std::make_unique<Result<std::vector<Address>>>(std::move(addresses));
  loop_.post([this, id, answer = std::move(answer)] {
    const auto found = asked_.find(id);
    OnResolved on_resolved = std::move(found->second);
    asked_.erase(found);
    start_more();
    on_resolved(std::move(*answer));
  });
}

}  // namespace banyan::connector
