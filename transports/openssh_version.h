// transports/openssh_version.h -- what the installed ssh understands.
//
// An option that ssh does not know ends it, so newer ones are given only where they are known. IgnoreUnknown
// is no way around: given to ssh, it takes the place of the one in the user's configuration.
#pragma once

#include <string>
#include <string_view>

namespace banyan {

// What `ssh -V` says: "OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.22"; empty where there is none. Waits for it, some
// milliseconds, so it is for programs and the time before their loop runs.
std::string openssh_version();

// SessionType and StdinNull: OpenSSH 8.7 and later. Any other program under that name: no.
bool knows_session_type(std::string_view version);

}  // namespace banyan
