#include "transports/ssh_settings.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "core/text.h"
#include "transports/digest.h"

namespace banyan {
namespace {

constexpr std::size_t kLinesMax = 10'000;       // of an answer; an honest one has some ninety
constexpr std::size_t kHostNameMax = 256;       // as gethostname gives it
constexpr std::size_t kExpandedMax = 4'096;     // of one file name: PATH_MAX
constexpr std::size_t kAccountMax = 16 * 1024;  // an entry of the password file
constexpr std::uint16_t kSshPort = 22;

using Lists = std::vector<std::string>;

struct TextRow {
  std::string_view setting;
  std::string SshSettings::*field;
};
struct FlagRow {
  std::string_view setting;
  bool SshSettings::*field;
};
struct NumberRow {
  std::string_view setting;
  std::uint32_t SshSettings::*field;
};
struct ListRow {
  std::string_view setting;
  Lists SshSettings::*field;
};

using S = SshSettings;

constexpr TextRow kTexts[] = {
    {"addressfamily", &S::address_family},
    {"bindaddress", &S::bind_address},
    {"bindinterface", &S::bind_interface},
    {"proxyjump", &S::proxy_jump},
    {"proxycommand", &S::proxy_command},
    {"controlmaster", &S::control_master},
    {"controlpath", &S::control_path},
    {"rekeylimit", &S::rekey_limit},
    {"knownhostscommand", &S::known_hosts_command},
    {"revokedhostkeys", &S::revoked_host_keys},
    {"hostkeyalias", &S::host_key_alias},
    {"stricthostkeychecking", &S::strict_host_key_checking},
    {"verifyhostkeydns", &S::verify_host_key_dns},
    {"pkcs11provider", &S::pkcs11_provider},
    {"securitykeyprovider", &S::security_key_provider},
    {"pubkeyauthentication", &S::pubkey_authentication},
};
constexpr FlagRow kFlags[] = {
    {"compression", &S::compression},
    {"checkhostip", &S::check_host_ip},
    {"hashknownhosts", &S::hash_known_hosts},
    {"identitiesonly", &S::identities_only},
    {"passwordauthentication", &S::password_authentication},
    {"kbdinteractiveauthentication", &S::keyboard_interactive},
    {"challengeresponseauthentication", &S::keyboard_interactive},  // its name before OpenSSH 8.7
    {"batchmode", &S::batch_mode},
    {"gssapiauthentication", &S::gssapi_authentication},
    {"gssapikeyexchange", &S::gssapi_key_exchange},
    {"hostbasedauthentication", &S::hostbased_authentication},
};
constexpr NumberRow kNumbers[] = {
    {"connecttimeout", &S::connect_timeout},
    {"connectionattempts", &S::connection_attempts},
    {"numberofpasswordprompts", &S::password_prompts},
    {"requiredrsasize", &S::required_rsa_size},
};
constexpr ListRow kLists[] = {
    {"kexalgorithms", &S::kex_algorithms},
    {"ciphers", &S::ciphers},
    {"macs", &S::macs},
    {"hostkeyalgorithms", &S::host_key_algorithms},
    {"pubkeyacceptedalgorithms", &S::pubkey_algorithms},
    {"pubkeyacceptedkeytypes", &S::pubkey_algorithms},  // its name before OpenSSH 8.5
    {"preferredauthentications", &S::preferred_authentications},
};
// Several lines, or one; each a value.
constexpr ListRow kRepeated[] = {
    {"sendenv", &S::send_env},
    {"setenv", &S::set_env},
};

std::string small_letters(std::string_view text) {
  std::string small(text);
  for (char& c : small) {
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  }
  return small;
}

bool is_none(std::string_view value) {
  return small_letters(value) == "none";
}

template <class Number>
bool read_number(std::string_view text, Number& number) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

Lists split(std::string_view text, char separator) {
  Lists pieces;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) pieces.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return pieces;
}

// The last line of a setting that has one value: ssh says each once.
std::string_view value_of(const SshSettings& settings, std::string_view setting) {
  const Lists& said = settings.said(setting);
  return said.empty() ? std::string_view() : std::string_view(said.back());
}

void read_plain_values(SshSettings& settings) {
  settings.hostname = value_of(settings, "hostname");  // "none" is a name like any other
  settings.user = value_of(settings, "user");
  for (const TextRow& row : kTexts) {
    const std::string_view value = value_of(settings, row.setting);
    if (!value.empty()) settings.*row.field = is_none(value) ? "" : value;
  }
  for (const FlagRow& row : kFlags) {
    const std::string_view value = value_of(settings, row.setting);
    if (!value.empty()) settings.*row.field = value == "yes" || value == "true";
  }
  for (const NumberRow& row : kNumbers) {
    std::uint32_t number = 0;
    if (read_number(value_of(settings, row.setting), number)) settings.*row.field = number;
  }
  for (const ListRow& row : kLists) {
    const std::string_view value = value_of(settings, row.setting);
    if (!value.empty()) settings.*row.field = split(value, ',');
  }
  for (const ListRow& row : kRepeated) settings.*row.field = settings.said(row.setting);
}

// ssh prints the names on one line with blanks between, and a name may have blanks itself: then what does not
// begin as a path does shows it.
void read_known_hosts(SshSettings& settings, std::string_view setting, std::string_view spelling,
                      Lists SshSettings::*field, const LocalUser& local) {
  for (std::string& file : split(value_of(settings, setting), ' ')) {
    if (is_none(file)) continue;
    if (file.starts_with("~")) {  // an ssh before 8.4 leaves that; it had no tokens here
      if (auto expanded = expand_ssh_path(file, settings, local)) file = *expanded;
    }
    if (!file.starts_with('/')) settings.unclear.push_back(cat(spelling, " ", value_of(settings, setting)));
    (settings.*field).push_back(std::move(file));
  }
}

void read_files(SshSettings& settings, std::string_view setting, std::string_view spelling,
                Lists SshSettings::*field, const LocalUser& local) {
  for (const std::string& written : settings.said(setting)) {
    if (is_none(written)) continue;
    if (auto path = expand_ssh_path(written, settings, local)) {
      (settings.*field).push_back(std::move(*path));
    } else {
      settings.unclear.push_back(cat(spelling, " ", written));
    }
  }
}

void read_key_agent(SshSettings& settings, const LocalUser& local) {
  const std::string_view value = value_of(settings, "identityagent");
  std::string variable;
  if (value.empty() || value == "SSH_AUTH_SOCK") {
    variable = "SSH_AUTH_SOCK";
  } else if (is_none(value)) {
    return;
  } else if (value.starts_with('$') && !value.starts_with("${")) {
    variable = value.substr(1);
  } else if (auto path = expand_ssh_path(value, settings, local)) {
    settings.key_agent = *path;
    return;
  } else {
    settings.unclear.push_back(cat("IdentityAgent ", value));
    return;
  }
  settings.key_agent = local.variable(variable).value_or("");
}

std::string connection_hash(const SshSettings& settings, const LocalUser& local) {
  return hex(sha1(cat(local.host, settings.hostname, settings.port, settings.user)));
}

// The value of one %-token; nullopt: not one for file names.
std::optional<std::string> token(char letter, const SshSettings& settings, const LocalUser& local) {
  switch (letter) {
    case '%':
      return "%";
    case 'C':
      return connection_hash(settings, local);
    case 'd':
      return local.home;
    case 'h':
      return settings.hostname;
    case 'i':
      return cat(local.id);
    case 'k':
      return settings.host_key_alias.empty() ? settings.host : settings.host_key_alias;
    case 'L':
      return local.host.substr(0, local.host.find('.'));
    case 'l':
      return local.host;
    case 'n':
      return settings.host;
    case 'p':
      return cat(settings.port);
    case 'r':
      return settings.user;
    case 'u':
      return local.name;
    default:
      return std::nullopt;
  }
}

std::optional<std::string> expand_home(std::string_view text, const LocalUser& local) {
  if (!text.starts_with('~')) return std::string(text);
  const std::size_t slash = std::min(text.find('/'), text.size());
  const std::string user(text.substr(1, slash - 1));
  const std::optional<std::string> home = user.empty() ? local.home : local.home_of(user);
  if (!home) return std::nullopt;
  return cat(*home, text.substr(slash));
}

}  // namespace

const std::vector<std::string>& SshSettings::said(std::string_view setting) const {
  static const std::vector<std::string> nothing;
  auto it = lines.find(setting);
  return it == lines.end() ? nothing : it->second;
}

std::optional<std::string> expand_ssh_path(std::string_view text, const SshSettings& settings,
                                           const LocalUser& local) {
  const std::optional<std::string> rooted = expand_home(text, local);
  if (!rooted) return std::nullopt;
  std::string path;
  std::string_view rest = *rooted;
  while (!rest.empty() && path.size() <= kExpandedMax) {
    std::optional<std::string> value;
    std::size_t taken = 1;
    if (rest[0] == '%') {
      if (rest.size() < 2) return std::nullopt;
      value = token(rest[1], settings, local);
      taken = 2;
    } else if (rest.starts_with("${")) {
      const std::size_t close = rest.find('}');
      if (close == std::string_view::npos) return std::nullopt;
      value = local.variable(std::string(rest.substr(2, close - 2)));
      taken = close + 1;
    } else {
      value = std::string(1, rest[0]);
    }
    if (!value) return std::nullopt;
    path += *value;
    rest.remove_prefix(taken);
  }
  if (path.empty() || path.size() > kExpandedMax) return std::nullopt;
  return path;
}

Result<SshSettings> parse_ssh_settings(std::string_view output, std::string_view host,
                                       const LocalUser& local) {
  auto bad = [](std::string_view why) {
    return Error{ErrorClass::kProtocol, Phase::kResolve, cat("ssh -G: ", why),
                 "see what ssh -G says about this host"};
  };
  SshSettings settings;
  settings.host = host;
  std::size_t count = 0;
  while (!output.empty()) {
    const std::size_t end = std::min(output.find('\n'), output.size());
    std::string_view line = output.substr(0, end);
    output.remove_prefix(std::min(end + 1, output.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos) continue;
    if (++count > kLinesMax) return bad("more settings than there can be");
    settings.lines[small_letters(line.substr(0, blank))].emplace_back(line.substr(blank + 1));
  }
  read_plain_values(settings);
  if (settings.hostname.empty() || settings.user.empty()) return bad("says neither host nor user");
  if (!read_number(value_of(settings, "port"), settings.port) || settings.port == 0)
    return bad("names no port");
  read_known_hosts(settings, "userknownhostsfile", "UserKnownHostsFile", &S::user_known_hosts, local);
  read_known_hosts(settings, "globalknownhostsfile", "GlobalKnownHostsFile", &S::global_known_hosts, local);
  read_files(settings, "identityfile", "IdentityFile", &S::identity_files, local);
  read_files(settings, "certificatefile", "CertificateFile", &S::certificate_files, local);
  read_key_agent(settings, local);
  return settings;
}

std::vector<std::string> known_hosts_names(const SshSettings& settings) {
  if (!settings.host_key_alias.empty()) return {small_letters(settings.host_key_alias)};
  const std::string name = small_letters(settings.hostname);
  if (settings.port == kSshPort) return {name};
  return {cat("[", name, "]:", settings.port), name};
}

std::optional<std::vector<SshJump>> parse_proxy_jump(std::string_view text) {
  std::vector<SshJump> jumps;
  for (std::string_view rest : split(text, ',')) {
    SshJump jump;
    if (rest.starts_with("ssh://")) rest.remove_prefix(6);
    if (const std::size_t at = rest.rfind('@'); at != std::string_view::npos) {
      jump.user = rest.substr(0, at);
      rest.remove_prefix(at + 1);
    }
    std::string_view port;
    if (rest.starts_with('[')) {
      const std::size_t close = rest.find(']');
      if (close == std::string_view::npos) return std::nullopt;
      jump.host = rest.substr(1, close - 1);
      port = rest.substr(close + 1);
      if (!port.empty() && port.front() != ':') return std::nullopt;
    } else {
      const std::size_t colon = std::min(rest.find(':'), rest.size());
      jump.host = rest.substr(0, colon);
      port = rest.substr(colon);
    }
    if (!port.empty() && (!read_number(port.substr(1), jump.port) || jump.port == 0)) return std::nullopt;
    if (jump.host.empty() || jump.host.front() == '-' || jump.user.starts_with('-')) return std::nullopt;
    jumps.push_back(std::move(jump));
  }
  if (jumps.empty()) return std::nullopt;
  return jumps;
}

std::string text_of(const SshJump& jump) {
  const bool is_address = jump.host.find(':') != jump.host.npos;
  return cat(jump.user, jump.user.empty() ? "" : "@", is_address ? "[" : "", jump.host, is_address ? "]" : "",
             jump.port == 0 ? "" : cat(":", jump.port));
}

LocalUser local_user() {
  LocalUser local;
  local.id = ::getuid();
  char host[kHostNameMax + 1] = {};
  if (::gethostname(host, kHostNameMax) == 0) local.host = host;
  local.variable = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
  local.home_of = [](const std::string& user) -> std::optional<std::string> {
    passwd entry{}, *found = nullptr;
    std::vector<char> space(kAccountMax);
    if (::getpwnam_r(user.c_str(), &entry, space.data(), space.size(), &found) != 0 || found == nullptr)
      return std::nullopt;
    return found->pw_dir;
  };
  passwd entry{}, *found = nullptr;
  std::vector<char> space(kAccountMax);
  if (::getpwuid_r(local.id, &entry, space.data(), space.size(), &found) == 0 && found != nullptr) {
    local.name = found->pw_name;
    local.home = found->pw_dir;
  }
  return local;
}

}  // namespace banyan
