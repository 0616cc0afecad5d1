#include "transports/connector/host_keys.h"

#include <algorithm>
#include <utility>

#include "core/text.h"
#include "transports/connector/public_key.h"
#include "transports/remedies.h"

namespace banyan::connector {
namespace {

constexpr std::uint16_t kSshPort = 22;

// Best first, of what libssh2 1.10 can verify.
constexpr std::string_view kHostKeyTypes[] = {"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384",
                                              "ecdsa-sha2-nistp521"};

}  // namespace

Bytes shown_host_key(LIBSSH2_SESSION* session) {
  std::size_t size = 0;
  const char* blob = libssh2_session_hostkey(session, &size, nullptr);
  return Bytes(reinterpret_cast<const std::uint8_t*>(blob), blob == nullptr ? 0 : size);
}

std::string text_of_host_key(Bytes key) {
  return cat(public_key_type(key), " ", fingerprint(key));
}

Result<Done> HostKeys::read() {
  KnownHosts known;
  for (const std::string& file : settings_.known_hosts) {
    if (const Result<Done> read = read_known_hosts(file, known); !read) return read.error();
  }
  known_ = std::move(known);
  return Done{};
}

std::vector<std::string> HostKeys::preference() const {
  std::vector<std::string_view> known = known_.key_types(settings_.key_name, settings_.key_port);
  if (known.empty()) known = known_.key_types(settings_.key_name, kSshPort);
  const std::vector<std::string>& wanted = settings_.host_key_algorithms;  // empty: all
  std::vector<std::string> types;
  for (std::string_view type : kHostKeyTypes)
    if (wanted.empty() || std::ranges::find(wanted, type) != wanted.end()) types.emplace_back(type);
  std::stable_partition(  // not std::ranges': clang 14 does not compile what it gives back
      types.begin(), types.end(),
      [&](const std::string& type) { return std::ranges::find(known, type) != known.end(); });
  return types;
}

Result<HostKeys::Answer> HostKeys::check(Bytes key) {
  KnownHosts::Verdict verdict = known_.check(settings_.key_name, settings_.key_port, key);
  // As ssh does it: what is known for the name alone is believed on any port of which nothing is known.
  if (verdict.answer == KnownHosts::Answer::kUnknown &&
      known_.check(settings_.key_name, kSshPort, key).answer == KnownHosts::Answer::kKnown)
    verdict.answer = KnownHosts::Answer::kKnown;
  const std::string shown = text_of_host_key(key);
  const auto wrong = [](const std::string& text, std::string_view remedy) {
    return Error{ErrorClass::kHostKey, Phase::kKex, text, remedy};
  };
  switch (verdict.answer) {
    case KnownHosts::Answer::kKnown:
      known_ = {};
      return Answer::kKnown;
    case KnownHosts::Answer::kUnknown:
      if (!settings_.accept_new.empty()) return Answer::kNew;
      return wrong(cat("the host's key is not known: it shows ", shown), kNewKey);
    case KnownHosts::Answer::kChanged:
      break;
    case KnownHosts::Answer::kRevoked:
      return wrong(cat("the host shows a key that was revoked: ", shown),
                   "this key must not be used any more: ask who runs the host");
  }
  std::string expected;
  for (const KnownHosts::Line& line : verdict.lines)
    expected += cat(expected.empty() ? "" : ", ", line.type, " ", fingerprint(line.key), " (", line.file, ":",
                    line.number, ")");
  return wrong(cat("the host's key has changed: it shows ", shown, ", known is ", expected), kChangedKey);
}

Result<Kept> HostKeys::keep(Bytes key) const {
  return append_host_key(settings_.accept_new, settings_.key_name, settings_.key_port,
                         settings_.hash_known_hosts, key);
}

std::string HostKeys::kept_text(Bytes key) const {
  return cat("Warning: Permanently added '", known_hosts_name(settings_.key_name, settings_.key_port), "' (",
             text_of_host_key(key), ") to the list of known hosts.\n");
}

}  // namespace banyan::connector
