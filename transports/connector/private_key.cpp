#include "transports/connector/private_key.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "core/fd.h"
#include "core/text.h"
#include "transports/connector/file.h"
#include "transports/connector/openssh_key.h"
#include "transports/connector/pkcs8.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

struct FreeNumber {
  void operator()(BIGNUM* number) const { BN_clear_free(number); }
};
using Number = std::unique_ptr<BIGNUM, FreeNumber>;

struct Curve {
  const char* group;  // as OpenSSL calls it
  std::string_view type, name;
  std::size_t coordinate_bytes;
  const EVP_MD* (*digest)();
};
constexpr Curve kCurves[] = {
    {"prime256v1", "ecdsa-sha2-nistp256", "nistp256", 32, EVP_sha256},
    {"secp384r1", "ecdsa-sha2-nistp384", "nistp384", 48, EVP_sha384},
    {"secp521r1", "ecdsa-sha2-nistp521", "nistp521", 66, EVP_sha512},
};

const Curve* curve_of(std::string_view type) {
  const Curve* found = std::ranges::find(kCurves, type, &Curve::type);
  return found == std::end(kCurves) ? nullptr : found;
}

// A public number of the key; empty: it has none of that name, or one that needs more than `width` bytes.
Buffer number_of(EVP_PKEY* key, const char* name, std::size_t width = 0) {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key, name, &number) != 1) return {};
  const Number owner(number);
  Buffer bytes(width != 0 ? width : std::size_t(BN_num_bytes(number)));
  if (BN_bn2binpad(number, bytes.data(), int(bytes.size())) < 0) return {};
  return bytes;
}

Buffer ed25519_blob(EVP_PKEY* key) {
  Buffer raw(32), blob;
  std::size_t size = raw.size();
  if (EVP_PKEY_get_raw_public_key(key, raw.data(), &size) != 1 || size != raw.size()) return {};
  put_string(blob, "ssh-ed25519");
  put_string(blob, raw);
  return blob;
}

Buffer ecdsa_blob(EVP_PKEY* key) {
  char group[32];
  std::size_t length = 0;
  if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, &length) != 1)
    return {};
  for (const Curve& curve : kCurves) {
    if (std::string_view(group, length) != curve.group) continue;
    const Buffer x = number_of(key, OSSL_PKEY_PARAM_EC_PUB_X, curve.coordinate_bytes);
    const Buffer y = number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y, curve.coordinate_bytes);
    if (x.empty() || y.empty()) return {};
    Buffer point{4}, blob;
    point.insert(point.end(), x.begin(), x.end());
    point.insert(point.end(), y.begin(), y.end());
    put_string(blob, curve.type);
    put_string(blob, curve.name);
    put_string(blob, point);
    return blob;
  }
  return {};
}

Buffer rsa_blob(EVP_PKEY* key) {
  Buffer blob;
  put_string(blob, "ssh-rsa");
  put_mpint(blob, number_of(key, OSSL_PKEY_PARAM_RSA_E));
  put_mpint(blob, number_of(key, OSSL_PKEY_PARAM_RSA_N));
  return blob;
}

Buffer blob_of(EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_ED25519:
      return ed25519_blob(key);
    case EVP_PKEY_EC:
      return ecdsa_blob(key);
    case EVP_PKEY_RSA:
      return rsa_blob(key);
    default:
      return {};
  }
}

// DER, as OpenSSL makes it, into the two numbers SSH wants.
std::optional<Buffer> ecdsa_signature(Bytes der) {
  const std::uint8_t* at = der.data();
  const std::unique_ptr<ECDSA_SIG, void (*)(ECDSA_SIG*)> signature(
      d2i_ECDSA_SIG(nullptr, &at, long(der.size())), ECDSA_SIG_free);
  if (!signature) return std::nullopt;
  Buffer out;
  for (const BIGNUM* number : {ECDSA_SIG_get0_r(signature.get()), ECDSA_SIG_get0_s(signature.get())}) {
    Buffer bytes(std::size_t(BN_num_bytes(number)));
    BN_bn2bin(number, bytes.data());
    put_mpint(out, bytes);
  }
  return out;
}

// The label of the first block that is a private key: "RSA PRIVATE KEY"; and what follows its line.
struct Block {
  std::string_view label, rest;
};
std::optional<Block> find_private_block(std::string_view text) {
  constexpr std::string_view kBegin = "-----BEGIN ", kDashes = "-----";
  while (true) {
    const std::size_t begin = text.find(kBegin);
    if (begin == text.npos) return std::nullopt;
    text.remove_prefix(begin + kBegin.size());
    const std::size_t end = text.find(kDashes);
    if (end == text.npos) return std::nullopt;
    const std::string_view label = text.substr(0, end);
    text.remove_prefix(end + kDashes.size());
    if (label.ends_with("PRIVATE KEY")) return Block{label, text};
  }
}

// What OpenSSL asks for a passphrase; `held` is a string_view. -1: it has none that fits.
int give_passphrase(char* to, int max, int /*for_writing*/, void* held) {
  const auto& passphrase = *static_cast<const std::string_view*>(held);
  if (passphrase.size() > std::size_t(max)) return -1;
  std::memcpy(to, passphrase.data(), passphrase.size());
  return int(passphrase.size());
}

}  // namespace

Result<Secret> read_private_key(const std::string& path) {
  const Fd file(retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); }));
  if (!file) return system_error(ErrorClass::kAuth, Phase::kAuth, cat("open the key ", path), errno);
  struct stat info;
  if (::fstat(file.get(), &info) != 0)
    return system_error(ErrorClass::kAuth, Phase::kAuth, cat("stat the key ", path), errno);
  // IdentityFile /dev/null is how people say: none.
  if (S_ISCHR(info.st_mode)) return bad_key(path, "is a device", {});
  if (info.st_uid == ::getuid() && (info.st_mode & 077) != 0)
    return bad_key(path, "may be used by others than its owner, so it is not used", cat("chmod 600 ", path));
  Result<Buffer> bytes = read_whole(file.get(), path, kKeyFileMax, ErrorClass::kAuth, Phase::kAuth);
  if (!bytes) return bytes.error();
  return Secret(std::move(*bytes));
}

Result<PrivateKeyForm> look_at_private_key(Bytes text, std::string_view name) {
  if (is_openssh_key(text)) {
    const std::optional<Secret> decoded = decode_openssh_key(text);
    if (!decoded) return bad_key(name, "is damaged");
    return look_at_openssh_key(decoded->bytes(), name);
  }
  const std::optional<Block> block = find_private_block(as_text(text));
  if (!block) {
    if (parse_public_key(as_text(text).substr(0, as_text(text).find('\n'))))
      return bad_key(name, "is a public key, not the private one", "name the file without .pub");
    return bad_key(name, "is in no format that we know",
                   "ssh-keygen -p -m PKCS8 -f FILE writes one that we do");
  }
  PrivateKeyForm form;
  const std::string_view next = block->rest.substr(0, block->rest.find("\n\n"));
  form.encrypted = block->label.starts_with("ENCRYPTED ") || next.find("Proc-Type: 4,ENCRYPTED") != next.npos;
  return form;
}

Result<PrivateKey> parse_private_key(Bytes text, std::string_view name, std::string_view passphrase) {
  Result<PrivateKeyForm> form = look_at_private_key(text, name);
  if (!form) return form.error();
  if (form->openssh) {
    const std::optional<Secret> decoded = decode_openssh_key(text);
    ASSERT(decoded);
    return parse_openssh_key(decoded->bytes(), name, passphrase);
  }
  if (asks_for_too_much(text))
    return bad_key(name, "would take too long to open", "openssl pkcs8 -topk8 -iter 100000 writes it anew");
  const std::unique_ptr<BIO, int (*)(BIO*)> in(BIO_new_mem_buf(text.data(), int(text.size())), BIO_free);
  PrivateKey::Handle key;
  if (in) key.reset(PEM_read_bio_PrivateKey(in.get(), nullptr, give_passphrase, &passphrase));
  if (!key) return bad_key(name, form->encrypted ? "does not open with that passphrase" : "is damaged");
  return PrivateKey::adopt(std::move(key), name);
}

void PrivateKey::Free::operator()(evp_pkey_st* key) const {
  EVP_PKEY_free(key);
}

Result<PrivateKey> PrivateKey::adopt(Handle handle, std::string_view name) {
  Buffer blob = blob_of(handle.get());
  const std::string_view type = public_key_type(blob);
  if (type.empty())
    return bad_key(name,
                   "is of no kind that we use: ed25519, ecdsa on a NIST curve, RSA of 1024 bits or more",
                   "use another key, or --ssh openssh");
  // Of RSA OpenSSL looks at each signature itself; the others would sign, and be refused by every server.
  if (type != "ssh-rsa") {
    const std::unique_ptr<EVP_PKEY_CTX, void (*)(EVP_PKEY_CTX*)> context(
        EVP_PKEY_CTX_new_from_pkey(nullptr, handle.get(), nullptr), EVP_PKEY_CTX_free);
    if (!context || EVP_PKEY_pairwise_check(context.get()) != 1)
      return bad_key(name, "has two halves that do not belong together");
  }
  return PrivateKey(std::move(handle), type, std::move(blob));
}

std::vector<std::string_view> PrivateKey::algorithms() const {
  if (type_ == "ssh-rsa") return {"rsa-sha2-512", "rsa-sha2-256"};
  return {type_};
}

Result<Buffer> PrivateKey::sign(std::string_view algorithm, Bytes data) const {
  const auto known = algorithms();
  if (std::ranges::find(known, algorithm) == known.end())
    return Error(ErrorClass::kAuth, Phase::kAuth,
                 cat("a key of type ", type_, " does not sign with ", algorithm));
  const EVP_MD* digest = nullptr;  // ed25519 has its own
  const Curve* curve = curve_of(type_);
  if (curve != nullptr) digest = curve->digest();
  if (type_ == "ssh-rsa") digest = algorithm == "rsa-sha2-512" ? EVP_sha512() : EVP_sha256();

  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  Buffer signature(std::size_t(EVP_PKEY_get_size(handle_.get())));
  std::size_t size = signature.size();
  if (!context || EVP_DigestSignInit(context.get(), nullptr, digest, nullptr, handle_.get()) != 1 ||
      EVP_DigestSign(context.get(), signature.data(), &size, data.data(), data.size()) != 1) {
    ERR_clear_error();
    return Error(ErrorClass::kAuth, Phase::kAuth, cat("could not sign with a key of type ", type_));
  }
  signature.resize(size);
  if (curve == nullptr) return signature;
  std::optional<Buffer> numbers = ecdsa_signature(signature);
  ASSERT(numbers);
  return *numbers;
}

}  // namespace banyan::connector
