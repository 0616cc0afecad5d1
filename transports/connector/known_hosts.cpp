#include "transports/connector/known_hosts.h"

#include <algorithm>
#include <optional>

#include "core/text.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

constexpr std::size_t kRememberedMax = 1'024;  // names: more than a connector has sessions

}  // namespace

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
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    Entry entry;
    entry.file = std::uint32_t(files_.size() - 1);
    entry.number = number;
    const std::optional<KnownHostsLine> parsed = parse_known_hosts_line(line);
    if (parsed && parsed->names.empty()) continue;
    if (parsed && parse(*parsed, entry)) {
      entries_.push_back(std::move(entry));
    } else {
      ++bad_lines_;
    }
  }
  return Done{};
}

bool KnownHosts::parse(const KnownHostsLine& line, Entry& entry) {
  entry.marker = line.marker;
  if (line.names.starts_with('|')) {
    entry.hashed = parse_hashed_name(line.names);
    if (!entry.hashed) return false;
  } else {
    entry.names = lower_case(line.names);
  }
  std::optional<Buffer> key = parse_public_key(line.key);
  if (!key) return false;
  entry.key = std::move(*key);
  entry.type = public_key_type(entry.key);
  return true;
}

bool KnownHosts::names_it(const Entry& entry, std::string_view name) {
  return entry.hashed ? is_name(*entry.hashed, name) : matches_host_patterns(name, entry.names);
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
