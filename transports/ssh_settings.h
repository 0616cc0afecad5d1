// transports/ssh_settings.h -- what the system's ssh would do about one host, as a value.
//
// Only ssh knows all of its configuration's language (Host, Match, Include), so it is asked: `ssh -G`
// (transports/ssh_question.h). Here is what its answer means. A few values it prints as they were written,
// with ~ and %-tokens; they are expanded as it does when it connects. Pure: what belongs to this machine
// comes in as a LocalUser.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace banyan {

// Who we are here, as far as file names in ssh's configuration may ask.
struct LocalUser {
  std::string name, home, host;  // home: of the account; ssh does not ask $HOME
  std::uint32_t id = 0;
  std::function<std::optional<std::string>(const std::string& name)> variable;  // of the environment
  std::function<std::optional<std::string>(const std::string& user)> home_of;   // ~user
};

// The one who runs this program.
LocalUser local_user();

struct SshSettings {
  std::string host;  // as it was asked for
  std::string hostname, user;
  std::uint16_t port = 0;

  // Getting there.
  std::string address_family;                // "any", "inet" or "inet6"
  std::string bind_address, bind_interface;  // empty, here and below: not set
  std::string proxy_jump, proxy_command;
  std::string control_master = "false", control_path;  // false, true, ask, auto, autoask
  std::uint32_t connect_timeout = 0;                   // seconds; 0: none
  std::uint32_t connection_attempts = 1;
  bool compression = false;
  std::string rekey_limit;
  std::vector<std::string> kex_algorithms, ciphers, macs;

  // Who they are.
  std::vector<std::string> user_known_hosts, global_known_hosts;  // "none" is left out
  std::string known_hosts_command, revoked_host_keys;
  std::string host_key_alias;
  std::vector<std::string> host_key_algorithms;
  std::string strict_host_key_checking;  // true, false, ask, accept-new
  std::string verify_host_key_dns = "false";
  bool check_host_ip = false, hash_known_hosts = false;

  // Who we are.
  std::vector<std::string> identity_files, certificate_files;  // "none" is left out
  bool identities_only = false;
  std::string key_agent;  // its socket; empty: none is to be asked
  std::string pkcs11_provider, security_key_provider;
  std::vector<std::string> pubkey_algorithms, preferred_authentications;
  std::string pubkey_authentication = "true";  // true, false, unbound, host-bound
  bool password_authentication = true, keyboard_interactive = true;
  bool gssapi_authentication = false, gssapi_key_exchange = false, hostbased_authentication = false;
  std::uint32_t password_prompts = 3;
  bool batch_mode = false;              // nobody is to be asked
  std::uint32_t required_rsa_size = 0;  // bits

  std::vector<std::string> send_env, set_env;  // patterns of names; NAME=VALUE

  // Settings whose value could not be made sure of, as "IdentityFile %x": only ssh itself can follow them.
  std::vector<std::string> unclear;
  // All it said, by setting in small letters, as it said it.
  std::map<std::string, std::vector<std::string>, std::less<>> lines;

  // The lines of one setting; none when it was not said.
  const std::vector<std::string>& said(std::string_view setting) const;
};

// `output` is what `ssh -G ... -- host` printed.
Result<SshSettings> parse_ssh_settings(std::string_view output, std::string_view host,
                                       const LocalUser& local);

// The names that host keys of this host go by in known_hosts; the first that anything is known of counts. The
// alias alone, or the host: with a port that is not 22, then without.
std::vector<std::string> known_hosts_names(const SshSettings& settings);

// A file name as ssh expands it: ~, ~user, ${NAME}, and tokens such as %h. nullopt: one it would refuse, or a
// token of a later ssh than we know.
std::optional<std::string> expand_ssh_path(std::string_view text, const SshSettings& settings,
                                           const LocalUser& local);

// One step of ProxyJump.
struct SshJump {
  std::string user, host;  // user empty, port 0: not said
  std::uint16_t port = 0;
};

// Of one way: with more, a ProxyJump leads back to itself, or it is a slip.
constexpr std::size_t kSshJumpsMax = 16;

// "gw,ann@gw2:2222": the first is connected to first. nullopt: not in that form.
std::optional<std::vector<SshJump>> parse_proxy_jump(std::string_view text);
// One of them in that form.
std::string text_of(const SshJump& jump);

}  // namespace banyan
