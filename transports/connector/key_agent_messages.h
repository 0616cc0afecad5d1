// transports/connector/key_agent_messages.h -- the key agent's protocol (draft-miller-ssh-agent), as much of
// it as signing needs: requests made, replies read.
//
// Pure. A message is a length of four bytes, and as many bytes behind it, the first of which says what it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace banyan::connector {

// Of a reply, or a request, behind its length: OpenSSH's key agent sends and takes no longer ones.
constexpr std::size_t kKeyAgentMessageMax = 256 * 1024;
// Keys in one reply. A server lets nobody try more than a few.
constexpr std::size_t kKeyAgentKeysMax = 1024;

struct AgentKey {
  std::string_view type;  // empty: none that we know (a certificate); lives for ever
  Buffer public_blob;
  std::string comment;  // any bytes: whoever prints it takes care
};

// Both with their length before them.
Buffer encode_list_keys();
// `algorithm`: what the key is to sign with; of an RSA key rsa-sha2-256 or -512. REQUIRES: data and blob fit
// into kKeyAgentMessageMax with 64 bytes to spare.
Buffer encode_sign(Bytes public_blob, Bytes data, std::string_view algorithm);

// Both take a whole reply without its length.
Result<std::vector<AgentKey>> decode_keys(Bytes reply);
// The signature alone, as PrivateKey::sign() gives it. Another algorithm than the one asked for is an Error:
// key agents that do not know how to choose sign with SHA-1.
Result<Buffer> decode_signature(Bytes reply, std::string_view algorithm);

}  // namespace banyan::connector
