#include "transports/relayed_ssh.h"

#include <algorithm>
#include <cerrno>

#include "core/assert.h"
#include "core/text.h"
#include "parent/api/stage0.h"
#include "parent/back_channel.h"
#include "transports/openssh.h"
#include "transports/stage0_recipe.h"

namespace banyan {
namespace {

constexpr std::uint32_t kConnectSeconds = 10;  // TCP and the first line of the server, as ssh counts it
constexpr std::uint32_t kAttemptsMax = 10;

// What may be negotiated, and how strictly. An older ssh there may not know all of what ours has by itself,
// so they are sent only where somebody has set them; or where that cannot be told.
constexpr std::string_view kLists[] = {
    "KexAlgorithms",         "Ciphers",         "MACs", "PubkeyAcceptedAlgorithms",
    "CASignatureAlgorithms", "RequiredRSASize",
};
constexpr std::string_view kHostKeyList = "HostKeyAlgorithms", kCertificate = "-cert-v01@openssh.com";

std::string lower(std::string_view name) {
  std::string setting(name);
  std::ranges::transform(setting, setting.begin(),
                         [](char c) { return char(c >= 'A' && c <= 'Z' ? c + 32 : c); });
  return setting;
}

// What was set of it, if that is not what ssh has by itself.
std::string set_value(const SshSettings& settings, const SshSettings* defaults, std::string_view name) {
  const std::string setting = lower(name);
  const std::vector<std::string>& wanted = settings.said(setting);
  const bool is_set = wanted.size() == 1 && (defaults == nullptr || wanted != defaults->said(setting));
  return is_set ? wanted.front() : std::string();
}

// Certificates of hosts are not asked for: the signer here takes a plain key as proof.
std::string host_key_algorithms(const SshSettings& settings, const SshSettings* defaults) {
  std::string plain;
  const std::string set = set_value(settings, defaults, kHostKeyList);
  for (std::size_t begin = 0; begin < set.size();) {
    const std::size_t end = std::min(set.find(',', begin), set.size());
    const std::string one = set.substr(begin, end - begin);
    if (one.find(kCertificate) == one.npos) plain += cat(plain.empty() ? "" : ",", one);
    begin = end + 1;
  }
  return plain.empty() ? cat("-*", kCertificate) : plain;
}

// As one word, for those settings that ssh takes apart at blanks.
std::string quoted(std::string_view word) {
  std::string text = "\"";
  for (const char c : word) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + '"';
}

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
  option(kHostKeyList, host_key_algorithms(settings, defaults));
  for (const std::string_view list : kLists)
    if (const std::string value = set_value(settings, defaults, list); !value.empty()) option(list, value);
  for (const std::string& variable : settings.set_env) option("SetEnv", quoted(variable));
  argv.insert(argv.end(), {"-l", settings.user, "-p", cat(settings.port), "--", settings.hostname,
                           std::string(remote_command)});
  return argv;
}

Recipe relayed_ssh(const RelayedSshTarget& target, std::uint64_t nonce, std::string_view architecture,
                   Nanos connect_timeout) {
  Recipe recipe = stage0_recipe(target.name, "ssh", nonce, architecture, connect_timeout);
  recipe.argv = relayed_ssh_argv(target.settings, target.defaults, stage0_command(nonce, architecture));
  recipe.environment = {{"SSH_AUTH_SOCK", std::string(kSocketPlace)}};
  recipe.extra().file = target.known_hosts;
  recipe.symptoms = openssh_symptoms();
  if (const Nanos tcp = Nanos(target.settings.connect_timeout) * kSecond; tcp > kConnectSeconds * kSecond)
    recipe.deadlines.until_ready += tcp - kConnectSeconds * kSecond;
  return recipe;
}

std::optional<Error> cannot_relay(const SshSettings& settings, std::string_view known_hosts,
                                  std::string_view host, std::string_view by_hand) {
  const auto refused = [&](std::string_view why) {
    return Error{ErrorClass::kRefused, Phase::kResolve, why, cat("take a tunnel: ", by_hand)};
  };
  if (!settings.revoked_host_keys.empty())
    return refused("RevokedHostKeys of ssh's configuration is not followed beneath a hop");
  if (settings.pubkey_authentication == "false")
    return refused("PubkeyAuthentication no of ssh's configuration: beneath a hop there are but keys");
  const Error unknown{ErrorClass::kHostKey, Phase::kKex,
                      cat("no key of ", host, " is known here, and the hop is not asked"),
                      cat("connect once by hand: ", by_hand)};
  bool has_key = false, has_authority = false;
  for (std::size_t begin = 0; begin < known_hosts.size();) {
    const std::size_t end = std::min(known_hosts.find('\n', begin), known_hosts.size());
    const std::string_view line = known_hosts.substr(begin, end - begin);
    has_key = has_key || !line.starts_with('@');
    has_authority = has_authority || line.starts_with("@cert-authority");
    begin = end + 1;
  }
  if (has_key) return std::nullopt;
  if (!has_authority) return unknown;
  Error error = refused(
      cat("of ", host,
          " only who certifies its key is known here, and certificates do not prove it beneath a hop"));
  error.error_class = ErrorClass::kHostKey;
  error.phase = Phase::kKex;
  return error;
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
  const bool is_cut_off = error.phase == Phase::kKex && error.error_class != ErrorClass::kHostKey;
  if (!refusal.empty() && (is_auth || is_cut_off)) {
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
