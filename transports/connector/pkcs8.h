// transports/connector/pkcs8.h -- how long a key file in PEM would have us work before it opens.
//
// The file itself says how often its passphrase is to be hashed, and OpenSSL does as it is told. Pure; opens
// nothing.
#pragma once

#include <cstdint>

#include "core/bytes.h"

namespace banyan::connector {

// OpenSSL writes 2,048, who is careful a million; five million take some seconds.
constexpr std::uint64_t kHashRoundsMax = 5'000'000;
// Of scrypt, N times r times p: usual are 131,072; this takes some seconds too.
constexpr std::uint64_t kScryptWorkMax = 1 << 24;

// Does any key in it ask for more? Of several OpenSSL may open any.
bool asks_for_too_much(Bytes pem);

}  // namespace banyan::connector
