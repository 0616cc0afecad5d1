// transports/known_hosts_line.h -- a line of known_hosts, and whether it names a host, as OpenSSH reads it
// (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
//
// The root asks which kinds of keys are known (transports/known_keys.h), a connector which keys
// (transports/connector/known_hosts.h): both read lines here. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace banyan {

struct KnownHostsLine {
  enum class Marker : std::uint8_t { kNone, kAuthority, kRevoked };
  Marker marker = Marker::kNone;
  std::string_view names;  // patterns, or hashed; empty: a comment, or an empty line
  std::string_view key;    // "TYPE BASE64 comment"
};

// Without its newline. nullopt: with a marker that OpenSSH does not believe.
std::optional<KnownHostsLine> parse_known_hosts_line(std::string_view line);

// "|1|salt|hash": one name, hidden.
struct HashedName {
  std::string salt, hash;  // twenty bytes each
};
std::optional<HashedName> parse_hashed_name(std::string_view names);
bool is_name(const HashedName& hashed, std::string_view name);
std::string hashed_name(std::string_view name, std::string_view salt);

// Patterns with '*' and '?', commas, '!' before what must not match. Both in lower case. Time: their product
// at worst.
bool matches_host_patterns(std::string_view name, std::string_view patterns);

// How known_hosts calls a host: lower case, "[name]:port" where the port is not 22.
constexpr std::uint16_t kDefaultPort = 22;
std::string known_hosts_name(std::string_view name, std::uint16_t port);
std::string lower_case(std::string_view text);

}  // namespace banyan
