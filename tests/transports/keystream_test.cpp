// Goal: what libssh2 encrypts is the same whether its blocks are made one at a time or many ahead, whatever
// pieces it comes in, and no context has bytes of another's. Method: EVP_Cipher(), as libssh2 calls it,
// beside libcrypto's EVP_EncryptUpdate().
#include "transports/connector/keystream.h"

#include <openssl/evp.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>

#include "core/bytes.h"

using namespace banyan;
using banyan::connector::keystreams_made;

namespace {

using Context = std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)>;

Context context_for(const EVP_CIPHER* cipher, std::uint8_t key) {
  Context context(::EVP_CIPHER_CTX_new(), ::EVP_CIPHER_CTX_free);
  const Buffer secret(32, key), vector(16, 7);
  REQUIRE(::EVP_CipherInit(context.get(), cipher, secret.data(), vector.data(), 1) == 1);
  ::EVP_CIPHER_CTX_set_padding(context.get(), 0);
  return context;
}

Buffer text_of(std::size_t bytes) {
  Buffer text(bytes);
  for (std::size_t i = 0; i < bytes; ++i) text[i] = std::uint8_t(i * i >> 3);
  return text;
}

Buffer by_library(const EVP_CIPHER* cipher, std::uint8_t key, const Buffer& text) {
  const Context context = context_for(cipher, key);
  Buffer out(text.size());
  int bytes = 0;
  REQUIRE(::EVP_EncryptUpdate(context.get(), out.data(), &bytes, text.data(), int(text.size())) == 1);
  REQUIRE(bytes == int(text.size()));
  return out;
}

}  // namespace

TEST_CASE("counter mode gives the same bytes in blocks, in odd pieces and in one") {
  const Buffer text = text_of(100'000);
  for (const EVP_CIPHER* cipher : {::EVP_aes_128_ctr(), ::EVP_aes_192_ctr(), ::EVP_aes_256_ctr()}) {
    const Buffer expected = by_library(cipher, 1, text);
    for (const std::size_t piece :
         {std::size_t(16), std::size_t(1), std::size_t(13), std::size_t(5'000), text.size()}) {
      CAPTURE(piece);
      const std::uint64_t before = keystreams_made();
      const Context context = context_for(cipher, 1);
      Buffer out(text.size());
      for (std::size_t at = 0; at < text.size(); at += piece) {
        const auto bytes = unsigned(std::min(piece, text.size() - at));
        CHECK(::EVP_Cipher(context.get(), out.data() + at, text.data() + at, bytes) == int(bytes));
      }
      CHECK((out == expected));
      CHECK(keystreams_made() - before == (text.size() + 4095) / 4096);
    }
  }
}

TEST_CASE("contexts side by side, and one after the other, do not mix") {
  const Buffer text = text_of(3'200);
  const Buffer first = by_library(::EVP_aes_128_ctr(), 1, text),
               second = by_library(::EVP_aes_128_ctr(), 2, text);
  for (int again = 0; again < 100; ++again) {
    const Context one = context_for(::EVP_aes_128_ctr(), 1), other = context_for(::EVP_aes_128_ctr(), 2);
    Buffer by_one = text, by_other = text;
    for (std::size_t at = 0; at < text.size(); at += 16) {
      ::EVP_Cipher(one.get(), by_one.data() + at, by_one.data() + at, 16);
      ::EVP_Cipher(other.get(), by_other.data() + at, by_other.data() + at, 16);
    }
    REQUIRE((by_one == first));
    REQUIRE((by_other == second));
  }
}

TEST_CASE("other modes are libcrypto's") {
  const Buffer text = text_of(3'200);
  const Buffer expected = by_library(::EVP_aes_128_cbc(), 1, text);
  const std::uint64_t before = keystreams_made();
  const Context context = context_for(::EVP_aes_128_cbc(), 1);
  Buffer out(text.size());
  for (std::size_t at = 0; at < text.size(); at += 16)
    ::EVP_Cipher(context.get(), out.data() + at, text.data() + at, 16);
  CHECK((out == expected));
  CHECK(keystreams_made() == before);
}
