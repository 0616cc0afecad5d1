// Goal: no known_hosts text is taken for more than it says: a key is known only by a line that has it, and a
// revoked one never.
// Method: the text is split as the first byte says into two files; its own names and keys are asked for, and
// each answer's lines are looked up.

#include <algorithm>

#include "core/assert.h"
#include "core/text.h"
#include "transports/base64.h"
#include "transports/connector/known_hosts.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

using namespace banyan;
using namespace banyan::connector;

namespace {

constexpr std::size_t kLookedAt = 20;  // lines of each text, and the names of as many

std::string_view line_of(std::string_view text, std::size_t number) {
  while (--number > 0) text.remove_prefix(std::min(text.size(), text.find('\n') + 1));
  return text.substr(0, text.find('\n'));
}

void check(const KnownHosts& hosts, std::string_view first, std::string_view second, std::string_view name,
           Bytes key) {
  for (const std::uint16_t port : {std::uint16_t(22), std::uint16_t(2222)}) {
    const KnownHosts::Verdict verdict = hosts.check(name, port, key);
    ASSERT(verdict.lines.empty() == (verdict.answer == KnownHosts::Answer::kUnknown));
    for (const KnownHosts::Line& line : verdict.lines) {
      ASSERT(line.file == "first" || line.file == "second");
      const std::string_view text = line_of(line.file == "first" ? first : second, line.number);
      ASSERT(text.find(encode_base64(line.key)) != text.npos);
      ASSERT(public_key_type(line.key) == line.type && !line.type.empty());
      ASSERT((text.find("@revoked") != text.npos) || verdict.answer != KnownHosts::Answer::kRevoked);
      ASSERT(std::ranges::equal(line.key, key) == (verdict.answer != KnownHosts::Answer::kChanged));
    }
    const auto types = hosts.key_types(name, port);
    if (verdict.answer == KnownHosts::Answer::kKnown || verdict.answer == KnownHosts::Answer::kChanged)
      ASSERT(std::ranges::find(types, verdict.lines[0].type) != types.end());
    hosts.has_authority(name, port);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = as_text(Bytes(data + 1, size - 1));
  const std::size_t cut = std::min<std::size_t>(text.size(), data[0]);
  const std::string_view first = text.substr(0, cut), second = text.substr(cut);
  KnownHosts hosts;
  ASSERT(hosts.add(first, "first") && hosts.add(second, "second"));
  const Buffer strange = [] {
    Buffer blob;
    put_string(blob, "ssh-ed25519");
    put_string(blob, Buffer(32, 0xa5));
    return blob;
  }();
  std::string_view rest = text;
  for (std::size_t i = 0; i < kLookedAt && !rest.empty(); ++i) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.starts_with('@')) line.remove_prefix(std::min(line.size(), line.find(' ') + 1));
    const std::string_view name = line.substr(0, line.find_first_of(" ,"));
    line.remove_prefix(std::min(line.size(), line.find(' ') + 1));
    check(hosts, first, second, name, strange);
    check(hosts, first, second, "web1", strange);
    if (const std::optional<Buffer> key = parse_public_key(line)) {
      ASSERT(parse_public_key(public_key_text(*key)) == key);
      check(hosts, first, second, name, *key);
      check(hosts, first, second, "web1", *key);
    }
  }
  return 0;
}
