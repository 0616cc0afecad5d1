#include "transports/connector/host_signature.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include <memory>
#include <string_view>

#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  void operator()(OSSL_PARAM_BLD* builder) const { OSSL_PARAM_BLD_free(builder); }
  void operator()(OSSL_PARAM* parameters) const { OSSL_PARAM_free(parameters); }
  void operator()(BIGNUM* number) const { BN_free(number); }
  void operator()(ECDSA_SIG* signature) const { ECDSA_SIG_free(signature); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

Owned<BIGNUM> number_of(Bytes magnitude) {
  return Owned<BIGNUM>(BN_bin2bn(magnitude.data(), int(magnitude.size()), nullptr));
}

Owned<EVP_PKEY> build(const char* kind, OSSL_PARAM_BLD* builder) {
  const Owned<OSSL_PARAM> parameters(OSSL_PARAM_BLD_to_param(builder));
  const Owned<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_name(nullptr, kind, nullptr));
  EVP_PKEY* key = nullptr;
  if (parameters && context && EVP_PKEY_fromdata_init(context.get()) == 1)
    EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get());
  return Owned<EVP_PKEY>(key);
}

// What follows the type, each of its own.
Owned<EVP_PKEY> read_ed25519(WireReader& in) {
  const Bytes raw = in.string();
  return Owned<EVP_PKEY>(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw.data(), raw.size()));
}

Owned<EVP_PKEY> read_ecdsa(WireReader& in) {
  const std::string_view curve = in.text();
  const Bytes point = in.string();
  const char* group = curve == "nistp256" ? "prime256v1" : curve == "nistp384" ? "secp384r1" : "secp521r1";
  const Owned<OSSL_PARAM_BLD> builder(OSSL_PARAM_BLD_new());
  if (!builder || OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, group, 0) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()) !=
          1)
    return nullptr;
  return build("EC", builder.get());
}

Owned<EVP_PKEY> read_rsa(WireReader& in) {
  const Bytes e = in.mpint(), n = in.mpint();
  const Owned<BIGNUM> exponent = number_of(e), modulus = number_of(n);
  const Owned<OSSL_PARAM_BLD> builder(OSSL_PARAM_BLD_new());
  if (!builder || !exponent || !modulus ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get()) != 1)
    return nullptr;
  return build("RSA", builder.get());
}

// SSH's two numbers as OpenSSL has them; empty: they are none.
Buffer der_of(Bytes signature) {
  WireReader in(signature);
  const Bytes r = in.mpint(), s = in.mpint();
  if (!in.finish()) return {};
  const Owned<ECDSA_SIG> made(ECDSA_SIG_new());
  Owned<BIGNUM> first = number_of(r), second = number_of(s);
  if (!made || !first || !second || ECDSA_SIG_set0(made.get(), first.get(), second.get()) != 1) return {};
  (void)first.release();
  (void)second.release();
  Buffer der(std::size_t(std::max(i2d_ECDSA_SIG(made.get(), nullptr), 0)));
  std::uint8_t* at = der.data();
  return i2d_ECDSA_SIG(made.get(), &at) == int(der.size()) ? der : Buffer();
}

struct Algorithm {
  std::string_view name, key_type;
  const EVP_MD* (*digest)();  // null: the key's own
  Owned<EVP_PKEY> (*read)(WireReader&);
  bool is_ecdsa = false;
};
constexpr Algorithm kAlgorithms[] = {
    {"ssh-ed25519", "ssh-ed25519", nullptr, read_ed25519},
    {"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", EVP_sha256, read_ecdsa, true},
    {"ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384", EVP_sha384, read_ecdsa, true},
    {"ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521", EVP_sha512, read_ecdsa, true},
    {"rsa-sha2-256", "ssh-rsa", EVP_sha256, read_rsa},
    {"rsa-sha2-512", "ssh-rsa", EVP_sha512, read_rsa},
};

}  // namespace

bool is_signed_by(Bytes host_key, Bytes data, Bytes signature) {
  WireReader in(signature);
  const std::string_view name = in.text();
  const Bytes given = in.string();
  if (!in.finish()) return false;
  for (const Algorithm& algorithm : kAlgorithms) {
    if (algorithm.name != name || algorithm.key_type != public_key_type(host_key)) continue;
    WireReader key_in(host_key);
    key_in.string();  // its type
    const Owned<EVP_PKEY> key = algorithm.read(key_in);
    const Buffer der = algorithm.is_ecdsa ? der_of(given) : Buffer();
    const Bytes checked = algorithm.is_ecdsa ? Bytes(der) : given;
    const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
    const bool is_good =
        key && context && !checked.empty() &&
        EVP_DigestVerifyInit(context.get(), nullptr,
                             algorithm.digest != nullptr ? algorithm.digest() : nullptr, nullptr,
                             key.get()) == 1 &&
        EVP_DigestVerify(context.get(), checked.data(), checked.size(), data.data(), data.size()) == 1;
    ERR_clear_error();
    return is_good;
  }
  return false;
}

}  // namespace banyan::connector
