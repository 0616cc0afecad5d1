#include "transports/connector/keystream.h"

#include <dlfcn.h>
#include <openssl/evp.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "core/assert.h"

namespace banyan::connector {
namespace {

constexpr std::size_t kAheadBytes = 4096;  // several hundred blocks share a call's cost; a tenth of a packet

constexpr std::size_t kBlockBytes = 16;

std::atomic<std::uint64_t> made = 0;
const char kMark = 0;  // its address

// Hangs on a context; nobody else in this process hangs anything there, but should somebody, he is left
// alone.
struct Keystream {
  const void* mark = &kMark;
  std::size_t at = kAheadBytes;
  unsigned char bytes[kAheadBytes];
};

using Cipher = int(EVP_CIPHER_CTX*, unsigned char*, const unsigned char*, unsigned int);
using Free = void(EVP_CIPHER_CTX*);

// What the function would be without us.
template <typename F>
F* next(const char* name) {
  void* found = ::dlsym(RTLD_NEXT, name);
  ASSERT(found != nullptr);
  return reinterpret_cast<F*>(found);
}

int cipher_of_library(EVP_CIPHER_CTX* context, unsigned char* out, const unsigned char* in,
                      unsigned int bytes) {
  static Cipher* const real = next<Cipher>("EVP_Cipher");
  return real(context, out, in, bytes);
}

// Null: this context is not ours to speed up.
Keystream* keystream_of(EVP_CIPHER_CTX* context) {
  void* const data = ::EVP_CIPHER_CTX_get_app_data(context);
  if (data != nullptr) {
    auto* const keystream = static_cast<Keystream*>(data);
    return keystream->mark == &kMark ? keystream : nullptr;
  }
  if (::EVP_CIPHER_get_mode(::EVP_CIPHER_CTX_get0_cipher(context)) != EVP_CIPH_CTR_MODE) return nullptr;
  auto* const keystream = new Keystream;
  ::EVP_CIPHER_CTX_set_app_data(context, keystream);
  return keystream;
}

// A block is what libssh2 comes with: two words, and no loop.
void mix(unsigned char* out, const unsigned char* in, const unsigned char* mixed_in, std::size_t count) {
  if (count < kBlockBytes) {
    for (std::size_t i = 0; i < count; ++i) out[i] = in[i] ^ mixed_in[i];
    return;
  }
  std::uint64_t text[2], key[2];
  std::memcpy(text, in, kBlockBytes);
  std::memcpy(key, mixed_in, kBlockBytes);
  text[0] ^= key[0];
  text[1] ^= key[1];
  std::memcpy(out, text, kBlockBytes);
}

// Each byte of it is used once.
bool make_ahead(EVP_CIPHER_CTX* context, Keystream& keystream) {
  static const unsigned char zeros[kAheadBytes] = {};
  if (cipher_of_library(context, keystream.bytes, zeros, kAheadBytes) == -1) return false;
  keystream.at = 0;
  made.fetch_add(1, std::memory_order_relaxed);
  return true;
}

}  // namespace

std::uint64_t keystreams_made() {
  return made;
}

}  // namespace banyan::connector

// As libcrypto's: how many bytes, or -1.
extern "C" __attribute__((visibility("default"))) int EVP_Cipher(EVP_CIPHER_CTX* context, unsigned char* out,
                                                                 const unsigned char* in,
                                                                 unsigned int bytes) {
  using namespace banyan::connector;
  Keystream* const keystream = in == nullptr || out == nullptr ? nullptr : keystream_of(context);
  if (keystream == nullptr) return cipher_of_library(context, out, in, bytes);
  for (std::size_t done = 0; done < bytes;) {
    if (keystream->at == kAheadBytes && !make_ahead(context, *keystream)) return -1;
    const std::size_t count = std::min({bytes - done, kAheadBytes - keystream->at, kBlockBytes});
    mix(out + done, in + done, keystream->bytes + keystream->at, count);
    keystream->at += count;
    done += count;
  }
  return int(bytes);
}

extern "C" __attribute__((visibility("default"))) void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX* context) {
  using namespace banyan::connector;
  static Free* const real = next<Free>("EVP_CIPHER_CTX_free");
  void* const data = context == nullptr ? nullptr : ::EVP_CIPHER_CTX_get_app_data(context);
  if (data != nullptr && static_cast<Keystream*>(data)->mark == &kMark) {
    const std::unique_ptr<Keystream> keystream(static_cast<Keystream*>(data));
    ::explicit_bzero(keystream->bytes, sizeof keystream->bytes);
  }
  real(context);
}
