// transports/connector/library_error.h -- what libssh2 says went wrong, for people: whose fault it is, and
// what to do.
#pragma once

#include <libssh2.h>

#include <string>
#include <string_view>

#include "core/result.h"
#include "transports/connector/library.h"

namespace banyan::connector {

inline constexpr std::string_view kNotSpeaking = "look at what listens there: sshd does not do that";

// The session's last error, in `phase`, while `what` was done ("reading"); `address` is the server's.
Error library_error(LIBSSH2_SESSION* session, const Library& library, Phase phase, std::string_view what,
                    std::string_view address);

}  // namespace banyan::connector
