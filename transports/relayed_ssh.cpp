#include "transports/relayed_ssh.h"

#include <algorithm>
#include <cerrno>

#include "core/assert.h"
#include "core/text.h"
#include "parent/api/stage0.h"
#include "parent/back_channel.h"
#include "transports/openssh.h"

namespace banyan {
namespace {

constexpr std::uint32_t kConnectSeconds = 10;  // TCP and the first line of the server, as ssh counts it
constexpr std::uint32_t kAttemptsMax = 10;

// Lists of what may be negotiated. An older ssh there may not know all of what ours has by itself, so they
// are sent only where somebody has set them.
constexpr std::string_view kLists[] = {"KexAlgorithms", "Ciphers", "MACs", "HostKeyAlgorithms",
                                       "PubkeyAcceptedAlgorithms"};

}  // namespace

std::string_view alias_of(const SshSettings& settings) {
  return settings.host;
}

std::vector<std::string> relayed_ssh_argv(const SshSettings& settings, const SshSettings* defaults,
                                          std::string_view remote_command) {
  ASSERT(!settings.hostname.empty() && settings.hostname.front() != '-');
  std::vector<std::string> argv = {"ssh", "-F", "none", "-e", "none", "-T"};
  const auto option = [&](std::string_view name, std::string_view value) {
    argv.emplace_back("-o");
    argv.push_back(cat(name, "=", value));
  };
  // Whom to believe.
  option("StrictHostKeyChecking", "yes");
  option("HostKeyAlias", alias_of(settings));
  option("UserKnownHostsFile", kFilePlace);
  option("GlobalKnownHostsFile", "/dev/null");
  option("CheckHostIP", "no");
  option("VerifyHostKeyDNS", "no");
  // Who we are: no key of the hop's, and no question, since nobody is there.
  option("IdentityFile", "none");
  option("PreferredAuthentications", "publickey");
  option("BatchMode", "yes");
  // A pipe and nothing else.
  option("ForwardAgent", "no");
  option("ForwardX11", "no");
  option("ClearAllForwardings", "yes");
  option("Tunnel", "no");
  option("ControlPath", "none");
  option("ServerAliveInterval", "5");
  option("ServerAliveCountMax", "3");
  const std::uint32_t seconds = settings.connect_timeout != 0 ? settings.connect_timeout : kConnectSeconds;
  option("ConnectTimeout", cat(seconds));
  option("ConnectionAttempts", cat(std::clamp(settings.connection_attempts, 1u, kAttemptsMax)));
  option("LogLevel", "INFO");
  if (settings.compression) option("Compression", "yes");
  if (settings.address_family == "inet") argv.emplace_back("-4");
  if (settings.address_family == "inet6") argv.emplace_back("-6");
  for (const std::string_view list : kLists) {
    std::string setting(list);
    std::ranges::transform(setting, setting.begin(),
                           [](char c) { return char(c >= 'A' && c <= 'Z' ? c + 32 : c); });
    const std::vector<std::string>& wanted = settings.said(setting);
    if (defaults != nullptr && wanted.size() == 1 && wanted != defaults->said(setting))
      option(list, wanted.front());
  }
  for (const std::string& variable : settings.set_env) option("SetEnv", variable);
  argv.insert(argv.end(), {"-l", settings.user, "-p", cat(settings.port), "--", settings.hostname,
                           std::string(remote_command)});
  return argv;
}

Recipe relayed_ssh(const RelayedSshTarget& target, std::uint64_t nonce, std::string_view architecture,
                   Nanos connect_timeout) {
  Recipe recipe;
  recipe.name = target.name;
  recipe.method = "ssh";
  recipe.boot = Recipe::Boot::kStage0;
  recipe.nonce = nonce;
  recipe.architecture = architecture;
  recipe.argv = relayed_ssh_argv(target.settings, target.defaults, stage0_command(nonce, architecture));
  recipe.environment = {{"SSH_AUTH_SOCK", std::string(kSocketPlace)}};
  recipe.file = target.known_hosts;
  recipe.symptoms = openssh_symptoms();
  if (const Nanos tcp = Nanos(target.settings.connect_timeout) * kSecond; tcp > kConnectSeconds * kSecond)
    recipe.deadlines.until_ready += tcp - kConnectSeconds * kSecond;
  recipe.deadlines.total = connect_timeout;
  return recipe;
}

bool lacks_ssh(const Error& error) {
  return error.system_error == ENOENT && error.phase == Phase::kConnect;
}

Error error_of_relayed_ssh(Error error, std::string_view hop, std::string_view by_hand,
                           std::string_view refusal) {
  if (lacks_ssh(error)) {
    error.error_class = ErrorClass::kRefused;
    error.text = cat("there is no ssh on ", hop);
    error.remedy = cat("install one there; by hand: ", by_hand);
    return error;
  }
  const bool is_auth = error.error_class == ErrorClass::kAuth && error.phase == Phase::kAuth;
  if (!refusal.empty() && (is_auth || error.phase == Phase::kKex)) {
    error.error_class = ErrorClass::kAuth;
    error.phase = Phase::kAuth;
    error.text = cat("no signature from here: ", refusal);
  }
  if (error.error_class == ErrorClass::kAuth && error.phase == Phase::kAuth) {
    error.remedy = cat("check the user (-l) and the key (--identity, ssh-add -l); by hand: ", by_hand);
  } else if (error.error_class == ErrorClass::kHostKey) {
    error.remedy = cat("known_hosts of this machine decides; by hand: ", by_hand);
  }
  return error;
}

}  // namespace banyan
