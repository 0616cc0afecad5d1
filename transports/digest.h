// transports/digest.h -- the two encodings ssh uses in names and files: SHA-1 and base64.
//
// SHA-1 protects nothing here: it only finds a host among hashed names of known_hosts, and the name that ssh
// gives a socket (%C). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace banyan {

// Twenty bytes each.
std::string sha1(std::string_view bytes);
std::string hmac_sha1(std::string_view key, std::string_view bytes);

std::string hex(std::string_view bytes);
// With or without its padding; nullopt for anything else.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace banyan
