// Goal: no answer of a key agent is read beyond its end, or taken for what it is not.
// Method: each input is read as both answers; what was understood, written again, is what was read.

#include <algorithm>

#include "core/assert.h"
#include "transports/connector/key_agent_messages.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

using namespace banyan;
using namespace banyan::connector;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes reply(data, size);
  if (const Result<std::vector<AgentKey>> keys = decode_keys(reply)) {
    ASSERT(keys->size() <= kKeyAgentKeysMax);
    Buffer again{12};
    put_number(again, std::uint32_t(keys->size()));
    for (const AgentKey& key : *keys) {
      ASSERT(key.type == public_key_type(key.public_blob));
      put_string(again, key.public_blob);
      put_string(again, key.comment);
    }
    ASSERT(std::ranges::equal(again, reply));
  }
  for (const std::string_view algorithm : {"rsa-sha2-512", "ssh-ed25519"}) {
    const Result<Buffer> signature = decode_signature(reply, algorithm);
    if (!signature) {
      ASSERT(std::ranges::all_of(signature.error().text, [](char c) { return c >= ' ' && c < 0x7f; }));
      continue;
    }
    Buffer again{14}, blob;
    put_string(blob, algorithm);
    put_string(blob, *signature);
    put_string(again, blob);
    ASSERT(std::ranges::equal(again, reply));
  }
  return 0;
}
