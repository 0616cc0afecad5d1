#include "transports/connector/dial.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/text.h"
#include "transports/remedies.h"

namespace banyan::connector {
namespace {

constexpr Nanos kNextAddressAfter = 3 * kSecond;  // an address that does not answer, while there are others

void set_socket_options(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

}  // namespace

Dial::Dial(Loop& loop, const SessionSettings& settings, OnStep on_step, OnDone on_done)
    : loop_(loop), settings_(settings), on_step_(std::move(on_step)), on_done_(std::move(on_done)) {}

void Dial::start(std::vector<Address> addresses) {
  addresses_ = std::move(addresses);
  std::ranges::reverse(addresses_);
  connect_next();
}

void Dial::stop() {
  loop_.cancel(std::exchange(next_, 0));
  if (watch_ != 0) loop_.unwatch(std::exchange(watch_, 0));
  if (socket_) loop_.close(socket_.release());
}

void Dial::connect_next() {
  stop();
  if (addresses_.empty()) return;
  const Address address = addresses_.back();
  addresses_.pop_back();
  address_ = text_of(address);
  on_step_(cat("Connecting to ", settings_.host, " [", address_, "] port ", settings_.port, "."));
  socket_ = Fd(::socket(address.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_) return on_done_(system_error(ErrorClass::kResource, Phase::kConnect, "a socket", errno));
  set_socket_options(socket_.get());
  if (!settings_.bind_address.empty() && !bind(address)) {
    Error failure =
        system_error(ErrorClass::kUnreachable, Phase::kConnect,
                     cat("connecting to ", address_, " from BindAddress ", settings_.bind_address), errno);
    failure.remedy = "BindAddress has to be an address of this machine, of the same kind as the host's";
    return fail(std::move(failure));
  }
  if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.size) != 0 &&
      errno != EINPROGRESS)
    return fail(errno, ErrorClass::kUnreachable);
  watch_ = loop_.watch(socket_.get(), {.write = true}, [this](Ready) { on_connected(); });
  if (!addresses_.empty()) next_ = loop_.after(kNextAddressAfter, [this] { connect_next(); });
}

void Dial::on_connected() {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return fail(error, error == ETIMEDOUT ? ErrorClass::kTimeout : ErrorClass::kUnreachable);
  loop_.cancel(std::exchange(next_, 0));
  loop_.unwatch(std::exchange(watch_, 0));
  on_step_("Connection established.");
  on_done_(std::move(socket_));
}

bool Dial::bind(const Address& address) {
  sockaddr_storage from{};
  from.ss_family = address.bytes.ss_family;
  const char* text = settings_.bind_address.c_str();
  const bool is_ipv4 = from.ss_family == AF_INET;
  const int read = is_ipv4 ? ::inet_pton(AF_INET, text, &reinterpret_cast<sockaddr_in&>(from).sin_addr)
                           : ::inet_pton(AF_INET6, text, &reinterpret_cast<sockaddr_in6&>(from).sin6_addr);
  if (read != 1) {
    errno = EAFNOSUPPORT;
    return false;
  }
  const socklen_t size = is_ipv4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  return ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&from), size) == 0;
}

void Dial::fail(int error, ErrorClass error_class) {
  Error failure = system_error(error_class, Phase::kConnect, cat(address_, " port ", settings_.port), error);
  failure.remedy = kReach;
  fail(std::move(failure));
}

void Dial::fail(Error failure) {
  if (!addresses_.empty()) return connect_next();
  stop();
  on_done_(std::move(failure));
}

}  // namespace banyan::connector
