#include "transports/connector/remote_tunnel.h"

#include <string_view>

#include "core/text.h"
#include "transports/connector/library_error.h"
#include "transports/connector/remote_command.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

constexpr std::string_view kType = "direct-tcpip";
// From where: as ssh says it that was asked by nobody on a port.
constexpr std::string_view kOrigin = "127.0.0.1";
constexpr std::uint32_t kOriginPort = 65535;

}  // namespace

RemoteTunnel::RemoteTunnel(Loop& loop, LIBSSH2_SESSION* session, const Onward& onward,
                           std::uint32_t window_max)
    : loop_(loop), session_(session), onward_(onward), window_max_(window_max) {
  put_string(request_, onward_.host);
  put_number(request_, onward_.port);
  put_string(request_, kOrigin);
  put_number(request_, kOriginPort);
}

RemoteTunnel::~RemoteTunnel() {
  if (channel_ != nullptr) libssh2_channel_free(channel_);
}

RemoteTunnel::Progress RemoteTunnel::start() {
  if (!asked_) asked_ = loop_.now();
  channel_ = libssh2_channel_open_ex(
      session_, kType.data(), static_cast<unsigned int>(kType.size()), kFirstWindow, kPacketBytes,
      reinterpret_cast<const char*>(request_.data()), static_cast<unsigned int>(request_.size()));
  if (channel_ != nullptr) {
    // A round trip, and the time in which the server made its connection: more than is needed, never too
    // little.
    window_ = window_for(loop_.now() - *asked_, window_max_);
    return Progress::kOpen;
  }
  const bool waits = libssh2_session_last_errno(session_) == LIBSSH2_ERROR_EAGAIN;
  return waits ? Progress::kWait : Progress::kFailed;
}

// libssh2 has one code for every refusal, and words for the reason that the server gave.
Error RemoteTunnel::error(const Library& library, std::string_view server) const {
  const std::string to = cat(onward_.host, " port ", onward_.port);
  const auto failed = [](ErrorClass error_class, std::string_view text, std::string_view remedy) {
    return Error{error_class, Phase::kConnect, text, remedy};
  };
  char* words = nullptr;
  const int code = libssh2_session_last_error(session_, &words, nullptr, 0);
  const std::string_view why = words == nullptr ? "" : words;
  const auto says = [&](std::string_view reason) { return why.find(reason) != why.npos; };
  if (code != LIBSSH2_ERROR_CHANNEL_FAILURE)
    return library_error(session_, library, Phase::kConnect, cat("opening a tunnel to ", to), server);
  if (says("administratively prohibited"))
    return failed(ErrorClass::kRefused,
                  cat("it does not let us through to ", to, " (administratively prohibited)"),
                  "its sshd_config has to allow it: AllowTcpForwarding, PermitOpen");
  if (says("connect failed"))
    return failed(ErrorClass::kUnreachable, cat("it cannot connect to ", to, " (connect failed)"),
                  "check the name and the port as this jump sees them, and that sshd listens there");
  if (says("resource shortage"))
    return failed(ErrorClass::kResource, cat("it has no room for a tunnel to ", to, " (resource shortage)"),
                  "try again later, or raise its limits");
  return failed(ErrorClass::kRefused, cat("it opens no tunnel to ", to, ": ", why.empty() ? "refused" : why),
                "look at what listens there: sshd does not do that");
}

}  // namespace banyan::connector
