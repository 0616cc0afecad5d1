// transports/openssh.h -- a child at the far end of the system's own ssh.
//
// Settings are the user's: ssh reads its configuration, and ProxyJump, certificates, key agents and shared
// connections work as they do by hand. What we add makes it a plain pipe that asks no questions but those
// that transports/askpass.h answers, and never trusts a host key it does not know, unless told to
// (docs/how_it_works.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "parent/recipe.h"
#include "transports/address_family.h"

namespace banyan {

struct SshTarget {
  std::string name;        // of the new context, for people
  std::string user;        // empty: ssh decides
  std::string host;        // REQUIRES: checked against an allow-list (cli/targets.h)
  std::uint16_t port = 0;  // 0: ssh decides
};

struct SshOptions {
  std::string config_file;  // of ssh; empty: its own
  std::string user;         // for targets that name none
  std::uint16_t port = 0;   // for targets that name none
  std::string identity;     // private key file; then no other key is offered
  std::string known_hosts;  // then no other file is believed
  // In place of what the configuration says (ProxyJump, ProxyCommand): "ann@gw:22,gw2", or "none"; empty: as
  // it says. REQUIRES: checked against an allow-list (cli/jumps.h)
  std::string jumps;
  AddressFamily family = AddressFamily::kAny;
  bool accept_new = false;          // the key of a host that none is known of is believed and written down
  Nanos connect_timeout = 0;        // bounds everything up to the hello; 0: the usual deadlines
  Nanos tcp_timeout = 0;            // ConnectTimeout of the configuration; 0: it does not say
  bool tells_phases = false;        // ssh says what it does, for transports/openssh_log.h
  bool knows_session_type = false;  // the installed ssh is of 8.7 or later: `ssh -G` tells it
  bool may_ask = false;             // somebody answers (transports/askpass.h)
  std::string jump_program;         // ourselves, where hosts on the way shall heed us too (transports/jump.h)
};

// `architecture` may be empty: not known. `nonce` is fresh for each start.
Recipe openssh(const SshTarget& target, const SshOptions& options, std::uint64_t nonce,
               std::string_view architecture);

// The argument vector that runs `remote_command` there.
std::vector<std::string> openssh_argv(const SshTarget& target, const SshOptions& options,
                                      std::string_view remote_command);

// The part of it that ssh's settings of the host follow from, so `ssh -G` is asked with it too: options, then
// the host.
void append_ssh_target(const SshTarget& target, const SshOptions& options, std::vector<std::string>& argv);

// A file name in the form that ssh's options take: quoted, and with its percent signs doubled. False for the
// few names that no form of quoting gets through: those with '"', "${", or a control character.
bool quote_ssh_path(std::string_view path, std::string& quoted);

// The lines in which ssh tells, among all that it said, which host keys it accepted as new.
std::vector<std::string> accepted_host_keys(std::string_view said);

// What ssh says when it fails, and what that means; for find_symptom().
const std::vector<Symptom>& openssh_symptoms();
// Those of them that the host's account shows, whoever speaks SSH.
const std::vector<Symptom>& account_symptoms();

}  // namespace banyan
