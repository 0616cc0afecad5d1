// transports/libssh2.h -- a child at the far end of an ssh session that a connector keeps.
//
// Settings are resolved by the caller (transports/ssh_settings.h); what such a session cannot honour goes to
// transports/openssh.h instead.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "parent/recipe.h"
#include "transports/connectors.h"
#include "transports/openssh.h"
#include "transports/ssh_settings.h"

namespace banyan {

// What a session needs, from what ssh would do; but a key of an unknown host is believed only if we are told
// so, as with openssh(). `may_ask`: there is somebody to ask.
SessionSettings session_settings(const SshSettings& settings, bool accept_new, bool may_ask);

// What it needs of a host on the way to another (SessionSettings::hops); `name`: what people call it.
SessionSettings hop_settings(const SshSettings& settings, std::string name, bool accept_new, bool may_ask);

// The receive window for each of so many sessions at a time, bytes: what one may send that we have not read.
// 16 MiB fill a wire of 50 ms at 300 MB/s; many share what we would have to keep at worst.
std::uint32_t receive_window(std::size_t sessions);

// `architecture` may be empty: not known. `nonce` is fresh for each start. Of the options
// only the two limits of time count. `login`: who it is that asks; 0: it may not. The connectors outlive the
// child.
Recipe libssh2(std::string_view name, const SessionSettings& settings, const SshOptions& options,
               std::uint64_t nonce, std::string_view architecture, Connectors& connectors,
               Secrets::LoginId login = 0);

}  // namespace banyan
