#include "transports/back_end.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <span>

#include "core/text.h"

namespace banyan {
namespace {

// What libssh2 1.10 offers. Host keys without ssh-dss, which nobody should trust, and without certificates:
// it takes their names and cannot check who signed them.
constexpr std::string_view kKex[] = {
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group1-sha1",
    "diffie-hellman-group-exchange-sha1",
};
constexpr std::string_view kCiphers[] = {
    "aes128-ctr", "aes192-ctr", "aes256-ctr", "aes256-cbc", "rijndael-cbc@lysator.liu.se",
    "aes192-cbc", "aes128-cbc", "3des-cbc",
};
constexpr std::string_view kMacs[] = {
    "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1", "hmac-sha1-96", "hmac-md5", "hmac-md5-96",
};
constexpr std::string_view kHostKeys[] = {
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa",
};

struct Algorithms {
  std::string_view setting;
  std::span<const std::string_view> names;
};
constexpr std::array<Algorithms, 4> kAlgorithms = {{
    {"KexAlgorithms", kKex},
    {"Ciphers", kCiphers},
    {"MACs", kMacs},
    {"HostKeyAlgorithms", kHostKeys},
}};

bool has(const std::vector<std::string>& list, std::string_view name) {
  return std::ranges::find(list, name) != list.end();
}

bool nothing_in_common(std::string_view setting, const std::vector<std::string>& wanted) {
  return !wanted.empty() && common_with_libssh2(setting, wanted).empty();
}

const KeyFile* key_of_kind(const BackEndFacts& facts, KeyKind kind) {
  auto it = std::ranges::find(facts.keys, kind, &KeyFile::kind);
  return it == facts.keys.end() ? nullptr : &*it;
}

const KeyFile* certified_key(const BackEndFacts& facts) {
  auto it = std::ranges::find_if(facts.keys, [](const KeyFile& key) {
    return key.has_certificate || key.kind == KeyKind::kCertificate;
  });
  return it == facts.keys.end() ? nullptr : &*it;
}

bool is_wanted(const SshSettings& settings, std::string_view method) {
  return settings.preferred_authentications.empty() || has(settings.preferred_authentications, method);
}

bool wants_gssapi(const SshSettings& settings) {
  return settings.gssapi_authentication && is_wanted(settings, "gssapi-with-mic");
}

// A host key that is known, and that libssh2 can check. RSA only where ssh-rsa is allowed by name, which says
// that the server is old: with SHA-2 libssh2 1.10 cannot, and current servers do nothing else.
bool knows_usable_key(const BackEndFacts& facts) {
  const auto& allowed = facts.settings.host_key_algorithms;
  return std::ranges::any_of(facts.known, [&](const KnownHostKey& key) {
    const KeyKind kind = kind_of_type(key.type);
    if (key.is_authority) return false;
    if (kind == KeyKind::kRsa) return has(allowed, key.type);
    return (kind == KeyKind::kEd25519 || kind == KeyKind::kEcdsa) &&
           (allowed.empty() || has(allowed, key.type));
  });
}

bool knows_only_authorities(const BackEndFacts& facts) {
  return !facts.known.empty() && std::ranges::all_of(facts.known, &KnownHostKey::is_authority);
}

std::string known_types(const BackEndFacts& facts) {
  std::string types;
  for (const KnownHostKey& key : facts.known) types += cat(types.empty() ? "" : ", ", key.type);
  return types;
}

constexpr std::string_view kUnclear = "";  // the detail begins with the name of the setting

bool is_empty_or_numbers(const std::string& address) {
  in6_addr parsed{};
  return address.empty() || ::inet_pton(AF_INET, address.c_str(), &parsed) == 1 ||
         ::inet_pton(AF_INET6, address.c_str(), &parsed) == 1;
}

struct Row {
  std::string_view setting;
  bool (*stands_in_the_way)(const BackEndFacts&);
  std::string_view because;
  std::string_view remedy;
  std::string (*detail)(const BackEndFacts&);  // what it is set to; may be null
};

using F = const BackEndFacts&;

// In the order in which a connection would meet them, so the first is the one that matters most.
constexpr Row kRows[] = {
    {"ProxyCommand", [](F f) { return !f.settings.proxy_command.empty(); },
     "libssh2 opens its connections itself", "a host that is reached directly needs no ProxyCommand",
     [](F f) { return f.settings.proxy_command; }},
    {"ControlPath", [](F f) { return !f.settings.control_path.empty() && f.has_control_socket; },
     "a shared connection of ssh's is open there", "ssh -O exit closes it",
     [](F f) { return f.settings.control_path; }},
    {"ControlMaster",
     [](F f) { return !f.settings.control_path.empty() && f.settings.control_master != "false"; },
     "only ssh can open a connection that it shares", "ControlMaster no for this host",
     [](F f) { return f.settings.control_master; }},
    {"BindInterface", [](F f) { return !f.settings.bind_interface.empty(); },
     "only ssh binds its connections", "no BindInterface for this host",
     [](F f) { return f.settings.bind_interface; }},
    {"BindAddress", [](F f) { return !is_empty_or_numbers(f.settings.bind_address); },
     "only ssh looks names up for it", "write BindAddress in numbers",
     [](F f) { return f.settings.bind_address; }},
    {"Compression", [](F f) { return f.settings.compression; }, "libssh2 is used without compression",
     "Compression no for this host", nullptr},
    {"KexAlgorithms", [](F f) { return nothing_in_common("KexAlgorithms", f.settings.kex_algorithms); },
     "libssh2 1.10 has none of these", "allow curve25519-sha256 for this host", nullptr},
    {"Ciphers", [](F f) { return nothing_in_common("Ciphers", f.settings.ciphers); },
     "libssh2 1.10 has none of these", "allow aes128-ctr for this host", nullptr},
    {"MACs", [](F f) { return nothing_in_common("MACs", f.settings.macs); }, "libssh2 1.10 has none of these",
     "allow hmac-sha2-256 for this host", nullptr},
    {"HostKeyAlgorithms",
     [](F f) { return nothing_in_common("HostKeyAlgorithms", f.settings.host_key_algorithms); },
     "libssh2 1.10 has none of these", "allow ssh-ed25519 for this host", nullptr},
    {"RekeyLimit", [](F f) { return !f.settings.rekey_limit.empty() && f.settings.rekey_limit != "0 0"; },
     "libssh2 1.10 never asks for new keys itself", "no RekeyLimit for this host",
     [](F f) { return f.settings.rekey_limit; }},
    {"KnownHostsCommand", [](F f) { return !f.settings.known_hosts_command.empty(); }, "only ssh runs it",
     "write the keys into a known_hosts file", [](F f) { return f.settings.known_hosts_command; }},
    {"RevokedHostKeys", [](F f) { return !f.settings.revoked_host_keys.empty(); },
     "only ssh reads such lists", "mark the keys @revoked in known_hosts instead",
     [](F f) { return f.settings.revoked_host_keys; }},
    {"VerifyHostKeyDNS", [](F f) { return f.settings.verify_host_key_dns != "false"; },
     "only ssh asks the DNS about keys", "VerifyHostKeyDNS no, and the key in known_hosts",
     [](F f) { return f.settings.verify_host_key_dns; }},
    {"CheckHostIP", [](F f) { return f.settings.check_host_ip; }, "only ssh looks for the address as well",
     "CheckHostIP no for this host", nullptr},
    {"host key", knows_only_authorities,
     "it is vouched for by a certificate, which libssh2 1.10 cannot check",
     "write an ed25519 or ecdsa key of the host itself into known_hosts", nullptr},
    {"host key", [](F f) { return !f.known.empty() && !knows_usable_key(f); },
     "libssh2 1.10 cannot check the kinds known of it with a current server",
     "write an ed25519 or ecdsa key of the host into known_hosts", known_types},
    {kUnclear, [](F f) { return !f.settings.unclear.empty(); }, "only ssh knows which file is meant",
     "write the name without tokens and blanks", [](F f) { return f.settings.unclear.front(); }},
    {"CertificateFile", [](F f) { return !f.settings.certificate_files.empty(); },
     "libssh2 1.10 cannot log in with certificates", "no CertificateFile for this host",
     [](F f) { return f.settings.certificate_files.front(); }},
    {"IdentityFile", [](F f) { return certified_key(f) != nullptr; },
     "a certificate lies beside it, and libssh2 1.10 cannot log in with one",
     "name another key with --identity", [](F f) { return certified_key(f)->path; }},
    {"IdentityFile", [](F f) { return key_of_kind(f, KeyKind::kFido) != nullptr; },
     "its key is on a security key, which only ssh can ask", "name another key with --identity",
     [](F f) { return key_of_kind(f, KeyKind::kFido)->path; }},
    {"PKCS11Provider", [](F f) { return !f.settings.pkcs11_provider.empty(); },
     "only ssh reaches keys through it", "load them into the key agent: ssh-add -s",
     [](F f) { return f.settings.pkcs11_provider; }},
    {"PubkeyAuthentication", [](F f) { return f.settings.pubkey_authentication == "host-bound"; },
     "libssh2 1.10 cannot bind a signature to the host", "PubkeyAuthentication yes for this host", nullptr},
    {"GSSAPIAuthentication", [](F f) { return f.has_kerberos_ticket && wants_gssapi(f.settings); },
     "libssh2 1.10 has no GSSAPI, and there may be a ticket", "GSSAPIAuthentication no for this host",
     nullptr},
    {"GSSAPIKeyExchange", [](F f) { return f.settings.gssapi_key_exchange && f.has_kerberos_ticket; },
     "libssh2 1.10 has no GSSAPI", "GSSAPIKeyExchange no for this host", nullptr},
    {"HostbasedAuthentication",
     [](F f) { return f.settings.hostbased_authentication && is_wanted(f.settings, "hostbased"); },
     "only ssh can have this machine's key used", "HostbasedAuthentication no for this host", nullptr},
};

const Row* first_obstacle(const BackEndFacts& facts) {
  auto it = std::ranges::find_if(kRows, [&](const Row& row) { return row.stands_in_the_way(facts); });
  return it == std::ranges::end(kRows) ? nullptr : &*it;
}

}  // namespace

std::string_view name_of(BackEnd back_end) {
  return back_end == BackEnd::kLibssh2 ? "libssh2" : "openssh";
}

std::vector<std::string> common_with_libssh2(std::string_view setting,
                                             const std::vector<std::string>& wanted) {
  auto ours = std::ranges::find(kAlgorithms, setting, &Algorithms::setting);
  ASSERT(ours != kAlgorithms.end());
  std::vector<std::string> common;
  for (const std::string& name : wanted) {
    if (std::ranges::find(ours->names, name) != ours->names.end()) common.push_back(name);
  }
  return common;
}

BackEndChoice choose_back_end(const BackEndFacts& facts, BackEndWish wish) {
  if (wish == BackEndWish::kOpenssh) return {BackEnd::kOpenssh, false, "--ssh", "as it says", {}};
  BackEndChoice choice;
  if (const Row* row = first_obstacle(facts)) {
    std::string detail = row->detail == nullptr ? "" : row->detail(facts);
    choice.setting = row->setting;
    if (row->setting == kUnclear) {
      const std::size_t blank = detail.find(' ');
      choice.setting = detail.substr(0, blank);
      detail.erase(0, choice.setting.size() + 1);
    }
    choice.because = detail.empty() ? std::string(row->because) : cat(detail, ": ", row->because);
    choice.remedy = row->remedy;
  } else if (!facts.has_connector) {
    choice.setting = "this build";
    choice.because = "it has no connector for libssh2";
  } else {
    choice.back_end = BackEnd::kLibssh2;
    choice.because = "it can honour every setting";
  }
  choice.is_refused = wish == BackEndWish::kLibssh2 && choice.back_end != BackEnd::kLibssh2;
  return choice;
}

Error refused_back_end(const BackEndChoice& choice) {
  return Error{ErrorClass::kRefused, Phase::kResolve,
               cat("--ssh libssh2: ", choice.setting, ": ", choice.because), choice.remedy};
}

std::vector<BackEndChoice> choose_back_ends(const std::vector<BackEndStep>& way, BackEndWish wish) {
  std::vector<BackEndChoice> choices;
  choices.reserve(way.size());
  for (const BackEndStep& step : way) choices.push_back(choose_back_end(step.facts, wish));
  if (wish == BackEndWish::kOpenssh) return choices;
  const auto decides = std::ranges::find(choices, BackEnd::kOpenssh, &BackEndChoice::back_end);
  if (decides == choices.end()) return choices;
  const BackEndChoice first = *decides;
  const std::string& name = way[std::size_t(decides - choices.begin())].name;
  for (auto choice = choices.begin(); choice != choices.end(); ++choice) {
    if (choice == decides) continue;
    choice->is_refused = first.is_refused;
    // What it is told of itself is nearer than what it is told of another.
    if (choice->back_end == BackEnd::kOpenssh && choice + 1 != choices.end()) continue;
    choice->back_end = BackEnd::kOpenssh;
    choice->setting = "ProxyJump";
    choice->because =
        cat("who speaks SSH speaks it all the way, and ", name, " has ", first.setting, ": ", first.because);
    choice->remedy = first.remedy;
  }
  return choices;
}

}  // namespace banyan
