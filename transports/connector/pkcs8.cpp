#include "transports/connector/pkcs8.h"

#include <openssl/asn1t.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

namespace banyan::connector {
namespace {

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

std::uint64_t number_of(const ASN1_INTEGER* integer) {
  std::uint64_t number = 0;
  return integer != nullptr && ASN1_INTEGER_get_uint64(&number, integer) == 1 ? number : UINT64_MAX;
}

// What stands beside the name of an algorithm; null: not what belongs there, and OpenSSL will not take it.
template <class T>
Owned<T> parameters_of(const X509_ALGOR& algorithm, const ASN1_ITEM* form, void (*release)(T*)) {
  return {static_cast<T*>(ASN1_TYPE_unpack_sequence(form, algorithm.parameter)), release};
}

bool is_too_much_scrypt(const SCRYPT_PARAMS& parameters) {
  std::uint64_t work = 1;
  for (const ASN1_INTEGER* integer :
       {parameters.costParameter, parameters.blockSize, parameters.parallelizationParameter}) {
    const std::uint64_t factor = number_of(integer);
    if (factor > kScryptWorkMax) return true;
    work *= factor;
    if (work > kScryptWorkMax) return true;
  }
  return false;
}

bool is_too_much(const X509_ALGOR& algorithm) {
  if (OBJ_obj2nid(algorithm.algorithm) != NID_pbes2) {  // as PKCS#5 and PKCS#12 had it before
    const auto old = parameters_of<PBEPARAM>(algorithm, ASN1_ITEM_rptr(PBEPARAM), PBEPARAM_free);
    return old && number_of(old->iter) > kHashRoundsMax;
  }
  const auto both = parameters_of<PBE2PARAM>(algorithm, ASN1_ITEM_rptr(PBE2PARAM), PBE2PARAM_free);
  if (!both) return false;
  const X509_ALGOR& derivation = *both->keyfunc;
  if (OBJ_obj2nid(derivation.algorithm) == NID_id_scrypt) {
    const auto scrypt =
        parameters_of<SCRYPT_PARAMS>(derivation, ASN1_ITEM_rptr(SCRYPT_PARAMS), SCRYPT_PARAMS_free);
    return scrypt && is_too_much_scrypt(*scrypt);
  }
  const auto hashed = parameters_of<PBKDF2PARAM>(derivation, ASN1_ITEM_rptr(PBKDF2PARAM), PBKDF2PARAM_free);
  return hashed && number_of(hashed->iter) > kHashRoundsMax;
}

}  // namespace

bool asks_for_too_much(Bytes pem) {
  const std::unique_ptr<BIO, int (*)(BIO*)> in(BIO_new_mem_buf(pem.data(), int(pem.size())), BIO_free);
  char *name = nullptr, *header = nullptr;
  std::uint8_t* data = nullptr;
  long size = 0;
  bool found = false;
  while (in && !found && PEM_read_bio(in.get(), &name, &header, &data, &size) == 1) {
    const std::uint8_t* at = data;
    const Owned<X509_SIG> encrypted(d2i_X509_SIG(nullptr, &at, size), X509_SIG_free);
    if (encrypted) {
      const X509_ALGOR* algorithm = nullptr;
      X509_SIG_get0(encrypted.get(), &algorithm, nullptr);
      found = is_too_much(*algorithm);
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, std::size_t(size));
  }
  ERR_clear_error();
  return found;
}

}  // namespace banyan::connector
