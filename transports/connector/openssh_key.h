// transports/connector/openssh_key.h -- OpenSSH's own format of private keys: a header with the public key,
// and the private part behind it.
//
// Pure. Beneath transports/connector/private_key.h, which is what to use; by itself for who feeds it strange
// bytes.
#pragma once

#include <optional>
#include <string_view>

#include "transports/connector/private_key.h"

namespace banyan::connector {

bool is_openssh_key(Bytes text);
// What stands in base64 between the first line and the last.
std::optional<Secret> decode_openssh_key(Bytes text);

// Both take the decoded bytes. `passphrase` is not used where the key is not encrypted.
Result<PrivateKeyForm> look_at_openssh_key(Bytes decoded, std::string_view name);
Result<PrivateKey> parse_openssh_key(Bytes decoded, std::string_view name, std::string_view passphrase);

// "the key NAME is damaged": what all who read keys answer with. Forgets what OpenSSL noted about it.
Error bad_key(std::string_view name, std::string_view what, std::string_view remedy = {});

}  // namespace banyan::connector
