// transports/digest.h -- SHA-1, by which ssh hides names.
//
// SHA-1 protects nothing here: it only finds a host among hashed names of known_hosts, and the name that ssh
// gives a socket (%C). Pure.
#pragma once

#include <string>
#include <string_view>

namespace banyan {

// Twenty bytes each.
std::string sha1(std::string_view bytes);
std::string hmac_sha1(std::string_view key, std::string_view bytes);

std::string hex(std::string_view bytes);

}  // namespace banyan
