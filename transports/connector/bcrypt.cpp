#include "transports/connector/bcrypt.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "core/assert.h"

namespace banyan::connector {
namespace {

constexpr std::size_t kHashBytes = 32;
constexpr int kExpansions = 64;  // of the key, by turns with the salt; and times the text is encrypted
constexpr std::string_view kText = "OxychromaticBlowfishSwatDynamite";
static_assert(kText.size() == kHashBytes);

// A sequence of bytes read as big-endian words, again and again from its beginning.
class WordStream {
 public:
  explicit WordStream(Bytes bytes) : bytes_(bytes) {}
  std::uint32_t next() {
    std::uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
      word = word << 8 | bytes_[at_];
      at_ = at_ + 1 == bytes_.size() ? 0 : at_ + 1;
    }
    return word;
  }

 private:
  const Bytes bytes_;
  std::size_t at_ = 0;
};

class Blowfish {
 public:
  Blowfish() : words_(kFractionOfPi) {}
  ~Blowfish() { OPENSSL_cleanse(words_.data(), sizeof words_); }
  Blowfish(const Blowfish&) = delete;
  Blowfish& operator=(const Blowfish&) = delete;

  void encrypt(std::uint32_t& left, std::uint32_t& right) const {
    std::uint32_t a = left, b = right;
    for (std::size_t i = 0; i < 16; i += 2) {
      a ^= words_[i];
      b ^= mix(a);
      b ^= words_[i + 1];
      a ^= mix(b);
    }
    left = b ^ words_[17];
    right = a ^ words_[16];
  }

  void expand(Bytes key) {
    expand_with(key, [] { return std::uint32_t(0); });
  }
  void expand(Bytes salt, Bytes key) {
    expand_with(key, [stream = WordStream(salt)]() mutable { return stream.next(); });
  }

 private:
  static constexpr std::size_t kRoundKeys = 18;

  std::uint32_t mix(std::uint32_t word) const {
    const std::uint32_t* boxes = words_.data() + kRoundKeys;
    return ((boxes[word >> 24] + boxes[256 + (word >> 16 & 0xff)]) ^ boxes[512 + (word >> 8 & 0xff)]) +
           boxes[768 + (word & 0xff)];
  }

  template <class Next>
  void expand_with(Bytes key, Next next) {
    WordStream stream(key);
    for (std::size_t i = 0; i < kRoundKeys; ++i) words_[i] ^= stream.next();
    std::uint32_t left = 0, right = 0;
    for (std::size_t i = 0; i < words_.size(); i += 2) {
      left ^= next();
      right ^= next();
      encrypt(left, right);
      words_[i] = left;
      words_[i + 1] = right;
    }
  }

  std::array<std::uint32_t, kBlowfishWords> words_;
};

using Sha512 = std::array<std::uint8_t, SHA512_DIGEST_LENGTH>;
using Hash = std::array<std::uint8_t, kHashBytes>;

Sha512 sha512(Bytes bytes) {
  Sha512 digest;
  ::SHA512(bytes.data(), bytes.size(), digest.data());
  return digest;
}

Hash bcrypt_hash(Bytes passphrase, Bytes salt) {
  Blowfish cipher;
  cipher.expand(salt, passphrase);
  for (int i = 0; i < kExpansions; ++i) {
    cipher.expand(salt);
    cipher.expand(passphrase);
  }
  std::array<std::uint32_t, kHashBytes / 4> words;
  WordStream text(as_bytes(kText));
  for (std::uint32_t& word : words) word = text.next();
  for (int i = 0; i < kExpansions; ++i)
    for (std::size_t at = 0; at < words.size(); at += 2) cipher.encrypt(words[at], words[at + 1]);
  Hash hash;
  for (std::size_t i = 0; i < words.size(); ++i) store_le(hash.data() + 4 * i, words[i]);
  OPENSSL_cleanse(words.data(), sizeof words);
  return hash;
}

}  // namespace

Secret bcrypt_pbkdf(Bytes passphrase, Bytes salt, std::uint32_t rounds, std::size_t key_bytes) {
  ASSERT(!passphrase.empty() && !salt.empty() && rounds > 0 && rounds <= kBcryptRoundsMax);
  ASSERT(key_bytes > 0 && key_bytes <= kHashBytes * kHashBytes);
  Buffer key(key_bytes);
  // Blocks are not put one behind the other but dealt out like cards, so that every part of the key costs as
  // much as the whole.
  const std::size_t blocks = (key_bytes + kHashBytes - 1) / kHashBytes;
  Sha512 digest = sha512(passphrase);
  for (std::size_t block = 0; block < blocks; ++block) {
    Buffer counted(salt.begin(), salt.end());
    for (int shift = 24; shift >= 0; shift -= 8) counted.push_back(std::uint8_t((block + 1) >> shift));
    Hash hash = bcrypt_hash(digest, sha512(counted)), sum = hash;
    for (std::uint32_t round = 1; round < rounds; ++round) {
      hash = bcrypt_hash(digest, sha512(hash));
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] ^= hash[i];
    }
    for (std::size_t i = 0; i < kHashBytes && i * blocks + block < key_bytes; ++i)
      key[i * blocks + block] = sum[i];
    OPENSSL_cleanse(hash.data(), sizeof hash);
    OPENSSL_cleanse(sum.data(), sizeof sum);
  }
  OPENSSL_cleanse(digest.data(), sizeof digest);
  return Secret(std::move(key));
}

}  // namespace banyan::connector
