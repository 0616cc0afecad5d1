#include "transports/known_keys.h"

#include <algorithm>
#include <cstdint>

#include "core/text.h"
#include "transports/base64.h"
#include "transports/known_hosts_line.h"

namespace banyan {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

// The next word of a line, off its front.
std::string_view take_word(std::string_view& line) {
  while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
  std::size_t end = 0;
  while (end < line.size() && !is_blank(line[end])) ++end;
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

// The first string (a length in four bytes, then as many) of `bytes`, off its front.
std::string_view take_string(std::string_view& bytes) {
  if (bytes.size() < 4) return {};
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
  if (length > bytes.size() - 4) return {};
  const std::string_view string = bytes.substr(4, length);
  bytes.remove_prefix(4 + length);
  return string;
}

constexpr std::string_view kOpensshBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";

// What stands in OpenSSH's own format, from the name of the cipher on; empty: it is damaged. `text` begins
// behind the first line.
std::string read_openssh_format(std::string_view text) {
  std::string digits;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    if (line.starts_with("-----")) break;
    for (char c : line) {
      if (!is_blank(c)) digits += c;
    }
  }
  const auto decoded = decode_base64(digits);
  constexpr std::string_view kMagic("openssh-key-v1\0", 15);
  if (!decoded || !as_text(*decoded).starts_with(kMagic)) return {};
  return std::string(as_text(*decoded).substr(kMagic.size()));
}

// The public key is in the clear, also when the private one is encrypted.
KeyKind kind_of_openssh_format(std::string_view text) {
  const std::string read = read_openssh_format(text);
  std::string_view rest = read;
  take_string(rest);  // cipher
  take_string(rest);  // how its key is made of the passphrase
  take_string(rest);  // and with what
  if (rest.size() < 4) return KeyKind::kUnknown;
  rest.remove_prefix(4);  // how many keys: one
  std::string_view public_key = take_string(rest);
  return kind_of_type(take_string(public_key));
}

}  // namespace

void find_host_keys(std::string_view known_hosts, std::string_view name, std::vector<KnownHostKey>& found) {
  using Marker = KnownHostsLine::Marker;
  while (!known_hosts.empty()) {
    const std::optional<KnownHostsLine> line = parse_known_hosts_line(take_line(known_hosts));
    if (!line || line->names.empty() || line->marker == Marker::kRevoked) continue;
    const std::optional<HashedName> hashed = parse_hashed_name(line->names);
    if (!(hashed ? is_name(*hashed, name) : matches_host_patterns(name, lower_case(line->names)))) continue;
    std::string_view rest = line->key;
    KnownHostKey key{std::string(take_word(rest)), line->marker == Marker::kAuthority};
    // Lines of protocol 1 have a number there.
    if (kind_of_type(key.type) == KeyKind::kUnknown) continue;
    if (std::ranges::find(found, key) == found.end()) found.push_back(std::move(key));
  }
}

std::string host_key_lines(std::string_view known_hosts, std::string_view name, std::string_view alias) {
  using Marker = KnownHostsLine::Marker;
  std::string lines;
  while (!known_hosts.empty()) {
    const std::optional<KnownHostsLine> line = parse_known_hosts_line(take_line(known_hosts));
    if (!line || line->names.empty()) continue;
    const std::optional<HashedName> hashed = parse_hashed_name(line->names);
    if (!(hashed ? is_name(*hashed, name) : matches_host_patterns(name, lower_case(line->names)))) continue;
    std::string_view rest = line->key;
    const std::string_view type = take_word(rest), key = take_word(rest);
    if (kind_of_type(type) == KeyKind::kUnknown || !decode_base64(key)) continue;
    if (line->marker == Marker::kAuthority) lines += "@cert-authority ";
    if (line->marker == Marker::kRevoked) lines += "@revoked ";
    lines += cat(alias, " ", type, " ", key, "\n");
  }
  return lines;
}

std::string_view name_of(KeyKind kind) {
  switch (kind) {
    case KeyKind::kMissing:
      return "missing";
    case KeyKind::kUnreadable:
      return "unreadable";
    case KeyKind::kEd25519:
      return "ed25519";
    case KeyKind::kEcdsa:
      return "ecdsa";
    case KeyKind::kRsa:
      return "rsa";
    case KeyKind::kDsa:
      return "dsa";
    case KeyKind::kFido:
      return "fido";
    case KeyKind::kCertificate:
      return "certificate";
    case KeyKind::kUnknown:
      break;
  }
  return "unknown";
}

KeyKind kind_of_type(std::string_view type) {
  if (type.find("-cert-v0") != std::string_view::npos) return KeyKind::kCertificate;
  if (type.starts_with("sk-")) return KeyKind::kFido;
  if (type == "ssh-ed25519") return KeyKind::kEd25519;
  if (type.starts_with("ecdsa-sha2-")) return KeyKind::kEcdsa;
  if (type == "ssh-rsa" || type == "rsa-sha2-256" || type == "rsa-sha2-512") return KeyKind::kRsa;
  if (type == "ssh-dss") return KeyKind::kDsa;
  return KeyKind::kUnknown;
}

KeyKind kind_of_key_file(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = take_line(text);
    while (line.ends_with('\r')) line.remove_suffix(1);
    if (line == kOpensshBegin) return kind_of_openssh_format(text);
    if (line == "-----BEGIN RSA PRIVATE KEY-----") return KeyKind::kRsa;
    if (line == "-----BEGIN EC PRIVATE KEY-----") return KeyKind::kEcdsa;
    if (line == "-----BEGIN DSA PRIVATE KEY-----") return KeyKind::kDsa;
    if (const KeyKind kind = kind_of_type(take_word(line)); kind != KeyKind::kUnknown) return kind;
  }
  return KeyKind::kUnknown;
}

bool is_encrypted_key_file(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = take_line(text);
    while (line.ends_with('\r')) line.remove_suffix(1);
    if (line == "-----BEGIN ENCRYPTED PRIVATE KEY-----" || line == "Proc-Type: 4,ENCRYPTED") return true;
    if (line != kOpensshBegin) continue;
    const std::string read = read_openssh_format(text);
    std::string_view rest = read;
    const std::string_view cipher = take_string(rest);
    return !cipher.empty() && cipher != "none";
  }
  return false;
}

}  // namespace banyan
