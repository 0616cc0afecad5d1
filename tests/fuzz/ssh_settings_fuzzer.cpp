// Goal: whatever ssh prints, and whatever known_hosts and key files hold, is read within bounds, and decides
// for one back end. Method: the first byte says which of them the rest is; what is accepted keeps its
// promises.

#include "core/assert.h"
#include "core/bytes.h"
#include "transports/back_end.h"

using namespace banyan;

namespace {

LocalUser somebody() {
  LocalUser local;
  local.name = "jane";
  local.home = "/home/jane";
  local.host = "desk";
  local.variable = [](const std::string& name) -> std::optional<std::string> {
    if (name.size() % 2 == 0) return std::nullopt;
    return "/variable";
  };
  local.home_of = [](const std::string&) -> std::optional<std::string> { return std::nullopt; };
  return local;
}

void read_settings(std::string_view text) {
  const Result<SshSettings> settings = parse_ssh_settings(text, "web", somebody());
  if (!settings) {
    ASSERT(!settings.error().text.empty());
    return;
  }
  ASSERT(settings->port != 0 && !settings->hostname.empty() && !settings->user.empty());
  for (const std::string& file : settings->identity_files) ASSERT(!file.empty());
  ASSERT(!known_hosts_names(*settings).empty());
  if (const auto jumps = parse_proxy_jump(settings->proxy_jump)) {
    ASSERT(!jumps->empty());
    // They end up in an argument vector.
    for (const SshJump& jump : *jumps) {
      ASSERT(!jump.host.empty() && jump.host.front() != '-');
      ASSERT(!jump.user.starts_with('-'));
    }
  }
  BackEndFacts facts{.settings = *settings};
  facts.has_connector = true;
  const BackEndChoice choice = choose_back_end(facts, BackEndWish::kLibssh2);
  ASSERT(!choice.because.empty());
  ASSERT(choice.is_refused == (choice.back_end == BackEnd::kOpenssh));
}

void read_known_hosts(std::string_view text) {
  std::vector<KnownHostKey> found;
  find_host_keys(text, "web", found);
  for (const KnownHostKey& key : found) ASSERT(kind_of_type(key.type) != KeyKind::kUnknown);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = as_text(Bytes(data, size)).substr(1);
  switch (data[0]) {
    case 's':
      read_settings(text);
      break;
    case 'h':
      read_known_hosts(text);
      break;
    default:
      ASSERT(kind_of_key_file(text) != KeyKind::kMissing);
  }
  return 0;
}
