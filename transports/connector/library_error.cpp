#include "transports/connector/library_error.h"

#include "core/text.h"
#include "transports/remedies.h"

namespace banyan::connector {

Error library_error(LIBSSH2_SESSION* session, const Library& library, Phase phase, std::string_view what,
                    std::string_view address) {
  const auto failed = [phase](ErrorClass error_class, std::string_view text, std::string_view remedy) {
    return Error{error_class, phase, text, remedy};
  };
  char* words = nullptr;
  const int code = libssh2_session_last_error(session, &words, nullptr, 0);
  std::string text = cat(what, ": ", words != nullptr && *words != '\0' ? words : "failed");
  if (library.is_overfull)
    return failed(ErrorClass::kProtocol, cat(address, " sends without end what nobody asked for"),
                  kNotSpeaking);
  if (library.is_early && library.early_left == 0)
    return failed(ErrorClass::kProtocol, cat(address, " sends without end and never gets to the point"),
                  "what listens there is not sshd: check the port");
  // The end of a connection before the server's first line has one code or the other, as it happened.
  const bool is_before_banner = phase == Phase::kKex && text.find("banner") != text.npos;
  switch (is_before_banner ? LIBSSH2_ERROR_BANNER_RECV : code) {
    case LIBSSH2_ERROR_BANNER_RECV:
      return failed(ErrorClass::kRefused, cat(address, " hung up before it said who it is"), kCrowded);
    case LIBSSH2_ERROR_PROTO:
      return failed(ErrorClass::kProtocol, text, "what listens there is not sshd: check the port");
    case LIBSSH2_ERROR_SOCKET_DISCONNECT:
    case LIBSSH2_ERROR_SOCKET_RECV:
    case LIBSSH2_ERROR_SOCKET_SEND:
      if (phase == Phase::kLink) {
        const std::string_view why = library.farewell.empty() ? "the server ended it without a word"
                                                              : std::string_view(library.farewell);
        return failed(ErrorClass::kLost, cat("the connection to ", address, " broke: ", why),
                      "the host may be starting anew, or its sshd: try again");
      }
      if (!library.farewell.empty()) text = library.farewell;
      return failed(ErrorClass::kRefused, cat("the server hung up: ", text), "the server's log says why");
    case LIBSSH2_ERROR_KEX_FAILURE:
    case LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE:
    case LIBSSH2_ERROR_METHOD_NONE:
      // Of a host that is known the kind of its key is, and decides before (transports/back_end.h).
      return failed(
          ErrorClass::kProtocol,
          cat(text,
              "; libssh2 1.10 may have nothing in common with the server, as with one that has a host "
              "key of RSA only"),
          "use --ssh openssh for this host");
    case LIBSSH2_ERROR_CHANNEL_FAILURE:
    case LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED:
      return failed(ErrorClass::kRefused, text, "the account must allow commands without a terminal");
    default:
      return failed(ErrorClass::kProtocol, text, "try --ssh openssh");
  }
}

}  // namespace banyan::connector
