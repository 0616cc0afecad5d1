#include "transports/connector/known_hosts.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <optional>

#include "core/text.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

constexpr std::size_t kPatternMax = 1022;      // OpenSSH believes no line that has a longer one
constexpr std::size_t kRememberedMax = 1'024;  // names: more than a connector has sessions
constexpr std::string_view kHashMagic = "|1|";

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return lower;
}

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

template <class Hash>
bool hash_name(const Hash& salt, std::string_view name, Hash& out) {
  unsigned size = 0;
  std::uint8_t result[EVP_MAX_MD_SIZE];
  const Bytes bytes = as_bytes(name);
  if (HMAC(EVP_sha1(), salt.data(), int(salt.size()), bytes.data(), bytes.size(), result, &size) == nullptr ||
      size != out.size())
    return false;
  std::copy_n(result, out.size(), out.begin());
  return true;
}

template <class Hash>
bool take_hash(std::string_view text, Hash& out) {
  const std::optional<Buffer> bytes = decode_base64(text);
  if (!bytes || bytes->size() != out.size()) return false;
  std::ranges::copy(*bytes, out.begin());
  return true;
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

}  // namespace

std::string known_hosts_name(std::string_view name, std::uint16_t port) {
  const std::string lower = lower_case(name);
  return port == kDefaultPort ? lower : cat("[", lower, "]:", port);
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

Result<std::string> hashed_name(std::string_view name) {
  std::array<std::uint8_t, 20> salt, hash;
  if (RAND_bytes(salt.data(), int(salt.size())) != 1 || !hash_name(salt, name, hash))
    return Error(ErrorClass::kResource, Phase::kKex, "could not hash a host's name");
  return cat(kHashMagic, encode_base64(salt), "|", encode_base64(hash));
}

Result<Done> KnownHosts::add(std::string_view text, std::string_view file) {
  if (text.size() > kKnownHostsBytesMax - bytes_)
    return Error(ErrorClass::kResource, Phase::kKex,
                 cat("the known hosts, ", file, " the last of them, are more than ",
                     kKnownHostsBytesMax >> 20, " MiB"),
                 "remove hosts that are gone from it");
  bytes_ += text.size();
  found_.clear();
  files_.emplace_back(file);
  for (std::size_t number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    line = line.substr(0, line.find('\0'));  // where a line of C ends
    if (line.ends_with('\r')) line.remove_suffix(1);
    line = after_spaces(line);
    if (line.empty() || line[0] == '#') continue;
    Entry entry;
    entry.file = std::uint32_t(files_.size() - 1);
    entry.number = number;
    if (parse(line, entry)) {
      entries_.push_back(std::move(entry));
    } else {
      ++bad_lines_;
    }
  }
  return Done{};
}

bool KnownHosts::parse(std::string_view line, Entry& entry) const {
  if (line[0] == '@') {
    const std::string_view marker = take_word(line);
    if (marker == "@revoked") {
      entry.marker = Marker::kRevoked;
    } else if (marker == "@cert-authority") {
      entry.marker = Marker::kAuthority;
    } else {
      return false;
    }
    if (line.starts_with('@')) return false;  // one is allowed
  }
  std::string_view names = take_word(line);
  if (names.starts_with('|')) {
    if (!names.starts_with(kHashMagic)) return false;
    names.remove_prefix(kHashMagic.size());
    const std::size_t bar = names.find('|');
    if (bar == names.npos || !take_hash(names.substr(0, bar), entry.salt) ||
        !take_hash(names.substr(bar + 1), entry.hash))
      return false;
    entry.hashed = true;
  } else {
    entry.names = lower_case(names);
  }
  std::optional<Buffer> key = parse_public_key(line);
  if (!key) return false;
  entry.key = std::move(*key);
  entry.type = public_key_type(entry.key);
  return true;
}

bool KnownHosts::names_it(const Entry& entry, std::string_view name) {
  if (!entry.hashed) return matches_host_patterns(name, entry.names);
  Hash hash;
  return hash_name(entry.salt, name, hash) && hash == entry.hash;
}

const KnownHosts::Found& KnownHosts::find(const std::string& name) const {
  auto it = found_.find(name);
  if (it != found_.end()) return it->second;
  if (found_.size() >= kRememberedMax) found_.clear();
  Found found;
  for (std::size_t i = 0; i < entries_.size(); ++i)
    if (names_it(entries_[i], name)) found.push_back(std::uint32_t(i));
  return found_.emplace(name, std::move(found)).first->second;
}

KnownHosts::Line KnownHosts::line_of(const Entry& entry) const {
  return {entry.type, entry.key, files_[entry.file], entry.number};
}

KnownHosts::Verdict KnownHosts::check_name(const std::string& name, Bytes key) const {
  Verdict verdict;
  for (std::uint32_t index : find(name)) {
    const Entry& entry = entries_[index];
    const bool same = std::ranges::equal(entry.key, key);
    if (entry.marker == Marker::kRevoked && same) return {Answer::kRevoked, {line_of(entry)}};
    if (entry.marker != Marker::kNone || verdict.answer == Answer::kKnown) continue;
    if (same) {
      verdict = {Answer::kKnown, {line_of(entry)}};
    } else {
      verdict.answer = Answer::kChanged;
      verdict.lines.push_back(line_of(entry));
    }
  }
  return verdict;
}

KnownHosts::Verdict KnownHosts::check(std::string_view name, std::uint16_t port, Bytes key) const {
  Verdict verdict = check_name(known_hosts_name(name, port), key);
  if (port == kDefaultPort || verdict.answer != Answer::kUnknown) return verdict;
  Verdict bare = check_name(lower_case(name), key);
  // OpenSSH calls a key unknown that is revoked for the bare name alone; who revoked it did not mean that.
  return bare.answer == Answer::kKnown || bare.answer == Answer::kRevoked ? bare : verdict;
}

std::vector<std::string_view> KnownHosts::key_types(std::string_view name, std::uint16_t port) const {
  std::vector<std::string_view> types;
  const auto collect = [&](const std::string& as) {
    for (std::uint32_t index : find(as)) {
      const Entry& entry = entries_[index];
      if (entry.marker == Marker::kNone && std::ranges::find(types, entry.type) == types.end())
        types.push_back(entry.type);
    }
  };
  collect(known_hosts_name(name, port));
  if (types.empty() && port != kDefaultPort) collect(lower_case(name));
  return types;
}

bool KnownHosts::has_authority(std::string_view name, std::uint16_t port) const {
  const auto has = [&](const std::string& as) {
    return std::ranges::any_of(
        find(as), [&](std::uint32_t index) { return entries_[index].marker == Marker::kAuthority; });
  };
  return has(known_hosts_name(name, port)) || (port != kDefaultPort && has(lower_case(name)));
}

}  // namespace banyan::connector
