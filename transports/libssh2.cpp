#include "transports/libssh2.h"

#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "parent/api/stage0.h"
#include "transports/back_end.h"
#include "transports/openssh.h"
#include "transports/openssh_log.h"
#include "transports/stage0_recipe.h"

namespace banyan {
namespace {

// What of our environment goes along, as SendEnv says; SetEnv counts before it.
std::vector<std::string> environment_for(const SshSettings& settings) {
  std::vector<std::string> chosen = settings.set_env;
  const auto is_set = [&](std::string_view name) {
    return std::ranges::any_of(settings.set_env, [&](std::string_view set) {
      return set.starts_with(name) && set.substr(name.size()).starts_with('=');
    });
  };
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string_view text = *variable, name = text.substr(0, text.find('='));
    const auto matches = [name = std::string(name)](const std::string& pattern) {
      return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
    };
    if (name.size() < text.size() && !is_set(name) && std::ranges::any_of(settings.send_env, matches))
      chosen.emplace_back(text);
  }
  return chosen;
}

class SessionSource final : public CarrierSource {
 public:
  SessionSource(Connectors& connectors, const SessionSettings& settings, std::string command,
                Secrets::LoginId login)
      : connectors_(connectors), settings_(settings), command_(std::move(command)), login_(login) {}

  Result<std::unique_ptr<Carrier>> carry(Fd far_end, Carrier::Owner& owner) override {
    return connectors_.open(settings_, command_, std::move(far_end), owner, login_);
  }

 private:
  Connectors& connectors_;
  const SessionSettings settings_;
  const std::string command_;
  const Secrets::LoginId login_;
};

// In the order that ssh would take; none that it may not.
std::vector<std::string> methods_for(const SshSettings& settings) {
  static const std::vector<std::string> usual = {"publickey", "keyboard-interactive", "password"};
  std::vector<std::string> methods;
  const std::vector<std::string>& wished = settings.preferred_authentications;
  for (const std::string& method : wished.empty() ? usual : wished) {
    const bool allowed = method == "publickey"              ? settings.pubkey_authentication != "false"
                         : method == "keyboard-interactive" ? settings.keyboard_interactive
                         : method == "password"             ? settings.password_authentication
                                                            : false;
    if (allowed) methods.push_back(method);
  }
  return methods;
}

}  // namespace

SessionSettings session_settings(const SshSettings& settings, bool accept_new, bool may_ask) {
  SessionSettings session;
  session.host = settings.hostname;
  session.port = settings.port;
  session.family = settings.address_family == "inet"    ? AddressFamily::kIpv4
                   : settings.address_family == "inet6" ? AddressFamily::kIpv6
                                                        : AddressFamily::kAny;
  session.bind_address = settings.bind_address;
  session.user = settings.user;
  const bool has_alias = !settings.host_key_alias.empty();
  session.key_name = has_alias ? settings.host_key_alias : settings.hostname;
  session.key_port = has_alias ? 22 : settings.port;
  session.known_hosts = settings.user_known_hosts;
  session.known_hosts.insert(session.known_hosts.end(), settings.global_known_hosts.begin(),
                             settings.global_known_hosts.end());
  if (accept_new && !settings.user_known_hosts.empty())
    session.accept_new = settings.user_known_hosts.front();
  session.hash_known_hosts = settings.hash_known_hosts;
  session.identities = settings.identity_files;
  session.key_agent = settings.key_agent;
  session.only_identities = settings.identities_only;
  session.environment = environment_for(settings);
  session.key_exchanges = common_with_libssh2("KexAlgorithms", settings.kex_algorithms);
  session.ciphers = common_with_libssh2("Ciphers", settings.ciphers);
  session.macs = common_with_libssh2("MACs", settings.macs);
  session.host_key_algorithms = common_with_libssh2("HostKeyAlgorithms", settings.host_key_algorithms);
  session.methods = methods_for(settings);
  session.password_prompts = settings.password_prompts;
  session.may_ask = may_ask && !settings.batch_mode;
  return session;
}

SessionSettings hop_settings(const SshSettings& settings, std::string name, bool accept_new, bool may_ask) {
  static_assert(kSessionHopsMax == kSshJumpsMax);
  SessionSettings hop = session_settings(settings, accept_new, may_ask);
  hop.name = std::move(name);
  hop.environment.clear();  // nothing runs there
  return hop;
}

std::uint32_t receive_window(std::size_t sessions) {
  constexpr std::size_t kAllMax = 64 << 20, kOneMax = 16 << 20, kOneMin = 256 << 10;
  return std::uint32_t(std::clamp(kAllMax / std::max<std::size_t>(sessions, 1), kOneMin, kOneMax));
}

Recipe libssh2(std::string_view name, const SessionSettings& settings, const SshOptions& options,
               std::uint64_t nonce, std::string_view architecture, Connectors& connectors,
               Secrets::LoginId login) {
  Recipe recipe = stage0_recipe(name, "ssh", nonce, architecture, options.connect_timeout);
  recipe.source = std::make_shared<SessionSource>(connectors, settings,
                                                  std::string(stage0_command(nonce, architecture)), login);
  recipe.symptoms = account_symptoms();
  if (settings.tells_steps) recipe.asides = kStepMark;
  // ssh counts the first line of the server's as part of connecting; it comes with the key exchange.
  if (options.tcp_timeout > 0) {
    recipe.deadlines.connect = options.tcp_timeout;
    recipe.deadlines.kex = std::max(recipe.deadlines.kex, options.tcp_timeout);
  }
  return recipe;
}

}  // namespace banyan
