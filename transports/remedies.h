// transports/remedies.h -- what to do about failures that more than one part of us may report, in the same
// words whoever speaks SSH.
#pragma once

#include <string_view>

namespace banyan {

constexpr std::string_view kReach = "check the name, the network and that sshd listens there";
constexpr std::string_view kNewKey =
    "compare its fingerprint (here: ssh-keyscan HOST | ssh-keygen -lf -, on the host itself: ssh-keygen -lf "
    "/etc/ssh/ssh_host_ed25519_key.pub), then --accept-new; or name a file with --known-hosts";
constexpr std::string_view kChangedKey =
    "the host was made anew, or somebody stands in between: find out which before you change known_hosts";
constexpr std::string_view kCrowded =
    "not sshd, or it drops connections when there are too many: check the port, lower -f, or raise "
    "MaxStartups there";
constexpr std::string_view kNobodyRemedy =
    "start it from a terminal, or name a program that asks with SSH_ASKPASS; a key in the key agent asks "
    "nothing";

constexpr std::string_view kAskerRemedy =
    "have SSH_ASKPASS name a program that can be started, or start it from a terminal";

}  // namespace banyan
