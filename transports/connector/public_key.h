// transports/connector/public_key.h -- public keys in SSH's wire form: what they are, and how they are shown.
//
// Pure. A key here is a blob: a string with its type, then what that type wants.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/bytes.h"

namespace banyan::connector {

// "ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa", ...; lives for ever. Empty: no key that OpenSSH would take
// (another type, parts missing or too many, an RSA key of under 1024 or over 16384 bits), or a certificate.
std::string_view public_key_type(Bytes blob);

// "SHA256:...", as OpenSSH prints it.
std::string fingerprint(Bytes blob);

// "TYPE BASE64 comment", as in an id_*.pub and behind the names in known_hosts: the blob.
std::optional<Buffer> parse_public_key(std::string_view line);
// The first two of the three.
std::string public_key_text(Bytes blob);

}  // namespace banyan::connector
