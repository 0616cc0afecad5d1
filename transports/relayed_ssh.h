// transports/relayed_ssh.h -- a child at the far end of a hop's own ssh.
//
// The hop lends its ssh and its network, nothing else: no configuration of its is read (-F none), no key of
// its is offered, and it believes the host keys that we know and send along. It signs in with our keys, which
// stay where they are: its key agent is a socket that leads to us (parent/back_channel.h,
// transports/connector/signer.h). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parent/recipe.h"
#include "transports/ssh_settings.h"

namespace banyan {

struct RelayedSshTarget {
  std::string name;             // of the new context, for people
  const SshSettings& settings;  // ours of the host
  const SshSettings* defaults;  // of ssh without configuration; null: not known
  std::string known_hosts;      // lines, all of the name that alias_of() says
};

// What the hop's ssh looks the host's keys up by.
std::string_view alias_of(const SshSettings& settings);

// `architecture` may be empty: not known. `nonce` is fresh for each start. `connect_timeout` bounds
// everything up to the hello; 0: the usual deadlines. The answerer is the caller's to add.
Recipe relayed_ssh(const RelayedSshTarget& target, std::uint64_t nonce, std::string_view architecture,
                   Nanos connect_timeout = 0);

// The argument vector that runs `remote_command` there.
std::vector<std::string> relayed_ssh_argv(const SshSettings& settings, const SshSettings* defaults,
                                          std::string_view remote_command);

// Why it cannot be done with these settings and these lines of known_hosts (of alias_of()), whatever the hop.
std::optional<Error> cannot_relay(const SshSettings& settings, std::string_view known_hosts,
                                  std::string_view host, std::string_view by_hand);

// The ssh itself is missing on the hop.
bool lacks_ssh(const Error& error);

// An error of such a start, in the words of those who are here. `hop`: as the person calls it. `by_hand`: the
// command that goes there without us. `refusal`: why our keys did not sign; may be empty.
Error error_of_relayed_ssh(Error error, std::string_view hop, std::string_view by_hand,
                           std::string_view refusal);

}  // namespace banyan
