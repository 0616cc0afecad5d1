// Goal: a passphrase becomes the key that OpenSSH makes of it.
// Method: Blowfish's first words are computed anew, as pi; what depends on what. That the result is OpenSSH's
// is shown in private_key_test.cpp, with keys that ssh-keygen has encrypted.
#include "transports/connector/bcrypt.h"

#include <openssl/bn.h>

#include <catch2/catch.hpp>
#include <memory>

using namespace banyan;
using namespace banyan::connector;

namespace {

using Number = std::unique_ptr<BIGNUM, decltype(&BN_free)>;

Number number(BN_ULONG value) {
  Number made(BN_new(), BN_free);
  REQUIRE(BN_set_word(made.get(), value) == 1);
  return made;
}

// 2^bits * arctan(1/x)
Number arctan_of_inverse(BN_ULONG x, int bits) {
  Number term = number(1), sum = number(0);
  REQUIRE(BN_lshift(term.get(), term.get(), bits) == 1);
  BN_div_word(term.get(), x);
  bool plus = true;
  for (BN_ULONG n = 1; !BN_is_zero(term.get()); n += 2, plus = !plus) {
    const Number part(BN_dup(term.get()), BN_free);
    BN_div_word(part.get(), n);
    REQUIRE((plus ? BN_add : BN_sub)(sum.get(), sum.get(), part.get()) == 1);
    BN_div_word(term.get(), x * x);
  }
  return sum;
}

}  // namespace

TEST_CASE("Blowfish begins with the fraction of pi") {
  constexpr int kGuardBits = 64;
  const int bits = int(32 * kBlowfishWords) + kGuardBits;
  Number four = arctan_of_inverse(5, bits), one = arctan_of_inverse(239, bits);
  BN_mul_word(four.get(), 16);
  BN_mul_word(one.get(), 4);
  REQUIRE(BN_sub(four.get(), four.get(), one.get()) == 1);
  REQUIRE(BN_rshift(four.get(), four.get(), kGuardBits) == 1);
  Buffer digits(4 * kBlowfishWords + 1);  // with the three before the point
  REQUIRE(BN_bn2binpad(four.get(), digits.data(), int(digits.size())) == int(digits.size()));
  CHECK(digits[0] == 3);
  for (std::size_t i = 0; i < kBlowfishWords; ++i) {
    CAPTURE(i);
    const std::uint8_t* at = digits.data() + 1 + 4 * i;
    REQUIRE(kFractionOfPi[i] ==
            (std::uint32_t(at[0]) << 24 | std::uint32_t(at[1]) << 16 | std::uint32_t(at[2]) << 8 | at[3]));
  }
}

TEST_CASE("more rounds, another salt and another passphrase each give another key") {
  const auto derive = [](std::string_view passphrase, std::string_view salt, std::uint32_t rounds) {
    const Secret key = bcrypt_pbkdf(as_bytes(passphrase), as_bytes(salt), rounds, 48);
    return Buffer(key.bytes().begin(), key.bytes().end());
  };
  const Buffer first = derive("password", "salt", 1);
  CHECK(first.size() == 48);
  CHECK(derive("password", "salt", 1) == first);
  CHECK(derive("password", "salt", 2) != first);
  CHECK(derive("password", "salu", 1) != first);
  CHECK(derive("passwore", "salt", 1) != first);
}
