#include "transports/known_keys.h"

#include <algorithm>
#include <cstdint>

#include "transports/digest.h"

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

char small_letter(char c) {
  return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
}

// "|1|salt|hash"
bool matches_hashed(std::string_view names, std::string_view name) {
  constexpr std::string_view kMagic = "|1|";
  if (!names.starts_with(kMagic)) return false;
  names.remove_prefix(kMagic.size());
  const std::size_t bar = names.find('|');
  if (bar == std::string_view::npos) return false;
  const auto salt = decode_base64(names.substr(0, bar)), hash = decode_base64(names.substr(bar + 1));
  return salt && hash && hmac_sha1(*salt, name) == *hash;
}

bool matches_names(std::string_view names, std::string_view name) {
  if (names.starts_with('|')) return matches_hashed(names, name);
  bool found = false;
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(','), names.size());
    std::string_view pattern = names.substr(0, end);
    names.remove_prefix(std::min(end + 1, names.size()));
    const bool negated = pattern.starts_with('!');
    if (negated) pattern.remove_prefix(1);
    if (!matches_host_pattern(pattern, name)) continue;
    if (negated) return false;
    found = true;
  }
  return found;
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

// OpenSSH's own format has the public key in the clear, also when the private one is encrypted.
KeyKind kind_of_openssh_format(std::string_view text) {
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
  if (!decoded || !decoded->starts_with(kMagic)) return KeyKind::kUnknown;
  std::string_view rest = std::string_view(*decoded).substr(kMagic.size());
  take_string(rest);  // cipher
  take_string(rest);  // how its key is made of the passphrase
  take_string(rest);  // and with what
  if (rest.size() < 4) return KeyKind::kUnknown;
  rest.remove_prefix(4);  // how many keys: one
  std::string_view public_key = take_string(rest);
  return kind_of_type(take_string(public_key));
}

}  // namespace

bool matches_host_pattern(std::string_view pattern, std::string_view name) {
  std::size_t p = 0, n = 0, star = std::string_view::npos, after_star = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after_star = n;
    } else if (p < pattern.size() &&
               (pattern[p] == '?' || small_letter(pattern[p]) == small_letter(name[n]))) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++after_star;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

void find_host_keys(std::string_view known_hosts, std::string_view name, std::vector<KnownHostKey>& found) {
  while (!known_hosts.empty()) {
    std::string_view line = take_line(known_hosts);
    std::string_view word = take_word(line);
    if (word.empty() || word.starts_with('#') || word == "@revoked") continue;
    const bool is_authority = word == "@cert-authority";
    if (is_authority) word = take_word(line);
    if (word.starts_with('@') || !matches_names(word, name)) continue;
    KnownHostKey key{std::string(take_word(line)), is_authority};
    // Lines of protocol 1 have a number there.
    if (kind_of_type(key.type) == KeyKind::kUnknown) continue;
    if (std::ranges::find(found, key) == found.end()) found.push_back(std::move(key));
  }
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
    if (line == "-----BEGIN OPENSSH PRIVATE KEY-----") return kind_of_openssh_format(text);
    if (line == "-----BEGIN RSA PRIVATE KEY-----") return KeyKind::kRsa;
    if (line == "-----BEGIN EC PRIVATE KEY-----") return KeyKind::kEcdsa;
    if (line == "-----BEGIN DSA PRIVATE KEY-----") return KeyKind::kDsa;
    if (const KeyKind kind = kind_of_type(take_word(line)); kind != KeyKind::kUnknown) return kind;
  }
  return KeyKind::kUnknown;
}

}  // namespace banyan
