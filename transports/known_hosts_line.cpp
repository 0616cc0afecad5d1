#include "transports/known_hosts_line.h"

#include <algorithm>

#include "core/text.h"
#include "transports/base64.h"
#include "transports/digest.h"

namespace banyan {
namespace {

constexpr std::size_t kPatternMax = 1022;  // OpenSSH believes no line that has a longer one
constexpr std::size_t kHashBytes = 20;
constexpr std::string_view kHashMagic = "|1|";

// Going back to the last asterisk alone is enough, so hostile patterns cost no more than others.
bool matches_pattern(std::string_view name, std::string_view pattern) {
  std::size_t at = 0, in_pattern = 0;
  std::size_t asterisk = pattern.npos, tried = 0;  // the last one, and up to where it has swallowed the name
  while (at < name.size()) {
    if (in_pattern < pattern.size() && pattern[in_pattern] == '*') {
      asterisk = in_pattern++;
      tried = at;
    } else if (in_pattern < pattern.size() &&
               (pattern[in_pattern] == '?' || pattern[in_pattern] == name[at])) {
      ++in_pattern;
      ++at;
    } else if (asterisk != pattern.npos) {
      in_pattern = asterisk + 1;
      at = ++tried;
    } else {
      return false;
    }
  }
  while (in_pattern < pattern.size() && pattern[in_pattern] == '*') ++in_pattern;
  return in_pattern == pattern.size();
}

std::string_view after_spaces(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  return begin == text.npos ? std::string_view() : text.substr(begin);
}

// A word and the spaces behind it.
std::string_view take_word(std::string_view& line) {
  const std::string_view word = line.substr(0, line.find_first_of(" \t"));
  line = after_spaces(line.substr(word.size()));
  return word;
}

bool take_hash(std::string_view text, std::string& out) {
  const std::optional<Buffer> bytes = decode_base64(text);
  if (!bytes || bytes->size() != kHashBytes) return false;
  out = as_text(*bytes);
  return true;
}

}  // namespace

std::optional<KnownHostsLine> parse_known_hosts_line(std::string_view line) {
  line = line.substr(0, line.find('\0'));  // where a line of C ends
  if (line.ends_with('\r')) line.remove_suffix(1);
  line = after_spaces(line);
  KnownHostsLine parsed;
  if (line.empty() || line[0] == '#') return parsed;
  if (line[0] == '@') {
    const std::string_view marker = take_word(line);
    if (marker == "@revoked") {
      parsed.marker = KnownHostsLine::Marker::kRevoked;
    } else if (marker == "@cert-authority") {
      parsed.marker = KnownHostsLine::Marker::kAuthority;
    } else {
      return std::nullopt;
    }
    if (line.empty() || line[0] == '@') return std::nullopt;  // one is allowed
  }
  parsed.names = take_word(line);
  parsed.key = line;
  return parsed;
}

std::optional<HashedName> parse_hashed_name(std::string_view names) {
  if (!names.starts_with(kHashMagic)) return std::nullopt;
  names.remove_prefix(kHashMagic.size());
  const std::size_t bar = names.find('|');
  HashedName hashed;
  if (bar == names.npos || !take_hash(names.substr(0, bar), hashed.salt) ||
      !take_hash(names.substr(bar + 1), hashed.hash))
    return std::nullopt;
  return hashed;
}

bool is_name(const HashedName& hashed, std::string_view name) {
  return hmac_sha1(hashed.salt, name) == hashed.hash;
}

std::string hashed_name(std::string_view name, std::string_view salt) {
  return cat(kHashMagic, encode_base64(as_bytes(salt)), "|", encode_base64(as_bytes(hmac_sha1(salt, name))));
}

bool matches_host_patterns(std::string_view name, std::string_view patterns) {
  bool matches = false;
  while (!patterns.empty()) {
    const bool negated = patterns[0] == '!';
    if (negated) patterns.remove_prefix(1);
    const std::string_view pattern = patterns.substr(0, patterns.find(','));
    patterns.remove_prefix(std::min(patterns.size(), pattern.size() + 1));
    if (pattern.size() > kPatternMax) return false;
    if (!matches_pattern(name, pattern)) continue;
    if (negated) return false;
    matches = true;
  }
  return matches;
}

std::string known_hosts_name(std::string_view name, std::uint16_t port) {
  const std::string lower = lower_case(name);
  return port == kDefaultPort ? lower : cat("[", lower, "]:", port);
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return lower;
}

}  // namespace banyan
