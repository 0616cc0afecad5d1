// transports/connector/bcrypt.h -- the key that OpenSSH makes of a passphrase: bcrypt_pbkdf.
//
// It is meant to be slow: a round costs about ten milliseconds for the usual 48 bytes, and ssh-keygen asks
// for 16 unless told otherwise. So it is never called on a loop's thread (key_ring.h). Pure.
#pragma once

#include <array>
#include <cstdint>

#include "transports/secret.h"

namespace banyan::connector {

constexpr std::uint32_t kBcryptRoundsMax = 4'096;  // some half minute; ssh-keygen -a 100 is already a lot

// REQUIRES: neither is empty; 1 to 1,024 bytes are asked for; at most kBcryptRoundsMax rounds.
Secret bcrypt_pbkdf(Bytes passphrase, Bytes salt, std::uint32_t rounds, std::size_t key_bytes);

constexpr std::size_t kBlowfishWords = 18 + 4 * 256;  // round keys, then four boxes
extern const std::array<std::uint32_t, kBlowfishWords> kFractionOfPi;

}  // namespace banyan::connector
