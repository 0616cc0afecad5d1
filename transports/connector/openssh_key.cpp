#include "transports/connector/openssh_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/text.h"
#include "transports/base64.h"
#include "transports/connector/bcrypt.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

constexpr std::string_view kBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";
constexpr std::string_view kEnd = "-----END OPENSSH PRIVATE KEY-----";
constexpr std::string_view kMagic("openssh-key-v1\0", 15);
constexpr std::size_t kBlockBytes = 8;  // what an unencrypted private part is padded to

struct Cipher {
  std::string_view name;
  const EVP_CIPHER* (*kind)();
  std::size_t key_bytes, start_bytes, block_bytes, tag_bytes;
};
// What ssh-keygen -Z writes, but for chacha20-poly1305@openssh.com and 3des-cbc, which nobody asks for.
constexpr Cipher kCiphers[] = {
    {"aes256-ctr", EVP_aes_256_ctr, 32, 16, 16, 0},
    {"aes192-ctr", EVP_aes_192_ctr, 24, 16, 16, 0},
    {"aes128-ctr", EVP_aes_128_ctr, 16, 16, 16, 0},
    {"aes256-cbc", EVP_aes_256_cbc, 32, 16, 16, 0},
    {"aes192-cbc", EVP_aes_192_cbc, 24, 16, 16, 0},
    {"aes128-cbc", EVP_aes_128_cbc, 16, 16, 16, 0},
    {"aes256-gcm@openssh.com", EVP_aes_256_gcm, 32, 12, 16, 16},
    {"aes128-gcm@openssh.com", EVP_aes_128_gcm, 16, 12, 16, 16},
};

struct Parts {
  std::string_view cipher, derivation;
  Bytes derivation_options, public_blob, private_part;
  Bytes tag;  // behind the private part, of some ciphers
};

// False: no OpenSSH key, or more than one key in it, which OpenSSH does not write.
bool take_apart(Bytes decoded, Parts& parts) {
  if (!as_text(decoded).starts_with(kMagic)) return false;
  WireReader in(decoded.subspan(kMagic.size()));
  parts.cipher = in.text();
  parts.derivation = in.text();
  parts.derivation_options = in.string();
  const std::uint32_t keys = in.number();
  parts.public_blob = in.string();
  parts.private_part = in.string();
  if (!in.ok() || keys != 1 || parts.cipher.empty()) return false;
  parts.tag = in.rest();
  return parts.cipher != "none" || (in.finish() && parts.derivation == "none");
}

std::optional<Secret> decrypt(const Cipher& cipher, Bytes key_and_start, Bytes text, Bytes tag) {
  if (text.size() % cipher.block_bytes != 0 || tag.size() != cipher.tag_bytes) return std::nullopt;
  const std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)> context(EVP_CIPHER_CTX_new(),
                                                                           EVP_CIPHER_CTX_free);
  Buffer out(text.size());
  int size = 0, more = 0;
  std::uint8_t last[EVP_MAX_BLOCK_LENGTH];
  bool good = context && EVP_DecryptInit_ex(context.get(), cipher.kind(), nullptr, key_and_start.data(),
                                            key_and_start.data() + cipher.key_bytes) == 1;
  good = good && EVP_CIPHER_CTX_set_padding(context.get(), 0) == 1 &&
         EVP_DecryptUpdate(context.get(), out.data(), &size, text.data(), int(text.size())) == 1;
  if (good && !tag.empty())
    good = EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, int(tag.size()),
                               const_cast<std::uint8_t*>(tag.data())) == 1;
  good = good && EVP_DecryptFinal_ex(context.get(), last, &more) == 1 && std::size_t(size) == text.size();
  ERR_clear_error();
  Secret opened(std::move(out));
  if (!good) return std::nullopt;
  return opened;
}

struct Number {
  BIGNUM* number = nullptr;
  explicit Number(Bytes magnitude) {
    number = BN_secure_new();
    if (number != nullptr && BN_bin2bn(magnitude.data(), int(magnitude.size()), number) == nullptr) {
      BN_clear_free(number);
      number = nullptr;
    }
  }
  ~Number() { BN_clear_free(number); }
  Number(const Number&) = delete;
  Number& operator=(const Number&) = delete;
};

class Builder {
 public:
  Builder() : builder_(OSSL_PARAM_BLD_new()) {}
  ~Builder() { OSSL_PARAM_BLD_free(builder_); }
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  void number(const char* name, const BIGNUM* number) {
    ok_ = ok_ && number != nullptr && OSSL_PARAM_BLD_push_BN(builder_, name, number) == 1;
  }
  void text(const char* name, const char* text) {
    ok_ = ok_ && OSSL_PARAM_BLD_push_utf8_string(builder_, name, text, 0) == 1;
  }
  void bytes(const char* name, Bytes bytes) {
    ok_ = ok_ && OSSL_PARAM_BLD_push_octet_string(builder_, name, bytes.data(), bytes.size()) == 1;
  }

  PrivateKey::Handle build(const char* kind) {
    OSSL_PARAM* parameters = ok_ ? OSSL_PARAM_BLD_to_param(builder_) : nullptr;
    EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, kind, nullptr);
    EVP_PKEY* key = nullptr;
    if (parameters != nullptr && context != nullptr && EVP_PKEY_fromdata_init(context) == 1)
      EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters);
    EVP_PKEY_CTX_free(context);
    // Where there is no secure heap OpenSSL frees what it has copied as it is.
    for (OSSL_PARAM* at = parameters; at != nullptr && at->key != nullptr; ++at)
      OPENSSL_cleanse(at->data, at->data_size);
    OSSL_PARAM_free(parameters);
    return PrivateKey::Handle(key);
  }

 private:
  OSSL_PARAM_BLD* builder_;
  bool ok_ = builder_ != nullptr;
};

// Each reads its part of the private key, which begins behind the type. Null: it is none.
PrivateKey::Handle read_ed25519(WireReader& in) {
  const Bytes public_key = in.string(), both = in.string();
  if (!in.ok() || public_key.size() != 32 || both.size() != 64) return nullptr;
  if (!std::ranges::equal(public_key, both.subspan(32))) return nullptr;
  return PrivateKey::Handle(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, both.data(), 32));
}

PrivateKey::Handle read_ecdsa(WireReader& in) {
  const std::string_view curve = in.text();
  const Bytes point = in.string(), secret = in.mpint();
  if (!in.ok() || secret.empty() || secret.size() > 66) return nullptr;
  const Number number(secret);
  Builder builder;
  builder.text(OSSL_PKEY_PARAM_GROUP_NAME,
               curve == "nistp256"   ? "prime256v1"
               : curve == "nistp384" ? "secp384r1"
                                     : "secp521r1");  // another curve's point does not fit, which is seen
  builder.bytes(OSSL_PKEY_PARAM_PUB_KEY, point);
  builder.number(OSSL_PKEY_PARAM_PRIV_KEY, number.number);
  return builder.build("EC");
}

// With the numbers as they should be for these primes: p*q = n, e*d = 1 for each of them, q*c = 1 (mod p).
bool is_sound_rsa(const BIGNUM* n, const BIGNUM* e, const BIGNUM* p, const BIGNUM* q,
                  const BIGNUM* coefficient, std::array<BIGNUM*, 2> exponents, BN_CTX* context) {
  const BIGNUM* primes[] = {p, q};
  BN_CTX_start(context);
  BIGNUM* less = BN_CTX_get(context);
  BIGNUM* product = BN_CTX_get(context);
  bool sound = product != nullptr && BN_is_odd(p) && BN_is_odd(q) && !BN_is_one(p) && !BN_is_one(q) &&
               BN_mul(product, p, q, context) == 1 && BN_cmp(product, n) == 0;
  for (int i = 0; i < 2 && sound; ++i)
    sound = BN_sub(less, primes[i], BN_value_one()) == 1 &&
            BN_mod_mul(product, e, exponents[i], less, context) == 1 && BN_is_one(product);
  sound = sound && BN_mod_mul(product, q, coefficient, p, context) == 1 && BN_is_one(product);
  BN_CTX_end(context);
  return sound;
}

PrivateKey::Handle read_rsa(WireReader& in) {
  std::array<Bytes, 6> read;
  for (Bytes& magnitude : read) magnitude = in.mpint();
  for (const Bytes& magnitude : read)
    if (!in.ok() || magnitude.empty() || magnitude.size() > 2048) return nullptr;
  const Number n(read[0]), e(read[1]), d(read[2]), coefficient(read[3]), p(read[4]), q(read[5]);
  // d, for each of the primes, which is not written down; and a prime less one.
  const Number for_p(Bytes{}), for_q(Bytes{}), less(Bytes{});
  for (const Number* number : {&n, &e, &d, &coefficient, &p, &q, &for_p, &for_q, &less})
    if (number->number == nullptr) return nullptr;
  BN_set_flags(d.number, BN_FLG_CONSTTIME);
  BN_CTX* context = BN_CTX_secure_new();
  bool good = context != nullptr;
  for (auto [prime, exponent] : {std::pair{&p, &for_p}, std::pair{&q, &for_q}}) {
    good = good && BN_sub(less.number, prime->number, BN_value_one()) == 1 && !BN_is_zero(less.number) &&
           BN_mod(exponent->number, d.number, less.number, context) == 1;
  }
  good = good && is_sound_rsa(n.number, e.number, p.number, q.number, coefficient.number,
                              {for_p.number, for_q.number}, context);
  BN_CTX_free(context);
  if (!good) return nullptr;
  Builder builder;
  builder.number(OSSL_PKEY_PARAM_RSA_N, n.number);
  builder.number(OSSL_PKEY_PARAM_RSA_E, e.number);
  builder.number(OSSL_PKEY_PARAM_RSA_D, d.number);
  builder.number(OSSL_PKEY_PARAM_RSA_FACTOR1, p.number);
  builder.number(OSSL_PKEY_PARAM_RSA_FACTOR2, q.number);
  builder.number(OSSL_PKEY_PARAM_RSA_EXPONENT1, for_p.number);
  builder.number(OSSL_PKEY_PARAM_RSA_EXPONENT2, for_q.number);
  builder.number(OSSL_PKEY_PARAM_RSA_COEFFICIENT1, coefficient.number);
  return builder.build("RSA");
}

// 1, 2, 3, ... up to a whole block.
bool is_padding(Bytes padding, std::size_t all, std::size_t block_bytes) {
  if (padding.size() >= block_bytes || all % block_bytes != 0) return false;
  for (std::size_t i = 0; i < padding.size(); ++i)
    if (padding[i] != i + 1) return false;
  return true;
}

// The private part, opened: begins with two equal numbers, by which one sees that the passphrase was right.
Result<Secret> open_private_part(const Parts& parts, std::string_view name, std::string_view passphrase,
                                 std::size_t& block_bytes) {
  const Cipher* cipher = std::ranges::find(kCiphers, parts.cipher, &Cipher::name);
  if (cipher == std::end(kCiphers))
    return bad_key(name, "is encrypted in a way that the connector does not know",
                   "ssh-keygen -p -Z aes256-ctr -f FILE, or --ssh openssh");
  WireReader options(parts.derivation_options);
  const Bytes salt = options.string();
  const std::uint32_t rounds = options.number();
  if (parts.derivation != "bcrypt" || !options.finish() || salt.empty() || rounds == 0)
    return bad_key(name, "is damaged");
  if (rounds > kBcryptRoundsMax)
    return bad_key(name, "would take too long to open", "ssh-keygen -p -a 100 -f FILE");
  constexpr std::string_view kWrong = "does not open with that passphrase";
  if (passphrase.empty()) return bad_key(name, kWrong);
  const Secret key =
      bcrypt_pbkdf(as_bytes(passphrase), salt, rounds, cipher->key_bytes + cipher->start_bytes);
  std::optional<Secret> opened = decrypt(*cipher, key.bytes(), parts.private_part, parts.tag);
  if (!opened) return bad_key(name, kWrong);
  WireReader in(opened->bytes());
  const std::uint32_t check = in.number(), check_again = in.number();
  if (!in.ok() || check != check_again) return bad_key(name, kWrong);
  block_bytes = cipher->block_bytes;
  return std::move(*opened);
}

}  // namespace

Error bad_key(std::string_view name, std::string_view what, std::string_view remedy) {
  ERR_clear_error();
  return Error(ErrorClass::kAuth, Phase::kAuth, cat("the key ", name, " ", what), remedy);
}

bool is_openssh_key(Bytes text) {
  return as_text(text).starts_with(kBegin);
}

std::optional<Secret> decode_openssh_key(Bytes text) {
  if (!is_openssh_key(text)) return std::nullopt;
  const std::string_view rest = as_text(text.subspan(kBegin.size()));
  const std::size_t end = rest.find(kEnd);
  if (end == rest.npos) return std::nullopt;
  Buffer digits;
  digits.reserve(end);  // so that it never moves and leaves a copy
  for (char c : rest.substr(0, end))
    if (std::string_view(" \t\r\n").find(c) == std::string_view::npos) digits.push_back(std::uint8_t(c));
  const Secret body(std::move(digits));
  std::optional<Buffer> decoded = decode_base64(as_text(body.bytes()));
  if (!decoded) return std::nullopt;
  return Secret(std::move(*decoded));
}

Result<PrivateKeyForm> look_at_openssh_key(Bytes decoded, std::string_view name) {
  Parts parts;
  if (!take_apart(decoded, parts)) return bad_key(name, "is damaged");
  PrivateKeyForm form;
  form.openssh = true;
  form.encrypted = parts.cipher != "none";
  form.type = public_key_type(parts.public_blob);
  form.public_blob.assign(parts.public_blob.begin(), parts.public_blob.end());
  if (form.type.empty()) return bad_key(name, "is damaged, or of no kind that we know", "use --ssh openssh");
  return form;
}

Result<PrivateKey> parse_openssh_key(Bytes decoded, std::string_view name, std::string_view passphrase) {
  Result<PrivateKeyForm> form = look_at_openssh_key(decoded, name);
  if (!form) return form.error();
  const bool is_rsa = form->type == "ssh-rsa", is_ed25519 = form->type == "ssh-ed25519";
  if (!is_rsa && !is_ed25519 && !form->type.starts_with("ecdsa-sha2-"))
    return bad_key(name, cat("is of type ", form->type, ", which libssh2 cannot use"),
                   "use another key, or --ssh openssh");

  Parts parts;
  const bool whole = take_apart(decoded, parts);
  ASSERT(whole);
  std::size_t block_bytes = kBlockBytes;
  Secret opened;
  if (form->encrypted) {
    Result<Secret> part = open_private_part(parts, name, passphrase, block_bytes);
    if (!part) return part.error();
    opened = std::move(*part);
    parts.private_part = opened.bytes();
  }
  WireReader in(parts.private_part);
  const std::uint32_t check = in.number(), check_again = in.number();
  if (check != check_again || in.text() != form->type) return bad_key(name, "is damaged");
  PrivateKey::Handle handle = is_rsa ? read_rsa(in) : is_ed25519 ? read_ed25519(in) : read_ecdsa(in);
  in.string();  // the comment
  if (!handle || !in.ok() || !is_padding(in.rest(), parts.private_part.size(), block_bytes))
    return bad_key(name, "is damaged");
  Result<PrivateKey> key = PrivateKey::adopt(std::move(handle), name);
  if (key && key->public_blob() != form->public_blob)
    return bad_key(name, "has a public half that does not belong to it");
  return key;
}

}  // namespace banyan::connector
