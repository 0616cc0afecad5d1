#include "transports/connector/key_agent_messages.h"

#include <algorithm>

#include "core/assert.h"
#include "core/text.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

constexpr std::uint8_t kFailure = 5;
constexpr std::uint8_t kListKeys = 11;
constexpr std::uint8_t kKeys = 12;
constexpr std::uint8_t kSign = 13;
constexpr std::uint8_t kSignature = 14;
constexpr std::uint32_t kFlagSha256 = 2;
constexpr std::uint32_t kFlagSha512 = 4;

Error bad_reply(std::string_view what) {
  return Error(ErrorClass::kAuth, Phase::kAuth, cat("the key agent ", what),
               "see whether ssh-add -l works; without a key agent name a key file");
}

std::uint32_t flags_of(std::string_view algorithm) {
  if (algorithm == "rsa-sha2-256") return kFlagSha256;
  return algorithm == "rsa-sha2-512" ? kFlagSha512 : 0;
}

// For an error's text: an algorithm's name has none but these.
std::string shown(std::string_view name) {
  std::string out(name.substr(0, 64));
  for (char& c : out)
    if (c <= ' ' || c == 0x7f) c = '?';  // and what is negative: not ASCII
  return out;
}

}  // namespace

Buffer encode_list_keys() {
  Buffer out;
  put_number(out, 1);
  out.push_back(kListKeys);
  return out;
}

Buffer encode_sign(Bytes public_blob, Bytes data, std::string_view algorithm) {
  const std::size_t length = 1 + 4 + public_blob.size() + 4 + data.size() + 4;
  ASSERT(length <= kKeyAgentMessageMax);
  Buffer out;
  out.reserve(4 + length);
  put_number(out, std::uint32_t(length));
  out.push_back(kSign);
  put_string(out, public_blob);
  put_string(out, data);
  put_number(out, flags_of(algorithm));
  return out;
}

Result<std::vector<AgentKey>> decode_keys(Bytes reply) {
  WireReader in(reply);
  const std::uint8_t kind = in.byte();
  if (kind == kFailure) return bad_reply("does not say which keys it has");
  const std::uint32_t count = in.number();
  if (kind != kKeys || !in.ok()) return bad_reply("sent something else than its keys");
  if (count > kKeyAgentKeysMax) return bad_reply(cat("claims to have ", count, " keys"));
  std::vector<AgentKey> keys;
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    const Bytes blob = in.string();
    const std::string_view comment = in.text();
    keys.push_back({public_key_type(blob), Buffer(blob.begin(), blob.end()), std::string(comment)});
  }
  if (!in.finish()) return bad_reply("sent a damaged list of its keys");
  return keys;
}

Result<Buffer> decode_signature(Bytes reply, std::string_view algorithm) {
  WireReader in(reply);
  const std::uint8_t kind = in.byte();
  if (kind == kFailure)
    return Error(ErrorClass::kAuth, Phase::kAuth, "the key agent refused to sign",
                 "it may be locked, or its question for consent was not answered with yes");
  const Bytes blob = in.string();
  if (kind != kSignature || !in.finish()) return bad_reply("sent something else than a signature");
  WireReader parts(blob);
  const std::string_view signed_with = parts.text();
  const Bytes signature = parts.string();
  if (!parts.finish() || signature.empty()) return bad_reply("sent a damaged signature");
  if (signed_with != algorithm)
    return Error(ErrorClass::kAuth, Phase::kAuth,
                 cat("the key agent signed with ", shown(signed_with), " instead of ", algorithm),
                 "use another key agent, or an ed25519 key");
  return Buffer(signature.begin(), signature.end());
}

}  // namespace banyan::connector
